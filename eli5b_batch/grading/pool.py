"""Worker processes that grade, and are killed when an answer takes too long.

Must not know: the journal, models, what equality means (the two functions of a grader do).

What text and exact arithmetic settle (nearly every answer) is settled in this process: it takes a tenth of a
millisecond and no sympy, where a round trip to a worker takes about one.  The rest goes to the workers: one
answer per free worker, the others wait in order, none inside pebble.

Each worker is a pebble pool of one process.  A pool of several shares one channel among them, so that one
killed at the wrong moment breaks it for all; and it starts all of them at once, where these start one by
one, each when an answer finds no other free.  A worker that ends in any way is given up, and the next
answer that needs one starts another.  What ends a worker is told in `limits`; this process kills only one
that outlives its own deadline, stopped by somebody or asleep with its alarm switched off.

Workers are forked from a fork server, a small process that has imported and tried sympy once and has no
threads: `fork` would copy this process's threads and locks in mid-flight, `spawn` would import sympy anew,
a second of work, after every answer that ran out of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pebble import ProcessExpired, ProcessPool

from eli5b_batch.grading import math
from eli5b_batch.grading.limits import LATE, MEMORY_BYTES, confine, ending, run, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext
    from types import TracebackType

    from eli5b_batch.grading.limits import Ending, Grade
    from eli5b_batch.grading.verdict import Verdict

_T = TypeVar("_T")

_SHORT: Final = 20_000
"""Characters up to which a text is looked at in this process: some 5 ms at worst."""
_GRACE_S: Final = 30.0
"""Beyond the deadline, for the text to reach the worker and its end to be noticed, however busy the machine is; only
what the worker's own deadline doesn't end is waited for so long."""
_START_S: Final = 60.0
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.2
_LOOK_S: Final = 0.5
"""Between two looks at whether a pebble pool still works: one that breaks while it is handed a task may forget it."""
_NICENESS: Final = 5
_NOBODY_KNOWS: Final = 255
"""What `multiprocessing` says of every worker once the fork server is gone, even of one that works on."""


def cores() -> int:
    """Processor cores this process may run on."""
    return len(os.sched_getaffinity(0))


class GraderPool:
    """Grades texts in up to `workers` processes; leaving `async with` stops them off the event loop.

    Args:
        workers: processes at most, and so answers in hand at once; None: as many as there are cores.
        timeout_s: seconds of wall time for one answer, counted from when a worker takes it up.
        memory_bytes: address space of a worker.
        decide: the grader's verdict where it can be had at once, else None; runs in this process.
        grade: the grader's picklable function for the rest; runs in a worker.
    """

    def __init__(
        self,
        workers: int | None = None,
        timeout_s: float = 5.0,
        *,
        memory_bytes: int = MEMORY_BYTES,
        decide: Callable[[str, str], Verdict | None] = math.decide,
        grade: Grade = math.grade,
    ) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._decide = decide
        self._grade = grade
        self._places = asyncio.Semaphore(cores() if workers is None else workers)
        self._workers: set[ProcessPool] = set()
        self._idle: list[ProcessPool] = []  # the one used last comes first: the others may never be needed again
        self._chores: set[asyncio.Task[Any]] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        while self._chores:
            await asyncio.wait(self._chores)
        await asyncio.gather(*(asyncio.to_thread(_stop, worker) for worker in self._workers))

    async def grade(self, text: str, gold: str) -> Verdict:
        """The verdict on the final answer of `text`; raises for no text, returns within bounded time.

        A worker that runs out of time is verdict `timeout`, one that dies `error`; other answers go on.
        """
        return self.decide(text, gold) or await self._grade_by_worker(text, gold)

    def decide(self, text: str, gold: str) -> Verdict | None:
        """The verdict where it takes no worker: most answers are numbers."""
        if len(text) > _SHORT:
            return None
        try:
            return self._decide(text, gold)
        except Exception:  # noqa: BLE001 - what the rules raise here they raise in a worker, whose verdict names it
            return None

    async def _grade_by_worker(self, text: str, gold: str) -> Verdict:
        async with self._places:
            started = time.perf_counter()
            end: Ending
            for _ in range(_ATTEMPTS):
                worker = await self._take()
                useful = False
                try:
                    verdict, grown = await self._ask(worker, text, gold)
                    useful = not grown
                except RuntimeError as error:  # the worker was gone before it took the answer, which is not to blame
                    end = "error", type(error).__name__
                except TimeoutError:
                    end = LATE
                    break
                except ProcessExpired as death:
                    end = ending(death.exitcode)
                    if death.exitcode != _NOBODY_KNOWS:
                        break
                else:
                    return verdict
                finally:
                    self._give_back(worker, useful=useful)
        return unfinished(text if len(text) <= _SHORT else "", end, time.perf_counter() - started)

    async def _ask(self, worker: ProcessPool, text: str, gold: str) -> tuple[Verdict, bool]:
        """What `limits.run` returns in the worker.

        Raises:
            ProcessExpired: the worker died of it.
            RuntimeError: the worker had died before.
            TimeoutError: the worker neither answers nor ends.
        """
        now = asyncio.get_running_loop().time
        end = now() + self._timeout_s + _GRACE_S
        future = worker.schedule(run, args=(self._grade, text, gold, self._timeout_s))
        answer = asyncio.wrap_future(future)
        try:
            while True:
                await asyncio.wait([answer], timeout=min(_LOOK_S, end - now()))
                if answer.done():
                    return answer.result()
                if not worker.active:
                    raise BrokenProcessPool("it broke as it was handed the answer")
                if now() >= end:
                    raise TimeoutError
        finally:
            answer.cancel()

    async def _take(self) -> ProcessPool:
        """A worker for this answer alone: one that is free, or another; there are never more than places."""
        assert self._open, "answers are graded inside `async with`"
        while self._idle:
            worker = self._idle.pop()
            if worker.active:
                return worker
            self._give_back(worker, useful=False)
        starting = self._begin(self._start)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:  # nobody waits for it any more
            starting.add_done_callback(self._unwanted)
            raise

    def _unwanted(self, starting: asyncio.Task[ProcessPool]) -> None:
        if starting.exception() is None:
            self._give_back(starting.result(), useful=False)

    def _give_back(self, worker: ProcessPool, *, useful: bool) -> None:
        if useful:
            self._idle.append(worker)
        else:
            self._workers.discard(worker)
            self._begin(lambda: _stop(worker))

    def _begin(self, work: Callable[[], _T]) -> asyncio.Task[_T]:
        """Do what blocks off the event loop, and have it done before leaving."""
        chore = asyncio.create_task(asyncio.to_thread(work))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
        return chore

    def _start(self) -> ProcessPool:
        """A worker that is up; blocks for most of a second the first time, some 40 ms later.

        Raises:
            BrokenProcessPool: none can be had.
        """
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(BrokenProcessPool):  # as when the fork server has just been killed
                return self._start_once()
            time.sleep(_PAUSE_S)
        return self._start_once()

    def _start_once(self) -> ProcessPool:
        worker = ProcessPool(max_workers=1, initializer=_prepare, initargs=(self._memory_bytes,), context=_server())
        with contextlib.ExitStack() as stack:
            stack.callback(_stop, worker)
            _come_up(worker)
            stack.pop_all()
        self._workers.add(worker)
        return worker


def _server() -> ForkServerContext:
    """The context whose processes are forked from the fork server, which is started if there is none."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["eli5b_batch.grading.warm"])
    # Ctrl-C goes to every process of the terminal: the fork server ignores it once it is up, and until then it is
    # held back by the mask it inherits.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _come_up(worker: ProcessPool) -> None:
    """Wait until the worker is up.

    Raises:
        BrokenProcessPool: it does not come up.
    """
    end = time.monotonic() + _START_S
    try:
        ready = worker.schedule(_ready)
        while not wait([ready], _LOOK_S).done and worker.active and time.monotonic() < end:
            pass
        ready.result(0)
    except (RuntimeError, ProcessExpired, TimeoutError) as error:
        raise BrokenProcessPool("no worker comes up") from error


def _stop(worker: ProcessPool) -> None:
    worker.stop()  # type: ignore[no-untyped-call]
    worker.join()


# --- in the worker -------------------------------------------------------------------------------


def _prepare(memory_bytes: int) -> None:
    """Limits, before the first answer; the event loop goes first where cores are scarce."""
    os.nice(_NICENESS)
    confine(memory_bytes)


def _ready() -> None:
    """A first task, done as soon as the worker is up."""
