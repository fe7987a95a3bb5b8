from __future__ import annotations

import contextlib
import os
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
    async with GraderPool(2, 0.5, decide=planted_graders.undecided, grade=planted_graders.obey) as pool:
        both = await asyncio.gather(pool.grade("nap", "x"), pool.grade("nap", "x"))
        print(*(int(verdict.seconds) for verdict in both), flush=True)
        await pool.grade("hang", "x")

asyncio.run(main())
"""


def test_no_process_outlives_a_parent_that_is_killed() -> None:
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(  # noqa: S603 - our own script
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = {int(pid) for pid in parent.stdout.readline().split()}
        assert parent.stdout.readline() == "hanging\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) == 2
        assert {process.pid for process in family} >= workers
        parent.kill()
        end = time.monotonic() + 5
        while alive := [process for process in family if not ended(process)]:
            assert time.monotonic() < end, alive
            time.sleep(0.01)


def ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
