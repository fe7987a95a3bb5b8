from __future__ import annotations

import pytest

from eli5b_batch.dispatch.timing import RateMeter, doubling


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.99])
def test_a_meter_shows_a_steady_rate_at_any_moment(phase: float) -> None:
    now = phase
    meter = RateMeter(lambda: now)
    for i in range(1000):
        now = phase + i * 0.05
        meter.add(3)
        if now > phase + 3:
            assert meter.rate() == pytest.approx(60, rel=0.04)


def test_a_meter_forgets_and_does_not_exaggerate_the_first_moments() -> None:
    now = 0.0
    meter = RateMeter(lambda: now)
    meter.add(5)
    now = 0.001
    assert meter.rate() == 5
    now = 60.0
    assert meter.rate() == 0


def test_waits_double_up_to_their_bound_however_often() -> None:
    assert [doubling(0.5, times, 60) for times in (0, 1, 2, 7, 8, 10_000_000)] == [0.5, 1, 2, 60, 60, 60]
