"""Grading in processes of its own: what is worth one, and what the end of one says of the answer.

Must not know: the journal, models, what equality means (the two functions of a grader do), how processes are run
(`workers` does).

What text and exact arithmetic settle (nearly every answer) is settled in the process that asks: it takes a tenth of a
millisecond and no sympy, where a round trip to a worker takes several. The rest goes to the workers.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Self

from eli5b_batch.grading import math
from eli5b_batch.grading.extract import extract
from eli5b_batch.grading.verdict import Verdict
from eli5b_batch.grading.warm import warm_up
from eli5b_batch.workers.blocking import BlockingWorkers
from eli5b_batch.workers.pool import WorkerPool
from eli5b_batch.workers.program import Bounds
from eli5b_batch.workers.worker import MEMORY_BYTES, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.workers.worker import Ending

    Decide = Callable[[str, str], Verdict | None]
    Grade = Callable[[str, str], Verdict]

BOUNDS: Final = Bounds(cpu_s=5.0, wall_s=60.0)
"""For one answer of many; the wall time is for one that sleeps, however busy the machine is."""
TIMEOUT_S: Final = 4.0
"""For one answer asked for by a thread that waits, so that none takes 5 s."""
_SHORT: Final = 20_000
"""Characters up to which a text is looked at on the event loop: some 5 ms at worst."""
_NICENESS: Final = 5
_FOR_THREADS: Final = max(2, min(4, os.cpu_count() or 1))
"""Two workers at least: an answer that hangs is not to hold up those of other threads."""


def cores() -> int:
    """Processor cores this process may run on."""
    return len(os.sched_getaffinity(0))


def verdict(response: str, gold: str) -> Verdict:
    """The verdict on the final answer of `response`: within 5 s and 1 GB, from any thread or process.

    It blocks: in asyncio code call it by `asyncio.to_thread`, or use `GraderPool`.

    Args:
        response: a model's whole reply.
        gold: the data set's answer: a number, a LaTeX formula, or a sentence holding one.

    Raises:
        TypeError: an argument is not a string.
    """
    return _for_threads.grade(response, gold)


class GraderPool:
    """Grades many texts at once, on an event loop; leaving `async with` ends its workers.

    Args:
        workers: processes at most, and so answers in hand at once; None: as many as there are cores.
        bounds: seconds for one answer.
        memory_bytes: address space of a worker.
        decide: the grader's verdict where it can be had at once, else None; runs in this process.
        grade: the grader's picklable function for the rest; runs in a worker.
        prepare: a picklable function, run once before any answer's time.
    """

    def __init__(
        self,
        workers: int | None = None,
        bounds: Bounds = BOUNDS,
        *,
        memory_bytes: int = MEMORY_BYTES,
        decide: Decide = math.decide,
        grade: Grade = math.grade,
        prepare: Callable[[], object] = warm_up,
    ) -> None:
        self._decide = decide
        self._grade = grade
        self._workers = WorkerPool(
            [
                Worker(prepare, memory_bytes=memory_bytes, niceness=_NICENESS)
                for _ in range(cores() if workers is None else workers)
            ],
            bounds,
        )

    async def __aenter__(self) -> Self:
        await self._workers.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._workers.__aexit__(*exception)

    async def grade(self, text: str, gold: str) -> Verdict:
        """The verdict on the final answer of `text`; raises for no text, returns within bounded time.

        A worker that runs out of time is verdict `timeout`, one that dies `error`; other answers go on.

        Raises:
            WorkerError: no worker comes up.
        """
        settled = self.decide(text, gold)
        if settled is not None:
            return settled
        started = time.perf_counter()
        ending = await self._workers.call(self._grade, text, gold)
        return verdict_of(ending, text if len(text) <= _SHORT else "", time.perf_counter() - started)

    def decide(self, text: str, gold: str) -> Verdict | None:
        """The verdict where it takes no worker: most answers are numbers."""
        return _at_once(self._decide, text, gold) if len(text) <= _SHORT else None


class BlockingGrader:
    """Grades one text for each thread that asks.

    Args:
        decide: the verdict where it can be had at once, else None; bounded, as it runs in this process.
        grade: picklable function for the rest; runs in a worker.
        timeout_s: seconds of wall time for one answer, all in all.
        memory_bytes: address space of a worker.
        prepare: a picklable function, run once before any answer's time.
        clock: seconds, as `time.monotonic`; what is left of an answer's time is reckoned by it.
    """

    def __init__(
        self,
        decide: Decide = math.decide,
        grade: Grade = math.grade,
        timeout_s: float = TIMEOUT_S,
        *,
        memory_bytes: int = MEMORY_BYTES,
        prepare: Callable[[], object] = warm_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decide = decide
        self._grade = grade
        self._timeout_s = timeout_s
        self._clock = clock
        self._workers = BlockingWorkers(
            [Worker(prepare, memory_bytes=memory_bytes, clock=clock) for _ in range(_FOR_THREADS)], clock
        )

    def grade(self, response: str, gold: str) -> Verdict:
        """As the function `verdict`."""
        for value in (response, gold):
            if not isinstance(value, str):
                raise TypeError(f"grading takes strings, not {type(value).__name__}")
        started = self._clock()
        settled = _at_once(self._decide, response, gold)
        if settled is not None:
            return settled
        left_s = started + self._timeout_s - self._clock()
        ending = self._workers.call(left_s, self._grade, response, gold)
        return verdict_of(ending, response, self._clock() - started)

    def close(self) -> None:
        """End the workers; the next answer that needs one starts it anew."""
        self._workers.close()


def verdict_of(ending: Ending, text: str, seconds: float) -> Verdict:
    """The verdict on an answer by what came of grading `text` in a worker, which took `seconds`."""
    if ending.kind == "returned":
        verdict: Verdict = ending.what
        return verdict
    if ending.kind in ("raised", "unstarted"):
        return Verdict("error", None, ending.what, seconds)
    rule = ending.what if ending.kind == "late" else f"worker_died/{ending.what}"
    answer = extract(text)
    return Verdict(
        "timeout" if ending.kind == "late" else "error",
        answer.text if answer else None,
        f"{answer.rule}/{rule}" if answer else rule,
        seconds,
    )


def _at_once(decide: Decide, text: str, gold: str) -> Verdict | None:
    try:
        return decide(text, gold)
    except Exception:  # noqa: BLE001 - a worker, with memory and stack of its own, meets it too and names it
        return None


_for_threads: Final = BlockingGrader()
"""Whom `verdict` asks."""
