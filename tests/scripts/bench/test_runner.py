"""runner.py: the arithmetic of its ratios, what its servers refuse, and one small measurement from end to end."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from measure import Schedule, Seen, goodput, makespan, rate_of, ratios, refusals, spread, value_at
from stub import Spec, Stub

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "bench" / "runner.py"


def seen(arrived: float, status: int = 200, tokens: int = 1, latency: float = 0.2) -> Seen:
    return Seen(arrived, arrived + (latency if status == 200 else 0.0), status, tokens)


def test_the_integral_of_a_limit_follows_its_steps() -> None:
    schedule = Schedule([(0.0, 600.0), (10.0, 300.0), (20.0, 1200.0)])
    assert schedule.integral(0.0, 10.0) == pytest.approx(100)
    assert schedule.integral(5.0, 25.0) == pytest.approx(50 + 50 + 100)
    assert schedule.integral(12.0, 14.0) == pytest.approx(10)
    assert schedule.integral(14.0, 12.0) == 0
    assert [schedule.rate_at(t) for t in (0.0, 9.9, 10.0, 30.0)] == pytest.approx([10, 10, 5, 20])


def test_an_outage_takes_its_time_out_of_the_integral() -> None:
    steady = Schedule([(0.0, 600.0)]).without(10.0, 15.0)
    assert steady.integral(0.0, 20.0) == pytest.approx(150)
    stepped = Schedule([(0.0, 600.0), (12.0, 300.0)]).without(10.0, 15.0)
    assert stepped.integral(0.0, 20.0) == pytest.approx(100 + 25)
    assert Schedule([(0.0, 600.0)]).without(0.0, 5.0).integral(0.0, 10.0) == pytest.approx(50)


def test_goodput_counts_answers_only_and_all_but_the_last() -> None:
    schedule = Schedule([(0.0, 600.0)])
    steady = [seen(100 + n / 10) for n in range(101)]
    assert goodput(steady, schedule) == pytest.approx(1.0)
    assert goodput([*steady, seen(105.0, 429), seen(106.0, 499)], schedule) == pytest.approx(1.0)
    assert goodput(steady[::2], schedule) == pytest.approx(0.5)
    large = [seen(0.0, tokens=90), seen(1.0, tokens=10), seen(10.0, tokens=5000)]
    assert goodput(large, schedule, tokens=True) == pytest.approx(1.0)


def test_goodput_is_taken_by_the_limit_of_its_moment() -> None:
    halved = Schedule([(0.0, 600.0), (5.0, 300.0)])
    log = [*(seen(n / 10) for n in range(50)), *(seen(5 + n / 5) for n in range(26))]
    assert goodput(log, halved) == pytest.approx(1.0)


def test_rates_refusals_and_makespan_of_a_log() -> None:
    log = [seen(10.0), seen(10.5, 429), seen(11.5, 429), seen(12.0), seen(14.0, latency=1.0)]
    assert rate_of(log) == pytest.approx(2 / 4.8)
    assert makespan(log, [seen(9.0)]) == pytest.approx(6.0)
    refused = refusals(log)
    assert list(refused.values()) == pytest.approx([2, 2 / 5, 1])


def test_cpu_between_two_samples_lies_on_a_straight_line() -> None:
    samples = [(0.0, 0.0), (1.0, 0.5), (2.0, 2.5)]
    assert [value_at(samples, t) for t in (-1.0, 0.5, 1.25, 9.0)] == pytest.approx([0, 0.25, 1.0, 2.5])


def test_ratios_stand_beside_what_they_are_made_of() -> None:
    both = ratios({"rate": 80.0, "cpu": 3.0}, {"rate": 100.0, "cpu": 2.0})
    assert both == {
        "rate, by the floor's": 0.8,
        "cpu, by the floor's": 1.5,
        "rate": 80.0,
        "cpu": 3.0,
        "rate, the floor": 100.0,
        "cpu, the floor": 2.0,
    }
    assert ratios({"cpu": 0.01}, {"cpu": 0.0})["cpu, by the floor's"] == math.inf
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_a_limited_stub_allows_a_second_and_a_quarter_at_once_and_then_its_rate() -> None:
    server = Stub(Spec("api", limit=[(0.0, 600.0), (10.0, 300.0)]))
    assert [server.status(0.0, 5) for _ in range(14)] == [200] * 13 + [429]
    assert [server.status(0.5, 5) for _ in range(6)] == [200] * 5 + [429]
    assert sum(server.status(5 + n / 100, 5) == 200 for n in range(1000)) == 13 + 50 + 25


def test_a_stub_counts_tokens_into_debt() -> None:
    server = Stub(Spec("api", limit=[(0.0, 6000.0)], counts="tokens"))
    assert [server.status(t, 226) for t in (0.0, 0.5, 1.0, 1.1)] == [200, 429, 429, 200]


def test_a_stub_refuses_so_many_in_a_row_and_fails_as_long_as_told() -> None:
    stormy = Stub(Spec("api", storm=(5.0, 3)))
    assert [stormy.status(t, 1) for t in (4.0, 5.0, 6.0, 60.0, 61.0)] == [200, 429, 429, 429, 200]
    down = Stub(Spec("api", outage=(5.0, 2.0, "503")))
    assert [down.status(t, 1) for t in (4.9, 5.0, 6.9, 7.0)] == [200, 503, 503, 200]


def test_a_small_measurement_comes_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "throughput", "--calls", "200", "--rounds", "1"]
    done = subprocess.run(  # noqa: S603 (our own script)
        [*command, "--only", "50 ms", "--json", str(tmp_path / "bench.json")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = orjson.loads((tmp_path / "bench.json").read_bytes())
    assert written["machine"]["cpus"] >= 1
    [figures] = written["scenarios"]["throughput"]["50 ms, 200 calls"]
    assert (figures["exit code"], figures["lost"], figures["paid twice"]) == (0, 0, 0)
    for name in ("calls per second", "process s"):
        ours, floors = figures[name], figures[f"{name}, the floor"]
        assert min(ours, floors) > 0
        assert figures[f"{name}, by the floor's"] == pytest.approx(ours / floors)
