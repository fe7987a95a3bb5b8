"""calls.py: a call is made once, checkpointed before anything is built on it, and replayed afterwards."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.backends.base import Advice, ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.dialects import PLAIN, Manner
from eli5b_batch.data.problem import Problem
from eli5b_batch.dispatch import dispatcher
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.capacity import Need, Place
from eli5b_batch.dispatch.dispatcher import Dispatcher
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import (
    BadReplyError,
    CallError,
    ChangedRequestError,
    ProviderRefusedError,
    RetryableError,
    StorageError,
    UpstreamError,
)
from eli5b_batch.job.load import parse_job
from eli5b_batch.protocols.prompts import Prompts
from eli5b_batch.records.journal import Journal, read_records
from eli5b_batch.run.calls import Answered, CountingCalls, RunCalls, differences

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from eli5b_batch.job.schema import Job

PROBLEM = Problem("0-a", "What is 2 + 2?", "4", order=0)
ASK = [{"role": "user", "content": "hello"}]


def job(**model: object) -> Job:
    price = {"input": 1.0, "output": 2.0, "as_of": "2026-03-01"}
    return parse_job(
        {
            "name": "test",
            "data": {"reader": "quickstart"},
            "providers": {"api": {"api": "openai", "base_url": "http://127.0.0.1:9/v1"}},
            "models": {"m": {"provider": "api", "model": "org/m", "price": price, **model}},
        },
        "test.yaml",
    )


class Backend:
    """Answers in turn with the given replies; the texts say how many calls came before."""

    def __init__(self, *outcomes: Exception | str) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[ChatRequest] = []
        self.silent: dict[str, str] = {}
        self.waiting = asyncio.Event()
        self.waiting.set()

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = 0.0) -> ChatReply:  # noqa: ARG002
        self.requests.append(request)
        await self.waiting.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else f"reply {len(self.requests)}"
        if isinstance(outcome, Exception):
            raise outcome
        return ChatReply(outcome, "stop", {"input_tokens": 10, "output_tokens": 5}, extra={"tool_calls": [1]})

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        return dict.fromkeys(models, ModelFacts())

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:  # noqa: ARG002 (as `Backend` has it)
        return Manner(PLAIN, "in a test", {}, "")

    async def close(self) -> None:
        """Nothing is open."""


class Capacity:
    """A place for everybody, and a note of when each was given back."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def acquire(self, need: Need) -> Place:
        return Place("http://x", "gpu7", need)

    def release(
        self,
        place: Place,  # noqa: ARG002 (the interface)
        *,
        tokens: int | None = None,  # noqa: ARG002
        failure: CallError | None = None,  # noqa: ARG002
        advice: Advice | None = None,  # noqa: ARG002
        load_s: float = 0.0,  # noqa: ARG002
        work_s: float = 0.0,  # noqa: ARG002
    ) -> None:
        self.events.append("released")

    def is_down(self, place: Place) -> bool:  # noqa: ARG002 (the interface)
        return False

    def take_out(self, urls: Collection[str]) -> None:
        raise NotImplementedError

    def was_at_fault(self, place: Place) -> bool:  # noqa: ARG002 (the interface)
        return False

    def is_full(self, lead_s: float) -> bool:
        raise NotImplementedError

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    def snapshot(self) -> dict[str, Any]:
        return {}


class Bench:
    def __init__(self, folder: Path, backend: Backend, chosen: Job) -> None:
        loop = asyncio.get_running_loop()
        self.path = folder / "calls.jsonl"
        self.stop = Stop()
        self.capacity = Capacity()
        self.seen: list[Answered] = []
        self.journal = Journal(self.path)
        desk = Dispatcher(
            "api",
            backends={"": backend},
            capacity=self.capacity,
            budget=Budget(None),
            stop=self.stop,
            attempts=3,
            timeout_s=60,
            clock=loop.time,
            randomness=random.Random(0),
        )
        self.calls = RunCalls(
            chosen,
            journal=self.journal,
            dispatchers={"api": desk},
            stop=self.stop,
            wall=lambda t: t,
            observe=self.observe,
        )

    def observe(self, done: Answered) -> None:
        self.capacity.events.append("written" if self.journal.find(done.call.key) else "lost")
        self.seen.append(done)


@contextmanager
def bench(folder: Path, backend: Backend, chosen: Job | None = None) -> Iterator[Bench]:
    made = Bench(folder, backend, chosen or job())
    try:
        yield made
    finally:
        made.journal.close()


async def test_a_record_holds_every_field_of_the_contract_in_its_order(tmp_path: Path) -> None:
    with bench(tmp_path, Backend("Four.")) as b:
        reply = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={"hint": "none", "sample": 2})
    assert (reply.ok, reply.text) == (True, "Four.")
    (record,) = read_records(tmp_path / "calls.jsonl")
    assert (
        list(record)
        == (
            "key status request_hash cost_usd problem step hint sample model provider slot simulated request reply"
            " usage timing error schema"
        ).split()
    )
    assert record["key"] == "0-a|answer|hint:none|model:m|sample=2"
    assert record["request"]["messages"] == ASK
    assert record["request"]["sampling"] == {"max_tokens": 1024}
    assert record["reply"] == {"text": "Four.", "finish_reason": "stop", "finish": "whole", "tool_calls": [1]}
    assert record["usage"] == {"input_tokens": 10, "output_tokens": 5}
    assert record["cost_usd"] == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)
    assert set(record["timing"]) == {"queued", "started", "latency", "load", "attempts"}
    assert (record["slot"], record["error"], record["simulated"]) == ("gpu7", None, False)


async def test_a_reply_is_on_disk_before_its_place_is_given_back(tmp_path: Path) -> None:
    with bench(tmp_path, Backend()) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
        assert b.capacity.events == ["written", "released"]


async def test_one_call_asked_for_by_many_is_made_once(tmp_path: Path) -> None:
    backend = Backend()
    with bench(tmp_path, backend) as b:
        replies = await asyncio.gather(
            *(b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={"k": 1}) for _ in range(5))
        )
        later = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={"k": 1})
    assert {r.text for r in [*replies, later]} == {"reply 1"}
    assert len(backend.requests) == len(b.seen) == 1


async def test_a_finished_problem_is_forgotten_and_its_calls_are_read_from_disk(tmp_path: Path) -> None:
    backend = Backend()
    with bench(tmp_path, backend) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        b.calls.forget(PROBLEM)
        again = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        assert again.text == "reply 1"
        assert [done.replayed for done in b.seen] == [False, True]
    assert len(backend.requests) == 1


async def test_observers_are_told_how_long_a_call_took_and_that_a_replayed_one_was_not_sent(tmp_path: Path) -> None:
    with bench(tmp_path, Backend()) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        b.calls.forget(PROBLEM)
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        (record,) = read_records(b.path)
        sent, replayed = (done.latency_s for done in b.seen)
    assert sent == pytest.approx(record["timing"]["latency"], abs=1e-4)
    assert replayed is None


async def test_a_resumed_run_asks_for_nothing_that_is_on_record(tmp_path: Path) -> None:
    with bench(tmp_path, Backend("first")) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
    backend = Backend("second")
    with bench(tmp_path, backend) as b:
        reply = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
        assert reply.text == "first"
    assert backend.requests == []


@pytest.mark.parametrize(
    ("ask", "model", "what"),
    [
        ([{"role": "user", "content": "hell"}], {}, r"messages\[0\]\.content: 'hello' on record, 'hell' now"),
        ([], {}, r"messages: \[.*hello.*\] on record, \[\] now"),
        (ASK, {"model": "org/n"}, "model: 'org/m' on record, 'org/n' now"),
        (ASK, {"sampling": {"max_tokens": 7}}, r"\(sampling.max_tokens: 1024 on record, 7 now\)"),
        (ASK, {"sampling": {"top_p": 0.5}}, r"\(sampling.top_p: not set on record, 0.5 now\)"),
        (ASK, {"sampling": {"extra": {"min_p": 0.1}}}, r"\(sampling.extra: not set on record, {'min_p': 0.1} now\)"),
    ],
)
async def test_a_changed_question_stops_the_run_and_says_what_changed(
    tmp_path: Path, ask: list[dict[str, str]], model: dict[str, object], what: str
) -> None:
    with bench(tmp_path, Backend()) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
    backend = Backend()
    with bench(tmp_path, backend, job(**model)) as b:
        call = asyncio.ensure_future(b.calls.call(PROBLEM, PROBLEM, "m", ask, step="answer", tags={}))
        await b.stop.stopped()
        with pytest.raises(ChangedRequestError, match=what):
            raise b.stop.reason  # type: ignore[misc]  # an error, as the match shows
        assert not call.done()
        call.cancel()
    assert backend.requests == []


async def test_extras_are_part_of_the_question_and_without_them_its_hash_is_what_it_was_before_there_were_any(
    tmp_path: Path,
) -> None:
    sampling = {"temperature": 0.7, "top_p": 0.9, "stop": ["\n\n"], "max_tokens": 512}
    hashes = []
    for n, extra in enumerate((None, {}, {"min_p": 0.1, "stop_token": None}, {"stop_token": None, "min_p": 0.1})):
        folder = tmp_path / str(n)
        folder.mkdir()
        with bench(folder, Backend(), job(sampling=sampling if extra is None else {**sampling, "extra": extra})) as b:
            await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={"hint": "none", "sample": 2})
        (record,) = read_records(folder / "calls.jsonl")
        hashes.append(record["request_hash"])
        assert record["request"]["sampling"] == sampling | ({"extra": extra} if extra else {})
    assert hashes[:2] == ["f0ed3e932d6a06b4"] * 2
    assert hashes[2] == hashes[3] != hashes[0]


async def test_a_failed_call_is_a_record_and_is_tried_again_on_resume(tmp_path: Path) -> None:
    refused = CallError("bad_request", "no", status=400, partial={"usage": {"input_tokens": 4, "output_tokens": 0}})
    with bench(tmp_path, Backend(refused)) as b:
        reply = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
        assert not reply.ok
        with pytest.raises(UpstreamError):
            _ = reply.text
    (record,) = read_records(tmp_path / "calls.jsonl")
    assert record["status"] == "error"
    assert record["error"] == {"class": "bad_request", "message": "no", "status": 400, "attempts": 1, "starts": 1}
    assert record["cost_usd"] == pytest.approx(4e-6)
    with bench(tmp_path, Backend("now")) as b:
        assert (await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})).text == "now"
    with bench(tmp_path, Backend()) as b:
        assert (await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})).text == "now"


async def test_a_call_that_fails_in_start_after_start_is_given_up_for_good(tmp_path: Path) -> None:
    sent = []
    for _ in range(5):
        backend = Backend(*[CallError("bad_request", "no") for _ in range(3)])
        with bench(tmp_path, backend) as b:
            reply = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
            assert not reply.ok
            assert b.seen[0].error is not None
            assert b.seen[0].error["class"] == "bad_request"
        sent.append(len(backend.requests))
    records = list(read_records(tmp_path / "calls.jsonl"))
    assert [(record["error"]["attempts"], record["error"]["starts"]) for record in records] == [(1, 1), (2, 2), (3, 3)]
    assert sent == [1, 1, 1, 0, 0]


async def test_older_records_that_count_no_starts_are_given_up_after_as_many_attempts(tmp_path: Path) -> None:
    with bench(tmp_path, Backend(CallError("bad_request", "no"))) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
    (record,) = read_records(tmp_path / "calls.jsonl")
    for attempts, requests in ((17, 1), (18, 0)):  # six attempts a start
        with bench(tmp_path, Backend()) as b:
            error = {name: value for name, value in record["error"].items() if name != "starts"}
            b.journal.append({**record, "error": {**error, "attempts": attempts}})
        backend = Backend(CallError("bad_request", "no"))
        with bench(tmp_path, backend) as b:
            await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
        assert len(backend.requests) == requests


async def refused_alike(b: Bench, calls: int, step: str = "answer") -> int:
    """Makes calls one after another until the run stops; how many came back."""
    for n in range(calls):
        task = asyncio.create_task(b.calls.call(PROBLEM, PROBLEM, "m", ASK, step=step, tags={"n": n}))
        await asyncio.wait({task, asyncio.create_task(b.stop.stopped())}, return_when=asyncio.FIRST_COMPLETED)
        if b.stop.reason is not None:
            task.cancel()
            return n + 1
    return calls


def field(n: int) -> CallError:
    return CallError("bad_request", f"api answered 400: unknown field seed (request {n})", status=400)


async def test_five_calls_that_fail_alike_stop_the_run_with_the_hosts_sentence_and_keep_their_attempts(
    tmp_path: Path,
) -> None:
    for _ in range(4):  # start after start
        with bench(tmp_path, Backend(*map(field, range(100)))) as b:
            assert await refused_alike(b, 100) == 5
            assert isinstance(b.stop.reason, ProviderRefusedError)
            assert "unknown field seed" in str(b.stop.reason)
            assert "5 calls of step answer to m failed alike" in str(b.stop.reason)
    newest = {record["key"]: record["error"] for record in read_records(tmp_path / "calls.jsonl")}
    assert [(error["attempts"], error["starts"]) for error in newest.values()] == [(0, 0)] * 5


@pytest.mark.parametrize(
    "outcomes",
    [
        [*(field(n) for n in range(4)), "an answer", *(field(n) for n in range(4))],
        [CallError("bad_request", f"no field {name}") for name in "abcdefgh"],
        *([CallError(kind, "no") for _ in range(8)] for kind in ("context_overflow", "too_large", "filtered")),
        [CallError("refused", "refused 6 times, others were answered: no", status=429) for _ in range(8)],
        *([BadReplyError(kind, "no") for _ in range(8)] for kind in ("not_done", "empty_reply")),
        [RetryableError("server_error", "no", status=500) for _ in range(24)],
    ],
)
async def test_what_says_nothing_of_the_other_calls_stops_nothing(
    tmp_path: Path, outcomes: list[str | Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_BACKOFF_S", 0.0)
    with bench(tmp_path, Backend(*outcomes)) as b:
        assert await refused_alike(b, 8) == 8
        assert b.stop.reason is None


async def test_empty_replies_stop_the_run_where_others_build_on_them(tmp_path: Path) -> None:
    outcomes = [BadReplyError("empty_reply", "the reply has no content") for _ in range(20)]
    with bench(tmp_path, Backend(*outcomes)) as b:
        assert await refused_alike(b, 6, step="hint") == 6
        hint = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={"n": 0})
        ask = Prompts("eli5b")("answer", problem=PROBLEM, hint=hint)
        task = asyncio.create_task(b.calls.call(PROBLEM, PROBLEM, "m", ask, step="answer", tags={}))
        await asyncio.wait_for(b.stop.stopped(), 60)
        assert "5 calls of step hint to m failed alike" in str(b.stop.reason)
        task.cancel()


async def test_calls_in_flight_when_the_run_stops_keep_their_attempts_too_whatever_their_step(tmp_path: Path) -> None:
    for _ in range(4):  # start after start
        backend = Backend(*map(field, range(100)))
        backend.waiting.clear()  # all are sent before one comes back
        with bench(tmp_path, backend) as b:
            asks = [("answer", n) for n in range(13)] + [("hint", n) for n in range(3)]
            tasks = [
                asyncio.create_task(b.calls.call(PROBLEM, PROBLEM, "m", ASK, step=step, tags={"n": n}))
                for step, n in asks
            ]
            while len(backend.requests) < len(asks):  # noqa: ASYNC110
                await asyncio.sleep(0)
            backend.waiting.set()
            await b.stop.stopped()
            await b.stop.drained()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(b.stop.reason, ProviderRefusedError)
    newest = {record["key"]: record["error"] for record in read_records(tmp_path / "calls.jsonl")}
    assert [(error["attempts"], error["starts"]) for error in newest.values()] == [(0, 0)] * 16


async def test_a_reply_without_text_is_never_pasted_into_a_prompt(tmp_path: Path) -> None:
    backend = Backend("")
    with bench(tmp_path, backend) as b:
        hint = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        assert (hint.ok, hint.text) == (True, "")
        ask = Prompts("eli5b")("answer", problem=PROBLEM, hint=hint)
        answer = await b.calls.call(PROBLEM, PROBLEM, "m", ask, step="answer", tags={})
        assert not answer.ok
        assert b.seen[-1].error is not None
        assert b.seen[-1].error["class"] == "upstream"
        assert "has no text" in b.seen[-1].error["message"]
    assert len(backend.requests) == 1


async def test_a_record_names_the_replies_that_its_prompt_holds_and_how_it_ended(tmp_path: Path) -> None:
    with bench(tmp_path, Backend("Try 4.", "4")) as b:
        hint = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        ask = Prompts("eli5b")("answer", problem=PROBLEM, hint=hint)
        answer = await b.calls.call(PROBLEM, PROBLEM, "m", ask, step="answer", tags={})
        assert (hint.finish, answer.finish) == ("whole", "whole")
    first, second = read_records(tmp_path / "calls.jsonl")
    assert "built_on" not in first
    assert second["built_on"] == [hint.key]


async def test_a_failed_call_asked_differently_starts_anew(tmp_path: Path) -> None:
    with bench(tmp_path, Backend(CallError("bad_request", "no"))) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
    with bench(tmp_path, Backend(CallError("bad_request", "no")), job(model="org/n")) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
    assert [record["error"]["attempts"] for record in read_records(tmp_path / "calls.jsonl")] == [1, 1]


async def test_a_call_built_on_a_failed_one_is_recorded_as_failed_and_never_sent(tmp_path: Path) -> None:
    backend = Backend(CallError("bad_request", "no"))
    with bench(tmp_path, backend) as b:
        hint = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        ask = Prompts("eli5b")("answer", problem=PROBLEM, hint=hint)
        answer = await b.calls.call(PROBLEM, PROBLEM, "m", ask, step="answer", tags={})
        assert not answer.ok
    _, record = read_records(tmp_path / "calls.jsonl")
    assert record["error"]["class"] == "upstream"
    assert hint.key in record["error"]["message"]
    assert len(backend.requests) == 1


async def test_a_failed_upstream_is_one_record_however_often_the_run_is_started(tmp_path: Path) -> None:
    for _ in range(3):
        refused = CallError("bad_request", "no", status=400)
        with bench(tmp_path, Backend(refused)) as b:
            hint = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
            ask = Prompts("eli5b")("answer", problem=PROBLEM, hint=hint)
            await b.calls.call(PROBLEM, PROBLEM, "m", ask, step="answer", tags={})
    records = [r for r in read_records(tmp_path / "calls.jsonl") if r["step"] == "answer"]
    assert [r["error"]["class"] for r in records] == ["upstream"]


@pytest.mark.parametrize(("again", "asked"), [("a new hint", 2), ("a hint", 1)])
async def test_an_answer_is_asked_again_where_the_hint_it_was_built_on_came_back_another(
    tmp_path: Path, again: str, asked: int
) -> None:
    async def both(b: Bench) -> None:
        hint = await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={})
        ask = Prompts("eli5b")("answer", problem=PROBLEM, hint=hint)
        await b.calls.call(PROBLEM, PROBLEM, "m", ask, step="answer", tags={})

    path = tmp_path / "calls.jsonl"
    with bench(tmp_path, Backend("a hint", "an answer")) as b:
        await both(b)
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])  # the hint was damaged and set aside
    backend = Backend(again, "another answer")
    with bench(tmp_path, backend) as b:
        await both(b)
        assert len(backend.requests) == asked
    idle = Backend()
    with bench(tmp_path, idle) as b:
        await both(b)
        assert b.stop.reason is None
    assert idle.requests == []


@pytest.mark.parametrize(
    ("charge", "usd"),
    [({"input": 3.0, "output": 4.0, "as_of": "2026-07-01"}, 50e-6), (None, 20e-6), ("free", 0.0), ("unknown", None)],
)
async def test_a_reply_costs_what_the_member_takes_that_gave_it_and_the_question_stays_the_models(
    tmp_path: Path, charge: object, usd: float | None
) -> None:
    plain, one_of_two = job(), job().model_dump(mode="json")
    models = {"m": {"model": "m-fp8", "price": charge}}
    one_of_two["providers"]["api"]["members"] = [{"name": "other"}, {"name": "gpu7", "models": models}]
    records: list[dict[str, Any]] = []
    for folder, chosen in ((tmp_path / "plain", plain), (tmp_path / "two", parse_job(one_of_two, "test.yaml"))):
        folder.mkdir()
        with bench(folder, Backend(), chosen) as b:
            await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
        records += read_records(folder / "calls.jsonl")
    assert records[0]["request"] == records[1]["request"]
    assert records[0]["request_hash"] == records[1]["request_hash"]
    assert records[1]["slot"] == "gpu7"
    assert records[1]["cost_usd"] == (usd if usd is None else pytest.approx(usd))


async def test_an_unknown_price_is_recorded_as_unknown_cost(tmp_path: Path) -> None:
    with bench(tmp_path, Backend(), job(price="unknown")) as b:
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={})
    (record,) = read_records(tmp_path / "calls.jsonl")
    assert record["cost_usd"] is None


async def test_a_disk_that_refuses_stops_the_run_and_raises_nothing_into_the_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path, Backend()) as b:
        monkeypatch.setattr(b.journal, "append", lambda _: (_ for _ in ()).throw(StorageError("full")))
        call = asyncio.ensure_future(b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={}))
        await b.stop.stopped()
        assert isinstance(b.stop.reason, StorageError)
        await b.stop.drained()
        assert not call.done()
        call.cancel()


async def test_a_tag_may_not_take_the_name_of_a_field(tmp_path: Path) -> None:
    with bench(tmp_path, Backend()) as b, pytest.raises(ValueError, match="may not be called status"):
        await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags={"status": "x"})


async def test_the_seed_is_shared_by_arms_and_differs_by_sample(tmp_path: Path) -> None:
    backend = Backend()
    with bench(tmp_path, backend) as b:
        for hint in ("none", "generic"):
            for sample in (0, 1):
                tags: dict[str, str | int] = {"hint": hint, "sample": sample}
                await b.calls.call(PROBLEM, PROBLEM, "m", ASK, step="answer", tags=tags)
    seeds = [request.seed for request in backend.requests]
    assert seeds[:2] == seeds[2:]
    assert len(set(seeds)) == 2


async def test_counting_counts_each_distinct_call_once() -> None:
    counted: list[tuple[str, str, str]] = []
    calls = CountingCalls(lambda key, step, model, _: counted.append((key, step, model)), lambda _, model: model * 2)
    for _ in range(2):
        reply = await calls.call(PROBLEM, PROBLEM, "m", ASK, step="hint", tags={"k": 1})
    assert reply.text == "mm"
    assert counted == [("0-a|hint|k=1|model:m", "hint", "m")]


def test_a_difference_deep_in_a_long_text_is_shown_where_it_begins() -> None:
    before, now = "a" * 500 + "old" + "b" * 500, "a" * 500 + "new" + "b" * 500
    (found,) = differences({"x": before}, {"x": now})
    assert "aaaold" in found
    assert "aaanew" in found
    assert len(found) < 250
