"""An event loop on a virtual clock: hours of a run pass in the time that its Python code takes.

Must not know: what runs on it.

The clock stands still while anything can run, and leaps to the next timer when nothing can. The library `looptime`,
which the tests use, does the same and more (sockets, threads, idle cycles). This loop does no input or output, which
saves a system call a turn: 80,000 sleeps took 1.1 s on it and 2.1 s on looptime without idle cycles (15.6 s with its
default of 42). Its times are exact where looptime rounds to microseconds.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class StuckError(Exception):
    """Nothing can run and no timer is set: on a real clock this would wait for ever."""


class _Leaps(selectors.DefaultSelector):
    """Never waits: what the loop would have slept is added to the time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("every task waits for something that never comes")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0 and passes only while everything waits for timers."""

    def __init__(self) -> None:
        self._leaps = _Leaps()
        super().__init__(self._leaps)

    def time(self) -> float:
        """Seconds since the loop was made, on its own clock."""
        return self._leaps.now


def run_virtual(main: Coroutine[object, object, T]) -> T:
    """Run `main` to its end on a virtual clock of its own. Ctrl-C works as ever.

    Raises:
        StuckError: it can never end.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
