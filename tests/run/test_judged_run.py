"""Whole runs whose answers a simulated judge grades: counted, stopped, killed, redone, reported."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.forecast.past import PastRun
from eli5b_batch.forecast.rehearsal import rehearse
from eli5b_batch.job.load import load_job
from eli5b_batch.records.journal import read_records
from eli5b_batch.regrade.job_grader import grader_of
from eli5b_batch.regrade.regrade import bring_up_to_date, regrade
from eli5b_batch.report.build import build_report
from eli5b_batch.run.execute import execute
from eli5b_batch.run.plan import count_calls, load_experiment
from eli5b_batch.run.store import redo_steps

if TYPE_CHECKING:
    from eli5b_batch.run.engine import Ending
    from eli5b_batch.run.plan import Experiment

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"
JUDGED = (
    "grader=judge",
    "judge={model: judge}",
    "providers.bench={api: simulated, limits: {requests_per_minute: 600000, concurrency: 32}}",
    "providers.api.limits={requests_per_minute: 600000, concurrency: 32}",
    *(f"providers.{name}.simulation.latency_s=0" for name in ("api", "gpus", "bench")),
    "models.judge={provider: bench, model: big-70b, price: {input: 1, output: 1, as_of: 2026-03-01}}",
    "models.judge.sampling={temperature: 0}",
    "params.students=[1b, 8b]",
)
CALLS = 3 * (3 + 7)  # 3 problems: hints (generic, for 1b, for 8b) and answers (the teacher's, 2 x 3)
JUDGEMENTS = 3 * 7 * 2


def experiment(*overrides: str, limit: int | None = 3) -> Experiment:
    return load_experiment(load_job(QUICKSTART, overrides=[*JUDGED, *overrides], limit=limit), "quickstart.yaml")


async def run(folder: Path, *overrides: str, limit: int | None = 3) -> Ending:
    judged = experiment(*overrides, limit=limit)
    regrade = partial(bring_up_to_date, grader=grader_of(judged.job))
    return await execute(judged, folder, display=lambda _: nullcontext(), regrade=regrade)


def calls(folder: Path, step: str | None = None) -> list[dict[str, Any]]:
    return [r for r in read_records(folder / "calls.jsonl") if step in (None, r["step"])]


def grades(folder: Path) -> dict[str, dict[str, Any]]:
    """The verdicts that count, without their times."""
    rows = map(orjson.loads, (folder / "grades.jsonl").read_bytes().splitlines())
    return {row["key"]: {name: value for name, value in row.items() if name != "seconds"} for row in rows}


async def test_every_judgement_is_a_call_that_was_counted_and_every_verdict_is_the_judges(tmp_path: Path) -> None:
    ending = await run(tmp_path)
    assert (ending.exit_code, ending.calls, ending.of_calls) == (0, CALLS + JUDGEMENTS, CALLS + JUDGEMENTS)
    plan = await count_calls(experiment())
    assert Counter((record["step"], record["model"]) for record in calls(tmp_path)) == plan.total
    assert list(plan.total)[-1] == ("judge", "judge")
    assert plan.graded == 21
    rows = grades(tmp_path)
    assert set(rows) == {record["key"] for record in calls(tmp_path, "answer")}
    assert {row["grader"] for row in rows.values()} == {"judge/1"}
    assert {row["rule_grader"].partition("/")[0] for row in rows.values()} == {"math"}
    assert all(row["rule"].startswith("judge/") for row in rows.values())
    assert {row["rule_verdict"] for row in rows.values()} <= {"correct", "incorrect", "no_answer"}
    judged = calls(tmp_path, "judge")
    assert {(r["first"], r["judged_step"]) for r in judged} == {("reference", "answer"), ("candidate", "answer")}
    assert all("SIMULATED judgement" in record["reply"]["text"] for record in judged)
    assert sum(record["cost_usd"] for record in judged) > 0
    before = [(tmp_path / name).read_bytes() for name in ("calls.jsonl", "grades.jsonl")]
    assert (await run(tmp_path)).exit_code == 0
    assert [(tmp_path / name).read_bytes() for name in ("calls.jsonl", "grades.jsonl")] == before


async def test_the_report_says_how_far_judge_and_rules_agree(tmp_path: Path) -> None:
    await run(tmp_path, "params.samples=3", limit=8)
    summary = build_report(tmp_path).summary
    rows = grades(tmp_path).values()
    figures = summary["judging"]["all"]
    verdicts = [row for row in rows if row["verdict"] != "error"]
    agreeing = [row for row in verdicts if row["correct"] == (row["rule_verdict"] == "correct")]
    assert (figures["judged"], figures["compared"]) == (len(rows), len(verdicts))
    assert figures["agreement"] == pytest.approx(len(agreeing) / len(verdicts))
    assert 0.85 < figures["agreement"] < 1
    assert 0.6 < figures["kappa"] < figures["agreement"]
    assert figures["orders_disagree"] == sum(row["rule"] == "judge/orders_disagree" for row in rows) > 0
    assert sum(arm["judged"] for arm in summary["judging"]["arms"]) == len(rows)
    assert any(note.startswith("The verdicts are those of a judge, the model judge.") for note in summary["notes"])
    page = (tmp_path / "report" / "summary.md").read_text()
    assert "## The judge beside the rules" in page
    row = orjson.loads((tmp_path / "results.jsonl").read_bytes().splitlines()[0])
    assert {"verdict", "correct", "answer", "gold", "rule", "rule_verdict"} <= row.keys()


async def test_a_judged_run_that_was_killed_ends_as_if_it_never_was(tmp_path: Path) -> None:
    overrides = [part for text in (*JUDGED, "providers.bench.simulation.latency_s=0.3") for part in ("--set", text)]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "eli5b_batch", str(QUICKSTART), "--limit", "3", "--output", str(killed)]
    command += overrides
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(b"|judge|" in line for line in whole_lines(killed)):
        assert process.returncode is None
        await asyncio.sleep(0.01)
    process.kill()
    await process.wait()
    assert 0 < len(calls(killed)) < CALLS + JUDGEMENTS
    assert (await run(killed)).exit_code == 0
    await run(whole)
    keys = Counter(record["key"] for record in calls(killed))
    assert set(keys.values()) == {1}
    assert keys == Counter(record["key"] for record in calls(whole))
    assert grades(killed) == grades(whole)


def whole_lines(folder: Path) -> list[bytes]:
    path = folder / "calls.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


async def test_a_budget_covers_the_judge(tmp_path: Path) -> None:
    ending = await run(tmp_path, "budget={usd: 0.02}")
    assert ending.exit_code == 4
    spent = sum(record["cost_usd"] for record in calls(tmp_path))
    assert 0.01 < spent <= 0.02
    assert 0 < len(calls(tmp_path, "judge")) < JUDGEMENTS
    assert (await run(tmp_path, "budget={usd: 5}")).exit_code == 0
    assert len(calls(tmp_path)) == CALLS + JUDGEMENTS
    assert len(grades(tmp_path)) == 21


async def test_redo_asks_the_judge_again_and_nobody_else(tmp_path: Path) -> None:
    await run(tmp_path)
    before, verdicts = calls(tmp_path), grades(tmp_path)
    assert redo_steps(tmp_path, experiment(), ["judge"]) == ["judge"]
    assert (await run(tmp_path)).exit_code == 0
    again = calls(tmp_path)[len(before) :]
    assert Counter(record["step"] for record in again) == {"judge": JUDGEMENTS}
    assert grades(tmp_path) == verdicts


async def test_an_answer_that_comes_out_the_same_when_it_is_redone_keeps_its_judgements(tmp_path: Path) -> None:
    await run(tmp_path)
    verdicts = grades(tmp_path)
    redo_steps(tmp_path, experiment(), ["answer"])
    before = len(calls(tmp_path))
    assert (await run(tmp_path)).exit_code == 0
    assert Counter(record["step"] for record in calls(tmp_path)[before:]) == {"answer": 21}
    assert grades(tmp_path) == verdicts
    (tmp_path / "grades.jsonl").unlink()
    outcome = await regrade(tmp_path, grader_of(experiment().job))
    assert (outcome.unjudged, grades(tmp_path)) == (0, verdicts)


async def test_answers_that_are_redone_and_differ_are_judged_again(tmp_path: Path) -> None:
    await run(tmp_path)
    other = "models.1b.sampling.temperature=0.1"
    redo_steps(tmp_path, experiment(other), ["answer"])
    before = len(calls(tmp_path))
    assert (await run(tmp_path, other)).exit_code == 0
    again = Counter((record["step"], record.get("judged")) for record in calls(tmp_path)[before:])
    assert again == {("answer", None): 21, ("judge", "1b"): 18}
    await run(tmp_path / "fresh", other)
    assert grades(tmp_path) == grades(tmp_path / "fresh")


async def test_another_judge_is_refused_until_its_step_is_redone(tmp_path: Path) -> None:
    await run(tmp_path)
    other = "models.judge.sampling.temperature=1"
    ending = await run(tmp_path, other)
    assert ending.exit_code == 2
    assert ending.reason is not None
    assert ending.reason.endswith("ask again what changed: --redo judge")
    redo_steps(tmp_path, experiment(other), ["judge"])
    assert (await run(tmp_path, other)).exit_code == 0


async def test_judgements_that_failed_are_errors_and_are_made_again_by_the_next_start(tmp_path: Path) -> None:
    ending = await run(tmp_path, "providers.bench.simulation.empty_rate=0.5")
    assert ending.exit_code == 3
    rows = grades(tmp_path)
    errors = [row for row in rows.values() if row["verdict"] == "error"]
    assert 0 < len(errors) < len(rows) == 21
    assert {row["rule"] for row in errors} <= {"judge/failed", "judge/unreadable"}
    assert sum(row["rule"] == "judge/failed" for row in errors) > 5
    before = len(calls(tmp_path))
    assert (await run(tmp_path)).exit_code == 0
    assert {record["step"] for record in calls(tmp_path)[before:]} == {"judge"}
    assert not [row for row in grades(tmp_path).values() if row["rule"] == "judge/failed"]
    await run(tmp_path / "smooth")
    assert grades(tmp_path) == grades(tmp_path / "smooth")


async def test_answers_that_failed_are_not_judged_until_they_are_there(tmp_path: Path) -> None:
    ending = await run(tmp_path, "providers.api.simulation.empty_rate=0.5")
    assert (ending.exit_code, ending.calls) == (3, CALLS + JUDGEMENTS)
    failed = {r["key"] for r in calls(tmp_path, "answer") if r["status"] == "error"}
    judged = [r for r in calls(tmp_path, "judge") if r["error"] and r["error"]["class"] == "upstream"]
    assert len(judged) == 2 * len(failed) > 0
    rows = grades(tmp_path)
    assert {key for key, row in rows.items() if row["verdict"] == "failed"} == failed
    assert (await run(tmp_path)).exit_code == 0
    await run(tmp_path / "smooth")
    assert grades(tmp_path) == grades(tmp_path / "smooth")


async def test_a_run_graded_by_rules_is_judged_later_and_by_rules_again(tmp_path: Path) -> None:
    rules = ["grader=math", "judge=null"]
    await run(tmp_path, *rules)
    by_rules = grades(tmp_path)
    assert len(calls(tmp_path)) == CALLS
    assert (await run(tmp_path)).exit_code == 0
    assert Counter(r["step"] for r in calls(tmp_path)[CALLS:]) == {"judge": JUDGEMENTS}
    assert {row["grader"] for row in grades(tmp_path).values()} == {"judge/1"}
    assert (await run(tmp_path, *rules)).exit_code == 0
    assert len(calls(tmp_path)) == CALLS + JUDGEMENTS
    again = grades(tmp_path)
    assert {key: (row["verdict"], row["grader"]) for key, row in again.items()} == {
        key: (row["verdict"], row["grader"]) for key, row in by_rules.items()
    }


async def test_a_run_that_gets_another_judge_holds_no_verdict_of_the_first(tmp_path: Path) -> None:
    await run(tmp_path)
    second = "models.second={provider: bench, model: other-70b, price: {input: 1, output: 1, as_of: 2026-03-01}}"
    chosen = (second, "judge={model: second}")
    assert (await run(tmp_path, *chosen)).exit_code == 0
    assert Counter(record["model"] for record in calls(tmp_path, "judge")) == {"judge": 42, "second": 42}
    await run(tmp_path / "fresh", *chosen)
    assert grades(tmp_path) == grades(tmp_path / "fresh")


async def test_a_run_can_be_graded_by_the_final_number(tmp_path: Path) -> None:
    numbers = ["grader=number", "judge=null"]
    assert (await run(tmp_path, *numbers, limit=1)).exit_code == 0
    rows = grades(tmp_path).values()
    assert {row["grader"].partition("/")[0] for row in rows} == {"number"}
    assert {row["rule"] for row in rows} <= {"boxed/rational", "none"}


async def test_one_order_asks_half(tmp_path: Path) -> None:
    assert (await run(tmp_path, "judge.orders=one")).exit_code == 0
    assert {record["first"] for record in calls(tmp_path, "judge")} == {"reference"}
    assert len(calls(tmp_path, "judge")) == JUDGEMENTS // 2
    assert (await run(tmp_path)).exit_code == 0
    assert len(calls(tmp_path, "judge")) == JUDGEMENTS
    await run(tmp_path / "both")
    assert grades(tmp_path) == grades(tmp_path / "both")


def test_a_rehearsal_judges_too() -> None:
    steps = Counter(row.step for row in rehearse(experiment(), PastRun()).rows)
    assert steps == {"hint": 9, "answer": 21, "judge": JUDGEMENTS}
