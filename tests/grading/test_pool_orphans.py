from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

HERE = Path(__file__).parent

PARENT = """
import asyncio, planted_graders
from eli5b_batch.grading.pool import GraderPool

async def main():
    async with GraderPool(2, 600, decide=planted_graders.undecided, grade=planted_graders.obey) as pool:
        both = await asyncio.gather(pool.grade("nap", "x"), pool.grade("nap", "x"))
        print(*(int(verdict.seconds) for verdict in both), flush=True)
        input()
        await pool.grade("orphan", "x")

asyncio.run(main())
"""


def test_no_process_outlives_a_parent_that_is_killed() -> None:
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    ) as parent:
        try:
            assert parent.stdin is not None
            assert parent.stdout is not None
            workers = {int(pid) for pid in parent.stdout.readline().split()}
            family = psutil.Process(parent.pid).children(recursive=True)
            assert len(workers) == 2
            assert {process.pid for process in family} >= workers
            parent.stdin.write("\n")
            parent.stdin.flush()
            assert parent.wait(60) == -signal.SIGKILL
        finally:
            parent.kill()
    end = time.monotonic() + 60
    while alive := [process for process in family if not ended(process)]:
        assert time.monotonic() < end, alive
        time.sleep(0.01)


def ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
