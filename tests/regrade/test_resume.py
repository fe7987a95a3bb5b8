"""Runs that are regraded and go on: nothing is asked twice, nothing is lost, no file holds two graders' verdicts."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.errors import RunFolderError
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.job.load import load_job
from eli5b_batch.regrade.explain import explained
from eli5b_batch.regrade.job_grader import JobGrader, grader_of
from eli5b_batch.regrade.regrade import bring_up_to_date, regrade
from eli5b_batch.report.results import build_results
from eli5b_batch.run.execute import execute
from eli5b_batch.run.plan import load_experiment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from eli5b_batch.progress.snapshot import Snapshot
    from eli5b_batch.run.engine import Ending

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"
MATH, NUMBER = JobGrader(GRADERS["math"]), JobGrader(GRADERS["number"])
JUDGED = ("grader=judge", "judge.model=maverick")


class Watch:
    """A display that draws nothing; interrupts the run once so many calls are answered, and keeps the last snapshot."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self._stop_after = stop_after
        self.last: Snapshot | None = None

    @asynccontextmanager
    async def __call__(self, snapshot: Callable[[], Snapshot]) -> AsyncIterator[None]:
        async def look() -> None:
            while sum(step["done"] for step in snapshot()["steps"]) < self._stop_after:  # noqa: ASYNC110 (a display looks)
                await asyncio.sleep(0.005)
            os.kill(os.getpid(), signal.SIGINT)

        task = asyncio.create_task(look())
        try:
            yield
        finally:
            task.cancel()
            self.last = snapshot()


async def run(folder: Path, *overrides: str, limit: int = 3, watch: Watch | None = None) -> Ending:
    job = load_job(QUICKSTART, overrides=overrides, limit=limit)
    display = watch or Watch()
    return await execute(
        load_experiment(job, "q"), folder, display=display, regrade=partial(bring_up_to_date, grader=grader_of(job))
    )


def grades(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "grades.jsonl").read_bytes().splitlines()]


def verdicts(folder: Path) -> dict[str, str]:
    return {row["key"]: row["verdict"] for row in grades(folder)}


def spoil(folder: Path, **changes: object) -> None:
    """Have every verdict say something else."""
    rows = [{**row, **changes} for row in grades(folder)]
    (folder / "grades.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def graders(folder: Path) -> dict[str, int]:
    return build_results(folder, ["answer"]).graders


async def test_a_finished_run_that_was_regraded_has_nothing_left_to_do(tmp_path: Path) -> None:
    await run(tmp_path)
    right = verdicts(tmp_path)
    spoil(tmp_path, verdict="no_answer", correct=False)
    assert (await regrade(tmp_path, MATH)).changed == sum(verdict != "no_answer" for verdict in right.values())
    assert verdicts(tmp_path) == right
    before = {name: (tmp_path / name).read_bytes() for name in ("calls.jsonl", "grades.jsonl", "finished.jsonl")}
    watch = Watch()
    assert (await run(tmp_path, watch=watch)).exit_code == 0
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert before["finished.jsonl"].count(b"\n") == 3
    assert watch.last is not None
    assert sum(step["replayed"] for step in watch.last["steps"]) == 42
    assert sum(arm["n"] for arm in watch.last["accuracy"]) == 30
    assert sum(arm["correct"] for arm in watch.last["accuracy"]) == list(right.values()).count("correct")


async def test_an_interrupted_run_that_was_regraded_ends_as_one_that_was_not(tmp_path: Path) -> None:
    half, whole = tmp_path / "half", tmp_path / "whole"
    assert (await run(half, watch=Watch(stop_after=20))).exit_code == 130
    asked = (half / "calls.jsonl").read_bytes()
    (half / "grades.jsonl").unlink()
    assert (await regrade(half, MATH)).added > 0
    watch = Watch()
    assert (await run(half, watch=watch)).exit_code == 0
    assert (half / "calls.jsonl").read_bytes().startswith(asked)
    assert watch.last is not None
    assert sum(step["replayed"] for step in watch.last["steps"]) == asked.count(b"\n")
    await run(whole)
    assert verdicts(half) == verdicts(whole)
    assert len(grades(half)) == 30


async def test_a_run_extended_after_a_regrade_keeps_its_answers(tmp_path: Path) -> None:
    await run(tmp_path, limit=2)
    spoil(tmp_path, verdict="incorrect", correct=False)
    await regrade(tmp_path, MATH)
    asked = (tmp_path / "calls.jsonl").read_bytes()
    assert (await run(tmp_path, limit=3)).exit_code == 0
    assert (tmp_path / "calls.jsonl").read_bytes().startswith(asked)
    assert len(verdicts(tmp_path)) == len(grades(tmp_path)) == 30


async def test_verdicts_of_an_older_version_are_made_anew_when_a_run_goes_on(tmp_path: Path) -> None:
    await run(tmp_path, limit=2)
    right = verdicts(tmp_path)
    spoil(tmp_path, verdict="no_answer", correct=False, grader="math/1")
    assert (await run(tmp_path, limit=3)).exit_code == 0
    assert graders(tmp_path) == {MATH.name: 30}
    assert right.items() <= verdicts(tmp_path).items()
    report = {row["key"] for row in map(orjson.loads, (tmp_path / "report/regraded.jsonl").read_bytes().splitlines())}
    assert report == {key for key, verdict in right.items() if verdict != "no_answer"}
    logged = [orjson.loads(line) for line in (tmp_path / "run.log").read_bytes().splitlines()]
    (event,) = [entry for entry in logged if entry["event"] == "graded again"]
    assert (event["by"], event["before"], event["changed"]) == (MATH.name, {"math/1": 20}, len(report))


async def test_the_job_decides_who_grades(tmp_path: Path) -> None:
    await run(tmp_path, limit=2)
    await run(tmp_path, "grader=number", limit=2)
    assert graders(tmp_path) == {NUMBER.name: 20}
    await regrade(tmp_path, MATH)
    await run(tmp_path, "grader=number", limit=3)
    assert graders(tmp_path) == {NUMBER.name: 30}


async def test_another_jobs_folder_is_refused_before_its_verdicts_are_touched(tmp_path: Path) -> None:
    await run(tmp_path, limit=2)
    before = (tmp_path / "grades.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match="the run folder of another job"):
        await run(tmp_path, "name=other", "grader=number", limit=2)
    assert (tmp_path / "grades.jsonl").read_bytes() == before


# --- judged runs ---------------------------------------------------------------------------------


async def test_a_judged_run_is_regraded_from_the_judgements_on_record(tmp_path: Path) -> None:
    await run(tmp_path, *JUDGED, limit=2)
    right, calls = grades(tmp_path), (tmp_path / "calls.jsonl").read_bytes()
    judged = grader_of(load_job(QUICKSTART, overrides=JUDGED))
    assert not (await regrade(tmp_path, judged)).replaced
    spoil(tmp_path, verdict="error", correct=False, rule="judge/failed", rule_grader="math/1")
    outcome = await regrade(tmp_path, judged)
    assert (outcome.changed, outcome.unjudged) == (sum(row["verdict"] != "error" for row in right), 0)
    kept = ("key", "verdict", "answer", "rule", "grader", "rule_verdict", "rule_grader")
    told = {row["key"]: [row[name] for name in kept] for row in grades(tmp_path)}
    assert told == {row["key"]: [row[name] for name in kept] for row in right}
    assert (tmp_path / "calls.jsonl").read_bytes() == calls


async def test_a_run_that_gets_a_judge_has_every_verdict_by_the_judge(tmp_path: Path) -> None:
    await run(tmp_path, limit=2)
    asked = (tmp_path / "calls.jsonl").read_bytes()
    outcome = await regrade(tmp_path, grader_of(load_job(QUICKSTART, overrides=JUDGED)))
    assert (outcome.unjudged, outcome.graded, grades(tmp_path)) == (20, 0, [])
    assert (await run(tmp_path, *JUDGED, limit=2)).exit_code == 0
    assert (tmp_path / "calls.jsonl").read_bytes().startswith(asked)
    assert graders(tmp_path) == {"judge/1": 20}
    assert (await run(tmp_path, limit=2)).exit_code == 0
    assert graders(tmp_path) == {MATH.name: 20}


async def test_what_a_judge_said_is_part_of_the_explanation(tmp_path: Path) -> None:
    judged = grader_of(load_job(QUICKSTART, overrides=JUDGED))
    await run(tmp_path, limit=1)
    key = next(iter(verdicts(tmp_path)))
    assert "now        no verdict: the judge has still to be asked; the next run of the job does" in await explained(
        tmp_path, key, judged
    )
    await run(tmp_path, *JUDGED, limit=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    lines = await explained(tmp_path, key, judged)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    told = [line for line in lines if line.startswith("maverick   with the ")]
    assert [line.split()[3] for line in told] == ["reference", "candidate"]
    assert all("first: " in line for line in told)
    (now,) = [line for line in lines if line.startswith("now        ")]
    row = next(row for row in grades(tmp_path) if row["key"] == key)
    assert now.startswith(f"now        {row['verdict']}: ")
    assert f"by {row['rule']} of judge/1" in now
    assert any(line.startswith("by rules   ") and MATH.name in line for line in lines)
