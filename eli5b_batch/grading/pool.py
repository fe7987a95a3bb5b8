"""Worker processes that grade, and are killed when an answer takes too long.

Must not know: the journal, models, what equality means (`math` does).

What text and exact arithmetic settle (nearly every integer answer) is settled in this process: it takes a
tenth of a millisecond and no sympy, where a round trip to a worker takes about one.  The rest goes to the
workers: one answer per free worker, the others wait in order.

The deadline is the worker's own alarm, with no handler: the kernel ends the process at that moment,
whatever it is doing.  A handler, or a thread that watches, would wait for the interpreter, which a
single big multiplication holds for minutes; and as the alarm needs nobody's help, a busy worker ends in
time even where this process has been killed (an idle one ends at once, with its pipe).  pebble notices
the death and starts the next worker.

Workers are forked from a fork server, a small process that has imported sympy once and has no threads:
`fork` would copy this process's threads and locks in mid-flight, `spawn` would import sympy anew, a
second of work, after every answer that ran out of time.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import time
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Final, Self

from pebble import ProcessExpired, ProcessPool

from eli5b_batch.grading import math
from eli5b_batch.grading.extract import extract
from eli5b_batch.grading.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_SHORT: Final = 20_000
"""Characters up to which a text is looked at in this process: some 5 ms at worst."""
_GRACE_S: Final = 30.0
"""Beyond the deadline, for a worker to be started and its death noticed: after that the pool is replaced."""
_ATTEMPTS: Final = 3
_NICENESS: Final = 5

_LATE: Final[tuple[Outcome, str]] = ("timeout", "deadline")
_DIED: Final[tuple[Outcome, str]] = ("error", "worker_died")
_BROKEN: Final[tuple[Outcome, str]] = ("error", "pool_broken")


class GraderPool:
    """Grades texts in `workers` processes; `async with` starts and stops them off the event loop.

    Args:
        workers: processes, and so answers in hand at once.
        timeout_s: seconds of wall time for one answer, counted from when a warm worker takes it up.
        memory_bytes: address space of a worker.
        grade: picklable function (text, gold) -> Verdict that runs in the worker.
    """

    def __init__(
        self,
        workers: int,
        timeout_s: float = 5.0,
        *,
        memory_bytes: int = 2 << 30,
        grade: Callable[[str, str], Verdict] = math.grade,
    ) -> None:
        self._workers = workers
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._grade = grade
        self._free = asyncio.Semaphore(workers)
        self._replacing = asyncio.Lock()
        self._pool: ProcessPool | None = None
        self._starting: asyncio.Task[None] | None = None
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def _first_start(self) -> None:
        self._pool = await asyncio.to_thread(self._start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting])
            self._starting.exception()  # a start that failed was told to the answers that needed it
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(_stop, pool)

    async def grade(self, text: str, gold: str) -> Verdict:
        """The verdict on the final answer of `text`; raises for no text, returns within bounded time.

        A worker that runs out of time is verdict `timeout`, one that dies `error`; other answers go on.
        """
        return self.decide(text, gold) or await self._grade_by_worker(text, gold)

    def decide(self, text: str, gold: str) -> Verdict | None:
        """The verdict where it takes no worker: most answers are numbers."""
        return math.decide(text, gold) if len(text) <= _SHORT else None

    async def _grade_by_worker(self, text: str, gold: str) -> Verdict:
        async with self._free:
            return await self._grade_in_worker(text, gold)

    async def _grade_in_worker(self, text: str, gold: str) -> Verdict:
        assert self._open, "answers are graded inside `async with`"
        if self._starting is None:  # workers take a second of sympy's imports: not before an answer needs one
            self._starting = asyncio.create_task(self._first_start())
        await asyncio.shield(self._starting)
        started = time.perf_counter()
        outcome, rule = _BROKEN
        for _ in range(_ATTEMPTS):
            pool = self._pool
            assert pool is not None
            try:
                future = pool.schedule(_run, args=(self._grade, text, gold, self._timeout_s))
                async with asyncio.timeout(self._timeout_s + _GRACE_S):
                    return await asyncio.wrap_future(future)
            except ProcessExpired as death:
                outcome, rule = _LATE if death.exitcode == -signal.SIGALRM else _DIED
                break
            except (RuntimeError, TimeoutError):  # the pool broke, this answer is not to blame
                await self._replace(pool)
        answer = extract(text) if len(text) <= _SHORT else None
        seconds = time.perf_counter() - started
        return Verdict(outcome, answer and answer.text, f"{answer.rule}/{rule}" if answer else rule, seconds)

    async def _replace(self, broken: ProcessPool) -> None:
        """A new pool in place of `broken`, once, however many answers found it broken.

        pebble's pool breaks as a whole when a worker without a task dies, as one killed for memory by the
        system may.
        """
        async with self._replacing:
            if self._pool is broken:
                self._pool = await asyncio.to_thread(self._start)
                await asyncio.to_thread(_stop, broken)

    def _start(self) -> ProcessPool:
        """A pool with at least one warm worker; blocks for about a second the first time."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["eli5b_batch.grading.symbolic"])
        # Ctrl-C goes to every process of the terminal: the fork server ignores it once it is up, and until then it is
        # held back by the mask it inherits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        pool = ProcessPool(
            max_workers=self._workers, initializer=_prepare, initargs=(self._memory_bytes,), context=context
        )
        try:
            pool.schedule(_ready).result()
        except BaseException:
            _stop(pool)
            raise
        return pool


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


# --- in the worker -------------------------------------------------------------------------------


def _prepare(memory_bytes: int) -> None:
    """Limits, then one answer graded to warm up, before the first deadline runs; pebble has SIGINT ignored."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler would wait for the interpreter
    os.nice(_NICENESS)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    math.grade(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")


def _ready() -> None:
    """A first task, done as soon as a worker is warm."""


def _run(grade: Callable[[str, str], Verdict], text: str, gold: str, timeout_s: float) -> Verdict:
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        return grade(text, gold)
    except Exception as error:  # noqa: BLE001 - no text may raise: out of memory or stack is a verdict, too
        return Verdict("error", None, type(error).__name__, time.perf_counter() - started)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
