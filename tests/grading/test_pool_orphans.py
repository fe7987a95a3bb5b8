from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]

HERE = Path(__file__).parent

PARENT = """
import asyncio, planted_graders
from eli5b_batch.grading.pool import GraderPool

async def main():
    async with GraderPool(2, timeout_s=0.5, grade=planted_graders.hang) as pool:
        await pool.grade(r"\\boxed{\\text{sane}+1}", "x")
        print(*pool._pool._pool_manager.worker_manager.workers, flush=True)
        await pool.grade(r"\\boxed{\\sqrt{8}}", "x")

asyncio.run(main())
"""


def test_no_process_outlives_a_parent_that_is_killed() -> None:
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(  # noqa: S603 - our own script
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert parent.stdout.readline() == "hanging\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) == 2
        assert {process.pid for process in family} >= set(workers)
        parent.kill()
        _, left = psutil.wait_procs(family, timeout=5)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
