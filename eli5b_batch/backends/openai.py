"""The client for the OpenAI chat completions protocol, which Together and many other hosts and servers speak.

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
from eli5b_batch.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eli5b_batch.backends.completions import Completion
    from eli5b_batch.backends.dialects import Dialect, Manner
    from eli5b_batch.backends.http import Response, Transport
    from eli5b_batch.backends.refusals import Refusal

_OK: Final = range(200, 300)
"""Statuses that may bring a reply. Without one, a 200 that tells no error is unreadable, and any other status, such as
202, is read as a refusal."""

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
"""Messages for refusals that end the run; each says what the user has to do."""

_ERRORS: Final = {Meaning.KEY: KeyRefusedError, Meaning.LATER: QuotaError}
_NO_RESET: Final = "resets at a time that the host does not tell"
_PASSING: Final = frozenset({Meaning.TROUBLE, Meaning.WAIT})
_OF_THE_ACCOUNT: Final = frozenset({Meaning.KEY, Meaning.CREDIT, Meaning.ACCOUNT})
_AT_THE_START: Final = {401: Meaning.KEY, 402: Meaning.CREDIT}
"""Meanings of the statuses of a refused list of models that hold even if the body is a page of HTML."""


class OpenAIBackend:
    """One account at one OpenAI-compatible host.

    Args:
        name: the provider's name in the job.
        base_url: up to and including `/v1`.
        secrets: the key and the values of further headers, which no message may hold. The sequence is read anew for
            each message, so that secrets added later, such as a renewed key, count.
        key_env: the source of the key, for messages, such as the name of an environment variable.
        transport: carries the requests.
        dialect: the host's dialect, where the job names it; else the address or the list of models may tell it.
        omit: fields that the host does not take.
        ids: the request's id of a model -> the host's, for models where these differ.
        trace: name each call in a header, for servers that keep books.
        wall: unix time, seconds, for responses without a date.
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
        row = dialects.of_address(base_url)
        self._dialect = dialect or row or dialects.PLAIN
        self._chosen = "as the job says" if dialect else "by its address" if row else ""
        if dialect is dialects.SIMULATED:
            self._chosen = "simulated"
        self._omit = omit
        self._ids = ids or {}
        self.silent: dict[str, str] = {}
        self._trace = trace
        self._wall = wall

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:
        """Send one request; see `Backend.chat`."""
        body = openai_body(replace(request, model=self._host_id(request.model)), self._omit, self._dialect)
        headers = {CALL_HEADER: request.key} if self._trace else None
        response = self._guarded(await self._transport.post(f"{base_url}/chat/completions", body, headers, deadline_s))
        reply = self._read_reply(response, request)
        reply.advice = limit_headers.advice(response.headers, self._wall, self._dialect.limit_window_s)
        return reply

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Check that the host lists `models`; a host without such a list is not checked. See `Backend.reach`."""
        response = await self._get("models")
        facts = dict.fromkeys(models, ModelFacts())
        if response.status != HTTPStatus.OK:
            await self._make_sure_of_account(response)
            return facts
        if not self._chosen:
            row = dialects.of_owners(_texts(response, "owned_by"))
            self._dialect = row or self._dialect
            self._chosen = "by its list of models" if row else "nothing is known of it"
        listed = _texts(response, "id")
        for model in map(self._host_id, models):
            if listed and model not in listed:
                raise ProviderRefusedError(self._not_served_message(model, listed))
        return facts

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:
        """Return how a model is asked to think; see `Backend.manner`."""
        host_id = self._host_id(model)
        family = self._dialect.family(host_id)
        try:
            fields = dialects.thinking_fields(family, host_id, sampling)
        except dialects.CantThinkSoError as error:
            raise ProviderRefusedError(f"providers.{self._name} (dialect {self._dialect.name}): {error}") from None
        return dialects.Manner(self._dialect, self._chosen, fields, family.by_default)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def _host_id(self, model: str) -> str:
        return self._ids.get(model, model)

    def _not_served_message(self, model: str, listed: Sequence[str]) -> str:
        by_end = {name.rsplit("/", 1)[-1].lower(): name for name in listed}
        near = difflib.get_close_matches(model.rsplit("/", 1)[-1].lower(), by_end, n=3, cutoff=0.4)
        closest = ", ".join(by_end[name] for name in near) or ", ".join(sorted(listed)[:3])
        return (
            f"providers.{self._name}: the host no longer serves, or never served, the model {model!r}; "
            f"the closest names among the {plural(len(listed), 'model')} it serves: {closest}"
        )

    async def _get(self, path: str) -> Response:
        try:
            return self._guarded(await self._transport.get(f"{self._base_url}/{path}"))
        except RetryableError as error:
            raise ProviderRefusedError(f"providers.{self._name}: {error}; is base_url right?") from None

    async def _make_sure_of_account(self, response: Response) -> None:
        """Raise an error if the refusal of the list of models concerns the account, or the address is a web site's.

        A 404 with a page of HTML comes from a web server. If the address for chats has such a page as well, base_url
        does not lead to an API.
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
        """Return the reply that a response holds, or raise the error that it tells."""
        model, prompts = self._host_id(request.model), [message["content"] for message in request.messages]
        if response.status not in _OK:
            raise self._failure(refusals.read(response, model, self._wall, prompts), model)
        body = response.json() if response.status == HTTPStatus.OK else _json_or_none(response)
        completion = completions.read(body)
        if completion is None and (response.status != HTTPStatus.OK or refusals.is_complaint(body)):
            raise self._failure(refusals.read(response, model, self._wall, prompts), model)
        if completion is None:
            raise response.unreadable(f"the reply is not a chat completion: {response.excerpt()}")
        if completion.error:
            raise self._cut_off(completion, response, model)
        return replies.checked(completion.reply, response, "finish_reason")

    def _cut_off(self, completion: Completion, response: Response, model: str) -> CallError | ProviderRefusedError:
        """Return the failure of a reply that an error ended: class `broken` if a part of it came, else the error's."""
        refusal = refusals.read_inner(response, completion.error, model, self._wall)
        failure = self._failure(refusal, model)
        reply = completion.reply
        # Half a text is recorded even if the account is refused: the next call meets that refusal again.
        has_begun = reply.text if not isinstance(failure, CallError) else reply.text or any(reply.usage.values())
        if has_begun and (refusal.meaning in _PASSING or not isinstance(failure, CallError)):
            partial = replies.partial(reply)
            message = f"the reply broke off in the middle: {failure}"
            return RetryableError("broken", message, status=refusal.status, partial=partial)
        if isinstance(failure, CallError):
            failure.partial = replies.partial(reply)
        return failure

    def _failure(self, refusal: Refusal, model: str) -> CallError | ProviderRefusedError:
        return refusals.call_error(refusal, self._name) or self._stop(refusal, model)

    def _stop(self, refusal: Refusal, model: str) -> ProviderRefusedError:
        """Return the error for a refusal after which no call can succeed until the user acts."""
        advice = _STOPS[refusal.meaning].format(
            key=self._key_env,
            model=model,
            url=self._base_url,
            resets=refusal.resets or _NO_RESET,
            answer=refusal.answer,
            sentence=refusal.sentence,
        )
        error_class = _ERRORS.get(refusal.meaning, ProviderRefusedError)
        return error_class(f"providers.{self._name}: {advice}")

    def _guarded(self, response: Response) -> Response:
        """Return the response with the secrets that no message may quote."""
        return response._replace(secrets=self._secrets)


def _is_missing_page(response: Response) -> bool:
    return response.status == HTTPStatus.NOT_FOUND and response.is_page


def _json_or_none(response: Response) -> object:
    try:
        return response.json()
    except RetryableError:  # the body is no JSON
        return None


def _texts(response: Response, field: str) -> list[str]:
    """Return one field of every row of a model list, which is `{"data": [...]}` (OpenAI) or a bare list (Together)."""
    body = _json_or_none(response)
    rows = body if isinstance(body, list) else as_list(as_object(body).get("data"))
    values = [as_object(row).get(field) for row in rows]
    return [value for value in values if isinstance(value, str)]
