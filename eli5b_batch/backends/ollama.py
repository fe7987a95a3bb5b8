"""The client for Ollama's native protocol: chats over the package's transport, all else over the `ollama` package.

Must not know: which slot a call goes to. docs/decisions/0002 says why chats do not use the `ollama` package;
`docs/providers.md` lists facts about the server's behaviour.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.backends import contents, dialects, refusals, replies
from eli5b_batch.backends.base import ChatReply, ChatRequest, ModelFacts, recordable
from eli5b_batch.backends.fields import ollama_body
from eli5b_batch.backends.finish import finish_of, finish_word
from eli5b_batch.backends.host_words import Meaning
from eli5b_batch.backends.http import CONTROL_TIMEOUT_S, Response, Transport
from eli5b_batch.backends.values import as_count, as_object, as_text
from eli5b_batch.errors import BadReplyError, CallError, NoServerError, ProviderRefusedError, QuotaError, RetryableError
from eli5b_batch.job.reserved_names import CALL_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import ollama

    from eli5b_batch.backends.dialects import Dialect, Family, Manner

HEALTH_TIMEOUT_S: Final = 10.0
"""A server that does not tell its version within so many seconds does not work."""

_SERVER: Final = "ollama "
_NANO: Final = 1e-9
_STOPS: Final = {
    Meaning.KEY: "{url} refuses to answer without a login: sign in there with `ollama signin` ({answer}: {sentence})",
    Meaning.CREDIT: "{url} answers only paid accounts: pay for it, or choose a model that runs on your own machine "
    "({answer}: {sentence})",
    Meaning.ACCOUNT: "{url} refuses this account: settle that with the host, or choose a model that runs on your own "
    "machine ({answer}: {sentence})",
    Meaning.LATER: "this account's quota at {url} is used up: run the same command again later, or choose a model that "
    "runs on your own machine ({answer}: {sentence})",
    Meaning.MODEL: "{url}: {sentence}; run: ollama pull {model}",
    Meaning.ADDRESS: "{url} redirects to {sentence} ({answer})",
}
"""Messages for refusals that end the run; each says what the user has to do."""

_HOST_NAME: Final = (
    "{url} refuses this host name: give localhost or its IP address in the slot's url, or start the server with "
    "OLLAMA_HOST set to that address ({answer})"
)
"""The message for a 403 without a body."""

_AT_THE_START: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN})
"""Statuses of a server that answers but refuses even to tell its version."""


class OllamaBackend:
    """The Ollama servers of one provider, one per slot.

    Args:
        name: the provider's name in the job.
        slots: base url -> ids of the models that the slot serves.
        transport: carries the chats.
        dialect: the servers' dialect, where the job names it; else their version tells it.
        trace: name each call in a header, for servers that keep books.
    """

    def __init__(
        self,
        name: str,
        slots: Mapping[str, Sequence[str]],
        *,
        transport: Transport,
        dialect: Dialect | None = None,
        trace: bool = False,
    ) -> None:
        self._name = name
        self._slots = slots
        self._transport = transport
        self._trace = trace
        self._dialect = dialect or dialects.of_ollama("")
        self._is_dialect_given = dialect is not None
        self._chosen = "as the job says" if dialect else ""
        self._digests: dict[str, str] = {}
        self._thinks: dict[str, bool | None] = {}
        self.silent: dict[str, str] = {}

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:
        """Send one request; see `Backend.chat`.

        The reply's count of prompt tokens is checked, as servers before 0.12.6 cut a prompt without telling.
        """
        body = ollama_body(request, self._family(request.model))
        headers = {CALL_HEADER: request.key} if self._trace else None
        response = await self._transport.post(f"{base_url}/api/chat", body, headers, deadline_s)
        return self._read_reply(response, request, base_url)

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Check that every model is on a slot that answers, and the same on all such slots; see `Backend.reach`.

        A slot that does not answer is noted in `silent` where other slots can do its work: it may come back during the
        run. A model's `on_gpu` is the smallest of all slots.
        """
        models_at = {url: [model for model in served if model in models] for url, served in self._slots.items()}
        answers = await asyncio.gather(
            *(self._inspect(url, expected) for url, expected in models_at.items()), return_exceptions=True
        )
        facts: dict[str, ModelFacts] = {}
        silent: dict[str, NoServerError] = {}
        for url, answer in zip(models_at, answers, strict=True):
            if isinstance(answer, NoServerError):
                silent[url] = answer
                continue
            if isinstance(answer, BaseException):
                raise answer
            for model, row in answer.items():
                earlier = facts.get(model, row)
                if earlier.digest != row.digest:
                    raise ProviderRefusedError(
                        f"providers.{self._name}: {model} is not the same model on every slot: digest "
                        f"{earlier.digest[:12]} elsewhere, {row.digest[:12]} at {url}; pull it anew"
                    )
                shares = [share for share in (earlier.on_gpu, row.on_gpu) if share is not None]
                thinks = False if earlier.thinks is False else row.thinks
                facts[model] = row._replace(on_gpu=min(shares, default=None), thinks=thinks)
        for url, error in silent.items():
            if not facts.keys() >= set(models_at[url]):
                raise error
        self.silent = {url: f"{error}; until it does, the other slots do its work" for url, error in silent.items()}
        self._digests = {model: row.digest for model, row in facts.items()}
        self._thinks = {model: row.thinks for model, row in facts.items()}
        if not self._is_dialect_given:
            inspected = [answer for answer in answers if not isinstance(answer, BaseException)]
            versions = {row.server.removeprefix(_SERVER) for answer in inspected for row in answer.values()}
            ages = {version: dialects.ROWS.index(dialects.of_ollama(version)) for version in sorted(versions)}
            oldest = min(ages, key=ages.__getitem__, default="")
            self._dialect, self._chosen = dialects.of_ollama(oldest), f"by its version, {oldest}"
        return facts

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:
        """Return how a model is asked to think; see `Backend.manner`."""
        family = self._family(model)
        try:
            fields = dialects.thinking_fields(family, model, sampling)
        except dialects.CantThinkSoError as error:
            raise ProviderRefusedError(f"providers.{self._name} (dialect {self._dialect.name}): {error}") from None
        return dialects.Manner(self._dialect, self._chosen, fields, family.by_default)

    def _family(self, model: str) -> Family:
        """Return a model's family: `NOT_THINKING` if a server says that the model can't think, else the dialect's."""
        return dialects.NOT_THINKING if self._thinks.get(model) is False else self._dialect.family(model)

    async def _inspect(self, url: str, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Return what one server tells about `models`.

        Raises:
            NoServerError: no Ollama server answers at `url`.
            ProviderRefusedError: the server refuses, or lacks one of the models.
        """
        try:
            response = await self._transport.get(f"{url}/api/version")
            if response.status in _AT_THE_START:
                raise self._failure(response, "", url)
            version = response.json()["version"]
        except (RetryableError, KeyError, TypeError):
            raise NoServerError(
                f"providers.{self._name}: no Ollama server answers at {url}; "
                "start one with `ollama serve`, or correct the slot's url"
            ) from None
        import httpx  # noqa: PLC0415 (a dependency of `ollama`; only this control path needs both)
        import ollama  # noqa: PLC0415

        try:
            async with _control(url, CONTROL_TIMEOUT_S) as client:
                listed = {m.model: m for m in (await client.list()).models if m.model}
                loaded = {m.model: m for m in (await client.ps()).models if m.model}
                facts = {}
                for model in models:
                    name = _listed_name(model, listed)
                    if name is None:
                        others = ", ".join(sorted(listed)) or "none"
                        raise ProviderRefusedError(
                            f"providers.{self._name}: the server at {url} has no model {model!r} (it has: {others}); "
                            f"run: eli5b-batch check --pull, or: ollama pull {model}"
                        )
                    description = await client.show(name)
                    details = description.details
                    running = loaded.get(name)
                    facts[model] = ModelFacts(
                        digest=listed[name].digest or "",
                        quantization=(details.quantization_level if details else None) or "",
                        parameter_size=(details.parameter_size if details else None) or "",
                        server=f"{_SERVER}{version}",
                        thinks=None if description.capabilities is None else "thinking" in description.capabilities,
                        on_gpu=(running.size_vram or 0) / running.size if running and running.size else None,
                    )
                return facts
        except ollama.ResponseError as error:
            raise ProviderRefusedError(
                f"providers.{self._name}: {url} answered {error.status_code}: {error.error}"
            ) from None
        except (ConnectionError, httpx.HTTPError) as error:
            raise ProviderRefusedError(
                f"providers.{self._name}: {url} stopped answering: {str(error) or type(error).__name__}"
            ) from None
        except ValueError:  # no JSON, or JSON without the fields of Ollama
            raise ProviderRefusedError(
                f"providers.{self._name}: {url} does not list its models as Ollama does; is the slot's url right?"
            ) from None

    async def loaded(self, url: str) -> dict[str, float] | None:
        """Return the models of the job in a server's memory, each with its share in GPU memory, 0 to 1.

        None where the server does not list them. The digests of the server's models are checked as well, as it may have
        been restarted with others.

        Raises:
            RetryableError: the server does not answer.
            ProviderRefusedError: a model is no longer the one that the run began with.
        """
        await self._transport.get(f"{url}/api/version", HEALTH_TIMEOUT_S)
        for model, row in (await self._rows(url, "tags") or {}).items():
            self._check_digest(url, model, as_text(row.get("digest")))
        running = await self._rows(url, "ps")
        if running is None:
            return None
        shares = {}
        for model, row in running.items():
            size = as_count(row.get("size"))
            shares[model] = min(1.0, as_count(row.get("size_vram")) / size) if size else 1.0
        return shares

    async def _rows(self, url: str, path: str) -> dict[str, dict[str, Any]] | None:
        """Return the rows of a server's list `/api/PATH`, by the job's model ids; None where it sends no list.

        Some servers are too busy to send one while they load a model.
        """
        try:
            response = await self._transport.get(f"{url}/api/{path}", HEALTH_TIMEOUT_S)
            rows = as_object(response.json()).get("models")
        except RetryableError:
            return None
        if response.status != HTTPStatus.OK or not isinstance(rows, list):
            return None
        listed = {as_text(row.get("model")): row for row in rows if isinstance(row, dict)}
        names = {model: _listed_name(model, listed) for model in self._slots.get(url, ())}
        return {model: listed[name] for model, name in names.items() if name is not None}

    def _check_digest(self, url: str, model: str, digest: str) -> None:
        first = self._digests.get(model)
        if first and digest and digest != first:
            raise ProviderRefusedError(
                f"providers.{self._name}: {model} at {url} has digest {digest[:12]}, the run began with {first[:12]}: "
                "put the old one back (ollama pull), or start a new run under another name"
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def _read_reply(self, response: Response, request: ChatRequest, url: str) -> ChatReply:
        """Return the reply that a response holds, or raise the error that it tells."""
        if response.status != HTTPStatus.OK:
            raise self._failure(response, request.model, url)
        body = as_object(response.json())
        message = body.get("message")
        if isinstance(message, dict):
            return _reply(response, body, message, request.sampling.get("num_ctx"))
        if refusals.is_complaint(body):
            raise self._failure(response, request.model, url)
        raise response.unreadable(f"the reply is not a chat message: {response.excerpt()}")

    def _failure(self, response: Response, model: str, url: str) -> CallError | ProviderRefusedError:
        refusal = refusals.read(response, model, time.time)
        failure = refusals.call_error(refusal, url)
        is_host_name_refused = response.status == HTTPStatus.FORBIDDEN and not response.body
        if failure is None or is_host_name_refused:
            template = _HOST_NAME if is_host_name_refused else _STOPS[refusal.meaning]
            error_class = QuotaError if refusal.meaning is Meaning.LATER else ProviderRefusedError
            advice = template.format(url=url, model=model, answer=refusal.answer, sentence=refusal.sentence)
            return error_class(f"providers.{self._name}: {advice}")
        if refusal.meaning is Meaning.OVERFLOW:
            return CallError(failure.kind, f"{refusal.sentence}; raise sampling.num_ctx", status=refusal.status)
        if refusal.meaning is Meaning.WAIT:  # a slot has no rate limits, so its queue was full
            return RetryableError(
                Meaning.TROUBLE.value, str(failure), status=refusal.status, retry_after=refusal.wait_s
            )
        return failure


@asynccontextmanager
async def _control(url: str, timeout_s: float | None) -> AsyncIterator[ollama.AsyncClient]:
    import ollama  # noqa: PLC0415 (0.2 s of imports that a run without Ollama does not need)

    client = ollama.AsyncClient(host=url, timeout=timeout_s)
    try:
        yield client
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def pull(url: str, model: str, progress: Callable[[str, int, int], None]) -> None:
    """Download `model` to the server at `url`, unless the server has it; a model that it has is not replaced.

    Args:
        url: the server's address.
        model: the model's id.
        progress: called with each report of the server: its status, the bytes that are done, and the bytes in all.

    Raises:
        ProviderRefusedError: the server or its registry refuses.
    """
    import httpx  # noqa: PLC0415
    import ollama  # noqa: PLC0415

    try:
        async with _control(url, None) as client:
            if _listed_name(model, {m.model: m for m in (await client.list()).models if m.model}):
                progress("already there", 1, 1)
                return
            async for step in await client.pull(model, stream=True):
                progress(step.status or "", step.completed or 0, step.total or 0)
    except ollama.ResponseError as error:
        raise ProviderRefusedError(f"{url} can't pull {model!r}: {error.error}") from None
    except ValueError:  # a line that is no JSON, or no progress report
        raise ProviderRefusedError(f"{url} does not report the pull of {model!r} as Ollama does") from None
    except (ConnectionError, httpx.HTTPError) as error:
        raise ProviderRefusedError(
            f"{url}: the pull of {model!r} broke off: {str(error) or type(error).__name__}"
        ) from None


def _listed_name(model: str, listed: Mapping[str, Any]) -> str | None:
    """Return the name under which a server lists `model`; None where it does not list it.

    Ollama's names ignore case, and a name without a tag means `latest`.
    """
    full_name = (model if ":" in model.rsplit("/", 1)[-1] else f"{model}:latest").lower()
    return next((name for name in listed if name.lower() == full_name), None)


def _reply(response: Response, body: dict[str, Any], message: dict[str, Any], num_ctx: int | None) -> ChatReply:
    """Return the reply in a chat message.

    Raises:
        BadReplyError: the server did not finish the reply, cut its prompt, or sent nothing.
        RetryableError: the reply broke off.
    """
    content = contents.read(message.get("content"))
    word = finish_word(body.get("done_reason"))
    usage = {"input_tokens": as_count(body.get("prompt_eval_count")), "output_tokens": as_count(body.get("eval_count"))}
    extra = {name: message[name] for name in replies.TOOL_CALL_FIELDS if message.get(name)} | content.extra
    if body.get("logprobs"):
        extra["logprobs"] = body["logprobs"]
    finish = finish_of(word)
    reply = ChatReply(content.text, word, usage, extra=recordable(extra), finish=finish, refusal=content.refusal)
    reply = replies.separated(reply, [*content.thoughts, contents.plain(message.get("thinking"))])
    if body.get("done") is not True:
        reply.finish = "broken"
        raise BadReplyError(
            "not_done", "the server gave up in the middle (done is not true)", partial=replies.partial(reply)
        )
    if num_ctx is not None and usage["input_tokens"] >= num_ctx:
        raise BadReplyError(
            "context_overflow",
            f"the prompt filled the window of {num_ctx} tokens and was cut; raise sampling.num_ctx",
            partial=replies.partial(reply),
        )
    reply = replies.checked(reply, response, "done_reason")
    seconds = {
        name: as_count(body.get(f"{name}_duration")) * _NANO for name in ("total", "load", "prompt_eval", "eval")
    }
    reply.load_s = seconds.pop("load")
    reply.work_s = seconds["prompt_eval"] + seconds["eval"]
    reply.extra["durations"] = {name: round(value, 6) for name, value in seconds.items()}
    if num_ctx is not None and sum(usage.values()) >= num_ctx:
        # The window is full: servers stop, those before 0.12.6 go on without the first half of the window. Either way a
        # larger window would have given another text.
        reply.extra["window_full"] = True
        reply.finish = "cut" if reply.finish == "whole" else reply.finish
    return reply
