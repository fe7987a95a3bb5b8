"""The OpenAI chat completions protocol: Together and every server that speaks like it.

Must not know: when calls are sent. Status codes are read as `docs/providers.md` lists them.
"""

from __future__ import annotations

import difflib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.backends.base import ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.transport import Response, Transport, excerpt
from eli5b_batch.errors import (
    BadReplyError,
    CallError,
    ProviderRefusedError,
    RateLimitedError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RETRY: Final = frozenset({408, 409, 425, 500, 502, 503, 504, 520, 522, 524, 529})
_REFUSED: Final = {
    401: "the key was refused: set {key} to a valid key",
    402: "the account has no credit left, or its spending limit is reached: raise it, then run the same command again",
}


class OpenAIBackend:
    """One account at one OpenAI-compatible host.

    Args:
        name: the provider's name in the job.
        base_url: up to and including `/v1`.
        key: the API key, "" for none. It is sent, and never written or printed.
        key_env: the environment variable it came from, for messages.
        transport: carries the requests.
        trace: name each call in a header, for simulated servers only.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        key: str,
        key_env: str | None,
        transport: Transport,
        trace: bool = False,
    ) -> None:
        self._name = name
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._key_env = key_env or "the provider's api_key_env"
        self._transport = transport
        self._trace = trace

    async def chat(self, request: ChatRequest, base_url: str) -> ChatReply:
        """Send one request; see `Backend.chat`."""
        body = {"model": request.model, "messages": request.messages, "seed": request.seed, "stream": False}
        body |= {k: v for k, v in request.sampling.items() if k != "num_ctx"}
        headers = {"x-eli5b-call": request.key} if self._trace else None
        response = await self._transport.post(f"{base_url}/chat/completions", body, headers)
        if response.status != HTTPStatus.OK:
            raise self._failure(response, request.model)
        return _read_reply(response)

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Compare the host's list of models with `models`; a host without such a list is taken at its word."""
        try:
            response = await self._transport.get(f"{self._base_url}/models")
        except RetryableError as error:
            raise ProviderRefusedError(f"providers.{self._name}: {error}; is base_url right?") from None
        if response.status in _REFUSED:
            raise self._failure(response, "")
        facts = dict.fromkeys(models, ModelFacts())
        if response.status != HTTPStatus.OK:
            return facts
        listed = _model_ids(response)
        for model in models:
            if listed and model not in listed:
                raise ProviderRefusedError(self._unserved(model, listed))
        return facts

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def _unserved(self, model: str, listed: Sequence[str]) -> str:
        by_end = {name.rsplit("/", 1)[-1].lower(): name for name in listed}
        near = difflib.get_close_matches(model.rsplit("/", 1)[-1].lower(), by_end, n=3, cutoff=0.4)
        closest = ", ".join(by_end[name] for name in near) or ", ".join(sorted(listed)[:3])
        return (
            f"providers.{self._name}: the host no longer serves, or never served, the model {model!r}; "
            f"closest in name of the {len(listed)} it serves: {closest}"
        )

    def _failure(self, response: Response, model: str) -> CallError | ProviderRefusedError:
        status = response.status
        said = self._scrub(_error_text(response))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimitedError(f"{self._name} answered 429: {said}", retry_after=_retry_after(response.headers))
        if status in _REFUSED:
            advice = _REFUSED[status].format(key=self._key_env)
            return ProviderRefusedError(f"providers.{self._name}: {advice} ({status}: {said})")
        if status == HTTPStatus.NOT_FOUND:
            return ProviderRefusedError(
                f"providers.{self._name}: no model {model!r} at {self._base_url} (404: {said}); "
                "`check` lists the closest names it serves"
            )
        if status in _RETRY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return RetryableError("server_error", f"{self._name} answered {status}: {said}", status=status)
        return CallError("bad_request", f"{self._name} answered {status}: {said}", status=status)

    def _scrub(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _read_reply(response: Response) -> ChatReply:
    body = response.json()
    try:
        choice = body["choices"][0]
        text = choice["message"].get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RetryableError(
            "bad_reply",
            f"the reply is not a chat completion: {excerpt(response.body)}",
            status=response.status,
        ) from None
    usage = _usage(body.get("usage") or {})
    reason = choice.get("finish_reason") or ""
    if not isinstance(text, str) or not text.strip():
        raise BadReplyError(
            "empty_reply",
            f"the reply has no content (finish_reason {reason or 'not given'})",
            partial={"usage": usage, "reply": {"text": text or "", "finish_reason": reason}},
        )
    extra = {k: choice["message"][k] for k in ("tool_calls", "reasoning_content") if choice["message"].get(k)}
    if choice.get("logprobs"):
        extra["logprobs"] = choice["logprobs"]
    return ChatReply(text, reason, usage, extra=extra)


def _usage(told: Mapping[str, Any]) -> dict[str, int]:
    """Tokens by class, in our names; classes the server does not tell are left out."""
    usage = {
        "input_tokens": int(told.get("prompt_tokens") or 0),
        "output_tokens": int(told.get("completion_tokens") or 0),
    }
    cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoning = (told.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if cached:
        usage["cached_input_tokens"] = int(cached)
    if reasoning:
        usage["reasoning_tokens"] = int(reasoning)
    return usage


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name in ("retry-after", "x-ratelimit-reset"):
        try:
            return max(0.0, float(headers[name]))
        except (KeyError, ValueError):  # absent, or an HTTP date: our own backoff decides
            continue
    return None


def _error_text(response: Response) -> str:
    try:
        body = response.json()
    except RetryableError:
        return excerpt(response.body)
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or excerpt(response.body))[:300]


def _model_ids(response: Response) -> list[str]:
    """Ids in a model list: `{"data": [...]}` as OpenAI answers, or the bare list Together answers."""
    try:
        body = response.json()
    except RetryableError:
        return []
    rows = body.get("data", []) if isinstance(body, dict) else body
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
