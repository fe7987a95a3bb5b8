"""A function that does what its text says, in a module of its own so that worker processes can import it."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_SOON_S: Final = 0.05
_KEPT: Final[list[mmap.mmap]] = []
_PREPARED: Final[list[str]] = []


class Done(NamedTuple):
    """The text of the call, or what its action has put in the place of it; and the process it was done in."""

    text: str
    pid: int


def obey(text: str) -> Done:
    """Does what the first word of `text` says, if it says anything.

    The deadlines of a call that ends in `soon` are moved up, so that one call runs into one while others have time.
    """
    word, _, rest = text.partition(" ")
    if rest == "soon":
        _hasten(signal.ITIMER_REAL if word == "sleep" else signal.ITIMER_PROF)
    if word == "once":
        _once(Path(rest))
    action = _ACTIONS.get(word)
    return Done((action() if action else None) or text, os.getpid())


def prepare(word: str) -> None:
    """Leaves a word for the action `prepared`."""
    _PREPARED.append(word)


def prepare_when_let(folder: Path) -> None:
    """Comes to an end only when the file `let` is there; leaves a file `here` before."""
    (folder / "here").touch()
    while not (folder / "let").exists():
        time.sleep(0.01)


def prepare_nothing_twice(folder: Path) -> None:
    """Ends the process the first two times."""
    times = len(list(folder.iterdir()))
    (folder / str(times)).touch()
    if times < 2:
        os._exit(4)


def _hasten(timer: int) -> None:
    """There is little left to one of the deadlines."""
    signal.setitimer(timer, min(signal.getitimer(timer)[0], _SOON_S))


def _hang() -> None:
    """Holds the interpreter for minutes in one multiplication."""
    pow(7, 10**9)


def _sleep() -> None:
    time.sleep(3_600)


def _deaf() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_PROF, 0)


def _sleep_on() -> None:
    """Sleeps without an alarm."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    _sleep()


def _spin_on() -> None:
    """Works on without an alarm; little of its CPU time is left."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    _hasten(signal.ITIMER_PROF)
    _hang()


def _hang_on() -> None:
    """Works on without any deadline of its own."""
    _deaf()
    _hang()


def _once(path: Path) -> None:
    """Sleeps the first time."""
    if not path.exists():
        path.write_text(str(os.getpid()))
        _sleep()


def _orphan() -> None:
    """Kills the process that asks and hangs, without any deadline."""
    _deaf()
    os.kill(os.getppid(), signal.SIGKILL)
    _hang()


def _interrupt() -> None:
    """Presses Ctrl-C at the process that asks, and keeps it waiting.

    It is pressed again: a signal that comes just before that process begins to wait is noticed only when the wait ends.
    """
    while True:
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(20)


def _linger() -> None:
    """Lets go of whoever asks a while before it ends."""
    os.closerange(3, 256)
    time.sleep(_SOON_S)
    os._exit(3)


def _recurse() -> None:
    _recurse()


def _fault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _eat() -> str:
    return str(len(bytearray(4 << 30)))


def _keep() -> None:
    _KEPT.append(mmap.mmap(-1, 600 << 20))


def _fail() -> None:
    raise ZeroDivisionError


def _print() -> None:
    print("noise" * 1_000, flush=True)  # noqa: T201 - libraries do
    os.write(1, b"more noise")


def _limits() -> str:
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_CORE)
    return " ".join(str(resource.getrlimit(kind)[0]) for kind in kinds)


def unpicklable() -> Callable[[], None]:
    """Returns what can't be sent back."""
    return lambda: None


_ACTIONS: Final[dict[str, Callable[[], str | None]]] = {
    "hang": _hang,
    "sleep": _sleep,
    "sleep_on": _sleep_on,
    "spin_on": _spin_on,
    "hang_on": _hang_on,
    "nap": lambda: time.sleep(0.05),
    "orphan": _orphan,
    "interrupt": _interrupt,
    "linger": _linger,
    "recurse": _recurse,
    "fault": _fault,
    "crash": lambda: os._exit(3),
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "eat": _eat,
    "keep": _keep,
    "fail": _fail,
    "exit": sys.exit,
    "print": _print,
    "limits": _limits,
    "priority": lambda: str(os.nice(0)),
    "prepared": lambda: " ".join(_PREPARED),
}
