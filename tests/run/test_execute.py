"""run.py: whole runs against the simulated servers, stopped, killed, resumed, extended."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml
from rich.console import Console

from eli5b_batch.dispatch import dispatcher
from eli5b_batch.errors import BudgetError, FolderBusyError, JournalDamagedError, RunFolderError
from eli5b_batch.forecast.check import check_job
from eli5b_batch.job.load import load_job
from eli5b_batch.progress.file import read_progress, slots_used_last
from eli5b_batch.records.folder import locked, read_manifest, redo_of
from eli5b_batch.records.journal import read_records
from eli5b_batch.report.build import build_report
from eli5b_batch.report.results import build_results
from eli5b_batch.run.execute import execute
from eli5b_batch.run.plan import count_calls, load_experiment
from eli5b_batch.run.store import redo_steps, repair_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from eli5b_batch.progress.snapshot import Snapshot
    from eli5b_batch.run.engine import Ending

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"
QUICK = (
    "providers.api.limits={requests_per_minute: 600000, concurrency: 32}",
    *(f"providers.{name}.simulation.latency_s=0" for name in ("api", "gpus")),
)
"""The quickstart's servers without the waits that are there to be looked at."""


class Watch:
    """A display that draws nothing; it calls `act` once a call has been answered, and keeps the last snapshot."""

    def __init__(self, act: Callable[[], None] = lambda: None, after: int = 1) -> None:
        self._act = act
        self._after = after
        self.last: Snapshot | None = None

    @asynccontextmanager
    async def __call__(self, snapshot: Callable[[], Snapshot]) -> AsyncIterator[None]:
        async def look() -> None:
            # A look at every turn of the loop: the run is not to get to its end in between.
            while sum(step["done"] for step in snapshot()["steps"]) < self._after:  # noqa: ASYNC110
                await asyncio.sleep(0)
            self._act()

        task = asyncio.create_task(look())
        try:
            yield
        finally:
            task.cancel()
            self.last = snapshot()


async def run(folder: Path, *overrides: str, limit: int | None = 3, watch: Watch | None = None) -> Ending:
    job = load_job(QUICKSTART, overrides=[*QUICK, *overrides], limit=limit)
    return await execute(load_experiment(job, "quickstart.yaml"), folder, display=watch or Watch())


def calls(folder: Path) -> list[dict[str, Any]]:
    return list(read_records(folder / "calls.jsonl"))


def results(folder: Path) -> list[dict[str, Any]]:
    """Rows of results.jsonl without the one column that is a time."""
    build_results(folder, ["answer"], redo=redo_of(read_manifest(folder)))
    rows = [orjson.loads(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]
    return [{k: v for k, v in row.items() if k != "latency_s"} for row in rows]


async def checked(folder: Path) -> str:
    """What `check` prints."""
    console = Console(file=io.StringIO(), width=80)
    await check_job(load_experiment(load_job(QUICKSTART, overrides=QUICK, limit=3), "q"), folder, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_a_run_makes_the_calls_its_plan_counts_and_fills_its_folder(tmp_path: Path) -> None:
    watch = Watch()
    ending = await run(tmp_path / "run", watch=watch)
    job = load_job(QUICKSTART, limit=3)
    plan = await count_calls(load_experiment(job, "quickstart.yaml"))
    made = Counter((record["step"], record["model"]) for record in calls(tmp_path / "run"))
    assert made == plan.total
    assert (ending.exit_code, ending.calls, ending.of_calls, ending.reason) == (0, 42, 42, None)
    assert watch.last is not None
    assert watch.last["state"] == "done"
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {
        "job.yaml",
        "manifest.json",
        "calls.jsonl",
        "grades.jsonl",
        "progress.json",
        "run.log",
    }
    manifest = orjson.loads((tmp_path / "run" / "manifest.json").read_bytes())
    assert manifest["simulated"] is True
    assert manifest["expected_answers"] == plan.graded == 30
    assert manifest["models"]["1b"]["quantization"] == "Q8_0"
    assert yaml.safe_load((tmp_path / "run" / "job.yaml").read_text())["params"]["teacher"] == "maverick"
    assert all(record["simulated"] and "SIMULATED" in record["reply"]["text"] for record in calls(tmp_path / "run"))
    assert len(results(tmp_path / "run")) == 30


async def test_a_finished_run_run_again_makes_no_call(tmp_path: Path) -> None:
    await run(tmp_path)
    before = (tmp_path / "calls.jsonl").read_bytes()
    grades = (tmp_path / "grades.jsonl").read_bytes()
    watch = Watch()
    ending = await run(tmp_path, watch=watch)
    assert ending.exit_code == 0
    assert (tmp_path / "calls.jsonl").read_bytes() == before
    assert (tmp_path / "grades.jsonl").read_bytes() == grades
    assert watch.last is not None
    assert sum(step["replayed"] for step in watch.last["steps"]) == 42
    assert watch.last["slots"] == []
    slots = slots_used_last(read_progress(tmp_path))
    assert sum(slot["calls"] for slot in slots) == sum(r["slot"] is not None for r in calls(tmp_path)) > 0


async def test_an_interrupted_run_drains_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    stop = Watch(lambda: os.kill(os.getpid(), signal.SIGINT), after=10)
    ending = await run(tmp_path / "a", watch=stop)
    assert ending.exit_code == 130
    assert ending.reason is not None
    assert 10 <= ending.calls < 42
    answered = {record["key"] for record in calls(tmp_path / "a")}
    assert len(answered) == ending.calls
    ending = await run(tmp_path / "a")
    assert (ending.exit_code, ending.calls) == (0, 42)
    assert max(Counter(record["key"] for record in calls(tmp_path / "a")).values()) == 1
    await run(tmp_path / "b")
    assert results(tmp_path / "a") == results(tmp_path / "b")


async def test_sigterm_gives_calls_in_flight_only_so_long(tmp_path: Path) -> None:
    job = load_job(
        QUICKSTART,
        overrides=["providers.gpus.simulation.latency_s=60", "providers.api.simulation.latency_s=0"],
        limit=3,
    )
    stop = Watch(lambda: os.kill(os.getpid(), signal.SIGTERM))
    ending = await execute(load_experiment(job, "q"), tmp_path, display=stop, grace_s=0.05)
    assert ending.exit_code == 143


async def test_a_run_killed_again_and_again_ends_as_if_it_never_was(tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    overrides = [part for text in (*QUICK, "providers.gpus.simulation.latency_s=0.1") for part in ("--set", text)]
    command = [sys.executable, "-m", "eli5b_batch", str(QUICKSTART), "--limit", "6", "--output", str(killed)]
    command += overrides
    for least in (5, 25):
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(read_whole_lines(killed)) < least:
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
    assert len(read_whole_lines(killed)) < 84
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert b"SIMULATED" in output
    await run(tmp_path / "whole", limit=6)
    keys = Counter(record["key"] for record in calls(killed))
    assert set(keys.values()) == {1}
    assert keys == Counter(record["key"] for record in calls(tmp_path / "whole"))
    assert results(killed) == results(tmp_path / "whole")


def read_whole_lines(folder: Path) -> list[bytes]:
    path = folder / "calls.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


async def test_faults_on_the_way_change_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "_BACKOFF_S", 0.01)
    faults = [
        f"providers.{provider}.simulation.{rate}=0.1"
        for provider in ("api", "gpus")
        for rate in ("error_rate", "drop_rate", "garbage_rate")
    ] + ["providers.api.attempts=20", "providers.gpus.attempts=20"]
    assert (await run(tmp_path / "rough", *faults)).exit_code == 0
    assert (await run(tmp_path / "smooth")).exit_code == 0
    assert results(tmp_path / "rough") == results(tmp_path / "smooth")
    assert max(record["timing"]["attempts"] for record in calls(tmp_path / "rough")) > 1


async def test_failed_records_stay_in_the_denominator_and_are_tried_again(tmp_path: Path) -> None:
    generic = "params.hints=[none, generic]"  # 3 hints: more that fail alike would stop the run
    ending = await run(tmp_path, generic, "providers.api.simulation.empty_rate=1.0")
    assert ending.exit_code == 3
    rows = results(tmp_path)
    assert len(rows) == 21
    failed = [row for row in rows if row["verdict"] == "failed"]
    assert {row["hint"] for row in failed if row["model"] != "maverick"} == {"generic"}
    assert Counter(row["error"] for row in failed) == {"upstream": 9, "empty_reply": 3}
    assert not any(row["correct"] for row in failed)
    assert (await run(tmp_path, generic)).exit_code == 0
    assert not [row for row in results(tmp_path) if row["verdict"] == "failed"]


async def test_a_run_whose_hints_all_come_empty_stops_and_goes_on_when_they_do_not(tmp_path: Path) -> None:
    ending = await run(tmp_path, "providers.api.simulation.empty_rate=1.0", limit=12)
    assert ending.exit_code == 5
    assert ending.reason is not None
    assert "calls of step hint to maverick failed alike" in ending.reason
    hints = [record for record in calls(tmp_path) if record["step"] == "hint"]
    assert len({record["key"] for record in hints}) < 36
    assert (await run(tmp_path, limit=12)).exit_code == 0


async def test_extending_a_job_asks_only_for_what_is_new(tmp_path: Path) -> None:
    await run(tmp_path, "params.students=[1b]", limit=2)
    before = calls(tmp_path)
    ending = await run(tmp_path, limit=3)
    assert ending.exit_code == 0
    after = calls(tmp_path)
    assert after[: len(before)] == before
    assert len(after) == len({record["key"] for record in after}) == 42


async def test_changed_sampling_is_refused_with_the_difference(tmp_path: Path) -> None:
    await run(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("job.yaml", "manifest.json", "calls.jsonl")]
    ending = await run(tmp_path, "models.1b.sampling.temperature=0.1")
    assert ending.exit_code == 2
    assert ending.reason is not None
    assert "sampling.temperature: 0.7 on record, 0.1 now" in ending.reason
    after = [(tmp_path / name).read_bytes() for name in ("job.yaml", "manifest.json", "calls.jsonl")]
    assert after == before


async def test_a_budget_stops_the_run_below_its_cap_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    ending = await run(tmp_path, "budget={usd: 0.003}")
    assert ending.exit_code == BudgetError.exit_code
    assert 0 < sum(record["cost_usd"] for record in calls(tmp_path)) <= 0.003
    assert (await run(tmp_path, "budget={usd: 1}")).exit_code == 0


async def test_the_folder_of_another_job_is_refused(tmp_path: Path) -> None:
    await run(tmp_path)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir())
    with pytest.raises(RunFolderError, match=r"run folder of another job.*quickstart there, other here"):
        await run(tmp_path, "name=other")
    assert sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir()) == before


async def test_a_second_writer_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    await run(tmp_path)
    with locked(tmp_path), pytest.raises(FolderBusyError, match=f"process {os.getpid()}"):
        await run(tmp_path)


async def test_the_lock_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    await run(tmp_path)
    (tmp_path / ".lock").touch()
    (tmp_path / ".lock.pid").write_text("999999")
    assert (await run(tmp_path)).exit_code == 0


async def test_an_unexpected_error_is_said_logged_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = load_job(QUICKSTART, limit=2)
    experiment = load_experiment(job, "q")
    real = experiment.protocol.run
    count = [0]

    async def broken(*args: Any) -> None:  # noqa: ANN401 (passed on)
        count[0] += 1
        if count[0] > 3:  # the first two are counted by the plan
            raise ZeroDivisionError("a bug")
        await real(*args)

    monkeypatch.setattr(experiment.protocol, "run", broken)
    ending = await execute(experiment, tmp_path, display=Watch())
    assert ending.exit_code == 1
    assert ending.reason is not None
    assert "ZeroDivisionError" in ending.reason
    assert "Traceback" in (tmp_path / "run.log").read_text()


async def test_grades_lost_with_a_file_are_made_again_without_a_call(tmp_path: Path) -> None:
    await run(tmp_path)
    before, rows = (tmp_path / "calls.jsonl").read_bytes(), results(tmp_path)
    (tmp_path / "grades.jsonl").unlink()
    assert (await run(tmp_path)).exit_code == 0
    assert (tmp_path / "calls.jsonl").read_bytes() == before
    assert results(tmp_path) == rows


@pytest.mark.parametrize("cross_match", ["false", "true"])
async def test_every_condition_comes_to_an_end(tmp_path: Path, cross_match: str) -> None:
    ending = await run(
        tmp_path,
        "params.hints=[none, generic, tailored, tailored_any, rewritten, placebo]",
        f"params.cross_match={cross_match}",
        "params.samples=2",
        "params.teacher_sees=solution",
    )
    assert ending.exit_code == 0
    assert ending.calls == ending.of_calls


async def test_a_run_given_only_so_long_stops_by_itself_and_goes_on_later(tmp_path: Path) -> None:
    slow = "providers.gpus.simulation.latency_s=0.3"
    job = load_job(QUICKSTART, overrides=[slow], limit=6)
    ending = await execute(load_experiment(job, "q"), tmp_path, display=Watch(), stop_after_s=0.1)
    assert (ending.exit_code, ending.calls < 84) == (130, True)
    assert ending.reason is not None
    assert "--stop-after" in ending.reason
    assert (await run(tmp_path, limit=6)).exit_code == 0


async def test_a_damaged_line_stops_the_run_and_repair_sets_it_aside(tmp_path: Path) -> None:
    await run(tmp_path)
    rows = results(tmp_path)
    path = tmp_path / "calls.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], b"damaged\n", *lines[6:]]))
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl:6: this line is damaged.*--repair"):
        await run(tmp_path)
    assert repair_run(tmp_path) == 1
    assert (tmp_path / "calls.jsonl.damaged").read_bytes() == b"damaged\n"
    ending = await run(tmp_path)
    assert (ending.exit_code, ending.calls) == (0, 42)
    assert len(calls(tmp_path)) == 42
    assert results(tmp_path) == rows
    assert repair_run(tmp_path) == 0


async def test_what_a_killed_start_may_have_spent_counts_against_the_budget(tmp_path: Path) -> None:
    await run(tmp_path, "budget={usd: 0.01}")
    (tmp_path / "spending.jsonl").write_bytes((tmp_path / "spending.jsonl").read_bytes() + b'{"reserved":0.9}\n')
    ending = await run(tmp_path, "budget={usd: 0.5}", limit=4)
    assert ending.exit_code == BudgetError.exit_code
    assert ending.reason is not None
    assert "$0.9000 more may have been billed" in ending.reason


async def test_a_model_id_without_a_tag_runs_on_simulated_slots(tmp_path: Path) -> None:
    assert (await run(tmp_path, "models.1b.model=llama3.2", "providers.gpus.slots=[{gpu: 0}]")).exit_code == 0


async def test_redo_asks_a_step_again_keeps_the_old_records_and_counts_the_newest(tmp_path: Path) -> None:
    await run(tmp_path)
    before = calls(tmp_path)
    colder = "models.1b.sampling.temperature=0.1"
    assert "--redo answer" in str((await run(tmp_path, colder)).reason)
    experiment = load_experiment(load_job(QUICKSTART, overrides=[colder], limit=3), "q")
    assert redo_steps(tmp_path, experiment, ["answer"]) == ["answer"]
    ending = await run(tmp_path, colder, watch=Watch(lambda: os.kill(os.getpid(), signal.SIGINT), after=20))
    assert ending.exit_code == 130
    assert redo_steps(tmp_path, experiment, ["answer"]) == []
    ending = await run(tmp_path, colder)
    assert (ending.exit_code, ending.calls) == (0, 42)
    after = calls(tmp_path)
    assert after[: len(before)] == before
    again = Counter(record["key"] for record in after[len(before) :])
    assert set(again.values()) == {1}
    assert set(again) == {record["key"] for record in before if record["step"] == "answer"}
    newest = {r["key"]: r for r in after if r["step"] == "answer" and r["model"] == "1b"}
    assert all(r["request"]["sampling"]["temperature"] == 0.1 for r in newest.values())
    assert len(results(tmp_path)) == 30
    await run(tmp_path / "fresh", colder)
    assert results(tmp_path) == results(tmp_path / "fresh")
    assert redo_steps(tmp_path, experiment, ["answer"]) == ["answer"]
    with pytest.raises(RunFolderError, match="no such step; its steps are: answer, hint"):
        redo_steps(tmp_path, experiment, ["answr"])


async def test_check_says_what_the_next_run_asks_after_a_redo(tmp_path: Path) -> None:
    await run(tmp_path)
    experiment = load_experiment(load_job(QUICKSTART, overrides=QUICK, limit=3), "q")
    redo_steps(tmp_path, experiment, ["hint"])
    lines = await checked(tmp_path)
    assert "42 calls, up to 30 of them still to make" in lines
    assert "18 of them have an answer on record, built on a reply that is still to be asked for" in lines
    before = len(calls(tmp_path))
    await run(tmp_path)
    assert len(calls(tmp_path)) == before + 12  # the simulated teacher writes the same hints again
    assert "42 calls, 0 of them still to make" in await checked(tmp_path)
    redo_steps(tmp_path, experiment, ["answer"])
    assert "42 calls, 30 of them still to make" in await checked(tmp_path)


async def test_check_knows_which_answers_are_built_on_a_hint_that_came_back_another(tmp_path: Path) -> None:
    await run(tmp_path)
    generic, tailored = (
        next(r for r in calls(tmp_path) if r["step"] == "hint" and r["hint"] == hint)
        for hint in ("generic", "tailored")
    )
    generic["reply"]["text"] = "Another hint."
    with (tmp_path / "calls.jsonl").open("ab") as file:
        file.writelines(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in (generic, tailored))
    for derived in ("finished.jsonl", "checkpoint.json"):
        (tmp_path / derived).unlink()
    assert "42 calls, 3 of them still to make" in await checked(tmp_path)
    before = len(calls(tmp_path))
    await run(tmp_path)
    again = calls(tmp_path)[before:]
    assert [(r["step"], r["hint"], r["problem"]) for r in again] == [("answer", "generic", generic["problem"])] * 3


async def test_answers_whose_call_fails_after_a_redo_count_as_wrong(tmp_path: Path) -> None:
    await run(tmp_path)
    experiment = load_experiment(load_job(QUICKSTART, overrides=QUICK, limit=3), "q")
    redo_steps(tmp_path, experiment, ["answer"])
    await run(tmp_path, "providers.gpus.simulation.error_rate=1", "providers.gpus.attempts=1")
    assert Counter((row["verdict"] == "failed", row["model"]) for row in results(tmp_path)) == {
        (False, "maverick"): 3, (True, "1b"): 9, (True, "3b"): 9, (True, "8b"): 9,
    }  # fmt: skip
    summary = build_report(tmp_path).summary
    assert (summary["complete"], sum(row["failed"] for row in summary["spending"]["by_step"])) == (True, 27)
    assert summary["answers"]["verdicts_without_a_call"] == 0


async def test_redo_asks_another_model_under_the_same_name(tmp_path: Path) -> None:
    await run(tmp_path)
    other = "models.8b.model=qwen2.5:7b"
    assert "--redo answer" in str((await run(tmp_path, other)).reason)
    experiment = load_experiment(load_job(QUICKSTART, overrides=[other], limit=3), "q")
    assert redo_steps(tmp_path, experiment, ["answer"]) == ["answer"]
    # The hints of quickstart say for whom they are: they are asked again as well.
    redo_steps(tmp_path, experiment, ["hint"])
    assert (await run(tmp_path, other)).exit_code == 0
    newest = {r["key"]: r for r in calls(tmp_path) if r["step"] == "answer" and r["model"] == "8b"}
    assert {r["request"]["model"] for r in newest.values()} == {"qwen2.5:7b"}


async def test_hints_asked_again_have_the_answers_built_on_them_asked_again_once_whatever_is_killed(
    tmp_path: Path,
) -> None:
    await run(tmp_path)
    before = calls(tmp_path)
    other = "providers.api.simulation.seed=5"  # the teacher writes other hints
    experiment = load_experiment(load_job(QUICKSTART, overrides=[other], limit=3), "q")
    assert redo_steps(tmp_path, experiment, ["hint"]) == ["hint"]
    ending = await run(tmp_path, other, watch=Watch(lambda: os.kill(os.getpid(), signal.SIGINT), after=5))
    assert ending.exit_code == 130
    assert redo_steps(tmp_path, experiment, ["hint"]) == []
    assert (await run(tmp_path, other)).exit_code == 0
    again = Counter(record["key"] for record in calls(tmp_path)[len(before) :])
    assert set(again.values()) == {1}
    assert set(again) == {record["key"] for record in before if "|hint:none|" not in record["key"]}
    await run(tmp_path / "fresh", other)
    ours, fresh = (
        [row for row in results(path) if row["model"] != "maverick"] for path in (tmp_path, tmp_path / "fresh")
    )
    assert ours == fresh
    assert redo_steps(tmp_path, experiment, ["hint"]) == ["hint"]


async def test_repair_after_redo_asks_nothing_again_that_counts(tmp_path: Path) -> None:
    await run(tmp_path)
    experiment = load_experiment(load_job(QUICKSTART, limit=3), "q")
    redo_steps(tmp_path, experiment, ["hint"])
    await run(tmp_path)
    journal = tmp_path / "calls.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*(b"#" * (len(line) - 1) + b"\n" for line in lines[:4]), *lines[4:]]))
    assert repair_run(tmp_path) == 4
    left = len(calls(tmp_path))
    assert (await run(tmp_path)).exit_code == 0
    lost = {orjson.loads(line)["key"] for line in lines[:4]} - {orjson.loads(line)["key"] for line in lines[4:]}
    assert len(calls(tmp_path)) == left + len(lost)


@pytest.mark.parametrize("lost", ["finished.jsonl", "checkpoint.json", "grades.jsonl", "progress.json", "job.yaml"])
async def test_a_lost_derived_file_costs_no_call(tmp_path: Path, lost: str) -> None:
    await run(tmp_path)
    before, rows = (tmp_path / "calls.jsonl").read_bytes(), results(tmp_path)
    (tmp_path / lost).unlink()
    assert (await run(tmp_path, "window=1")).exit_code == 0
    assert (tmp_path / "calls.jsonl").read_bytes() == before
    assert results(tmp_path) == rows


async def test_a_shrunk_job_that_asks_for_more_tells_how_far_it_is(tmp_path: Path) -> None:
    await run(tmp_path, limit=6)
    watch = Watch(lambda: os.kill(os.getpid(), signal.SIGINT), after=30)
    ending = await run(tmp_path, "params.samples=4", "window=1", limit=2, watch=watch)
    assert ending.exit_code == 130
    assert ending.calls < ending.of_calls == 2 * (4 + 1 + 9 * 4)


async def test_with_calls_left_for_an_api_only_as_many_problems_are_begun_as_it_has_places(tmp_path: Path) -> None:
    """The slots of the job have nothing left to do, and so can't say that they want more."""
    await run(tmp_path, "params.teacher_alone=false", limit=None)
    before = len(calls(tmp_path))
    watch = Watch()
    await run(tmp_path, "params.teacher_alone=true", limit=None, watch=watch)
    assert len(calls(tmp_path)) > before
    last = orjson.loads((tmp_path / "progress.json").read_bytes())
    assert last["problems"]["window"] == load_job(QUICKSTART).places > 8
