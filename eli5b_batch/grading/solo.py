"""Grading without a pool: one answer, at once, from any thread or process, bounded in time and memory.

Must not know: asyncio, the journal, what equality means (`math` does).

Nearly every answer is settled in this process.  The rest goes to a worker, a process of `worker` that is
started when first needed, stays, and is killed when it is late.  It is no child of `multiprocessing`'s,
which daemonic processes may not have; it shares nothing with a process forked off this one, which starts
its own; and it touches no signal handler or limit of the caller's.  Threads get a worker each, up to a few.
"""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading import math
from eli5b_batch.grading.limits import LATE, MEMORY_BYTES, ending, unfinished
from eli5b_batch.grading.worker import receive, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.grading.limits import Ending, Grade
    from eli5b_batch.grading.verdict import Verdict

    Decide = Callable[[str, str], Verdict | None]

TIMEOUT_S: Final = 4.0
"""For all of a call, so that none takes 5 s: waiting for a worker, starting it and killing it come out of it."""
_WORKERS: Final = max(2, min(4, os.cpu_count() or 1))
"""Two at least: an answer that hangs is not to hold up those of other threads."""
_GRACE_S: Final = 1.0
"""Beyond what is left of a call, for a process to end by itself."""
_START_S: Final = 60.0
"""For a worker to come up: longer than a call waits, so that on a busy machine the next call finds it there."""


def verdict(response: str, gold: str) -> Verdict:
    """The verdict on the final answer of `response`: within 5 s and 1 GB, from any thread or process.

    It blocks: in asyncio code call it by `asyncio.to_thread`, or use `pool.GraderPool`.

    Args:
        response: a model's whole reply.
        gold: the data set's answer: a number, a LaTeX formula, or a sentence holding one.

    Raises:
        TypeError: an argument is not a string.
    """
    return _solo.verdict(response, gold)


class Solo:
    """A few workers for the threads of one process.

    Args:
        decide: the verdict where it can be had at once, else None; bounded, as it runs in this process.
        grade: picklable function for the rest; runs in a worker.
        timeout_s: seconds of wall time for one call.
        memory_bytes: address space of a worker.
        preload: a module that a worker imports before its first answer, and before the clock of any runs.
        clock: seconds, as `time.perf_counter`; what is left of a call is reckoned by it.
    """

    def __init__(
        self,
        decide: Decide = math.decide,
        grade: Grade = math.grade,
        timeout_s: float = TIMEOUT_S,
        *,
        memory_bytes: int = MEMORY_BYTES,
        preload: str = "eli5b_batch.grading.warm",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._decide = decide
        self._grade = pickle.dumps(grade)
        self._timeout_s = timeout_s
        self._clock = clock
        self._workers = [_Worker(memory_bytes, preload, clock) for _ in range(_WORKERS)]
        self._after_fork()
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self.close)

    def verdict(self, response: str, gold: str) -> Verdict:
        """As the function `verdict`."""
        for value in (response, gold):
            if not isinstance(value, str):
                raise TypeError(f"grading takes strings, not {type(value).__name__}")
        started = self._clock()
        try:
            settled = self._decide(response, gold)
        except Exception:  # noqa: BLE001 - the worker, with memory and stack of its own, meets it too and names it
            settled = None
        if settled is not None:
            return settled

        def left() -> float:
            seconds = started + self._timeout_s - self._clock()
            if seconds <= 0:
                raise TimeoutError
            return seconds

        graded = self._ask(response, gold, left)
        return unfinished(response, graded, self._clock() - started) if isinstance(graded, tuple) else graded

    def close(self) -> None:
        """End the workers; the next answer that needs one starts it anew."""
        for worker in self._workers:
            worker.stop()

    def _ask(self, response: str, gold: str, left: Callable[[], float]) -> Verdict | Ending:
        try:
            worker = self._idle.get(timeout=left())
        except (queue.Empty, TimeoutError):
            return "timeout", "no_worker"
        try:
            return worker.ask((self._grade, response, gold), left)
        finally:
            self._idle.put(worker)

    def _after_fork(self) -> None:
        """Begin with workers that are not started, whatever the process forked from was doing with its own."""
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()  # the worker used last is the one that is warm
        for worker in self._workers:
            worker.forget()
            self._idle.put(worker)


class _Worker:
    """One process, started when first asked and again when it has ended; asked by one thread at a time."""

    def __init__(self, memory_bytes: int, preload: str, clock: Callable[[], float]) -> None:
        self._memory_bytes = memory_bytes
        self._preload = preload
        self._clock = clock
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._ready = False
        self._up_by = 0.0

    def ask(self, question: tuple[bytes, str, str], left: Callable[[], float]) -> Verdict | Ending:
        """The worker's verdict, or how it ended instead; it is gone where it gave none."""
        useful = False
        try:
            channel = self._start()
            if not self._ready:
                receive(channel, left)
                self._ready = True
            channel.settimeout(left())
            send(channel, (*question, left() + _GRACE_S))  # the worker's own deadline is for when this process is gone
            verdict: Verdict
            verdict, grown = receive(channel, left)
            useful = not grown
        except TimeoutError:
            useful = not self._ready and self._clock() < self._up_by  # it will be there for the next
            return ("timeout", "no_worker") if useful else LATE
        except (EOFError, ConnectionError):
            return ending(self.stop(_patience(left)))
        except OSError as error:  # no process to be had
            return "error", type(error).__name__
        else:
            return verdict
        finally:
            if not useful:
                self.stop()

    def stop(self, patience_s: float = 0.0) -> int:
        """End the process, killing it after `patience_s` seconds; its exit code, 0 where none runs."""
        if self._running is None:
            return 0
        process, channel = self._running
        self._running = None
        channel.close()
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def forget(self) -> None:
        """Let go of a process that is the parent's."""
        if self._running is not None:
            process, channel = self._running
            self._running = None
            channel.close()
            process.returncode = 0  # not ours to wait for

    def _start(self) -> socket.socket:
        """The way to the process, which is started if there is none."""
        if self._running is not None and self._running[0].poll() is not None:
            self.stop()
        if self._running is None:
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    process = _open(theirs.fileno(), self._memory_bytes, self._preload)
                except BaseException:
                    ours.close()
                    raise
            self._running, self._ready = (process, ours), False
            self._up_by = self._clock() + _START_S
        return self._running[1]


def _patience(left: Callable[[], float]) -> float:
    """Seconds for a process that has let go of its channel to be gone, so that its exit code says why."""
    try:
        return left() + _GRACE_S
    except TimeoutError:
        return _GRACE_S


def _open(channel: int, memory_bytes: int, preload: str) -> subprocess.Popen[bytes]:
    """A process of `worker` that finds modules where this one does.

    It says nothing but on its channel (libraries print), or when it can't start; Ctrl-C doesn't reach it.
    """
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - a string, as the others
    return subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
        [sys.executable, "-P", "-W", "ignore", "-m", "eli5b_batch.grading.worker", str(memory_bytes), preload],
        stdin=channel,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        process_group=0,
    )


_solo: Final = Solo()
