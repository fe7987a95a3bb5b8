from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.dispatch.capacity import Need
from eli5b_batch.dispatch.gate import Gate
from eli5b_batch.errors import RateLimitedError, RetryableError
from eli5b_batch.job import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from eli5b_batch.dispatch.capacity import Capacity, Place
    from eli5b_batch.errors import CallError

    Virtual = Callable[[Coroutine[Any, Any, None]], None]
    Working = Callable[[Capacity], AbstractAsyncContextManager[None]]

pytestmark = pytest.mark.looptime(idle_timeout=0.1)

URL = "https://api/v1"


def new_gate(**limits: float | bool) -> Gate:
    return Gate(URL, Limits.model_validate(limits), asyncio.get_running_loop().time)


def now() -> float:
    return asyncio.get_running_loop().time()


def need(order: int = 0, tokens: float = 0.0) -> Need:
    return Need("m", order, tokens)


def ask(gate: Gate, order: int = 0, tokens: float = 0.0) -> asyncio.Task[Place]:
    return asyncio.create_task(gate.acquire(need(order, tokens)))


def give_back(gate: Gate, place: Place, failure: CallError | None = None) -> None:
    gate.release(place, tokens=int(place.need.tokens), failure=failure)


def too_many(retry_after: float | None = None) -> RateLimitedError:
    return RateLimitedError("429", retry_after=retry_after)


async def opened_at(gate: Gate) -> float:
    """When the next call is let through; its place is given back at once, as after a reply."""
    give_back(gate, await gate.acquire(need()))
    return now()


async def test_a_place_says_where_the_call_goes(working: Working) -> None:
    gate = new_gate(concurrency=1)
    async with working(gate):
        place = await gate.acquire(need())
    assert (place.base_url, place.slot, place.need) == (URL, None, need())


@given(orders=st.lists(st.integers(0, 5), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_the_oldest_problem_comes_first_and_within_it_the_first_that_asked(
    virtual: Virtual, working: Working, orders: list[int]
) -> None:
    async def main() -> None:
        gate = new_gate(concurrency=1)
        served: list[tuple[int, int]] = []

        async def call(order: int, i: int) -> None:
            place = await gate.acquire(need(order))
            served.append((order, i))
            give_back(gate, place)

        async with working(gate):
            taken = await gate.acquire(need())
            async with asyncio.TaskGroup() as group:
                for i, order in enumerate(orders):
                    group.create_task(call(order, i))
                await asyncio.sleep(1)
                give_back(gate, taken)
        assert served == sorted((order, i) for i, order in enumerate(orders))

    virtual(main())


@given(
    concurrency=st.integers(1, 5),
    calls=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.booleans(), st.integers(0, 9)), max_size=40),
    per_minute=st.sampled_from([None, 60, 600, 6000]),
    adaptive=st.booleans(),
)
@settings(deadline=None, max_examples=50)
def test_everybody_is_served_and_never_more_at_once_than_the_concurrency(
    virtual: Virtual,
    working: Working,
    concurrency: int,
    calls: list[tuple[float, float, bool, int]],
    per_minute: float | None,
    *,
    adaptive: bool,
) -> None:
    async def main() -> None:
        limits = Limits(
            concurrency=concurrency, requests_per_minute=per_minute, tokens_per_minute=60_000, adaptive=adaptive
        )
        gate = Gate(URL, limits, now)
        most = here = 0

        async def call(comes: float, lasts: float, order: int, *, limited: bool) -> None:
            nonlocal most, here
            await asyncio.sleep(comes)
            place = await gate.acquire(need(order, tokens=100))
            here += 1
            most = max(most, here)
            await asyncio.sleep(lasts)
            here -= 1
            give_back(gate, place, too_many() if limited else None)

        async with working(gate), asyncio.TaskGroup() as group:
            for comes, lasts, limited, order in calls:
                group.create_task(call(comes, lasts, order, limited=limited))
        assert most <= concurrency
        assert gate.in_flight == 0

    virtual(main())


async def test_calls_keep_their_distance_under_requests_per_minute(working: Working) -> None:
    gate = new_gate(concurrency=100, requests_per_minute=120)
    async with working(gate):
        assert [await opened_at(gate) for _ in range(4)] == pytest.approx([0, 0.5, 1.0, 1.5])


async def test_calls_wait_for_their_estimate_of_tokens_and_settle_what_was_used(working: Working) -> None:
    gate = new_gate(concurrency=100, tokens_per_minute=6000)
    async with working(gate):
        place = await gate.acquire(need(tokens=100))
        assert now() == pytest.approx(1)
        gate.release(place, tokens=25, failure=None)
        await gate.acquire(need(tokens=100))
        assert now() == pytest.approx(1.25)


async def test_an_older_call_that_overtakes_pays_its_own_tokens(working: Working) -> None:
    gate = new_gate(concurrency=100, tokens_per_minute=6000, requests_per_minute=60)
    async with working(gate):
        give_back(gate, await gate.acquire(need()))
        young = ask(gate, order=9, tokens=10)
        await asyncio.sleep(0.5)
        await gate.acquire(need(order=1, tokens=900))
        assert now() == pytest.approx(1)
        await young
        assert now() == pytest.approx(1 + (900 + 10) / 100, abs=1)  # a second's worth was saved up


async def test_tokens_of_a_caller_that_left_meanwhile_are_not_lost(working: Working) -> None:
    gate = new_gate(concurrency=100, tokens_per_minute=6000, requests_per_minute=60)
    async with working(gate):
        give_back(gate, await gate.acquire(need()))
        leaving = ask(gate, tokens=80)
        await asyncio.sleep(0.9)
        leaving.cancel()
        await asyncio.sleep(0.2)
        await gate.acquire(need(tokens=90))
        assert now() == pytest.approx(2)


async def test_a_429_pauses_everyone_once_and_those_sent_before_it_change_nothing(working: Working) -> None:
    gate = new_gate(concurrency=8)
    async with working(gate):
        places = [await gate.acquire(need()) for _ in range(5)]
        for place in places:  # the last of them come long after the pause of a second is over
            give_back(gate, place, too_many())
            await asyncio.sleep(0.4)
        assert gate.snapshot()["rate_limited"] == 5
        assert gate.snapshot()["concurrency"] == 4
        assert await opened_at(gate) == pytest.approx(2.0)


async def test_nobody_is_let_through_during_a_pause_not_even_who_was_next(working: Working) -> None:
    gate = new_gate(concurrency=8, requests_per_minute=60)
    async with working(gate):
        place = await gate.acquire(need())
        next_one = ask(gate)
        await asyncio.sleep(0.5)
        give_back(gate, place, too_many(30))
        await next_one
        assert now() == pytest.approx(30.5)


@pytest.mark.parametrize(
    ("advice", "pause"), [(0.3, 0.3), (7, 7), (60, 60), (3600, 60), (float("inf"), 60), (None, 1), (0, 1)]
)
async def test_the_servers_advice_is_obeyed_up_to_a_minute(
    working: Working, advice: float | None, pause: float
) -> None:
    gate = new_gate(concurrency=1)
    async with working(gate):
        give_back(gate, await gate.acquire(need()), too_many(advice))
        assert await opened_at(gate) == pytest.approx(pause)


async def test_without_advice_the_pause_doubles_up_to_a_minute_until_a_call_succeeds(working: Working) -> None:
    gate = new_gate(concurrency=1)

    async def pauses(count: int) -> list[float]:
        times = [now()]
        for _ in range(count):
            give_back(gate, await gate.acquire(need()), too_many())
            times.append(await opened_at_without_reply())
        return [b - a for a, b in itertools.pairwise(times)]

    async def opened_at_without_reply() -> float:
        give_back(gate, await gate.acquire(need()), RetryableError("server_error", "500"))
        return now()

    async with working(gate):
        assert await pauses(8) == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
        await opened_at(gate)
        assert await pauses(2) == pytest.approx([1, 2])


async def test_a_night_of_429s_is_survived(working: Working) -> None:
    gate = new_gate(concurrency=1)
    async with working(gate):
        for _ in range(1100):
            give_back(gate, await gate.acquire(need()), too_many(1))
        assert now() == pytest.approx(1099)


async def test_adaptive_limits_are_halved_by_each_429_never_below_a_floor_and_grow_back(working: Working) -> None:
    gate = new_gate(concurrency=100, requests_per_minute=6000)
    shares = []
    async with working(gate):
        for _ in range(6):
            give_back(gate, await gate.acquire(need()), too_many(0.01))
            shares.append(gate.snapshot()["concurrency"] / 100)
        assert shares == pytest.approx([0.5, 0.25, 0.13, 0.07, 0.05, 0.05], abs=0.03)
        low = gate.snapshot()
        assert low["requests_limit"] == pytest.approx(low["concurrency"] * 60, abs=30)
        await asyncio.sleep(10)
        assert gate.snapshot()["concurrency"] == pytest.approx(low["concurrency"] + 20, abs=1)
        await asyncio.sleep(60)
        assert gate.snapshot()["concurrency"] == 100
        assert gate.snapshot()["requests_limit"] == 6000


async def test_after_a_429_the_pace_is_halved(working: Working) -> None:
    gate = new_gate(concurrency=100, requests_per_minute=600)
    async with working(gate):
        give_back(gate, await gate.acquire(need()), too_many(1))
        times = [await opened_at(gate) for _ in range(4)]
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([0.19] * 3, abs=0.01)


async def test_limits_that_are_not_adaptive_stay(working: Working) -> None:
    gate = new_gate(concurrency=100, requests_per_minute=600, adaptive=False)
    async with working(gate):
        for _ in range(5):
            give_back(gate, await gate.acquire(need()), too_many(1))
        times = [await opened_at(gate) for _ in range(4)]
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([0.1] * 3)
        assert gate.snapshot()["concurrency"] == 100
        assert gate.snapshot()["requests_limit"] == 600


async def test_the_dashboard_sees_what_goes_on(working: Working) -> None:
    gate = new_gate(concurrency=2, requests_per_minute=6000)
    async with working(gate):
        first = await gate.acquire(need(tokens=50))
        await gate.acquire(need())
        waiting = ask(gate)
        await asyncio.sleep(1)
        shown = gate.snapshot()
        assert (shown["in_flight"], shown["queued"], shown["concurrency"]) == (2, 1, 2)
        assert (shown["requests_limit"], shown["tokens_limit"], shown["rate_limited"]) == (6000, None, 0)
        give_back(gate, first)
        await waiting
        assert gate.snapshot()["tokens_per_minute"] == pytest.approx(50 * 60, rel=0.1)
        assert gate.snapshot()["requests_per_minute"] == pytest.approx(3 * 60, rel=0.1)
