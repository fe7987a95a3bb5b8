"""The fields of a request: which there are under each protocol, whose they are, and where a job's extras go.

Must not know: who sends them. Everything here is a pure function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from eli5b_batch.backends.base import ChatRequest

_NOT_OPENAI: Final = frozenset({"num_ctx", "extra"})
"""Settings of `sampling` that are no fields of the OpenAI protocol."""

OPENAI: Final = ("model", "messages", "seed", "stream", "temperature", "top_p", "top_k", "max_tokens", "stop")
"""Every field that is sent under the OpenAI protocol, extras aside."""

NEEDED: Final = frozenset({"model", "messages"})
"""Without these a request is none."""

OTHER_BOUNDS: Final = frozenset({"max_completion_tokens", "max_output_tokens", "max_new_tokens"})
"""What some hosts call `max_tokens`."""

_OLLAMA_TOP: Final = frozenset({"think", "format", "keep_alive", "tools", "logprobs", "top_logprobs"})
"""Fields of Ollama's `/api/chat` that stand beside `options`, not in them."""


class OllamaFields(NamedTuple):
    """A request's settings in their two places: `options`, by the job's names, and `beside` them."""

    options: dict[str, Any]
    beside: dict[str, Any]


def openai_body(request: ChatRequest, omit: Collection[str]) -> dict[str, Any]:
    """The body of a chat completion; extras stand at its top level, and what is in `omit` is left out."""
    body = {"model": request.model, "messages": request.messages, "seed": request.seed, "stream": False}
    body |= {name: value for name, value in request.sampling.items() if name not in _NOT_OPENAI}
    body |= request.sampling.get("extra", {})
    return {name: value for name, value in body.items() if name not in omit}


def ollama_fields(sampling: Mapping[str, Any]) -> OllamaFields:
    """Where the settings of a chat go: extras are options, but for those that `/api/chat` has a field of its own."""
    options = {name: value for name, value in sampling.items() if name != "extra"}
    extra: Mapping[str, Any] = sampling.get("extra", {})
    beside = {name: value for name, value in extra.items() if name in _OLLAMA_TOP}
    return OllamaFields(options | {name: value for name, value in extra.items() if name not in beside}, beside)
