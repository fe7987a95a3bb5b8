from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.dispatch.api.concurrency import ConcurrencyWindow


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rounds(window: ConcurrencyWindow, clock: Clock, in_flight: int, latency_s: float, replies: int) -> None:
    """Count replies of a server that is always sent as many calls as the window allows, `in_flight` at most."""
    for _ in range(replies):
        sent = min(in_flight, window.size)
        clock.now += latency_s / sent
        window.answered(latency_s, sent, paced=False)


def test_the_concurrency_of_the_job_is_kept_while_more_in_flight_bring_more() -> None:
    clock = Clock()
    window = ConcurrencyWindow(64, clock, adaptive=True)
    for in_flight in (8, 16, 32, 64, 64, 64):
        rounds(window, clock, in_flight, 1.0, 200)
    assert window.size == 64


def saturated(window: ConcurrencyWindow, clock: Clock) -> None:
    """Count the replies of a server that answers 16 calls a second, however many are in flight."""
    for in_flight in (8, 16, 32, 64):
        sent = min(in_flight, window.size)
        rounds(window, clock, sent, max(1.0, sent / 16), 2 * max(16, sent))


def test_the_window_shrinks_where_more_calls_in_flight_only_take_longer() -> None:
    clock = Clock()
    window = ConcurrencyWindow(64, clock, adaptive=True)
    saturated(window, clock)
    assert 16 <= window.size <= 48


def test_the_window_grows_by_one_a_reply_after_ten_times_as_many_replies_as_it_is_wide() -> None:
    clock = Clock()
    window = ConcurrencyWindow(64, clock, adaptive=True)
    saturated(window, clock)
    before = window.size
    rounds(window, clock, 1, 1.0, 5 * before)
    assert window.size <= before
    rounds(window, clock, 1, 1.0, 100 + 2 * before)
    assert window.size == 64


def test_a_window_that_is_not_adaptive_keeps_the_concurrency_of_the_job() -> None:
    clock = Clock()
    window = ConcurrencyWindow(64, clock, adaptive=False)
    saturated(window, clock)
    assert window.size == 64


@given(
    most=st.integers(1, 300),
    replies=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 600), st.integers(1, 300)), max_size=300),
)
def test_whatever_happens_the_window_holds_one_at_least_and_the_jobs_concurrency_at_most(
    most: int, replies: list[tuple[float, float, int]]
) -> None:
    clock = Clock()
    window = ConcurrencyWindow(most, clock, adaptive=True)
    for pause, latency, in_flight in replies:
        clock.now += pause
        window.answered(latency, min(in_flight, most), paced=False)
        assert 1 <= window.size <= most


def test_slower_replies_under_a_known_limit_are_no_saturation() -> None:
    clock = Clock()
    window = ConcurrencyWindow(64, clock, adaptive=True)
    for in_flight, latency in ((20, 2.0), (40, 4.0)):
        for _ in range(200):
            clock.now += 0.1
            window.answered(latency, in_flight, paced=True)
    assert window.size == 64
