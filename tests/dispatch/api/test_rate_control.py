from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.dispatch.api.rate_control import RateControl


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def after(control: RateControl, clock: Clock, seconds: float) -> float:
    """Use the rate up for so many seconds, and return the rate after that."""
    until = clock.now + seconds
    while clock.now < until - 1e-9:
        step = min(until - clock.now, 0.01)
        control.sent(step * control.rate())
        clock.now += step
    return control.rate()


def send(control: RateControl, clock: Clock, per_second: float, seconds: float) -> None:
    for _ in range(round(per_second * seconds)):
        clock.now += 1 / per_second
        control.rate()
        control.sent(1.0)


def cut_at(limit: float, clock: Clock, *, job_limit: float | None = None) -> RateControl:
    """Return a control that was just refused for the second time, after `limit` units a second were let through."""
    control = RateControl(job_limit, clock)
    control.sent(1.0)
    after(control, clock, math.log2(4 * limit / 20))
    control.refused(1.0, news=True)
    send(control, clock, limit, 4.0)
    control.refused(1.0, news=True)
    return control


def test_a_limit_in_the_job_is_used_from_the_first_moment_and_for_ever() -> None:
    clock = Clock()
    control = RateControl(50.0, clock)
    assert (control.rate(), after(control, clock, 3600), control.known) == (50, 50, True)
    assert control.history == [(1000, 50)]


def test_with_no_limit_known_the_search_doubles_with_each_second_of_use() -> None:
    clock = Clock()
    control = RateControl(None, clock)
    assert [after(control, clock, 1) for _ in range(4)] == pytest.approx([40, 80, 160, 320])
    assert not control.known
    assert after(control, clock, 100) < math.inf


def test_what_is_not_used_does_not_grow_or_a_burst_would_follow_an_outage() -> None:
    clock = Clock()
    searching, cut, half = RateControl(None, clock), cut_at(100.0, clock), cut_at(100.0, clock)
    rates = [control.rate() for control in (searching, cut)]
    clock.now += 1e6
    assert [control.rate() for control in (searching, cut)] == rates
    after(cut, clock, 1.0)
    for _ in range(40):
        half.sent(0.025 * half.rate())
        clock.now += 0.05
    assert half.rate() == pytest.approx(cut.rate(), rel=0.001)


def test_no_limit_is_searched_for_where_there_is_nothing_to_begin_with_or_the_job_forbids_it() -> None:
    clock = Clock()
    for control in (RateControl(None, clock, first=None), RateControl(None, clock, adaptive=False)):
        control.sent(1.0)
        assert control.rate() == math.inf
        assert not control.known


def test_the_first_refusal_of_a_search_halves_it_for_it_came_after_the_servers_burst() -> None:
    clock = Clock()
    control = RateControl(None, clock)
    assert after(control, clock, 2) == pytest.approx(80)
    control.refused(1.0, news=True)
    assert control.rate() == pytest.approx(80 * 0.5 * 0.95)
    assert control.known


def test_what_the_server_let_through_between_two_refusals_is_the_limit() -> None:
    clock = Clock()
    control = cut_at(30.0, clock)
    assert control.rate() == pytest.approx(30 * 0.95, rel=0.02)


def test_a_refusal_shortly_after_a_cut_sees_no_limit_and_cuts_deeper() -> None:
    clock = Clock()
    control = cut_at(30.0, clock)
    before = control.rate()
    send(control, clock, 30, 0.2)
    control.refused(1.0, news=True)
    assert control.rate() == pytest.approx(before * 0.8 * 0.95, rel=0.02)


def test_after_a_cut_the_rate_is_back_under_the_limit_in_two_seconds_and_creeps_past_it() -> None:
    clock = Clock()
    control = cut_at(100.0, clock)
    rates = [after(control, clock, 2.0)] + [after(control, clock, 1.5) for _ in range(4)]
    assert rates == pytest.approx([98, 98.5, 99.5, 101.5, 105.5], rel=0.02)
    assert after(control, clock, 30) > 1000


def test_after_a_cut_the_rate_grows_back_to_the_limit_in_the_job_at_most() -> None:
    clock = Clock()
    control = cut_at(30.0, clock, job_limit=50.0)
    assert control.rate() < 30
    assert after(control, clock, 60) == 50
    assert after(control, clock, 3600) == 50


def test_refusals_of_calls_sent_before_the_cut_say_nothing_new() -> None:
    clock = Clock()
    control = RateControl(50.0, clock)
    control.refused(1.0, news=True)
    rate = control.rate()
    for _ in range(100):
        control.refused(1.0, news=False)
    assert control.rate() == rate


@pytest.mark.parametrize(("job_limit", "header_limit", "rate"), [(None, 50, 50), (40, 50, 40), (60, 50, 50)])
def test_headers_name_the_limit_and_the_limit_in_the_job_is_the_most(
    job_limit: float | None, header_limit: float, rate: float
) -> None:
    clock = Clock()
    control = RateControl(job_limit, clock)
    control.sent(1.0)
    control.set_limit(header_limit)
    assert (control.rate(), control.known) == (rate, True)
    assert after(control, clock, 60) == rate


def test_headers_that_change_are_followed_up_and_down() -> None:
    clock = Clock()
    control = RateControl(None, clock)
    rates = []
    for header_limit in (50, 20, 80, 80):
        control.set_limit(header_limit)
        rates.append(control.rate())
    assert rates == [50, 20, 80, 80]


def test_headers_do_not_undo_a_cut_at_once() -> None:
    clock = Clock()
    control = RateControl(None, clock)
    control.set_limit(50)
    control.refused(1.0, news=True)
    control.set_limit(60)
    assert control.rate() < 50
    assert after(control, clock, 60) == 60


def test_a_limit_in_headers_below_the_rate_holds_at_once_even_after_a_cut() -> None:
    clock = Clock()
    control = RateControl(50.0, clock)
    control.refused(1.0, news=True)
    control.set_limit(10)
    assert control.rate() == 10


def test_a_limit_that_is_not_adaptive_is_used_as_written() -> None:
    clock = Clock()
    control = RateControl(50.0, clock, adaptive=False)
    control.set_limit(20)
    control.sent(1.0)
    for _ in range(10):
        control.refused(1.0, news=True)
    assert after(control, clock, 10) == 50


@pytest.mark.parametrize(("job_limit", "least", "floor"), [(50.0, 1.0, 5.0), (5.0, 1.0, 0.5), (None, 10.0, 10.0)])
def test_a_night_of_refusals_leaves_a_tenth_of_the_limit_or_the_least(
    job_limit: float | None, least: float, floor: float
) -> None:
    clock = Clock()
    control = RateControl(job_limit, clock, least=least)
    control.sent(1.0)
    for _ in range(2000):
        clock.now += 0.01
        control.sent(1.0)
        control.refused(1.0, news=True)
    assert control.rate() == pytest.approx(floor, rel=0.06)
    assert control.rate() >= min(least, floor)


def test_an_outage_stops_the_growth_for_a_while_and_cuts_nothing() -> None:
    clock = Clock()
    control = cut_at(100.0, clock)
    before = after(control, clock, 1.0)
    control.hold()
    assert after(control, clock, 4.9) == before
    assert after(control, clock, 1.1) == pytest.approx(98, rel=0.02)
    bounded = RateControl(50.0, clock)
    bounded.hold()
    assert bounded.rate() == 50


def test_the_history_of_a_rate_stays_short_and_keeps_its_beginning() -> None:
    clock = Clock()
    control = RateControl(None, clock)
    control.sent(1.0)
    for _ in range(500):  # the history is halved eleven times
        after(control, clock, 6.0)
        control.refused(1.0, news=True)
    assert 100 < len(control.history) <= 240
    times = [at for at, _ in control.history]
    assert times == sorted(times)
    assert times[0] < 1010


@given(
    job_limit=st.one_of(st.none(), st.floats(0.1, 1e4)),
    first=st.sampled_from([None, 20.0]),
    events=st.lists(
        st.tuples(
            st.sampled_from(["sent", "refused", "stale", "hold", "header", "look"]),
            st.floats(0, 20),
            st.floats(0.1, 1e4),
        ),
        max_size=100,
    ),
)
def test_whatever_happens_the_rate_is_positive_and_never_above_the_limit_in_the_job(
    job_limit: float | None, first: float | None, events: list[tuple[str, float, float]]
) -> None:
    clock = Clock()
    control = RateControl(job_limit, clock, first=first)
    ceiling = job_limit or math.inf
    for event, pause, amount in events:
        clock.now += pause
        match event:
            case "sent":
                control.sent(1.0)
            case "refused" | "stale":
                control.refused(1.0, news=event == "refused")
            case "hold":
                control.hold()
            case "header":
                control.set_limit(amount)
                ceiling = min(job_limit or math.inf, amount)
        assert 0 < control.rate() <= ceiling
        assert math.isfinite(control.rate()) or not control.known
        times = [at for at, _ in control.history]
        assert times == sorted(times)


def test_without_a_search_the_first_refusal_takes_the_limit_from_what_went_out() -> None:
    clock = Clock()
    control = RateControl(None, clock, first=None)
    for _ in range(10):
        control.sent(100.0)
        clock.now += 0.1
    assert math.isinf(control.rate())
    control.refused(100.0, news=True)
    assert 400 <= control.rate() <= 500  # half of the 900 units that were let through in a second


def test_a_cut_never_goes_above_a_small_limit_in_the_job() -> None:
    clock = Clock()
    control = RateControl(0.5, clock)
    control.sent(1.0)
    control.refused(1.0, news=True)
    assert control.rate() < 0.5
    assert max(rate for _, rate in control.history) == 0.5
