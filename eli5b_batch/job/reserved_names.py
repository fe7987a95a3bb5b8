"""Names that the run sets itself, so that a job may not: fields and headers of requests, variables of servers.

Must not know: who sends or reads them.
"""

from __future__ import annotations

from typing import Final

OPENAI: Final = ("model", "messages", "seed", "stream", "temperature", "top_p", "top_k", "max_tokens", "stop")
"""Every field that is sent under the OpenAI protocol, extra fields aside."""

NEEDED: Final = frozenset({"model", "messages"})
"""Fields that no request can do without."""

OTHER_BOUNDS: Final = frozenset({"max_completion_tokens", "max_output_tokens", "max_new_tokens"})
"""Other names of hosts for `max_tokens`."""

CALL_HEADER: Final = "x-eli5b-call"
"""The header that names the call to servers that keep books (`trace` in the job file)."""

TOKEN: Final = "ELI5B_SERVER"  # noqa: S105 (the name of a variable)
"""The variable that marks a server and every process it starts; its value is a random text, new at each start."""

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
"""Variables of managed servers whose values follow from other keys of the job."""
