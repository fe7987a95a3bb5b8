"""How long `regrade` takes for a large run, and in how much memory.

    python scripts/bench/regrade.py data/omni_math_rule.jsonl --answers 25000 --rounds 3

Builds a run folder with so many answers to the problems of the file: replies of about 3 kB that end in the gold answer,
in another spelling of it, in a wrong one, or in none. Then everything is graded again by the ordinary command, first
over verdicts of an older version, then over its own, and wall time and peak memory are measured: of the command itself
(RSS), and of it and its workers together (PSS, sampled).
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
import psutil  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from eli5b_batch.grading.verdict import Verdict
from eli5b_batch.job.load import load_job
from eli5b_batch.records import make_key
from eli5b_batch.records.grades import row_of
from eli5b_batch.run.manifest import write_manifest
from eli5b_batch.run.plan import Plan, load_experiment
from stage import QUICKSTART

if TYPE_CHECKING:
    from eli5b_batch.data.problem import Problem

TEXT: Final = "Let $x$ be the number we look for; the first condition says that $x^2 - 3x + 2 = 0$ is even. " * 30
OLD: Final = Verdict("incorrect", "7", "boxed/text", 0.0001)


def reply(gold: str, kind: int) -> str:
    """What a model may say to a problem with this gold answer."""
    spelt = gold.replace(r"\frac", r"\dfrac").replace(r"\cdot", r"\times ")
    ends = (
        rf"\boxed{{{gold}}}",
        rf"So \boxed{{{spelt}}}.",
        f"**Final answer:** ${gold}$",
        rf"\boxed{{{gold} + 1}}",
        "?",
    )
    return f"{TEXT}\n{ends[kind % len(ends)]}"


def build(folder: Path, data: Path, answers: int) -> None:
    """Write a run folder, line by line."""
    job = load_job(QUICKSTART, overrides=[f"data={{reader: omni_math, path: {data.resolve()}}}"])
    experiment = load_experiment(job, "bench")
    folder.mkdir(parents=True)
    write_manifest(folder, experiment, Plan(graded=answers), {}, dt.datetime.now(dt.UTC))
    problems = experiment.problems.selected
    with (folder / "calls.jsonl").open("wb") as calls, (folder / "grades.jsonl").open("wb") as grades:
        for n in range(answers):
            problem: Problem = problems[n % len(problems)]
            tags: dict[str, str | int] = {"hint": "none", "hint_for": "any", "sample": n // len(problems)}
            key = make_key(problem.id, "answer", "1b", tags)
            record = {
                "key": key,
                "status": "ok",
                "request_hash": "0" * 16,
                "cost_usd": 0.0,
                "request": {"messages": [{"role": "user", "content": problem.text}]},
                "reply": {"text": reply(problem.answer, n // len(problems) + n), "finish_reason": "stop"},
            }
            calls.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            grade = row_of(key, problem.answer, OLD, "math/0")
            grades.write(orjson.dumps(grade, option=orjson.OPT_APPEND_NEWLINE))


def measure(folder: Path) -> tuple[float, float, float]:
    """Seconds, peak RSS of the command and peak PSS of it and its workers, in MB; its lines go to stdout."""
    command = [sys.executable, "-m", "eli5b_batch", "regrade", str(folder)]
    started, own, together = time.perf_counter(), 0.0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own command)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                own = max(own, watched.memory_info().rss)
                family = [watched, *watched.children(recursive=True)]
                together = max(together, sum(one.memory_full_info().pss for one in family))
            except psutil.Error:  # a process has just left
                pass
            time.sleep(0.25)
        assert process.stdout is not None
        print(process.stdout.readline().rstrip().partition(": ")[2], flush=True)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - started, own / 1e6, together / 1e6


def main() -> None:
    """Build, then measure round after round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--answers", type=int, default=25_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        build(folder, options.data, options.answers)
        size = (folder / "calls.jsonl").stat().st_size / 1e6
        print(f"{options.answers:,} answers, {size:.0f} MB of calls, {len(os.sched_getaffinity(0))} cores", flush=True)
        for number in range(options.rounds):
            seconds, own, together = measure(folder)
            print(f"round {number + 1}: {seconds:.1f} s; peak {own:.0f} MB, with workers {together:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
