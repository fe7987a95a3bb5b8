"""Names that a run gives by itself, so that a job may not: fields and headers of requests, variables of servers.

Must not know: who sends or reads them.
"""

from __future__ import annotations

from typing import Final

OPENAI: Final = ("model", "messages", "seed", "stream", "temperature", "top_p", "top_k", "max_tokens", "stop")
"""Every field that is sent under the OpenAI protocol, extras aside."""

NEEDED: Final = frozenset({"model", "messages"})
"""Without these a request is none."""

OTHER_BOUNDS: Final = frozenset({"max_completion_tokens", "max_output_tokens", "max_new_tokens"})
"""What some hosts call `max_tokens`."""

CALL_HEADER: Final = "x-eli5b-call"
"""Names the call to servers that keep books (`trace` in the job file)."""

TOKEN: Final = "ELI5B_SERVER"  # noqa: S105 (the name of a variable)
"""Marks a server and every process it starts: a random text, new at each start."""

OURS: Final = frozenset(
    {
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",
        "OLLAMA_HOST",
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_MAX_QUEUE",
        "OLLAMA_MODELS",
        "OLLAMA_NUM_PARALLEL",
        TOKEN,
    }
)
"""Variables that follow from other keys of the job."""
