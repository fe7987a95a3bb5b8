"""The OpenAI chat completions protocol: Together and every server that speaks like it.

Must not know: when calls are sent. Status codes are read as `docs/providers.md` lists them.
"""

from __future__ import annotations

import difflib
import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.backends.base import CALL_HEADER, Advice, ChatReply, ChatRequest, ModelFacts, keepable
from eli5b_batch.backends.transport import Response, Transport, as_count, as_object, as_text
from eli5b_batch.errors import (
    BadReplyError,
    CallError,
    ProviderRefusedError,
    RateLimitedError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RETRY: Final = frozenset({408, 409, 425, 499})
_REFUSED: Final = {
    401: "the key was refused: set {key} to a valid key",
    402: "the account has no credit left, or its spending limit is reached: raise it, then run the same command again",
}
_NO_CREDIT: Final = "insufficient_quota"
"""OpenAI's type of error for what other hosts answer 402; its status is 429, and waiting does not help."""

_SCOPES: Final = {"requests": "request_limited", "tokens": "token_limited"}
"""Together's `error_type` of a 429, such as `dynamic_token_limited`."""

_LIMIT_HEADERS: Final = (
    ("x-ratelimit-limit", "x-ratelimit-limit-dynamic"),
    ("x-tokenlimit-limit", "x-tokenlimit-limit-dynamic"),
)
"""Per second, of requests and of tokens; the dynamic twin, where there is one, is what holds now."""

_TOO_LONG: Final = frozenset({400, 403, 413, 422})
_OVERFLOW: Final = re.compile(r"context[ _](length|size|window)|max_new_tokens\W+must", re.IGNORECASE)


class OpenAIBackend:
    """One account at one OpenAI-compatible host.

    Args:
        name: the provider's name in the job.
        base_url: up to and including `/v1`.
        key: the API key, "" for none. It is sent, and never written or printed.
        key_env: the environment variable it came from, for messages.
        transport: carries the requests.
        trace: name each call in a header, for servers that keep books.
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
        self._base_url = base_url
        self._key = key
        self._key_env = key_env or "the provider's api_key_env"
        self._transport = transport
        self.silent: dict[str, str] = {}
        self._trace = trace

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:
        """Send one request; see `Backend.chat`."""
        body = {"model": request.model, "messages": request.messages, "seed": request.seed, "stream": False}
        body |= {k: v for k, v in request.sampling.items() if k != "num_ctx"}
        headers = {CALL_HEADER: request.key} if self._trace else None
        response = self._guarded(await self._transport.post(f"{base_url}/chat/completions", body, headers, deadline_s))
        if response.status != HTTPStatus.OK:
            raise self._failure(response, request.model)
        reply = _read_reply(response)
        reply.advice = _advice(response.headers)
        return reply

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Compare the host's list of models with `models`; a host without such a list is taken at its word."""
        try:
            response = self._guarded(await self._transport.get(f"{self._base_url}/models"))
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
        error = _read_error(response)
        where, said = f"providers.{self._name}", error.message
        if status == HTTPStatus.TOO_MANY_REQUESTS and _NO_CREDIT not in error.kind:
            scope = next((name for name, found in _SCOPES.items() if found in error.kind), None)
            wait = _retry_after(response.headers)
            return RateLimitedError(f"{self._name} answered 429: {said}", retry_after=wait, scope=scope)
        if status in _REFUSED or _NO_CREDIT in error.kind:
            advice = _REFUSED.get(status, _REFUSED[HTTPStatus.PAYMENT_REQUIRED]).format(key=self._key_env)
            return ProviderRefusedError(f"{where}: {advice} ({status}: {said})")
        if status == HTTPStatus.NOT_FOUND:
            return ProviderRefusedError(
                f"{where}: no model {model!r} at {self._base_url} (404: {said}); "
                "`check` lists the closest names it serves"
            )
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            goal = response.quote(response.headers.get("location", "nowhere"))
            return ProviderRefusedError(f"{where}: {self._base_url} redirects to {goal} ({status}); is base_url right?")
        if status in _RETRY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return RetryableError("server_error", f"{self._name} answered {status}: {said}", status=status)
        overflow = status in _TOO_LONG and _OVERFLOW.search(f"{error.kind} {said}")
        kind = "context_overflow" if overflow else "bad_request"
        return CallError(kind, f"{self._name} answered {status}: {said}", status=status)

    def _guarded(self, response: Response) -> Response:
        return response._replace(secret=self._key)


class _Said(NamedTuple):
    """A server's own words on an error: its sentence, and its names for the kind of error."""

    message: str
    kind: str


def _read_reply(response: Response) -> ChatReply:
    body = response.json()
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = as_text(message.get("content"))
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RetryableError(
            "bad_reply",
            f"the reply is not a chat completion: {response.excerpt()}",
            status=response.status,
        ) from None
    usage = _usage(body.get("usage"))
    reason = as_text(choice.get("finish_reason"))
    if not text.strip():
        raise BadReplyError(
            "empty_reply",
            f"the reply has no content (finish_reason {response.quote(reason, 40) or 'not given'})",
            partial={"usage": usage, "reply": {"text": text, "finish_reason": reason}},
        )
    extra = {k: message[k] for k in ("tool_calls", "reasoning", "reasoning_content") if message.get(k)}
    if choice.get("logprobs"):
        extra["logprobs"] = choice["logprobs"]
    return ChatReply(text, reason, usage, extra=keepable(extra))


def _usage(value: object) -> dict[str, int]:
    """Tokens by class, in our names; classes the server does not tell are left out."""
    told = as_object(value)
    usage = {
        "input_tokens": as_count(told.get("prompt_tokens")),
        "output_tokens": as_count(told.get("completion_tokens")),
    }
    details = {
        "cached_input_tokens": as_object(told.get("prompt_tokens_details")).get("cached_tokens"),
        "reasoning_tokens": as_object(told.get("completion_tokens_details")).get("reasoning_tokens"),
    }
    return usage | {name: tokens for name, value in details.items() if (tokens := as_count(value))}


def _advice(headers: Mapping[str, str]) -> Advice | None:
    """What the headers say of the account's limits."""
    told = []
    for names in _LIMIT_HEADERS:
        found = [limit for name in names if (limit := _positive(headers.get(name)))]
        told.append(min(found, default=None))
    return None if told == [None, None] else Advice(*told)


def _positive(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name in ("retry-after", "x-ratelimit-reset"):
        try:
            seconds = float(headers[name])
        except (KeyError, ValueError):  # absent, or an HTTP date: our own backoff decides
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _read_error(response: Response) -> _Said:
    """`{"error": {"message", "type", "code"}}`, `{"error": "..."}`, `{"message": ...}`, or whatever it is."""
    try:
        body = response.json()
    except RetryableError:
        return _Said(response.excerpt(), "")
    error = as_object(body).get("error") or body
    fields = as_object(error)
    message = as_text(fields.get("message")) or as_text(error)
    return _Said(
        response.quote(message) if message else response.excerpt(),
        " ".join(
            [*(as_text(fields.get(name)) for name in ("type", "code")), as_text(as_object(body).get("error_type"))]
        ),
    )


def _model_ids(response: Response) -> list[str]:
    """Ids in a model list: `{"data": [...]}` as OpenAI answers, or the bare list Together answers."""
    try:
        body = response.json()
    except RetryableError:
        return []
    rows = body if isinstance(body, list) else as_object(body).get("data")
    ids = [as_object(row).get("id") for row in rows] if isinstance(rows, list) else []
    return [name for name in ids if isinstance(name, str)]
