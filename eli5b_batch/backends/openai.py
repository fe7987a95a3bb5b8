"""The OpenAI chat completions protocol: Together and every server that speaks like it.

Must not know: when calls are sent. Status codes are read as `docs/providers.md` lists them.
"""

from __future__ import annotations

import difflib
import math
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.backends import completions, dialects, limit_headers, refusals, replies
from eli5b_batch.backends.base import ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.fields import openai_body
from eli5b_batch.backends.host_words import Meaning
from eli5b_batch.backends.values import as_list, as_object
from eli5b_batch.errors import CallError, KeyRefusedError, ProviderRefusedError, QuotaError, RetryableError
from eli5b_batch.job.reserved_names import CALL_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eli5b_batch.backends.completions import Completion
    from eli5b_batch.backends.dialects import Dialect, Manner
    from eli5b_batch.backends.http import Response, Transport
    from eli5b_batch.backends.refusals import Refusal

_OK: Final = range(200, 300)
"""Any of these may bring a reply; one that brings none is no reply yet, as 202, unless it is a 200."""

_STOPS: Final = {
    Meaning.KEY: "the key was refused: set {key} to a valid key ({answer}: {sentence})",
    Meaning.CREDIT: "the account has no credit left, or its spending limit is reached: raise it, then run the same "
    "command again ({answer}: {sentence})",
    Meaning.ACCOUNT: "the host refuses this account: settle that with the host, then run the same command again "
    "({answer}: {sentence})",
    Meaning.MODEL: "no model {model!r} at {url} for this account ({answer}: {sentence}); "
    "`check` lists the closest names it serves",
    Meaning.LATER: "a quota is used up, which {resets}: run the same command again then ({answer}: {sentence})",
    Meaning.ADDRESS: "{url} redirects to {sentence} ({answer}); is base_url right?",
}
"""What ends the run, and what would be right."""

_KINDS: Final = {Meaning.KEY: KeyRefusedError, Meaning.LATER: QuotaError}
_NO_RESET: Final = "resets at a time that the host does not tell"
_PASSING: Final = frozenset({Meaning.TROUBLE, Meaning.WAIT})
_OF_THE_ACCOUNT: Final = frozenset({Meaning.KEY, Meaning.CREDIT, Meaning.ACCOUNT})
_AT_THE_START: Final = {401: Meaning.KEY, 402: Meaning.CREDIT}
"""Refusals that are believed at the start also where they come as a page."""


class OpenAIBackend:
    """One account at one OpenAI-compatible host.

    Args:
        name: the provider's name in the job.
        base_url: up to and including `/v1`.
        secrets: the key, and what else is sent in headers and must stand in no message. Looked at anew for each
            message: what is added later, such as a renewed key, counts.
        key_env: what the key came from, for messages: an environment variable, or what else.
        transport: carries the requests.
        dialect: how the host speaks, where the job or the address says it; else its list of models may.
        omit: fields that the host does not take.
        ids: what the host calls models that it calls otherwise than requests do: the request's id -> the host's.
        trace: name each call in a header, for servers that keep books.
        wall: unix time; what a host's dates are measured against where its responses have none of their own.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        secrets: Sequence[str] = (),
        key_env: str | None,
        transport: Transport,
        dialect: Dialect | None = None,
        omit: Collection[str] = (),
        ids: Mapping[str, str] | None = None,
        trace: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._base_url = base_url
        self._secrets = secrets
        self._key_env = key_env or "the provider's api_key_env"
        self._transport = transport
        known = dialects.of_address(base_url)
        self._dialect = dialect or known or dialects.PLAIN
        self._chosen = "as the job says" if dialect else "by its address" if known else ""
        if dialect is dialects.SIMULATED:
            self._chosen = "simulated"
        self._omit = omit
        self._ids = ids or {}
        self.silent: dict[str, str] = {}
        self._trace = trace
        self._wall = wall

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:
        """Send one request; see `Backend.chat`."""
        body = openai_body(replace(request, model=self._id_here(request.model)), self._omit, self._dialect)
        headers = {CALL_HEADER: request.key} if self._trace else None
        response = self._guarded(await self._transport.post(f"{base_url}/chat/completions", body, headers, deadline_s))
        reply = self._read_reply(response, request)
        reply.advice = limit_headers.advice(response.headers, self._wall, self._dialect.limit_window_s)
        return reply

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Compare the host's list of models with `models`; a host without such a list is taken at its word."""
        response = await self._get("models")
        facts = dict.fromkeys(models, ModelFacts())
        if response.status != HTTPStatus.OK:
            await self._make_sure_of_account(response)
            return facts
        if not self._chosen:
            known = dialects.of_owners(_texts(response, "owned_by"))
            self._dialect = known or self._dialect
            self._chosen = "by its list of models" if known else "nothing is known of it"
        listed = _texts(response, "id")
        for model in map(self._id_here, models):
            if listed and model not in listed:
                raise ProviderRefusedError(self._unserved(model, listed))
        return facts

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:
        """How a model is asked to think; see `Backend.manner`."""
        here = self._id_here(model)
        family = self._dialect.family(here)
        try:
            fields = dialects.thinking_fields(family, here, sampling)
        except dialects.CantThinkSoError as error:
            raise ProviderRefusedError(f"providers.{self._name} (dialect {self._dialect.name}): {error}") from None
        return dialects.Manner(self._dialect, self._chosen, fields, family.by_default)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def _id_here(self, model: str) -> str:
        return self._ids.get(model, model)

    def _unserved(self, model: str, listed: Sequence[str]) -> str:
        by_end = {name.rsplit("/", 1)[-1].lower(): name for name in listed}
        near = difflib.get_close_matches(model.rsplit("/", 1)[-1].lower(), by_end, n=3, cutoff=0.4)
        closest = ", ".join(by_end[name] for name in near) or ", ".join(sorted(listed)[:3])
        return (
            f"providers.{self._name}: the host no longer serves, or never served, the model {model!r}; "
            f"closest in name of the {len(listed)} it serves: {closest}"
        )

    async def _get(self, path: str) -> Response:
        try:
            return self._guarded(await self._transport.get(f"{self._base_url}/{path}"))
        except RetryableError as error:
            raise ProviderRefusedError(f"providers.{self._name}: {error}; is base_url right?") from None

    async def _make_sure_of_account(self, response: Response) -> None:
        """Stop where a list of models can't be had because the account or the address is refused.

        A 404 that is a page of HTML is a web server's. If it has none for chats either, base_url leads elsewhere.
        """
        refusal = refusals.read(response, "", self._wall)
        meaning = _AT_THE_START.get(response.status, refusal.meaning)
        if meaning in _OF_THE_ACCOUNT:
            raise self._stop(refusal._replace(meaning=meaning), "")
        if _is_missing_page(response):
            chats = await self._get("chat/completions")
            if _is_missing_page(chats):
                raise ProviderRefusedError(
                    f"providers.{self._name}: {self._base_url} is a web site ({chats.status}: {chats.excerpt()}); "
                    "is base_url right?"
                )

    def _read_reply(self, response: Response, request: ChatRequest) -> ChatReply:
        """The reply that a response holds, or why it holds none."""
        model, asked = self._id_here(request.model), [message["content"] for message in request.messages]
        if response.status not in _OK:
            raise self._failure(refusals.read(response, model, self._wall, asked), model)
        body = response.json() if response.status == HTTPStatus.OK else _json_or_none(response)
        completion = completions.read(body)
        if completion is None and (response.status != HTTPStatus.OK or refusals.is_complaint(body)):
            raise self._failure(refusals.read(response, model, self._wall, asked), model)
        if completion is None:
            raise response.unreadable(f"the reply is not a chat completion: {response.excerpt()}")
        if completion.error:
            raise self._cut_off(completion, response, model)
        return replies.answered(completion.reply, response, "finish_reason")

    def _cut_off(self, completion: Completion, response: Response, model: str) -> CallError | ProviderRefusedError:
        """The failure of a reply that an error ended: class `broken` if some of it came, else what the error says."""
        refusal = refusals.read_inner(response, completion.error, model, self._wall)
        failure = self._failure(refusal, model)
        reply = completion.reply
        # Half a text is kept also where the account is refused: the next call brings that refusal by itself.
        came = reply.text if not isinstance(failure, CallError) else reply.text or any(reply.usage.values())
        if came and (refusal.meaning in _PASSING or not isinstance(failure, CallError)):
            partial = replies.partial(reply)
            message = f"the reply broke off in the middle: {failure}"
            return RetryableError("broken", message, status=refusal.status, partial=partial)
        if isinstance(failure, CallError):
            failure.partial = replies.partial(reply)
        return failure

    def _failure(self, refusal: Refusal, model: str) -> CallError | ProviderRefusedError:
        return refusals.call_error(refusal, self._name) or self._stop(refusal, model)

    def _stop(self, refusal: Refusal, model: str) -> ProviderRefusedError:
        """What no call can succeed after, until the user acts."""
        advice = _STOPS[refusal.meaning].format(
            key=self._key_env,
            model=model,
            url=self._base_url,
            resets=refusal.resets or _NO_RESET,
            answer=refusal.answer,
            sentence=refusal.sentence,
        )
        kind = _KINDS.get(refusal.meaning, ProviderRefusedError)
        return kind(f"providers.{self._name}: {advice}")

    def _guarded(self, response: Response) -> Response:
        return response._replace(secrets=self._secrets)


def _is_missing_page(response: Response) -> bool:
    return response.status == HTTPStatus.NOT_FOUND and response.is_page


def _json_or_none(response: Response) -> object:
    try:
        return response.json()
    except RetryableError:  # no reply yet
        return None


def _texts(response: Response, field: str) -> list[str]:
    """One field of a model list: `{"data": [...]}` as OpenAI answers, or the bare list Together answers."""
    body = _json_or_none(response)
    rows = body if isinstance(body, list) else as_list(as_object(body).get("data"))
    values = [as_object(row).get(field) for row in rows]
    return [value for value in values if isinstance(value, str)]
