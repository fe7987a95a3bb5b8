"""The body of a request under each protocol: the run's own fields, the job's settings, and the job's extra fields.

Must not know: who sends requests. Every function is pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.backends.dialects import PLAIN, thinking_fields

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from eli5b_batch.backends.base import ChatRequest
    from eli5b_batch.backends.dialects import Dialect, Family

_NOT_OPENAI: Final = frozenset({"num_ctx", "extra", "thinking"})
"""Settings of `sampling` that are no fields of the OpenAI protocol."""

KEEP_ALIVE: Final = "30m"
"""How long a server keeps a model in memory after its last call: longer than any pause of a run, not for ever."""

_OPTIONS: Final = {"max_tokens": "num_predict"}
_NO_OPTIONS: Final = frozenset({"extra", "thinking"})
_OLLAMA_TOP: Final = frozenset({"think", "format", "keep_alive", "tools", "logprobs", "top_logprobs"})
"""Fields of Ollama's `/api/chat` that stand beside `options`, not in them."""


def openai_body(request: ChatRequest, omit: Collection[str] = (), dialect: Dialect = PLAIN) -> dict[str, Any]:
    """Return the body of a chat completion; extra fields stand at its top level.

    Args:
        request: the question.
        omit: fields to leave out, by the package's name or that of an extra field.
        dialect: the host's names of the fields.

    Raises:
        CantThinkSoError: the model can't think as `sampling.thinking` says.
    """
    fields = {"model": request.model, "messages": request.messages, "seed": request.seed, "stream": False}
    fields |= {name: value for name, value in request.sampling.items() if name not in _NOT_OPENAI}
    names = dialect.field_names(request.model)
    renamed = [(names.get(name, name), value) for name, value in fields.items() if name not in omit]
    body = {name: value for name, value in renamed if name is not None}
    body |= thinking_fields(dialect.family(request.model), request.model, request.sampling)
    body |= request.sampling.get("extra", {})
    return {name: value for name, value in body.items() if name not in omit}


def ollama_body(request: ChatRequest, family: Family) -> dict[str, Any]:
    """Return the body of Ollama's `/api/chat`.

    Settings and extra fields stand in `options`, except extra fields that `/api/chat` has at its top level.
    `truncate` and `shift` are off: a prompt over the window is an error, never silently cut (an arm with longer hints
    would lose more of them). Servers before 0.12.6 ignore both.

    Raises:
        CantThinkSoError: models of this family can't think as `sampling.thinking` says.
    """
    options = {_OPTIONS.get(name, name): value for name, value in request.sampling.items() if name not in _NO_OPTIONS}
    extra: Mapping[str, Any] = request.sampling.get("extra", {})
    top_level = {name: value for name, value in extra.items() if name in _OLLAMA_TOP}
    options |= {name: value for name, value in extra.items() if name not in top_level}
    return {
        "model": request.model,
        "messages": request.messages,
        "stream": False,
        "truncate": False,
        "shift": False,
        "keep_alive": KEEP_ALIVE,
        **top_level,
        **thinking_fields(family, request.model, request.sampling),
        "options": {**options, "seed": request.seed},
    }
