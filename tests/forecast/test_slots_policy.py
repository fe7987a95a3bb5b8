"""What the slots' scheduling comes to in whole jobs, in virtual seconds: makespan, loads, waits, problems in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.dispatch.slots.policy import ROUND
from eli5b_batch.forecast.past import PastRun
from eli5b_batch.forecast.rehearsal import Rehearsal, rehearse
from eli5b_batch.job.load import parse_job
from eli5b_batch.run.plan import Experiment, load_experiment
from eli5b_batch.run.problem_window import ProblemWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Make = Callable[..., Experiment]

LATENCY_S = 0.2
PARALLEL = 4
SPEEDS = {"1b": 240.0, "3b": 120.0, "8b": 60.0}
EQUAL = dict.fromkeys(SPEEDS, 90.0)
LOADS = {"1b": 5.0, "3b": 10.0, "8b": 20.0}
BROAD = {"concurrency": 64}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A job in which a teacher writes hints for students on slots; without limits of an API it is on the slots, too."""

    def experiment(
        problems: int,
        slots: Sequence[Mapping[str, Any]],
        *,
        speeds: Mapping[str, float] = SPEEDS,
        loads: Mapping[str, float] = LOADS,
        tokens: int = 400,
        limits: Mapping[str, float] | None = BROAD,
    ) -> Experiment:
        data = tmp_path / "data.jsonl"
        data.write_bytes(
            b"".join(
                orjson.dumps({"problem": f"What is {i} + 7?", "answer": f"{i + 7}"}) + b"\n" for i in range(problems)
            )
        )
        on_slots = {"latency_s": LATENCY_S, "tokens_per_s": speeds, "load_s": loads, "mean_output_tokens": tokens}
        on_api = {"latency_s": 0.5, "tokens_per_s": 60.0, "mean_output_tokens": 300}
        api = {"api": {"api": "simulated", "limits": limits, "simulation": on_api}} if limits else {}
        teacher = (
            {"provider": "api", "model": "t", "price": "unknown"} if limits else {"provider": "gpus", "model": "t"}
        )
        students = {name: {"provider": "gpus", "model": f"llama:{name}"} for name in speeds if name != "teacher"}
        return load_experiment(
            parse_job(
                {
                    "name": "slots",
                    "data": {"reader": "jsonl", "path": str(data)},
                    "providers": {
                        **api,
                        "gpus": {
                            "api": "simulated",
                            "slots": [{"gpu": i, "parallel": PARALLEL, **slot} for i, slot in enumerate(slots)],
                            "simulation": on_slots,
                        },
                    },
                    "models": {"teacher": teacher, **students},
                    "params": {
                        "teacher": "teacher",
                        "students": [*students],
                        "hints": ["none", "generic", "tailored"],
                    },
                },
                "job.yaml",
            ),
            "job.yaml",
        )

    return experiment


def work_s(rehearsal: Rehearsal, speeds: Mapping[str, float]) -> float:
    """Seconds of places that the calls of these models on slots took."""
    return sum(LATENCY_S + row.output_tokens / speeds[row.model] for row in rehearsal.rows if row.model in speeds)


def loads_of(rehearsal: Rehearsal) -> int:
    return sum(slot["loads"] for slot in rehearsal.snapshot["slots"])


def assert_complete(rehearsal: Rehearsal) -> None:
    assert rehearsal.ending.exit_code == 0
    assert len(rehearsal.rows) == rehearsal.plan.total.total()


@pytest.mark.parametrize(("slots", "most_loads"), [(1, 3), (2, 6), (4, 12)])
@pytest.mark.parametrize("speeds", [EQUAL, SPEEDS], ids=["equal", "skewed"])
def test_a_job_takes_little_longer_than_its_work_divided_by_its_places(
    make: Make, slots: int, most_loads: int, speeds: Mapping[str, float]
) -> None:
    rehearsal = rehearse(make(75 * slots, [{}] * slots, speeds=speeds), PastRun())
    assert_complete(rehearsal)
    bound = (work_s(rehearsal, speeds) / PARALLEL + sum(LOADS.values())) / slots
    assert bound <= rehearsal.seconds <= 1.05 * bound
    assert loads_of(rehearsal) <= most_loads
    assert {slot["slot"] for slot in rehearsal.snapshot["slots"] if slot["calls"]} == {f"gpu{i}" for i in range(slots)}


def test_models_share_one_slot_in_rounds_and_none_waits_for_ever(make: Make) -> None:
    """Calls of a third of a second and loads of half a one: a round is short, and the job many of them long."""
    speeds, loads = dict.fromkeys(SPEEDS, 240.0), dict.fromkeys(SPEEDS, 0.5)
    rehearsal = rehearse(make(500, [{}], speeds=speeds, loads=loads, tokens=40), PastRun())
    assert_complete(rehearsal)
    a_round = ROUND * 3 * (0.5 + LATENCY_S + 40 / 240)
    assert max(r.queued for r in rehearsal.rows) <= 2 * a_round
    assert loads_of(rehearsal) <= 3 * (rehearsal.seconds / a_round + 1)
    assert rehearsal.seconds <= 1.05 * (work_s(rehearsal, speeds) / PARALLEL)


class Seen(ProblemWindow):
    """Remembers how many problems were in flight at most."""

    peak = 0

    async def enter(self) -> None:
        await super().enter()
        Seen.peak = max(Seen.peak, self.active)


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The most problems that were in flight."""
    monkeypatch.setattr("eli5b_batch.run.engine.ProblemWindow", Seen)
    monkeypatch.setattr(Seen, "peak", 0)
    return lambda: Seen.peak


def test_slots_that_run_dry_begin_no_problems_that_only_wait_for_the_slowest(
    make: Make, peak: Callable[[], int]
) -> None:
    """One slot serves the slow model; the others could do all their work long before it."""
    speeds, load_s = {"1b": 240.0, "3b": 240.0, "8b": 10.0}, 0.2
    slow: dict[str, Any] = {"models": ["llama:8b"], "parallel": 1}
    others: list[dict[str, Any]] = [{"models": ["llama:1b", "llama:3b"]}] * 3
    rehearsal = rehearse(
        make(200, [slow, *others], speeds=speeds, loads=dict.fromkeys(speeds, load_s), tokens=50), PastRun()
    )
    assert_complete(rehearsal)
    call_s = {name: LATENCY_S + 50 / speed for name, speed in speeds.items()}
    a_round = ROUND * (call_s["8b"] + load_s + 2 * (call_s["1b"] + load_s) / 3)
    full = (2 * a_round + 4 * (0.5 + 300 / 60) + 2 * call_s["8b"]) / call_s["8b"]
    assert full / 3 <= peak() <= full < 200  # a problem has one to three calls for the slow model
    assert rehearsal.seconds <= 1.01 * work_s(rehearsal, {"8b": speeds["8b"]}) + 20


@pytest.mark.parametrize("limits", [{"concurrency": 4}, {"concurrency": 64, "requests_per_minute": 60}])
def test_a_teacher_that_is_the_slow_one_works_at_its_limit(
    make: Make, limits: Mapping[str, float], peak: Callable[[], int]
) -> None:
    rehearsal = rehearse(make(100, [{}] * 2, limits=limits, tokens=100), PastRun())
    assert_complete(rehearsal)
    sent = [s for s in rehearsal.sendings if s.provider == "api"]
    at_once_s = sum(s.ended - s.started for s in sent) / limits["concurrency"]
    bound = max(at_once_s, len(sent) * 60 / limits.get("requests_per_minute", 1e9))
    assert max(s.ended for s in sent) <= 1.02 * bound + 5
    assert rehearsal.seconds <= bound + 4 * max(LOADS.values())  # the last answers: slots hesitate to load for a few
    assert peak() <= 50


@pytest.mark.parametrize("load_s", [1.0, 20.0])
def test_a_single_student_has_all_slots(make: Make, load_s: float) -> None:
    speeds = {"1b": 240.0}
    rehearsal = rehearse(make(400, [{}] * 4, speeds=speeds, loads={"1b": load_s}), PastRun())
    assert_complete(rehearsal)
    assert rehearsal.seconds <= 1.05 * (work_s(rehearsal, speeds) / PARALLEL / 4 + load_s)
    assert loads_of(rehearsal) == 4


def test_a_teacher_on_the_slots_shares_them_with_its_student(make: Make) -> None:
    speeds = {"teacher": 120.0, "1b": 240.0}
    rehearsal = rehearse(make(200, [{}] * 4, speeds=speeds, loads=dict.fromkeys(speeds, 5.0), limits=None), PastRun())
    assert_complete(rehearsal)
    assert rehearsal.seconds <= 1.1 * (work_s(rehearsal, speeds) / PARALLEL / 4 + 10.0)
    assert loads_of(rehearsal) <= 10
