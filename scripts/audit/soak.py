"""Does memory grow with the number of calls? A long run against the simulated servers, watched from outside.

    python scripts/soak.py --calls 200000

Prints the resident memory of the runner (not of the servers or graders) at 20,000 calls and at the end, with the rate.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

QUICKSTART = Path(__file__).parent.parent / "jobs" / "quickstart.yaml"
CALLS_PER_PROBLEM = 65
FIRST = 20_000
EVERY = 20_000
PARAMS = [
    "params.cross_match=true",
    "params.samples=4",
    "providers.api={api: simulated, limits: {concurrency: 32}, simulation: {latency_s: 0, tokens_per_s: 1000000}}",
    (
        "providers.gpus={api: simulated, slots: [{gpu: 0, parallel: 16}, {gpu: 1, parallel: 16}],"
        " simulation: {latency_s: 0, tokens_per_s: 1000000}}"
    ),
]


def resident(pid: int) -> float:
    """MB of a process's memory that is in use now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def calls_done(progress: Path) -> int:
    """Calls answered so far, as the run itself tells."""
    try:
        snapshot = orjson.loads(progress.read_bytes())
    except FileNotFoundError:
        return 0
    return sum(step["done"] for step in snapshot["steps"])


def main() -> None:
    """Run and watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    data = place / "data.jsonl"
    rows = ({"problem": f"Problem {n}. What is {n} + {n}?", "answer": str(2 * n)} for n in range(10**9))
    with data.open("wb") as file:
        for _, row in zip(range(-(-options.calls // CALLS_PER_PROBLEM)), rows, strict=False):
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    command = [
        sys.executable,
        "-m",
        "eli5b_batch",
        str(QUICKSTART),
        "--output",
        str(place / "run"),
        "--display",
        "none",
    ]
    for text in [*PARAMS, f"data={{reader: jsonl, path: {data}}}"]:
        command += ["--set", text]
    started, seen, first, last, due = time.perf_counter(), 0, 0.0, 0.0, FIRST
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 (our own command)
        while process.poll() is None:
            time.sleep(0.5)
            progress = place / "run" / "progress.json"
            done = calls_done(progress)
            if done == seen or process.poll() is not None or orjson.loads(progress.read_bytes())["state"] != "running":
                continue
            seen, last = done, resident(process.pid)
            if done >= due:
                first = first or last
                due += EVERY
                print(f"{done:>9,} calls, {time.perf_counter() - started:6.0f} s: {last:.1f} MB", flush=True)
    print(
        f"exit {process.returncode}; {first:.1f} MB at {FIRST:,} calls, {last:.1f} MB at the end ({last / first:.3f})"
    )
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
