"""One process that makes calls, as its caller sees it: started when first asked and again when it has ended.

Must not know: what is called, who waits for the answer: a thread does.

The process is a fresh interpreter: a fork would copy this process's threads and locks in mid-flight. It is no child of
`multiprocessing`'s, which daemonic processes may not have; it shares nothing with a process forked off this one; and no
signal handler or limit of the caller's is touched. It dies with its caller, whose end of the channel is then closed.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from eli5b_batch.workers import program
from eli5b_batch.workers.program import LATE, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.workers.program import Bounds

MEMORY_BYTES: Final = 768 << 20
"""Address space of a worker: with its caller it stays below 1 GB; sympy and all it imports take a tenth of it."""
_START_S: Final = 60.0
"""For a process to come up, however busy the machine is."""
_GRACE_S: Final = 30.0
"""Beyond a call's wall time, for it to reach its process and for its end to be noticed; only what the process's own
deadlines don't end is waited for so long."""
_END_S: Final = 1.0
"""For a process that has let go of its channel to be gone, so that its exit code says why."""


class Ending(NamedTuple):
    """What came of a call.

    `what` is by `kind`: what it `returned`; the name of the error that it `raised`; which time was over where it was
    too `late`: `cpu`, `deadline`, or `no_worker` for one that was never made; how the process `died` of it, as in
    `SIGKILL` and `exit 3`; why a process was `unstarted`: the same, or the name of an error.
    """

    kind: Literal["returned", "raised", "late", "died", "unstarted"]
    what: Any


NO_WORKER: Final = Ending("late", "no_worker")


class Worker:
    """A process that can be killed; asked by one thread at a time.

    Args:
        prepare: a picklable function, called once in each process before its first call: it imports what calls need.
        memory_bytes: address space of the process.
        niceness: added to this process's own.
        clock: seconds, as `time.monotonic`; deadlines are reckoned by it.
    """

    def __init__(
        self,
        prepare: Callable[[], object],
        *,
        memory_bytes: int = MEMORY_BYTES,
        niceness: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prepare = pickle.dumps(prepare)
        self._arguments = (str(memory_bytes), str(niceness))
        self._clock = clock
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._ready = False
        self._up_by = 0.0
        self._killed = False
        _WORKERS.add(self)

    @property
    def pid(self) -> int | None:
        """The process, where there is one."""
        return self._running[0].pid if self._running else None

    def call(self, call: bytes, bounds: Bounds, until: float = inf) -> Ending:
        """What came of a call; it is made again in a fresh process where one dies of it.

        Args:
            call: as `packed`.
            bounds: seconds for the call, kept by the process itself.
            until: when all of it is over by the clock: starting a process, the call, and a second try.
        """
        question, patience_s = pickle.dumps((bounds, call)), bounds.wall_s + _GRACE_S
        first = self._try(question, patience_s, until)
        if first.kind != "died":
            return first
        again = self._try(question, patience_s, until)  # the process may have been killed from outside
        return first if again == NO_WORKER else again

    def kill(self) -> None:
        """Have the call in hand end now, from another thread; until `allow`, no process is started."""
        self._killed = True
        running = self._running
        if running is not None:
            running[0].kill()

    def allow(self) -> None:
        """Take calls again after `kill`."""
        self._killed = False

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
        """Let go of a process that is the parent's, in a process forked off it."""
        if self._running is not None:
            process, channel = self._running
            self._running = None
            channel.close()
            process.returncode = 0  # not ours to wait for

    def _try(self, question: bytes, patience_s: float, until: float) -> Ending:
        """What came of a question; the process is gone where it gave no answer."""
        useful = False
        try:
            channel = self._start()
            if not self._ready:
                receive(channel, lambda: self._left(min(until, self._up_by)))
                self._ready = True
            end = min(until, self._clock() + patience_s)
            channel.settimeout(self._left(end))
            send(channel, question)
            returned, what, grown = pickle.loads(receive(channel, lambda: self._left(end)))  # noqa: S301 - see `program`
            useful = not grown
            return Ending("returned" if returned else "raised", what)
        except TimeoutError as error:
            if self._ready:
                return Ending("late", "deadline")
            useful = self._clock() < self._up_by  # it will be there for the next
            return NO_WORKER if useful else Ending("unstarted", type(error).__name__)
        except (EOFError, ConnectionError):
            ready = self._ready
            return _ending(self.stop(_END_S), ready=ready)
        except OSError as error:  # no process to be had
            return Ending("unstarted", type(error).__name__)
        finally:
            if not useful:
                self.stop()

    def _left(self, end: float) -> float:
        seconds = end - self._clock()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def _start(self) -> socket.socket:
        """The way to the process, which is started if there is none."""
        if self._running is not None and self._running[0].poll() is not None:
            self.stop()
        if self._running is None:
            self._ready = False
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    process = _open(theirs.fileno(), self._arguments)
                except BaseException:
                    ours.close()
                    raise
            self._running = process, ours
            self._up_by = self._clock() + _START_S
            send(ours, self._prepare)
        if self._killed:  # while it was started
            raise EOFError
        return self._running[1]


def packed(function: Callable[..., object], *arguments: object) -> bytes:
    """A call as it is sent to a process; any text survives pickling, lone surrogates too.

    Args:
        function: picklable, by its name in a module that the process can import; what it returns must be, too.
        *arguments: given to it.
    """
    return pickle.dumps((function, arguments))


def _ending(exitcode: int, *, ready: bool) -> Ending:
    """How a call ended whose process ended with `exitcode`, negative where a signal ended it."""
    signals = {-number: number for number in signal.Signals}
    number = signals.get(exitcode)
    if number in LATE and ready:
        return Ending("late", LATE[number])
    return Ending("died" if ready else "unstarted", number.name if number else f"exit {exitcode}")


def _open(channel: int, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """A process of `program` that finds modules where this one does.

    It says nothing but on its channel (libraries print), or when it can't start; Ctrl-C doesn't reach it.
    """
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - a string, as the others
    return subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
        [sys.executable, "-P", "-W", "ignore", "-m", program.__name__, *arguments],
        stdin=channel,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        process_group=0,
    )


_WORKERS: Final[weakref.WeakSet[Worker]] = weakref.WeakSet()


def _forget_all() -> None:
    """In a process forked off: a channel held open there would keep a worker whose caller has died."""
    for worker in list(_WORKERS):
        worker.forget()


os.register_at_fork(after_in_child=_forget_all)
