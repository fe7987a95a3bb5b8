from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.dispatch.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker, *, probe: int = 0, unreachable: bool = False) -> None:
    breaker.failed(probe=probe, unreachable=unreachable)


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    fail(breaker, unreachable=True)
    return breaker


def test_one_dropped_connection_changes_nothing() -> None:
    breaker = Breaker(Clock())
    fail(breaker)
    assert (breaker.is_open, breaker.due_in(), breaker.started()) == (False, 0, 0)


@pytest.mark.parametrize(("failures", "apart_s", "is_open"), [(4, 60, False), (5, 0.26, True), (100, 0.0, False)])
def test_five_failures_in_a_row_open_it_if_they_span_a_quarter_of_a_second(
    failures: int, apart_s: float, *, is_open: bool
) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for i in range(failures):
        clock.now = 1000 + i * apart_s
        fail(breaker)
    assert breaker.is_open == is_open
    assert breaker.down_since == (clock.now if is_open else None)


def test_an_answer_in_between_begins_the_count_anew() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for i in range(40):
        clock.now += 1
        if i % 5 == 4:
            breaker.succeeded()
        else:
            fail(breaker)
    assert not breaker.is_open


def test_a_server_that_can_not_be_reached_opens_it_at_once() -> None:
    breaker = opened(Clock())
    assert breaker.is_open
    assert breaker.due_in() == pytest.approx(1)


def test_probes_go_out_after_waits_that_double_up_to_half_a_minute_all_night() -> None:
    clock = Clock()
    breaker, waits = opened(clock), []
    for _ in range(3000):
        waits.append(breaker.due_in())
        clock.now += waits[-1]
        fail(breaker, probe=breaker.started(), unreachable=True)
    assert waits == pytest.approx([1, 2, 4, 8, 16] + [30] * 2995)
    assert breaker.down_since == 1000


def test_while_a_probe_is_under_way_nothing_else_goes_out() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += breaker.due_in()
    assert breaker.started()
    clock.now += 1e6
    assert breaker.due_in() == math.inf


def test_a_probe_that_was_never_sent_leaves_its_turn_to_the_next_call() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += breaker.due_in()
    breaker.gave_up(probe=breaker.started())
    assert (breaker.is_open, breaker.due_in()) == (True, 0)


@pytest.mark.parametrize("of_a_probe", [True, False])
def test_any_answer_closes_it_and_the_waits_begin_anew(*, of_a_probe: bool) -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(3):
        clock.now += breaker.due_in()
        fail(breaker, probe=breaker.started())
    if of_a_probe:
        clock.now += breaker.due_in()
        assert breaker.started()
    breaker.succeeded()
    assert (breaker.is_open, breaker.due_in(), breaker.started()) == (False, 0, 0)
    fail(breaker, unreachable=True)
    assert breaker.due_in() == pytest.approx(1)


def test_calls_that_were_under_way_when_it_opened_do_not_put_the_probe_off() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    for _ in range(50):
        fail(breaker, unreachable=True)
    assert breaker.due_in() == pytest.approx(0.5)
    assert breaker.down_since == 1000


def test_a_probe_of_an_earlier_outage_says_nothing_of_this_one() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1
    old = breaker.started()
    breaker.succeeded()  # a call that was still under way
    fail(breaker, unreachable=True)
    clock.now += 1
    new = breaker.started()
    fail(breaker, probe=old, unreachable=True)
    breaker.gave_up(probe=old)
    assert breaker.due_in() == math.inf
    fail(breaker, probe=new, unreachable=True)
    assert breaker.due_in() == pytest.approx(2)


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["start", "answer", "fail", "refused", "unsent"]), st.floats(0, 40), st.integers(0)),
        max_size=80,
    )
)
def test_whatever_happens_there_is_one_probe_at_a_time_and_always_a_way_out(
    events: list[tuple[str, float, int]],
) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    under_way: list[tuple[int, float | None]] = []  # the number of each call as a probe, and the start of its outage
    for event, pause, pick in events:
        clock.now += pause
        if event == "start":
            if breaker.due_in() == 0:
                under_way.append((breaker.started(), breaker.down_since))
        elif under_way:
            probe, _ = under_way.pop(pick % len(under_way))
            if event == "answer":
                breaker.succeeded()
            elif event == "unsent":
                breaker.gave_up(probe=probe)
            else:
                fail(breaker, probe=probe, unreachable=event == "refused")
        probes = [probe for probe, outage in under_way if probe and outage == breaker.down_since]
        assert len(probes) <= 1
        assert (breaker.due_in() == math.inf) == bool(probes)
        assert breaker.due_in() in (0, math.inf) or 0 < breaker.due_in() <= 30
        assert breaker.is_open or breaker.due_in() == 0
