"""The call: the only way to a model, and the unit of checkpointing.

Must not know: what is asked for, how capacity is shared out. A call whose key is in the journal with the same request
returns at once, so resuming a run is replaying it. A call asked for twice while its problem runs is made once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.backends.replies import as_recorded
from eli5b_batch.dispatch.charges import Charges
from eli5b_batch.errors import ChangedRequestError, Eli5bError, ProviderRefusedError, UpstreamError
from eli5b_batch.job.members import charges_of
from eli5b_batch.progress.causes import starts_of
from eli5b_batch.protocols.prompts import Prompt
from eli5b_batch.records import RECORD_SCHEMA, RESERVED, derive_seed, make_key, parse_key, request_hash
from eli5b_batch.report.finish import is_wordless
from eli5b_batch.run.futility import WORDLESS, Futility

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.dispatch.dispatcher import Dispatcher, Outcome
    from eli5b_batch.dispatch.stop import Stop
    from eli5b_batch.job.schema import Job
    from eli5b_batch.protocols.prompts import Message
    from eli5b_batch.records.index import Entry


MOST_STARTS: Final = 3
"""A call that has failed in so many starts is given up for good: it stays a failed record, and the run ends."""

_UPSTREAM: Final = "upstream"

_CONTEXT: Final = 20
"""Characters of a long text shown before the place where it differs; three times as many behind it."""


class Recorded:
    """A reply that is in the journal, at `offset`; what it says is read from there when somebody asks for it.

    Args:
        key: of its call.
        ok: whether it was answered.
        offset: where its record begins, bytes.
        reply: the reply as on record, where it is at hand.
        read: gives the whole record.
    """

    __slots__ = ("_read", "_reply", "key", "offset", "ok")

    def __init__(
        self, key: str, offset: int, reply: dict[str, Any] | None, read: Callable[[], dict[str, Any]], *, ok: bool
    ) -> None:
        self.key = key
        self.ok = ok
        self.offset = offset
        self._reply = reply
        self._read = read

    def _said(self) -> dict[str, Any]:
        if not self.ok:
            raise UpstreamError(self.key)
        if self._reply is None:
            self._reply = self._read()["reply"]
        return self._reply

    @property
    def text(self) -> str:
        """The reply's text; empty where a filter or the model itself left nothing of it.

        Raises:
            UpstreamError: the call failed.
        """
        return str(self._said()["text"])

    @property
    def finish(self) -> str | None:
        """How it ended, see `backends.base.Finish`; None where an older record does not say.

        Raises:
            UpstreamError: the call failed.
        """
        return self._said().get("finish")


class Asked(NamedTuple):
    """One call of a protocol. `owner` is the problem whose protocol asks, `problem` the one the call belongs to."""

    key: str
    owner: Problem
    problem: Problem
    step: str
    model: str
    tags: Mapping[str, str | int]


class _Earlier(NamedTuple):
    """What came of a call before: how often it was sent, and in how many starts it has failed."""

    attempts: int = 0
    starts: int = 0


class Answered(NamedTuple):
    """What observers are told of every call: its reply, whether the journal had it, and the error of a failed one.

    `latency_s`: seconds since its last sending; None if this start did not send it.
    """

    call: Asked
    reply: Recorded
    replayed: bool
    error: dict[str, Any] | None
    latency_s: float | None = None


class CallRecords(Protocol):
    """What calls are read from and written to; see `journal.Journal`."""

    @property
    def path(self) -> Path:
        """Where it stands, for messages."""
        ...

    def find(self, key: str) -> Entry | None:
        """The record that counts for `key`."""
        ...

    def read(self, key: str, entry: Entry) -> dict[str, Any]:
        """The whole record at `entry`."""
        ...

    def append(self, record: Mapping[str, Any]) -> Entry:
        """Write one record."""
        ...


class RunCalls:
    """Calls of one run.

    Args:
        job: the resolved job.
        journal: where records are; appended to.
        dispatchers: by provider name.
        stop: the run's; errors that end the run are given to it.
        wall: turns a time of the loop's clock into unix seconds.
        observe: told of every answered call, once.
    """

    def __init__(
        self,
        job: Job,
        *,
        journal: CallRecords,
        dispatchers: Mapping[str, Dispatcher],
        stop: Stop,
        wall: Callable[[float], float],
        observe: Callable[[Answered], None],
    ) -> None:
        self._job = job
        self._journal = journal
        self._dispatchers = dispatchers
        self._stop = stop
        self._wall = wall
        self._observe = observe
        self._futility: Futility[tuple[dict[str, Any], _Earlier]] = Futility()
        self._futile: Eli5bError | None = None
        self._steps: defaultdict[str, set[str]] = defaultdict(set)
        self._open: dict[str, asyncio.Future[Recorded]] = {}
        self._keys_of: dict[str, list[str]] = {}
        self._charges = {name: Charges(charges_of(job, name)) for name in job.models}
        self._sampling = {name: model.sampling.model_dump(exclude_none=True) for name, model in job.models.items()}

    async def call(
        self,
        owner: Problem,
        problem: Problem,
        model: str,
        ask: Prompt | Sequence[Message],
        *,
        step: str,
        tags: Mapping[str, str | int],
    ) -> Recorded:
        """Answer one call; see `protocols.base.Calls`."""
        key = make_key(problem.id, step, model, tags)
        shared = self._open.get(key)
        if shared is not None:
            return await asyncio.shield(shared)
        if not RESERVED.isdisjoint(tags):
            raise ValueError(f"a tag may not be called {', '.join(RESERVED & set(tags))}")
        future = self._open[key] = asyncio.get_running_loop().create_future()
        self._keys_of.setdefault(owner.id, []).append(key)
        try:
            reply = await self._answer(Asked(key, owner, problem, step, model, tags), ask)
        except Eli5bError as error:  # ends the run: nothing is raised into the protocol, whose other calls come home
            self._stop.ask(error)
            await self._stop.may_send()
            raise
        except BaseException:
            future.cancel()
            raise
        future.set_result(reply)
        return reply

    def forget(self, owner: Problem) -> None:
        """A problem is finished: what its protocol asked for need not be shared from memory any more."""
        for key in self._keys_of.pop(owner.id, ()):
            self._open.pop(key, None)

    async def _answer(self, call: Asked, ask: Prompt | Sequence[Message]) -> Recorded:
        model = self._job.models[call.model]
        self._steps[call.model].add(call.step)
        request: dict[str, Any] = {
            "model": model.model,
            "messages": [],
            "sampling": self._sampling[call.model],
            "seed": derive_seed(self._job.seed, call.problem.id, call.model, int(call.tags.get("sample", 0))),
        }
        entry = self._journal.find(call.key)
        built_on = replies_in(ask)
        for reply in built_on:
            self._futility.builds_on(parse_key(reply.key).step)
        try:
            request["messages"] = messages_of(ask, built_on)
        except UpstreamError as error:
            return self._fail(call, request, error, entry)
        earlier = _Earlier()
        if entry is not None:
            replayed, earlier = self._replay(call, entry, request, built_on)
            if replayed is not None:
                return replayed
        chat = ChatRequest(call.key, model.model, request["messages"], request["sampling"], request["seed"])
        return await self._dispatchers[model.provider].send(
            chat,
            call.owner.order,
            self._charges[call.model],
            lambda outcome: self._write(call, request, outcome, earlier, built_on),
        )

    def _replay(
        self, call: Asked, entry: Entry, request: Mapping[str, Any], built_on: Sequence[Recorded]
    ) -> tuple[Recorded | None, _Earlier]:
        """The reply on record where it stands, else None and what came of the call before.

        Where the newest of the replies that the prompt holds is younger than the record, what the answer was built on
        has been asked again (`--redo`, `--repair`), and so the answer is, too.

        Raises:
            ChangedRequestError: it was answered, and the job would now ask differently.
        """
        same = entry.request_hash == request_hash(request)
        if entry.ok and not same:
            if max((reply.offset for reply in built_on), default=-1) > entry.offset:
                return None, _Earlier()
            raise self._changed(call.key, entry, request)
        error = None
        if not entry.ok:
            error = self._journal.read(call.key, entry)["error"]
            attempts = self._job.provider_of(call.model).attempts
            earlier = _Earlier(error["attempts"], starts_of(error, attempts)) if same else _Earlier()
            if earlier.starts < MOST_STARTS:
                return None, earlier
        return self._recall(call, entry, error), _Earlier()

    def _recall(self, call: Asked, entry: Entry, error: dict[str, Any] | None) -> Recorded:
        """The reply as it stands on record."""
        reply = Recorded(call.key, entry.offset, None, lambda: self._journal.read(call.key, entry), ok=entry.ok)
        self._observe(Answered(call, reply, replayed=True, error=error))
        return reply

    def _fail(self, call: Asked, request: Mapping[str, Any], error: UpstreamError, entry: Entry | None) -> Recorded:
        """A call whose prompt needs a reply that failed: one record says so, however often the run is started."""
        if entry is not None and not entry.ok:
            known = self._journal.read(call.key, entry)["error"]
            if known["class"] == _UPSTREAM:
                return self._recall(call, entry, known)
        return self._write(call, request, error)

    def _write(
        self,
        call: Asked,
        request: Mapping[str, Any],
        outcome: Outcome | UpstreamError,
        earlier: _Earlier | None = None,
        built_on: Sequence[Recorded] = (),
    ) -> Recorded:
        """Put a call's outcome into the journal, and tell the observer."""
        record = self._record(call, request, outcome, earlier or _Earlier(), built_on)
        entry = self._journal.append(record)
        said = record["reply"] if entry.ok else None
        reply = Recorded(call.key, entry.offset, said, lambda: self._journal.read(call.key, entry), ok=entry.ok)
        latency_s = None if isinstance(outcome, UpstreamError) else outcome.latency_s
        self._observe(Answered(call, reply, replayed=False, error=record["error"], latency_s=latency_s))
        self._stop_if_futile(call, record, earlier or _Earlier(), outcome)
        return reply

    def _stop_if_futile(
        self, call: Asked, record: dict[str, Any], earlier: _Earlier, outcome: Outcome | UpstreamError
    ) -> None:
        """Stop the run where calls are refused alike, one after another, or answered without the text others need."""
        step, model = call.step, call.model
        if isinstance(outcome, UpstreamError):
            name = parse_key(outcome.key)
            step, model = name.step, name.model
            series = self._futility.series(step, model)
        elif record["error"] is not None:
            series = self._futility.failed(step, model, record["error"], (record, earlier))
            if self._futile is not None and self._futile is self._stop.reason:  # it came home after the stop
                self._keep(record, earlier)
        elif is_wordless(record["reply"]):
            series = self._futility.failed(step, model, WORDLESS, (record, earlier))
        else:
            self._futility.succeeded(step, model)
            return
        if not series or self._stop.reason is not None:
            return
        for failed, before in self._futility.open_series:
            self._keep(failed, before)
        others = sorted(self._steps[model] - {step})
        self._futile = ProviderRefusedError(_why_futile(step, model, others, len(series), series[-1][0]))
        self._stop.ask(self._futile)

    def _keep(self, failed: Mapping[str, Any], earlier: _Earlier) -> None:
        """Write a refused call's record again, with the attempts and starts that it had before this start."""
        if failed["error"] is not None and self._futility.counts(failed["error"]):
            error = {**failed["error"], "attempts": earlier.attempts, "starts": earlier.starts, "kept": True}
            self._journal.append({**failed, "cost_usd": 0.0, "usage": None, "timing": None, "error": error})

    def _record(
        self,
        call: Asked,
        request: Mapping[str, Any],
        outcome: Outcome | UpstreamError,
        earlier: _Earlier,
        built_on: Sequence[Recorded],
    ) -> dict[str, Any]:
        """One line of the journal; its fields and their order are the contract of `docs/run-folder.md`."""
        model = self._job.models[call.model]
        record: dict[str, Any] = {
            "key": call.key,
            "status": "error",
            "request_hash": request_hash(request),
            "cost_usd": 0.0,
            "problem": call.problem.id,
            "step": call.step,
            **call.tags,
            "model": call.model,
            "provider": model.provider,
            "slot": None,
            "simulated": self._job.providers[model.provider].api == "simulated",
            "request": request,
            "reply": None,
            "usage": None,
            "timing": None,
            "error": None,
            **({"built_on": [reply.key for reply in built_on]} if built_on else {}),
            "schema": RECORD_SCHEMA,
        }
        if isinstance(outcome, UpstreamError):
            record["error"] = {"class": _UPSTREAM, "message": str(outcome), "status": None, "attempts": 0}
            return record
        reply, error = outcome.reply, outcome.error
        record["slot"] = outcome.place.slot
        record["cost_usd"] = None if outcome.cost_usd is None else round(outcome.cost_usd, 9)
        record["timing"] = {
            "queued": round(outcome.queued_s, 4),
            "started": round(self._wall(outcome.started), 3),
            "latency": round(outcome.latency_s, 4),
            "load": round(reply.load_s, 4) if reply else 0.0,
            "attempts": outcome.attempts,
        }
        if reply is not None:
            record["status"] = "ok"
            record["reply"] = as_recorded(reply)
            record["usage"] = reply.usage
        elif error is not None:
            record["reply"] = error.partial.get("reply")
            record["usage"] = error.partial.get("usage")
            record["error"] = {
                "class": error.kind,
                "message": str(error),
                "status": error.status,
                "attempts": earlier.attempts + outcome.attempts,
                "starts": earlier.starts + 1,
            }
        return record

    def _changed(self, key: str, entry: Entry, request: Mapping[str, Any]) -> Eli5bError:
        """The error for a call that would now be asked differently, naming what differs."""
        before = self._journal.read(key, entry)["request"]
        return ChangedRequestError(
            f"{self._journal.path}: the job would now ask {key} differently "
            f"({'; '.join(differences(before, request))}); "
            "put the job back as it was, give the changed job a new name, or ask again what changed: "
            f"--redo {parse_key(key).step}"
        )


def _why_futile(step: str, model: str, others: Sequence[str], calls: int, last: Mapping[str, Any]) -> str:
    """Why a run can't succeed after so many calls of a step to a model, by the record of the last.

    `others`: further steps in which the model is asked, and which other settings of it would ask again.
    """
    if last["error"] is not None:
        return (
            f"providers.{last['provider']}: the last {calls} calls of step {step} to {model} failed alike, so others "
            f"would too: {last['error']['message']}; they keep their attempts"
        )
    reply = last["reply"]
    return (
        f"models.{model}: its last {calls} replies of step {step} hold "
        f"{'nothing but thoughts' if reply.get('thinking') else 'no text'} (finish {reply['finish']}), which no prompt "
        f"can be built on; raise its sampling.max_tokens or lower its thinking, then run again with "
        f"{' '.join(f'--redo {name}' for name in (step, *others))}, or under a new name"
    )


def replies_in(ask: Prompt | Sequence[Message]) -> list[Recorded]:
    """The replies that a prompt holds."""
    values = ask.values.values() if isinstance(ask, Prompt) else ()
    return [value for value in values if isinstance(value, Recorded)]


def messages_of(ask: Prompt | Sequence[Message], built_on: Sequence[Recorded]) -> list[Message]:
    """What is sent; a reply without text is never pasted into it as a blank.

    Raises:
        UpstreamError: a reply that it holds failed, or has no text.
    """
    for reply in built_on:
        if not reply.text.strip():
            raise UpstreamError(reply.key, empty=True)
    return ask.messages() if isinstance(ask, Prompt) else list(ask)


def differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs between two requests, field by field, each in a few words."""
    found = []
    for field in sorted(before.keys() | now.keys()):
        old, new = before.get(field), now.get(field)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{path}{field}.")
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            pairs = enumerate(zip(old, new, strict=True))
            found += [d for n, (a, b) in pairs for d in differences({f"{field}[{n}]": a}, {f"{field}[{n}]": b}, path)]
        elif old != new:
            found.append(f"{path}{field}: {_excerpt(old, new)} on record, {_excerpt(new, old)} now")
    return found


def _excerpt(value: object, other: object) -> str:
    """A value on one line; of a long text the part where it begins to differ from the other."""
    if not isinstance(value, str) or not isinstance(other, str):
        return "not set" if value is None else repr(value)
    start = next((n for n, (a, b) in enumerate(zip(value, other, strict=False)) if a != b), min(len(value), len(other)))
    shown = value[max(0, start - _CONTEXT) : start + 3 * _CONTEXT]
    return repr(("..." if start > _CONTEXT else "") + shown + ("..." if start + 3 * _CONTEXT < len(value) else ""))


class CountingCalls:
    """Calls that are only counted: what `check` and the progress totals are made of. Nothing is sent or rendered.

    Args:
        count: told of each distinct call: key, step, model, prompt.
        fill: the text a call is taken to be answered with, by step and model.
    """

    def __init__(
        self,
        count: Callable[[str, str, str, Prompt | Sequence[Message]], None],
        fill: Callable[[str, str], str],
    ) -> None:
        self._count = count
        self._fill = fill
        self._seen: set[int] = set()

    async def call(
        self,
        owner: Problem,  # noqa: ARG002 (part of the interface; counting is the same for every owner)
        problem: Problem,
        model: str,
        ask: Prompt | Sequence[Message],
        *,
        step: str,
        tags: Mapping[str, str | int],
    ) -> Recorded:
        """Count the call once; the reply is filler."""
        key = make_key(problem.id, step, model, tags)
        if hash(key) not in self._seen:
            self._seen.add(hash(key))
            self._count(key, step, model, ask)
        return Recorded(key, 0, {"text": self._fill(step, model)}, dict, ok=True)
