from __future__ import annotations

import pytest

from eli5b_batch.simulated.rate import Meter


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_steady_client_at_the_rate_is_never_refused() -> None:
    for per_minute in (6, 60, 600, 6000):
        clock = Clock()
        meter = Meter(per_minute, clock)
        for i in range(200):
            clock.now += 60 / per_minute * (0.8 if i % 2 else 1.2)
            assert meter.wait_s() == 0
            meter.take(1)


def test_a_burst_is_bounded_by_a_good_second_and_the_rate_holds_after_it() -> None:
    clock = Clock()
    meter = Meter(600, clock)
    taken = 0
    for _ in range(10_000):  # 10 s of trying as often as possible
        clock.now += 0.001
        if not meter.wait_s():
            meter.take(1)
            taken += 1
    assert 100 <= taken <= 114


def test_debt_is_waited_for() -> None:
    clock = Clock()
    meter = Meter(600, clock)
    meter.take(100)
    assert meter.left == 0
    wait = meter.wait_s()
    assert wait == pytest.approx((100 - 13.5 + 1) / 10)
    clock.now += wait
    assert meter.wait_s() == pytest.approx(0, abs=1e-9)
