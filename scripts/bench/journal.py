"""How fast and in how much memory a run with a large journal resumes.

    python scripts/bench/journal.py --calls 1000000 --rounds 3

Builds a run folder with so many answered calls (about 1.5 kB each, grades and all, one problem left to ask), then
resumes it with the ordinary command and measures the time from the start of the process to the first new record and
the peak memory of the runner until then; beside it, in the same round, a bare pass of orjson over the journal.
The folder is built by the package's own call layer, with replies made up on the spot.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.dispatch.capacity import Need, Place
from eli5b_batch.dispatch.dispatcher import Outcome
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.grading.verdict import Verdict
from eli5b_batch.job.load import load_job
from eli5b_batch.run.calls import Answered, RunCalls
from eli5b_batch.run.finished import Fingerprint
from eli5b_batch.run.manifest import write_manifest
from eli5b_batch.run.plan import count_calls, load_experiment
from eli5b_batch.run.store import open_store
from measure import spread
from stage import QUICKSTART, command, write_problems

if TYPE_CHECKING:
    from collections.abc import Callable


CALLS_PER_PROBLEM = 20
PARAMS = ["params.cross_match=true", "params.teacher_alone=true", "seed=1"]
TEXT = "Let $x$ be the number we look for; the first condition says that it is even. " * 6


class Instant:
    """A dispatcher whose every call is answered at once."""

    async def send(self, request: ChatRequest, _order: int, _price: object, commit: Callable[[Outcome], Any]) -> Any:  # noqa: ANN401
        """Commit a made-up reply."""
        need = Need(request.model, 0, 0.0)
        reply = ChatReply(f"{TEXT}\nFinal answer: \\boxed{{7}}", "stop", {"input_tokens": 150, "output_tokens": 120})
        return commit(Outcome(reply, None, Place("", "gpu0", need), 0.0, 0, 0.0, 0.05))


def settings_of(data: Path) -> list[str]:
    """What makes the quickstart's job the one that the folder belongs to, for `--set`."""
    return [*PARAMS, f"data={{reader: jsonl, path: {data}}}"]


async def build(folder: Path, data: Path) -> None:
    """Answer every call of every problem but the last."""
    experiment = load_experiment(load_job(QUICKSTART, overrides=settings_of(data)), "bench")
    fingerprint = Fingerprint(experiment)
    with open_store(folder, experiment, fingerprint) as store:
        right = Verdict("correct", "7", "boxed/text", 0.0001)

        def observe(done: Answered) -> None:
            if done.call.step == "answer":
                store.book.add(done.call.key, done.call.problem.answer, right, "math/3")

        instant: Any = Instant()
        calls = RunCalls(
            experiment.job,
            journal=store.journal,
            dispatchers=dict.fromkeys(experiment.job.providers, instant),
            stop=Stop(),
            wall=lambda t: t,
            observe=observe,
        )
        for problem in experiment.problems.selected[:-1]:
            await experiment.run(problem, calls)
            calls.forget(problem)
            store.finish(problem)
        store.checkpoint()
        plan = await count_calls(experiment)
        plan.fingerprint = fingerprint.of_plan()
        write_manifest(folder, experiment, plan, {}, dt.datetime.now(dt.UTC))


def bare_pass(journal: Path) -> float:
    """Seconds of reading and parsing every line."""
    started = time.perf_counter()
    with journal.open("rb") as file:
        for line in file:
            orjson.loads(line)
    return time.perf_counter() - started


def resume(folder: Path, data: Path) -> tuple[float, float]:
    """Seconds from process start to the first new record, and the runner's peak memory until then in MB."""
    journal = folder / "calls.jsonl"
    size = journal.stat().st_size
    words = command(QUICKSTART, folder, *settings_of(data))
    started = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:  # noqa: S603 (our own command)
        while journal.stat().st_size == size and process.poll() is None:
            time.sleep(0.002)
        seconds = time.perf_counter() - started
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    with journal.open("r+b") as file:
        file.truncate(size)
    return seconds, int(peak[1]) / 1024


def main() -> None:
    """Build, then measure round after round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="build here and keep it; reused when it is there")
    options = parser.parse_args()
    place = options.folder or Path(tempfile.mkdtemp())
    data, run = place / "data.jsonl", place / "run"
    if not run.exists():
        place.mkdir(parents=True, exist_ok=True)
        write_problems(data, options.calls // CALLS_PER_PROBLEM + 1)
        started = time.perf_counter()
        asyncio.run(build(run, data))
        print(f"built in {time.perf_counter() - started:.0f} s: {(run / 'calls.jsonl').stat().st_size / 1e9:.2f} GB")
    rows = []
    for number in range(options.rounds):
        bare = bare_pass(run / "calls.jsonl")
        seconds, peak = resume(run, data)
        rows.append((bare, seconds, peak))
        print(
            f"round {number + 1}: bare orjson pass {bare:.2f} s; first new call after {seconds:.2f} s "
            f"({seconds / bare:.2f} of it); runner's peak {peak:.0f} MB",
            flush=True,
        )
    over = spread([seconds / bare for bare, seconds, _ in rows])
    print(f"ratio: median {over.median:.2f}, from {over.least:.2f} to {over.most:.2f}")
    if options.folder is None:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
