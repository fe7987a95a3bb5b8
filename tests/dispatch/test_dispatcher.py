from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.backends.base import Advice, ChatReply, ChatRequest
from eli5b_batch.backends.dialects import PLAIN, Manner
from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.budget import Budget, cost, worst_cost
from eli5b_batch.dispatch.capacity import Place
from eli5b_batch.dispatch.charges import Charges
from eli5b_batch.dispatch.dispatcher import Dispatcher, Outcome
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import (
    BadReplyError,
    BudgetError,
    CallError,
    ProviderRefusedError,
    RateLimitedError,
    RetryableError,
    StorageError,
)
from eli5b_batch.job.prices import Price
from eli5b_batch.job.schema import Limits, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence

    from eli5b_batch.backends.base import ModelFacts
    from eli5b_batch.dispatch.capacity import Capacity, Need

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)

PRICE = Price(input=10, output=100, as_of=dt.date(2026, 3, 1))
USAGE = {"input_tokens": 20, "output_tokens": 40}
REQUEST = ChatRequest("p|hint", "m", [{"role": "user", "content": "Why?"}], {"max_tokens": 1000}, 7)
WORST = worst_cost(PRICE, REQUEST.messages, 1000)
BROKEN = RetryableError("server_error", "500", status=500)
EVER = 1e6


def now() -> float:
    return asyncio.get_running_loop().time()


def new_gate(limits: Limits) -> Gate:
    return Gate([Account("http://api", limits, now)], now)


def good(text: str = "because") -> ChatReply:
    return ChatReply(text, "stop", dict(USAGE))


class Scripted:
    """A backend that answers with what `script` holds, in turn, each after `latency` seconds; then with `good()`."""

    def __init__(self, script: Iterable[ChatReply | Exception] = (), latency: float = 1.0) -> None:
        self._script = itertools.chain(script, itertools.repeat(good()))
        self._latency = latency
        self.sent: list[float] = []
        self.silent: dict[str, str] = {}

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:  # noqa: ARG002
        self.sent.append(now())
        answer = next(self._script)
        await asyncio.sleep(self._latency)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        raise NotImplementedError

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:  # noqa: ARG002 (as `Backend` has it)
        return Manner(PLAIN, "in a test", {}, "")

    async def close(self) -> None:
        raise NotImplementedError


class Open:
    """A capacity with a place for everybody, which remembers what happened."""

    def __init__(self, slot: str | None = None) -> None:
        self.slot = slot
        self.needs: list[Need] = []
        self.events: list[str] = []
        self.released: list[tuple[int | None, CallError | None, Advice | None]] = []

    async def acquire(self, need: Need) -> Place:
        self.needs.append(need)
        self.events.append("acquire")
        return Place("http://api", self.slot, need)

    def release(
        self,
        place: Place,  # noqa: ARG002 (the protocol's)
        *,
        tokens: int | None = None,
        failure: CallError | None = None,
        advice: Advice | None = None,
        load_s: float = 0.0,  # noqa: ARG002
        work_s: float = 0.0,  # noqa: ARG002
    ) -> None:
        self.events.append("release")
        self.released.append((tokens, failure, advice))

    def is_down(self, place: Place) -> bool:  # noqa: ARG002 (the protocol's)
        return False

    def take_out(self, urls: Collection[str]) -> None:
        raise NotImplementedError

    def was_at_fault(self, place: Place) -> bool:  # noqa: ARG002 (the protocol's)
        return False

    def is_full(self, lead_s: float) -> bool:
        raise NotImplementedError

    async def run(self) -> None:
        await asyncio.Event().wait()

    def snapshot(self) -> dict[str, Any]:
        return {"in_flight": len(self.needs) - len(self.released), "down_s": None}


@dataclass
class Desk:
    """A dispatcher and all that it needs; `send` keeps every outcome that is committed."""

    backend: Scripted = field(default_factory=Scripted)
    capacity: Capacity = field(default_factory=Open)
    budget: Budget = field(default_factory=lambda: Budget(None))
    stop: Stop = field(default_factory=Stop)
    attempts: int = 3
    seed: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(
            "api",
            backends={"": self.backend},
            capacity=self.capacity,
            budget=self.budget,
            stop=self.stop,
            attempts=self.attempts,
            timeout_s=600.0,
            clock=now,
            randomness=random.Random(self.seed),
        )

    async def send(self, order: int = 0, price: Price | None = PRICE) -> Outcome:
        return await self.dispatcher.send(REQUEST, order, Charges({"": price}), self.commit)

    def commit(self, outcome: Outcome) -> Outcome:
        self.outcomes.append(outcome)
        return outcome

    async def never_returns(self) -> None:
        """Send a call that may or may not go out, and check that it neither returns to its caller nor raises there."""
        task = asyncio.create_task(self.send())
        await asyncio.sleep(EVER)
        assert not task.done()
        task.cancel()
        await asyncio.sleep(1)
        assert self.stop.in_flight == 0


def all_places_given_back(capacity: Open) -> bool:
    return capacity.events.count("acquire") == capacity.events.count("release")


async def test_a_reply_is_committed_with_its_cost_its_tokens_and_its_times() -> None:
    desk = Desk()
    await asyncio.sleep(10)
    outcome = await desk.send()
    assert desk.outcomes == [outcome]
    assert outcome.reply == good()
    assert outcome.error is None
    assert outcome.cost_usd == pytest.approx(cost(PRICE, USAGE)) == pytest.approx(desk.budget.spent)
    assert (outcome.tokens, outcome.attempts) == (60, 1)
    assert (outcome.started, outcome.latency_s, outcome.queued_s) == pytest.approx((10, 1, 0))


async def test_a_reply_is_on_disk_before_its_place_is_given_back_and_before_the_run_may_end() -> None:
    capacity, stop = Open(), Stop()
    desk = Desk(capacity=capacity, stop=stop)

    def commit(_: Outcome) -> str:
        capacity.events.append(f"commit with {stop.in_flight} in flight")
        return "what commit returns"

    assert await desk.dispatcher.send(REQUEST, 0, Charges({"": PRICE}), commit) == "what commit returns"
    assert capacity.events == ["acquire", "commit with 1 in flight", "release"]
    assert capacity.released == [(60, None, None)]


async def test_a_failure_worth_repeating_is_repeated_on_another_place() -> None:
    capacity = Open()
    desk = Desk(Scripted([BROKEN, BROKEN]), capacity)
    outcome = await desk.send()
    assert outcome.reply == good()
    assert (outcome.attempts, desk.dispatcher.retries) == (3, 2)
    assert capacity.events == ["acquire", "release"] * 3
    assert capacity.released == [(0, BROKEN, None), (0, BROKEN, None), (60, None, None)]
    assert outcome.queued_s == pytest.approx(outcome.started) == pytest.approx(desk.backend.sent[-1])


@pytest.mark.parametrize("attempts", [1, 2, 6])
async def test_a_call_is_sent_as_often_as_allowed_and_then_its_error_is_its_outcome(attempts: int) -> None:
    desk = Desk(Scripted([BROKEN] * 10), attempts=attempts)
    outcome = await desk.send()
    assert (outcome.reply, outcome.error, outcome.cost_usd) == (None, BROKEN, 0.0)
    assert outcome.attempts == len(desk.backend.sent) == attempts
    assert (desk.stop.reason, desk.dispatcher.last_error) == (None, "500")


@pytest.mark.parametrize(
    "error",
    [
        CallError("bad_request", "400", status=400),
        BadReplyError("empty_reply", "no content", partial={"usage": USAGE, "reply": {"text": ""}}),
    ],
)
async def test_a_failure_that_would_happen_again_is_not_repeated(error: CallError) -> None:
    desk = Desk(Scripted([error]))
    outcome = await desk.send()
    assert (outcome.error, outcome.attempts) == (error, 1)
    assert outcome.cost_usd == desk.budget.spent == pytest.approx(cost(PRICE, error.partial.get("usage", {})))
    assert outcome.tokens == sum(error.partial.get("usage", {}).values())


async def test_a_429_is_no_failed_attempt_and_waits_as_long_as_it_says() -> None:
    gate = new_gate(Limits(concurrency=1))
    limited = RateLimitedError("429", retry_after=5)
    desk = Desk(Scripted([limited] * 5 + [BROKEN]), gate, attempts=2)
    outcome = await desk.send()
    assert outcome.reply == good()
    assert (outcome.attempts, desk.dispatcher.retries, desk.budget.unconfirmed) == (7, 1, 0)
    assert gate.snapshot()["rate_limited"] == 5
    assert [b - a for a, b in itertools.pairwise(desk.backend.sent[:6])] == pytest.approx([6] * 5)


@pytest.mark.parametrize(("retry_after", "waited_s"), [(30.0, 30.0), (600.0, 60.0)])
async def test_a_call_is_sent_again_to_a_server_in_trouble_when_it_says_or_after_a_minute(
    retry_after: float, waited_s: float
) -> None:
    overloaded = RetryableError("server_error", "529", status=529, retry_after=retry_after)
    desk = Desk(Scripted([overloaded]))
    assert (await desk.send()).reply is not None
    first, second = desk.backend.sent
    assert second - first == pytest.approx(1.0 + waited_s)


async def test_waiting_for_a_place_or_for_money_is_no_failed_attempt() -> None:
    gate = new_gate(Limits(concurrency=2))
    desk = Desk(Scripted(latency=50), gate, Budget(1.5 * WORST), attempts=1)
    outcomes = await asyncio.gather(*(desk.send() for _ in range(4)))
    assert [outcome.attempts for outcome in outcomes] == [1] * 4
    assert sorted(outcome.queued_s for outcome in outcomes) == pytest.approx([0, 50, 100, 150])


@pytest.mark.parametrize("error", [ProviderRefusedError("401"), KeyError("a bug"), StorageError("full")])
async def test_an_error_that_ends_the_run_stops_it_and_is_never_raised_into_the_caller(error: Exception) -> None:
    capacity = Open()
    desk = Desk(Scripted([error]), capacity)
    await desk.never_returns()
    assert desk.stop.reason is error
    assert (len(desk.backend.sent), desk.outcomes) == (1, [])
    assert all_places_given_back(capacity)
    await desk.stop.drained()


async def test_a_record_that_can_not_be_written_stops_the_run() -> None:
    capacity, full = Open(), StorageError("disk full")
    desk = Desk(capacity=capacity)

    def commit(_: Outcome) -> None:
        raise full

    task = asyncio.create_task(desk.dispatcher.send(REQUEST, 0, Charges({"": PRICE}), commit))
    await asyncio.sleep(EVER)
    assert not task.done()
    assert desk.stop.reason is full
    assert len(desk.backend.sent) == 1
    assert all_places_given_back(capacity)
    await desk.stop.drained()


async def test_a_budget_that_is_used_up_stops_the_run() -> None:
    capacity = Open()
    desk = Desk(capacity=capacity, budget=Budget(0.5 * WORST))
    await desk.never_returns()
    assert isinstance(desk.stop.reason, BudgetError)
    assert desk.backend.sent == []
    assert all_places_given_back(capacity)


async def test_a_free_model_needs_no_budget() -> None:
    desk = Desk(budget=Budget(1.0, spent=2.0))
    assert (await desk.send(price=None)).cost_usd == 0


async def test_when_one_is_refused_those_in_flight_come_home_and_nobody_else_goes_out() -> None:
    gate = new_gate(Limits(concurrency=3, requests_per_minute=60_000))
    desk = Desk(Scripted([good("1"), ProviderRefusedError("402"), good("3")]), gate)
    tasks = [asyncio.create_task(desk.send()) for _ in range(6)]
    await desk.stop.stopped()
    await desk.stop.drained()
    await asyncio.sleep(EVER)
    assert [task.done() for task in tasks] == [True, False, True, False, False, False]
    assert len(desk.backend.sent) == 3
    assert len(desk.outcomes) == 2


async def test_calls_that_wait_for_a_place_when_the_run_stops_are_not_sent() -> None:
    gate = new_gate(Limits(concurrency=1))
    desk = Desk(capacity=gate)
    taken, *waiting = [asyncio.create_task(desk.send()) for _ in range(4)]
    await asyncio.sleep(0.5)
    desk.stop.ask(RuntimeError())
    await taken
    await asyncio.sleep(EVER)
    assert gate.snapshot()["queued"] == 2  # the next call keeps the place, so that the queue is not worked off
    assert not any(task.done() for task in waiting)
    assert len(desk.backend.sent) == 1


@pytest.mark.parametrize("slot", ["cheap", "dear", "free", "secret"])
async def test_the_dearest_price_is_set_aside_and_the_price_of_the_account_used_is_spent(slot: str) -> None:
    prices = {"cheap": PRICE, "dear": PRICE.model_copy(update={"output": 10 * PRICE.output})}
    charges = Charges({**prices, "free": "free", "secret": "unknown"})
    reserved: list[float] = []
    worst = worst_cost(prices["dear"], REQUEST.messages, REQUEST.sampling["max_tokens"])
    desk = Desk(capacity=Open(slot), budget=Budget(worst))

    class Ledger:
        spent = unconfirmed = 0.0

        def reserved(self, usd: float) -> None:
            reserved.append(usd)

        def settled(self, reserved: float, usd: float | None) -> None:
            """Ignore the settlement: this test reads reservations only."""

    desk.budget.keep(Ledger())
    outcome = await desk.dispatcher.send(REQUEST, 0, charges, desk.commit)
    assert reserved == [worst]
    expected = cost(prices[slot], USAGE) if slot in prices else 0.0
    assert desk.budget.spent == pytest.approx(expected)
    assert outcome.cost_usd == (None if slot == "secret" else pytest.approx(expected))


async def test_a_call_that_waits_for_money_when_the_run_stops_is_not_sent() -> None:
    desk = Desk(budget=Budget(1.5 * WORST))
    paid, waiting = asyncio.create_task(desk.send()), asyncio.create_task(desk.send())
    await asyncio.sleep(0.5)
    desk.stop.ask(RuntimeError())
    await paid
    await asyncio.sleep(EVER)
    assert not waiting.done()
    assert len(desk.backend.sent) == 1
    await desk.budget.reserve(1.5 * WORST - cost(PRICE, USAGE))  # the money that it had set aside is free again


async def test_a_call_that_fails_after_the_run_was_stopped_is_not_sent_again() -> None:
    desk = Desk(Scripted([BROKEN]))
    task = asyncio.create_task(desk.send())
    await asyncio.sleep(0.5)
    desk.stop.ask(RuntimeError())
    await asyncio.sleep(EVER)
    assert not task.done()
    assert (len(desk.backend.sent), desk.outcomes) == (1, [])


@pytest.mark.parametrize("kind", ["timeout", "connection", "bad_reply"])
async def test_an_attempt_that_may_have_been_billed_stays_reserved(kind: str) -> None:
    desk = Desk(Scripted([RetryableError(kind, "broke off")]), budget=Budget(10))
    outcome = await desk.send()
    assert desk.budget.unconfirmed == pytest.approx(WORST)
    assert desk.budget.spent == outcome.cost_usd == pytest.approx(cost(PRICE, USAGE))


async def test_a_request_that_never_left_can_not_be_billed() -> None:
    desk = Desk(Scripted([RetryableError("connection", "refused", unsent=True)]), budget=Budget(10))
    await desk.send()
    assert desk.budget.unconfirmed == 0


async def test_a_paid_reply_without_a_count_of_tokens_may_have_cost_its_worst() -> None:
    desk = Desk(Scripted([ChatReply("because", "stop", {"input_tokens": 0, "output_tokens": 0})]), budget=Budget(10))
    outcome = await desk.send()
    assert outcome.cost_usd is None
    assert (desk.budget.unconfirmed, desk.budget.spent) == pytest.approx((WORST, 0))


async def test_a_call_cancelled_in_flight_gives_its_place_back_and_may_have_been_billed() -> None:
    capacity = Open()
    desk = Desk(capacity=capacity, budget=Budget(10))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.send(), 0.5)
    assert all_places_given_back(capacity)
    assert (desk.budget.unconfirmed, desk.budget.spent) == pytest.approx((WORST, 0))
    await desk.stop.drained()
    with pytest.raises(BudgetError):  # nothing is reserved any more: it would wait
        await desk.budget.reserve(11)


async def test_a_call_cancelled_while_it_waits_for_money_gives_its_place_back() -> None:
    capacity = Open()
    desk = Desk(capacity=capacity, budget=Budget(1.5 * WORST))
    paid = asyncio.create_task(desk.send())
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.send(), 0.5)
    await paid
    assert all_places_given_back(capacity)
    assert desk.budget.unconfirmed == 0


async def test_a_call_cancelled_between_two_attempts_holds_nothing() -> None:
    capacity = Open()
    desk = Desk(Scripted([BROKEN] * 100), capacity, attempts=100)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.send(), 500)
    assert all_places_given_back(capacity)
    assert desk.dispatcher.snapshot()["retry_waiting"] == 0


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_waits_between_attempts_are_random_under_a_doubling_bound_and_the_same_for_the_same_seed(
    virtual: Virtual, seed: int
) -> None:
    runs: list[list[float]] = []

    async def main() -> None:
        desk = Desk(Scripted([BROKEN] * 12, latency=0), attempts=12, seed=seed)
        await desk.send()
        runs.append([b - a for a, b in itertools.pairwise(desk.backend.sent)])

    for _ in range(2):
        virtual(main())
    bounds = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert all(0 <= wait <= bound + 1e-6 for wait, bound in zip(runs[0], bounds, strict=True))
    assert any(wait < 0.99 * bound for wait, bound in zip(runs[0], bounds, strict=True))
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


async def test_the_tokens_of_replies_are_learnt_for_the_tokens_per_minute() -> None:
    capacity = Open()
    desk = Desk(capacity=capacity)
    for _ in range(3):
        await desk.send()
    assert [need.tokens for need in capacity.needs] == pytest.approx([1 + 1000 / 2, 60, 60])


async def test_the_dashboard_sees_retries_and_the_last_error() -> None:
    desk = Desk(Scripted([RetryableError("timeout", "no answer in time")], latency=0), seed=1)
    task = asyncio.create_task(desk.send())
    await asyncio.sleep(0.01)
    assert desk.dispatcher.snapshot() == {
        "provider": "api", "in_flight": 0, "down_s": None, "retries": 1, "retry_waiting": 1,
        "last_error": "no answer in time", "last_error_s": 0.0, "waiting_for": "the next try of calls that failed: 1",
    }  # fmt: skip
    await task
    assert desk.dispatcher.snapshot()["retry_waiting"] == 0


ANSWERS = st.sampled_from(
    [
        good(),
        BROKEN,
        RetryableError("connection", "can't connect"),
        RetryableError("timeout", "no answer"),
        RateLimitedError("429", retry_after=None),
        BadReplyError("empty_reply", "no content", partial={"usage": USAGE}),
        CallError("bad_request", "400"),
        ProviderRefusedError("401"),
    ]
)


@given(
    answers=st.lists(ANSWERS, max_size=60),
    calls=st.lists(st.tuples(st.floats(0, 20), st.one_of(st.none(), st.floats(0, 20))), min_size=1, max_size=30),
    on_slots=st.booleans(),
    worth=st.one_of(st.none(), st.floats(0.5, 20)),
)
@settings(max_examples=60)
def test_whatever_happens_every_call_ends_and_nothing_is_lost(
    virtual: Virtual,
    answers: list[ChatReply | Exception],
    calls: list[tuple[float, float | None]],
    worth: float | None,
    *,
    on_slots: bool,
) -> None:
    """Calls that come, fail, are cancelled, run out of money or are refused, on a gate or on slots."""

    async def main() -> None:
        slots = [Slot(gpu=i, url=f"http://gpu{i}", parallel=2) for i in range(2)]
        limits = Limits(concurrency=4, requests_per_minute=6000, tokens_per_minute=600_000)
        capacity: Capacity = SlotPool(slots, now) if on_slots else new_gate(limits)
        # Only a gate gets 429s: Ollama sends none, and a slot would be sent the call again at once.
        script = [a for a in answers if not (on_slots and isinstance(a, RateLimitedError))]
        desk = Desk(Scripted(script), capacity, Budget(None if worth is None else worth * WORST))

        async def call(delay_s: float, patience_s: float | None) -> None:
            await asyncio.sleep(delay_s)
            async with asyncio.timeout(patience_s):
                await desk.send()

        tasks = [asyncio.create_task(call(*times)) for times in calls]
        await asyncio.sleep(EVER)
        ended = [task for task in tasks if task.done()]
        assert desk.stop.in_flight == 0
        if desk.stop.reason is None:
            assert len(ended) == len(tasks)
            assert capacity.snapshot()["in_flight"] == 0
        for task in set(tasks) - set(ended):
            task.cancel()
        left = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in left} <= {type(None), TimeoutError, asyncio.CancelledError}
        assert capacity.snapshot()["in_flight"] == 0
        assert len(desk.outcomes) == left.count(None)
        assert desk.budget.spent == pytest.approx(sum(outcome.cost_usd or 0 for outcome in desk.outcomes))
        if desk.budget.cap is not None:
            assert desk.budget.spent + desk.budget.unconfirmed <= desk.budget.cap + 1e-9

    virtual(main())


async def test_an_absurd_count_of_tokens_spends_no_budget_and_teaches_nothing() -> None:
    absurd = ChatReply("because", "stop", {"input_tokens": 2**53, "output_tokens": 1})
    desk = Desk(Scripted([absurd]), budget=Budget(5.0))
    outcome = await desk.send()
    assert outcome.reply == absurd
    assert (outcome.cost_usd, outcome.tokens) == (None, 0)
    assert desk.budget.spent == 0
    assert desk.budget.unconfirmed == pytest.approx(WORST)
    await desk.send()
    assert desk.capacity.needs[1].tokens < 1000  # type: ignore[attr-defined]
