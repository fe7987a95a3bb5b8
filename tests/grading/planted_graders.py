"""A grader that does what the text says, in a module of its own so that worker processes can import it."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT: Final[list[mmap.mmap]] = []


def undecided(text: str, gold: str) -> Verdict | None:  # noqa: ARG001 - as every `decide`
    """Leaves every answer to a worker."""
    return None


def obey(text: str, gold: str) -> Verdict:
    """Does what the first word of `text` says, if it says anything; `seconds` is the process's id."""
    action = _ACTIONS.get(text.partition(" ")[0])
    said = action() if action else None
    return Verdict("correct", said or text, gold, os.getpid())


def _hang() -> None:
    """Holds the interpreter for minutes in one multiplication."""
    print("hanging", flush=True)  # noqa: T201 - the test of a killed parent waits for it
    pow(7, 10**9)


def _sleep() -> None:
    time.sleep(3_600)


def _without_alarm(action: Callable[[], None]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    action()


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
    "sleep_on": lambda: _without_alarm(_sleep),
    "spin_on": lambda: _without_alarm(_hang),
    "nap": lambda: time.sleep(0.05),
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
