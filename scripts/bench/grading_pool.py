"""How many answers a second the grader pool gets through, by the number of its workers.

Every answer needs a worker and keeps it busy for `--cpu-ms` of CPU time, so that what is measured is the pool: waiting
in order, the round trip to a worker, and how far it is from `workers / cpu-ms`.

    python scripts/bench/grading_pool.py --workers 1 2 --answers 1000
"""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial

import grading_pool  # this module by the name under which a worker imports it
from eli5b_batch.grading.apart import GraderPool, cores
from eli5b_batch.grading.verdict import Verdict
from measure import spread


def undecided(text: str, gold: str) -> Verdict | None:  # noqa: ARG001 - as every `decide`
    """Every answer needs a worker."""
    return None


def burn(text: str, gold: str, *, cpu_s: float) -> Verdict:
    """A grader that takes so much CPU time."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass
    return Verdict("correct", text, gold, cpu_s)


async def answers_per_second(workers: int, answers: int, cpu_s: float) -> float:
    """Throughput with all workers up, every answer asked for at once."""
    async with GraderPool(workers, decide=undecided, grade=partial(grading_pool.burn, cpu_s=cpu_s)) as pool:
        await asyncio.gather(*(pool.grade("warm", "up") for _ in range(workers * 2)))
        began = time.perf_counter()
        await asyncio.gather(*(pool.grade(str(number), "x") for number in range(answers)))
        return answers / (time.perf_counter() - began)


def main() -> None:
    """Print a line per number of workers: the median of `--rounds`, the numbers of workers taking turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--answers", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-ms", type=float, default=5.0)
    arguments = parser.parse_args()
    rates: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    for _ in range(arguments.rounds):
        for workers, measured in rates.items():
            measured.append(asyncio.run(answers_per_second(workers, arguments.answers, arguments.cpu_ms / 1_000)))
    first = spread(rates[arguments.workers[0]]).median
    print(f"{cores()} cores, {arguments.answers} answers of {arguments.cpu_ms:g} ms CPU each")
    for workers, measured in rates.items():
        over = spread(measured)
        speedup = over.median / first
        print(f"{workers} workers: {over.median:6.1f} answers/s ({over.least:.0f} to {over.most:.0f}), x{speedup:.2f}")


if __name__ == "__main__":
    main()
