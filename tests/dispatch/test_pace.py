from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.dispatch.pace import TICK_S, Pacer, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

WINDOW_S = 0.05
RATES = st.floats(6, 60_000)
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 30)), min_size=1, max_size=200)


def burst(per_minute: float) -> int:
    """Starts that may go out at once: those of 50 ms."""
    return max(1, round(per_minute / 60 * WINDOW_S))


class Clock:
    """The loop's clock; being asked again and again at one moment means that somebody spins."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = -1.0
        self._asked = 0

    def __call__(self) -> float:
        now = self._loop.time()
        self._asked = self._asked + 1 if now == self._at else 0
        self._at = now
        assert self._asked < 1000
        return now


async def starts(pacer: Pacer, count: int) -> list[float]:
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(count):
        await pacer.acquire()
        times.append(loop.time())
    return times


@given(per_minute=RATES, pauses=PAUSES)
@settings(max_examples=100, deadline=None)
def test_no_window_of_any_length_holds_more_starts_than_the_rate_and_one_burst(
    virtual: Virtual, per_minute: float, pauses: list[float]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pacer = Pacer(per_minute, Clock())
        times = []
        for pause in pauses:
            await asyncio.sleep(pause)
            await pacer.acquire()
            times.append(loop.time())
        for (i, first), (j, last) in itertools.combinations(enumerate(times), 2):
            # An early start by a tick in every window between the two is what a timer may do.
            allowed = per_minute / 60 * (last - first) * (1 + TICK_S / 0.03) + burst(per_minute)
            assert j - i + 1 <= allowed + 1e-6

    virtual(main())


@pytest.mark.parametrize("start", [0.0, 1e7])
@pytest.mark.parametrize("per_minute", [60, 100, 600, 890, 900, 910, 1790, 1810, 6000, 7001, 59_999, 60_000])
def test_it_reaches_the_rate(virtual: Virtual, per_minute: float, start: float) -> None:
    async def main() -> None:
        await asyncio.sleep(start)
        first_of_each = (await starts(Pacer(per_minute, Clock()), 20 * burst(per_minute) + 1))[:: burst(per_minute)]
        rate = 60 * burst(per_minute) * 20 / (first_of_each[-1] - first_of_each[0])
        assert 0.97 * per_minute <= rate <= per_minute * (1 + 1e-4)

    virtual(main())


@given(per_minute=st.floats(60, 60_000))
@settings(max_examples=50, deadline=None)
def test_it_reaches_any_rate(virtual: Virtual, per_minute: float) -> None:
    async def main() -> None:
        times = (await starts(Pacer(per_minute, Clock()), 10 * burst(per_minute) + 1))[:: burst(per_minute)]
        assert 60 * burst(per_minute) * 10 / (times[-1] - times[0]) >= 0.97 * per_minute

    virtual(main())


@pytest.mark.looptime
async def test_a_lower_rate_counts_what_has_just_been_sent_and_a_higher_one_holds_at_once() -> None:
    pacer = Pacer(6000, asyncio.get_running_loop().time)
    assert await starts(pacer, 10) == pytest.approx([0.0] * 5 + [0.05] * 5)
    pacer.set_rate(60)
    assert await starts(pacer, 2) == pytest.approx([1.05, 2.05])
    pacer.set_rate(600)
    assert await starts(pacer, 3) == pytest.approx([2.15, 2.25, 2.35])


@pytest.mark.looptime
async def test_a_waiter_that_is_cancelled_uses_nothing_up() -> None:
    loop = asyncio.get_running_loop()
    pacer = Pacer(60, loop.time)
    await pacer.acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pacer.acquire(), 0.5)
    assert await starts(pacer, 1) == pytest.approx([1.0])


@pytest.mark.looptime
async def test_a_bucket_starts_empty_and_saves_up_one_second() -> None:
    loop = asyncio.get_running_loop()
    bucket = TokenBucket(6000, loop.time)
    await bucket.take(40)
    assert loop.time() == pytest.approx(0.4)
    await asyncio.sleep(1000)
    before = loop.time()
    await bucket.take(100)
    assert loop.time() == before
    await bucket.take(50)
    assert loop.time() == pytest.approx(before + 0.5)


@pytest.mark.looptime
async def test_a_call_larger_than_the_bucket_goes_out_when_it_is_full_and_leaves_a_debt() -> None:
    loop = asyncio.get_running_loop()
    bucket = TokenBucket(6000, loop.time)
    await bucket.take(350)
    assert loop.time() == pytest.approx(1.0)
    await bucket.take(10)
    assert loop.time() == pytest.approx(1.0 + 2.5 + 0.1)


@pytest.mark.looptime
async def test_what_was_not_used_comes_back_and_what_was_used_beyond_is_owed() -> None:
    loop = asyncio.get_running_loop()
    bucket = TokenBucket(6000, loop.time)
    await bucket.take(90)
    bucket.settle(90, 30)
    await bucket.take(60)
    assert loop.time() == pytest.approx(0.9)
    bucket.settle(60, 110)
    await bucket.take(10)
    assert loop.time() == pytest.approx(0.9 + 0.6)
    bucket.settle(5000, 0)
    await bucket.take(100)  # no more than a second's worth is ever held
    await bucket.take(100)
    assert loop.time() == pytest.approx(1.5 + 1.0)


@given(
    per_minute=st.floats(60, 1e7),
    calls=st.lists(st.tuples(st.floats(0, 20_000), st.floats(0, 2), st.floats(0, 5)), min_size=1, max_size=100),
    start=st.sampled_from([0.0, 1.0, 1e5, 1e7]),
)
@settings(max_examples=100, deadline=None)
def test_a_call_goes_out_when_it_and_all_that_was_used_before_fit_the_rate_a_larger_one_as_one_second_of_it(
    virtual: Virtual, per_minute: float, calls: list[tuple[float, float, float]], start: float
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start)
        bucket = TokenBucket(per_minute, Clock())
        began, rate, used = loop.time(), per_minute / 60, 0.0
        for tokens, factor, pause in calls:
            await bucket.take(tokens)
            rounding = (TICK_S + 1e-8) * rate * len(calls) + 1e-6
            assert used + min(tokens, rate) <= rate * (loop.time() - began) + rounding
            await asyncio.sleep(pause)
            bucket.settle(tokens, tokens * factor)
            used += tokens * factor

    virtual(main())
