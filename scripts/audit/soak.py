"""Does memory grow with the number of calls? A long run against the simulated servers, watched from outside.

    python scripts/audit/soak.py --calls 200000

Prints the resident memory of the runner (not of the servers or graders) every 20,000 calls, and the last reading by the
first.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import orjson
import psutil  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from crash_stage import ROOT, write_problems

QUICKSTART: Final = ROOT / "jobs" / "quickstart.yaml"
CALLS_PER_PROBLEM: Final = 65
PARAMS: Final = [
    "params.cross_match=true",
    "params.samples=4",
    "providers.api={api: simulated, limits: {concurrency: 32}, simulation: {latency_s: 0, tokens_per_s: 1000000}}",
    (
        "providers.gpus={api: simulated, slots: [{gpu: 0, parallel: 16}, {gpu: 1, parallel: 16}],"
        " simulation: {latency_s: 0, tokens_per_s: 1000000}}"
    ),
]


def calls_done(progress: Path) -> int:
    """Calls answered so far, as a run that goes on tells; 0 where it does not yet, or has ended."""
    try:
        snapshot = orjson.loads(progress.read_bytes())
    except FileNotFoundError:
        return 0
    return sum(step["done"] for step in snapshot["steps"]) if snapshot["state"] == "running" else 0


def main() -> None:
    """Run and watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--every", type=int, default=20_000, help="calls from one line to the next")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    data, run = place / "data.jsonl", place / "run"
    write_problems(data, -(-options.calls // CALLS_PER_PROBLEM))
    command = [sys.executable, "-m", "eli5b_batch", str(QUICKSTART), "--output", str(run), "--display", "none"]
    for text in [*PARAMS, f"data={{reader: jsonl, path: {data}}}"]:
        command += ["--set", text]
    started, seen, first, last, due = time.perf_counter(), 0, 0.0, 0.0, options.every
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 (our own command)
        runner = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(0.5)
            done = calls_done(run / "progress.json")
            if done in (0, seen) or process.poll() is not None:
                continue
            seen, last = done, runner.memory_info().rss / 2**20
            if done >= due:
                first = first or last
                due += options.every
                print(f"{done:>9,} calls, {time.perf_counter() - started:6.0f} s: {last:.1f} MB", flush=True)
    shutil.rmtree(place)
    if not first:
        raise SystemExit(f"exit {process.returncode} before {options.every:,} calls were seen: nothing was measured")
    growth = last / first
    print(f"exit {process.returncode}; {first:.1f} MB at first, {last:.1f} MB at the end ({growth:.3f})")


if __name__ == "__main__":
    main()
