from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.dispatch.api.pacing import Pacer, TokenBucket
from eli5b_batch.dispatch.timing import TICK_S

WINDOW_S = 0.05
TOKENS_S = 0.25
RATES = st.floats(0.1, 1000)
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 30)), min_size=1, max_size=200)


def burst(per_second: float) -> int:
    """Return how many starts may go out at once: those of 50 ms."""
    return max(1, round(per_second * WINDOW_S))


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def start(pacer: Pacer, clock: Clock, late: float = 0.0) -> float:
    """Wait as a gate does, once and for as long as the pacer says, and start; return the time."""
    clock.now += pacer.due_in() + late
    assert pacer.due_in() <= TICK_S
    pacer.start()
    return clock.now


def take(bucket: TokenBucket, clock: Clock, tokens: float) -> float:
    clock.now += bucket.due_in(tokens)
    assert bucket.due_in(tokens) <= TICK_S
    bucket.take(tokens)
    return clock.now


@given(
    per_second=RATES, pauses=PAUSES, lateness=st.floats(0, 0.2), seed=st.integers(0, 9), began=st.sampled_from([0, 1e7])
)
@settings(max_examples=100)
def test_no_window_of_any_length_holds_more_starts_than_the_rate_and_one_burst(
    per_second: float, pauses: list[float], lateness: float, seed: int, began: float
) -> None:
    """A start that came late is counted when it was due, at most 50 ms back."""
    clock, rng, times = Clock(began), random.Random(seed), []
    pacer = Pacer(per_second, clock)
    for pause in pauses:
        clock.now += pause
        times.append(start(pacer, clock, rng.uniform(0, lateness)))
    for (i, first), (j, last) in itertools.combinations(enumerate(times), 2):
        # A timer may start a call early by a tick in every window between the two.
        allowed = per_second * (last - first + WINDOW_S) * (1 + TICK_S / 0.03) + burst(per_second)
        assert j - i + 1 <= allowed + 1e-6


@given(per_second=RATES, late=st.floats(0, 0.04), began=st.sampled_from([0, 1e7]))
@settings(max_examples=100)
def test_a_pacer_reaches_any_rate_however_late_the_timers_are(per_second: float, late: float, began: float) -> None:
    clock = Clock(began)
    pacer, size = Pacer(per_second, clock), burst(per_second)
    late = min(late, size / per_second)  # timers later than the calls are apart hold up any pace
    times = [start(pacer, clock, late if i % size == 0 else 0.0) for i in range(40 * size + 1)]
    assert 40 * size / (times[-1] - times[0]) == pytest.approx(per_second, rel=0.03)


@pytest.mark.parametrize("per_second", [1, 10, 14.9, 15, 15.1, 29.9, 30.1, 100, 117, 999, 1000])
def test_a_pacer_reaches_the_rate_exactly(per_second: float) -> None:
    clock = Clock()
    pacer, size = Pacer(per_second, clock), burst(per_second)
    times = [start(pacer, clock) for _ in range(60 * size + 1)]
    assert 40 * size / (times[-1] - times[-1 - 40 * size]) == pytest.approx(per_second, rel=1e-4)


def test_starts_come_evenly_from_the_first_second_on() -> None:
    clock = Clock()
    pacer = Pacer(10, clock)
    assert [start(pacer, clock) for _ in range(5)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_no_limit_is_no_wait() -> None:
    clock = Clock()
    pacer = Pacer(math.inf, clock)
    assert [start(pacer, clock) for _ in range(10_000)] == [0.0] * 10_000


def test_a_lower_rate_counts_what_has_just_been_sent_and_a_higher_one_holds_at_once() -> None:
    clock = Clock()
    pacer = Pacer(100, clock)
    assert [start(pacer, clock) for _ in range(10)] == pytest.approx([0.0] * 5 + [0.05] * 5)
    pacer.set_rate(1)
    assert [start(pacer, clock) for _ in range(2)] == pytest.approx([1.05, 2.05])
    pacer.set_rate(10)
    assert [start(pacer, clock) for _ in range(3)] == pytest.approx([2.15, 2.25, 2.35])
    pacer.set_rate(math.inf)
    assert [start(pacer, clock) for _ in range(3)] == pytest.approx([2.35] * 3)
    pacer.set_rate(10)
    assert start(pacer, clock) == pytest.approx(2.45)


def test_a_rate_that_changes_all_the_time_is_kept_to_on_average() -> None:
    clock = Clock()
    pacer, times = Pacer(50, clock), []
    for i in range(2000):
        pacer.set_rate(50 + 25 * math.sin(i / 100))
        times.append(start(pacer, clock))
    mean = 2000 / sum(1 / (50 + 25 * math.sin(i / 100)) for i in range(2000))
    assert 2000 / (times[-1] - times[0]) == pytest.approx(mean, rel=0.03)


def test_a_bucket_starts_empty_and_saves_up_a_quarter_of_a_second() -> None:
    clock = Clock()
    bucket = TokenBucket(100, clock)
    assert take(bucket, clock, 20) == pytest.approx(0.2)
    clock.now = 1000
    assert [take(bucket, clock, 25), take(bucket, clock, 10)] == pytest.approx([1000, 1000.1])


def test_a_call_larger_than_the_bucket_goes_out_when_it_is_full_and_leaves_a_debt() -> None:
    clock = Clock()
    bucket = TokenBucket(100, clock)
    assert take(bucket, clock, 350) == pytest.approx(0.25)
    assert take(bucket, clock, 10) == pytest.approx(0.25 + 3.25 + 0.1)


def test_what_was_not_used_comes_back_and_what_was_used_beyond_is_owed() -> None:
    clock = Clock()
    bucket = TokenBucket(100, clock)
    take(bucket, clock, 20)
    bucket.settle(20, 5)
    assert take(bucket, clock, 15) == pytest.approx(0.2)
    bucket.settle(15, 65)
    assert take(bucket, clock, 10) == pytest.approx(0.2 + 0.6)
    bucket.settle(5000, 0)  # no more than a quarter of a second is ever held
    assert [take(bucket, clock, 25), take(bucket, clock, 25)] == pytest.approx([0.8, 1.05])


def test_tokens_that_come_in_before_a_change_of_the_rate_come_in_at_the_old_one() -> None:
    clock = Clock()
    bucket = TokenBucket(100, clock)
    bucket.take(100)
    clock.now = 0.5
    bucket.set_rate(10)
    assert bucket.due_in(1) == pytest.approx((50 + 1) / 10)


def test_a_bucket_without_a_limit_lets_everything_through_and_starts_empty_when_one_is_found() -> None:
    clock = Clock()
    bucket = TokenBucket(math.inf, clock)
    bucket.take(1e9)
    bucket.settle(1e9, 2e9)
    clock.now = 10
    assert bucket.due_in(1e9) == 0
    for _ in range(2):
        bucket.set_rate(100)
        assert bucket.due_in(10) == pytest.approx(0.1)
        bucket.set_rate(math.inf)
        assert bucket.due_in(1e9) == 0


@given(
    per_second=st.floats(1, 1e6),
    calls=st.lists(st.tuples(st.floats(0, 20_000), st.floats(0, 2), st.floats(0, 5)), min_size=1, max_size=100),
    began=st.sampled_from([0.0, 1.0, 1e5, 1e7]),
)
@settings(max_examples=100)
def test_a_call_goes_out_when_it_and_all_that_was_used_before_fit_the_rate_a_larger_one_as_a_quarter_second_of_it(
    per_second: float, calls: list[tuple[float, float, float]], began: float
) -> None:
    clock = Clock(began)
    bucket, used = TokenBucket(per_second, clock), 0.0
    for tokens, factor, pause in calls:
        take(bucket, clock, tokens)
        rounding = (TICK_S + 1e-8) * per_second * len(calls) + 1e-6
        assert used + min(tokens, per_second * TOKENS_S) <= per_second * (clock.now - began) + rounding
        clock.now += pause
        bucket.settle(tokens, tokens * factor)
        used += min(
            tokens * factor, tokens + 60 * per_second
        )  # what is counted beyond a minute's worth is not believed


def test_an_absurd_count_holds_the_next_call_up_for_a_minute_at_most() -> None:
    clock = Clock()
    bucket = TokenBucket(10, clock)
    take(bucket, clock, 2.0)
    bucket.settle(2.0, 2.0**53)
    assert bucket.due_in(2.0) <= 61
