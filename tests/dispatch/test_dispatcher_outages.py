"""What the dispatcher does where servers are slow, down or several; its other tests are in test_dispatcher.py."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.backends.base import Advice, ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.dialects import PLAIN, Manner
from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.charges import Charges
from eli5b_batch.dispatch.dispatcher import Dispatcher, Outcome
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import RateLimitedError, RetryableError
from eli5b_batch.job.schema import Limits, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

    from eli5b_batch.backends.base import Backend
    from eli5b_batch.dispatch.capacity import Capacity

    Virtual = Callable[[Coroutine[Any, Any, None]], None]
    Answer = Callable[[ChatRequest, int], ChatReply | Exception]

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)

TIMEOUT_S = 600.0
REFUSED = RetryableError("connection", "can't connect", unsent=True)
DROPPED = RetryableError("connection", "dropped")
UNAVAILABLE = RetryableError("server_error", "503", status=503)
BROKEN = RetryableError("server_error", "500", status=500)
SLOW = RetryableError("timeout", "no answer")
ALL = Limits(concurrency=100, requests_per_minute=60_000)


def now() -> float:
    return asyncio.get_running_loop().time()


def reply(output: int = 40, advice: Advice | None = None) -> ChatReply:
    return ChatReply("because", "stop", {"input_tokens": 20, "output_tokens": output}, advice=advice)


def question(key: str = "p", max_tokens: int = 1000, model: str = "m") -> ChatRequest:
    return ChatRequest(key, model, [{"role": "user", "content": "Why?"}], {"max_tokens": max_tokens}, 7)


class Server:
    """A server that answers with `answer(request, calls before)`, after `latency_s`."""

    def __init__(self, answer: Answer = lambda _, __: reply(), latency_s: float = 1.0, name: str = "server") -> None:
        self._answer = answer
        self.latency_s = latency_s
        self.name = name
        self.sent: list[tuple[str, float]] = []
        self.deadlines: list[float] = []
        self.silent: dict[str, str] = {}

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:  # noqa: ARG002
        self.sent.append((request.key, now()))
        self.deadlines.append(deadline_s)
        answer = self._answer(request, len(self.sent) - 1)
        await asyncio.sleep(self.latency_s)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        return {model: ModelFacts(server=self.name) for model in models}

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:  # noqa: ARG002 (as `Backend` has it)
        return Manner(PLAIN, "in a test", {}, "")

    async def close(self) -> None:
        raise NotImplementedError


def one_account() -> Gate:
    return Gate([Account("http://api", ALL, now)], now)


def dispatcher(
    capacity: Capacity, backends: Server | Mapping[str, Server], attempts: int = 6, stop: Stop | None = None
) -> Dispatcher:
    clients: Mapping[str, Backend] = {"": backends} if isinstance(backends, Server) else backends
    return Dispatcher(
        "api",
        backends=clients,
        capacity=capacity,
        budget=Budget(None),
        stop=stop or Stop(),
        attempts=attempts,
        timeout_s=TIMEOUT_S,
        clock=now,
        randomness=random.Random(1),
    )


async def ask(desk: Dispatcher, request: ChatRequest | None = None, order: int = 0) -> Outcome:
    return await desk.send(request or question(), order, Charges({"": None}), lambda outcome: outcome)


@pytest.mark.parametrize("failure", [REFUSED, UNAVAILABLE, DROPPED])
async def test_minutes_without_a_server_cost_no_call_its_attempts(failure: RetryableError) -> None:
    server = Server(lambda _, __: reply() if now() > 480 else failure, latency_s=0.1)
    desk = dispatcher(one_account(), server)
    outcomes = await asyncio.gather(*(ask(desk, question(f"{i}"), i) for i in range(100)))
    assert all(outcome.reply for outcome in outcomes)
    assert now() < 480 + 35


@pytest.mark.parametrize("failure", [REFUSED, UNAVAILABLE, DROPPED])
async def test_a_call_that_always_fails_alone_ends_as_failed(failure: RetryableError) -> None:
    server = Server(lambda request, _: failure if request.key == "bad" else reply())
    desk = dispatcher(one_account(), server, attempts=3)
    good = [await ask(desk, question(f"{i}")) for i in range(3)]
    outcome = await ask(desk, question("bad"))
    assert all(answered.reply for answered in good)
    assert outcome.error is failure
    assert outcome.attempts <= 5 * 3
    assert now() < 3600


async def test_a_call_that_always_fails_among_others_has_its_attempts_and_no_more() -> None:
    server = Server(lambda request, _: BROKEN if request.key == "bad" else reply(), latency_s=0.1)
    desk = dispatcher(one_account(), server, attempts=3)

    async def others() -> None:
        for i in range(300):
            await ask(desk, question(f"{i}"))

    working = asyncio.create_task(others())
    outcome = await ask(desk, question("bad"))
    assert (outcome.error, outcome.attempts) == (BROKEN, 3)
    await working


@pytest.mark.parametrize("failure", [BROKEN, SLOW])
async def test_a_failure_that_may_be_the_calls_own_counts_even_while_the_server_is_down(
    failure: RetryableError,
) -> None:
    server = Server(lambda _, __: failure)
    outcome = await ask(dispatcher(one_account(), server, attempts=8))
    assert (outcome.error, outcome.attempts) == (failure, 8)


async def test_after_an_outage_the_oldest_calls_go_out_first() -> None:
    server = Server(lambda _, __: reply() if now() > 60 else REFUSED, latency_s=0.1)
    desk = dispatcher(Gate([Account("http://api", Limits(concurrency=1), now)], now), server)
    tasks = [asyncio.create_task(ask(desk, question(f"{i}"), i)) for i in (3, 1, 4, 0, 2)]
    await asyncio.gather(*tasks)
    assert [key for key, at in server.sent if at > 60] == ["0", "1", "2", "3", "4"]


async def test_old_problems_are_sent_first_retries_too() -> None:
    server = Server(lambda _, n: BROKEN if n == 0 else reply())
    desk = dispatcher(Gate([Account("http://api", Limits(concurrency=1), now)], now), server)
    first, *later = await asyncio.gather(*(ask(desk, order=order) for order in (0, 9, 9, 9)))
    assert first.attempts == 2
    assert first.started < max(outcome.started for outcome in later)


async def test_even_the_thousandth_attempt_has_a_wait() -> None:
    server = Server(lambda _, __: BROKEN, latency_s=0)
    assert (await ask(dispatcher(one_account(), server, attempts=1200))).attempts == 1200


class Fails:
    """Two slots or accounts, on which a call fails a second after each of its first two sendings.

    A moment after the first failure, while the call waits to be sent again, `take_out` is called.
    """

    def __init__(self, capacity: Capacity, take_out: Callable[[], None] = lambda: None) -> None:
        self._take_out = take_out
        self.server = Server(lambda _, n: BROKEN if n < 2 else reply())
        self.desk = dispatcher(capacity, self.server, attempts=2)

    async def sent(self) -> Outcome:
        call = asyncio.create_task(ask(self.desk))
        await asyncio.sleep(1.0001)
        assert self.desk.retry_waiting == 1
        self._take_out()
        return await call


def two_slots(*second_serves: str) -> SlotPool:
    return SlotPool([Slot(gpu=0, url="http://gpu0"), Slot(gpu=1, url="http://gpu1", models=[*second_serves])], now)


async def test_a_slot_that_is_taken_out_right_after_a_failure_gives_the_attempt_back() -> None:
    pool = two_slots()
    outcome = await Fails(pool, pool._servers[0].take_out).sent()
    assert outcome.reply is not None
    assert outcome.attempts == 3


async def test_a_slot_that_works_on_gives_nothing_back() -> None:
    outcome = await Fails(two_slots()).sent()
    assert (outcome.error, outcome.attempts) == (BROKEN, 2)


async def test_the_only_slot_of_a_model_gives_nothing_back() -> None:
    """Nothing shows whether the call or the slot is at fault: a call that fells its server must not do so for ever."""
    pool = two_slots("other")
    outcome = await Fails(pool, pool._servers[0].take_out).sent()
    assert (outcome.error, outcome.attempts) == (BROKEN, 2)


async def test_an_account_never_gives_an_attempt_back() -> None:
    accounts = [Account(f"http://m{i}", ALL, now, name=f"m{i}") for i in range(2)]
    outcome = await Fails(Gate(accounts, now), accounts[0].breaker.trip).sent()
    assert (outcome.error, outcome.attempts) == (BROKEN, 2)


async def test_a_call_that_takes_every_slot_with_it_is_given_up() -> None:
    """After its attempts, and four times as many excused failures, the call may be at fault after all."""
    pool = SlotPool([Slot(gpu=i, url=f"http://gpu{i}") for i in range(3)], now)
    server = Server(lambda request, _: BROKEN if request.key == "bad" else reply(), latency_s=0.1)
    desk = dispatcher(pool, server, attempts=2)
    bad = asyncio.create_task(ask(desk, question("bad")))
    while not bad.done():
        if desk.retry_waiting:
            for slot in pool._servers[1:]:
                slot.take_out()
        await asyncio.gather(*(ask(desk, question(f"{i}")) for i in range(3)))
    outcome = await bad
    assert outcome.error is BROKEN
    assert outcome.attempts <= 5 * 2


async def test_the_load_time_in_a_reply_reaches_the_slot() -> None:
    pool = two_slots()
    server = Server(lambda _, __: ChatReply("x", "stop", {"output_tokens": 40}, load_s=8.0), latency_s=10.0)
    await ask(dispatcher(pool, server))
    assert [slot["loading_s"] for slot in pool.snapshot()["slots"]] == [8.0, 0.0]


async def test_a_dispatcher_counts_the_calls_under_way_and_measures_how_long_replies_take() -> None:
    desk = dispatcher(one_account(), Server(latency_s=3.0))
    assert (desk.under_way, desk.reply_s) == (0, 0)
    calls = [asyncio.create_task(ask(desk)) for _ in range(5)]
    await asyncio.sleep(1)
    assert desk.under_way == 5
    calls[0].cancel()
    await asyncio.gather(*calls[1:])
    assert desk.under_way == 0
    assert desk.reply_s == pytest.approx(3)


async def test_while_a_refused_call_waits_others_go_out_and_then_it_comes_first_by_age() -> None:
    server = Server(lambda _, n: RateLimitedError("429", retry_after=None) if n == 0 else reply(), latency_s=0.9)
    desk = dispatcher(Gate([Account("http://api", Limits(concurrency=1), now)], now), server)
    tasks = [asyncio.create_task(ask(desk, question(f"{i}"), i)) for i in range(4)]
    await asyncio.gather(*tasks)
    assert [key for key, _ in server.sent] == ["0", "1", "2", "0", "3"]


async def test_a_reply_has_the_whole_time_until_the_models_speed_is_known() -> None:
    server = Server(latency_s=2.0)
    desk = dispatcher(one_account(), server)
    for _ in range(22):
        await ask(desk)
    assert server.deadlines == [TIMEOUT_S] * 20 + [pytest.approx(4 * 1000 * 2.0 / 40)] * 2
    await ask(desk, question(max_tokens=100))
    await ask(desk, question(model="other"))
    assert server.deadlines[-2:] == [60, TIMEOUT_S]


async def test_time_spent_loading_a_model_is_not_its_speed() -> None:
    server = Server(lambda _, __: ChatReply("x", "stop", {"output_tokens": 40}, load_s=8.0), latency_s=10.0)
    desk = dispatcher(one_account(), server)
    for _ in range(21):
        await ask(desk)
    assert server.deadlines[-1] == pytest.approx(4 * 1000 * 2.0 / 40)


async def test_a_slot_that_has_to_load_a_model_gets_the_whole_time() -> None:
    server = Server(latency_s=2.0)
    desk = dispatcher(SlotPool([Slot(gpu=0, url="http://gpu0")], now), server)
    for _ in range(25):
        await ask(desk)
    await ask(desk, question(model="other"))
    await ask(desk)
    await ask(desk)
    assert server.deadlines[-4:] == [pytest.approx(200), TIMEOUT_S, TIMEOUT_S, pytest.approx(200)]


async def test_each_member_has_a_client_of_its_own() -> None:
    gate = Gate([Account(f"http://{name}", ALL, now, name=name) for name in "ab"], now)
    backends = {"a": Server(name="a"), "b": Server(name="b")}
    desk = dispatcher(gate, backends)
    outcomes = await asyncio.gather(*(ask(desk, question(f"{i}")) for i in range(10)))
    assert [len(server.sent) for server in backends.values()] == [5, 5]
    assert {outcome.place.slot for outcome in outcomes} == {"a", "b"}


async def test_a_call_that_one_member_can_not_take_is_sent_to_another() -> None:
    gate = Gate([Account(f"http://{name}", ALL, now, name=name) for name in "ab"], now)
    backends = {"a": Server(lambda _, __: REFUSED), "b": Server()}
    desk = dispatcher(gate, backends, attempts=1)
    outcomes = await asyncio.gather(*(ask(desk, question(f"{i}")) for i in range(100)))
    assert all(outcome.reply for outcome in outcomes)
    assert len(backends["a"].sent) < 60


async def test_every_member_is_reached_and_slots_share_a_client() -> None:
    backends = {"a": Server(name="a"), "b": Server(name="b")}
    assert (await dispatcher(one_account(), backends).reach(["m"]))["m"].server == "b"
    assert (await dispatcher(one_account(), backends["a"]).reach(["m"]))["m"].server == "a"
    slots = SlotPool([Slot(gpu=i, url=f"http://gpu{i}") for i in range(2)], now)
    outcomes = await asyncio.gather(*(ask(dispatcher(slots, backends["a"])) for _ in range(8)))
    assert {outcome.place.slot for outcome in outcomes} == {"gpu0", "gpu1"}


async def test_the_limits_in_the_headers_of_a_reply_reach_the_account() -> None:
    gate = one_account()
    await ask(dispatcher(gate, Server(lambda _, __: reply(advice=Advice(requests_per_s=2)))))
    assert gate.snapshot()["requests_limit"] == 120


async def test_a_server_that_counts_no_tokens_is_taken_to_work() -> None:
    uncounted = ChatReply("because", "stop", {"input_tokens": 0, "output_tokens": 0})
    server = Server(lambda _, n: REFUSED if n == 0 else uncounted, latency_s=0.1)
    desk = dispatcher(one_account(), server)
    await asyncio.gather(*(ask(desk, question(f"{i}")) for i in range(50)))
    assert now() < 2


FAILURES = [REFUSED, UNAVAILABLE, DROPPED, BROKEN, SLOW, RateLimitedError("429", retry_after=None)]


@given(
    outages=st.lists(st.tuples(st.sampled_from(FAILURES), st.floats(0, 100), st.floats(0, 200)), max_size=5),
    members=st.integers(1, 3),
    on_slots=st.booleans(),
    calls=st.integers(1, 60),
)
@settings(max_examples=50)
def test_whatever_breaks_every_call_is_answered_or_fails_and_the_provider_works_again(
    virtual: Virtual, outages: list[tuple[RetryableError, float, float]], members: int, calls: int, *, on_slots: bool
) -> None:
    async def main() -> None:
        def answer(_: ChatRequest, __: int) -> ChatReply | Exception:
            broken = [failure for failure, begins, lasts in outages if begins <= now() < begins + lasts]
            # Ollama sends no 429s, and a slot would be sent the call again at once.
            return next((f for f in broken if not (on_slots and isinstance(f, RateLimitedError))), reply())

        names = [f"m{i}" for i in range(members)]
        capacity: Capacity = (
            SlotPool([Slot(gpu=name, url=f"http://{name}", parallel=3) for name in names], now)
            if on_slots
            else Gate([Account(f"http://{name}", Limits(concurrency=5), now, name=name) for name in names], now)
        )
        desk = dispatcher(capacity, Server(answer))
        outcomes = await asyncio.gather(*(ask(desk, question(f"{i}"), i) for i in range(calls)))
        assert all((outcome.reply is None) != (outcome.error is None) for outcome in outcomes)
        await asyncio.sleep(400)
        assert (await ask(desk)).reply is not None
        assert capacity.snapshot()["in_flight"] == capacity.snapshot()["queued"] == 0

    virtual(main())
