"""The process that makes calls: `python -m eli5b_batch.workers.program MEMORY_BYTES NICENESS`, standard input a socket.

Must not know: who asks, what is called. It prepares, says that it is up, makes one call after another and ends with the
socket's other end.

Every bound is the kernel's: a handler in Python, or a thread that watches, would wait for the interpreter, which a
single big multiplication holds for minutes. The two deadlines are timers without a handler, which end the process at
that moment: one counts CPU time, so that a busy machine takes nothing from a call, and one counts wall time, for calls
that sleep. The limit on address space makes allocations fail. The end of the asking process is a signal, too: a busy
worker dies with it at once.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import signal
import socket
import struct
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATE: Final = {signal.SIGPROF: "cpu", signal.SIGALRM: "deadline"}
"""The signals by which a late call ends its process, and which of its times was over."""
_FATAL: Final = (*LATE, signal.SIGIO, signal.SIGTERM, signal.SIGXCPU)
_SIZE: Final = struct.Struct("!Q")


class Bounds(NamedTuple):
    """Seconds for one call, from when a worker takes it up: of CPU time, and of wall time."""

    cpu_s: float
    wall_s: float


def main() -> None:
    """Make calls until there is nobody left who asks."""
    memory_bytes, niceness = map(int, sys.argv[1:])
    _confine(memory_bytes)
    os.nice(niceness)
    with socket.socket(fileno=os.dup(0)) as channel, suppress(EOFError, ConnectionError):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
        prepare: Callable[[], object] = pickle.loads(receive(channel))  # noqa: S301 - the caller is this package
        prepare()
        send(channel, b"ready")
        while True:
            bounds, call = pickle.loads(receive(channel))  # noqa: S301 - as above
            with _bounded(bounds, channel):
                result = _made(call)
            send(channel, result)


def send(channel: socket.socket, message: bytes) -> None:
    """Send one message, its size before it."""
    channel.sendall(_SIZE.pack(len(message)))
    channel.sendall(message)


def receive(channel: socket.socket, left: Callable[[], float | None] = lambda: None) -> bytes:
    """Receive one message.

    Args:
        channel: where from.
        left: gives the seconds left for the whole of it; None: for ever.

    Raises:
        EOFError: the other end is gone.
        TimeoutError: the time is over.
    """
    (size,) = _SIZE.unpack(_exactly(_SIZE.size, channel, left))
    return _exactly(size, channel, left)


def _exactly(size: int, channel: socket.socket, left: Callable[[], float | None]) -> bytes:
    data = bytearray()
    while len(data) < size:
        channel.settimeout(left())
        part = channel.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _made(call: bytes) -> bytes:
    """What came of a call: whether it returned, what it returned or raised, and whether the next needs another process.

    Importing the function is part of the call's time, and may fail; so may packing up what it returns.
    """
    try:
        function, arguments = pickle.loads(call)  # noqa: S301 - as above
        return pickle.dumps((True, function(*arguments), _grown()))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller is given its name
        return pickle.dumps((False, type(error).__name__, _grown()))


def _confine(memory_bytes: int) -> None:
    """Limit this process for good: address space, no core dumps, signals that end it whatever it is doing.

    Ctrl-C goes to every process of a terminal and is the asking process's business.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _FATAL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FATAL)  # a mask is inherited
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, memory_bytes)


def _limit(kind: int, value: int) -> None:
    """Set a soft limit, as far as the hard one allows: that can't be raised again."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


@contextmanager
def _bounded(bounds: Bounds, channel: socket.socket) -> Iterator[None]:
    """End this process when what is done inside `with` takes too long, or the other end of its channel is closed."""
    flags = fcntl.fcntl(channel, fcntl.F_GETFL)
    fcntl.fcntl(channel, fcntl.F_SETFL, flags | os.O_ASYNC)  # nothing is sent during a call: what comes is the end
    signal.setitimer(signal.ITIMER_PROF, bounds.cpu_s)
    signal.setitimer(signal.ITIMER_REAL, bounds.wall_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        fcntl.fcntl(channel, fcntl.F_SETFL, flags)


def _grown() -> bool:
    """Whether half the address space is taken, by caches mostly: the next call is not to fail for this one's sake."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") * 2 > resource.getrlimit(resource.RLIMIT_AS)[0]


if __name__ == "__main__":
    main()
