"""A grader that does what the text says, in a module of its own so that worker processes can import it."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.limits import confine
from eli5b_batch.grading.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

_SOON_S: Final = 0.05
_KEPT: Final[list[mmap.mmap]] = []


def undecided(text: str, gold: str) -> Verdict | None:  # noqa: ARG001 - as every `decide`
    """Leaves every answer to a worker."""
    return None


def obey(text: str, gold: str) -> Verdict:
    """Does what the first word of `text` says, if it says anything; `seconds` is the process's id.

    The deadline of an answer that ends in `soon` is moved up, so that one answer runs into it while others have time.
    """
    word, _, rest = text.partition(" ")
    if rest == "soon":
        _hasten(_deadline_s())
    if word == "once":
        _once(Path(rest))
    action = _ACTIONS.get(word)
    said = action() if action else None
    return Verdict("correct", said or text, gold, os.getpid())


def prepare_when_let(folder: Path, memory_bytes: int) -> None:
    """Limits a worker that has come up only when the file `let` is there; leaves a file `here` before."""
    (folder / "here").touch()
    while not (folder / "let").exists():
        time.sleep(0.01)
    confine(memory_bytes)


def _deadline_s() -> float:
    """Seconds to this answer's own deadline; 0: it has none."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


def _hasten(deadline_s: float) -> None:
    """Where there is a deadline, there is little left to it."""
    signal.setitimer(signal.ITIMER_REAL, min(deadline_s, _SOON_S))


def _hang() -> None:
    """Holds the interpreter for minutes in one multiplication."""
    pow(7, 10**9)


def _sleep() -> None:
    time.sleep(3_600)


def _sleep_on() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    _sleep()


def _spin_on() -> None:
    """Works on without an alarm; of its CPU time, if that is limited, less than a second is left."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (min(soft, int(time.process_time()) + 1), hard))
    _hang()


def _once(path: Path) -> None:
    """Sleeps the first time."""
    if not path.exists():
        path.write_text(str(os.getpid()))
        _sleep()


def _asker() -> int:
    """The process that asks: the parent, or who had the fork server make this one."""
    parent = multiprocessing.parent_process()
    pid = os.getppid() if parent is None else parent.pid
    assert pid is not None
    return pid


def _orphan() -> None:
    """Kills the process that asks and, once it is gone, hangs; the deadline is kept off until then."""
    left_s = _deadline_s()
    signal.setitimer(signal.ITIMER_REAL, 0)
    parent, asker = multiprocessing.parent_process(), _asker()
    os.kill(asker, signal.SIGKILL)
    if parent is not None:
        parent.join()
    while parent is None and os.getppid() == asker:
        time.sleep(0.001)
    _hasten(left_s)
    _hang()


def _interrupt() -> None:
    """Presses Ctrl-C at the process that asks, and keeps it waiting.

    It is pressed again: a signal that comes just before that process begins to wait is noticed only when the wait ends.
    """
    while True:
        os.kill(_asker(), signal.SIGINT)
        time.sleep(20)


def _linger() -> None:
    """Lets go of whoever asks a while before it ends."""
    os.closerange(3, 256)
    time.sleep(_SOON_S)
    os._exit(3)


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


_ACTIONS: Final[dict[str, Callable[[], str | None]]] = {
    "hang": _hang,
    "sleep": _sleep,
    "sleep_on": _sleep_on,
    "spin_on": _spin_on,
    "nap": lambda: time.sleep(0.05),
    "orphan": _orphan,
    "interrupt": _interrupt,
    "linger": _linger,
    "crash": lambda: os._exit(3),
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "eat": _eat,
    "keep": _keep,
    "fail": _fail,
    "exit": sys.exit,
    "print": _print,
    "limits": _limits,
    "priority": lambda: str(os.nice(0)),
}
