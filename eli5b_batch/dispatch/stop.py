"""Stopping: from one moment on no new call goes out, and calls in flight may end.

Must not know: why a run stops, beyond carrying the reason.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from signal import Signals
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Reason = BaseException | Signals
"""Why a run stops early: an error, or a signal."""


class Stop:
    """The switch that stops a run, shared by all its dispatchers.

    Once a run is stopped, a call that has not gone out waits for ever: nothing is raised into a protocol, and the run
    cancels its tasks as soon as the outcome of every call in flight is on disk.
    """

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.in_flight = 0
        self._stopped = asyncio.Event()
        self._for_ever = asyncio.Event()  # never set; it also keeps the tasks that wait for it from garbage collection
        self._drained = asyncio.Event()
        self._drained.set()

    def ask(self, reason: Reason) -> None:
        """Stop sending calls. The first reason is kept, later ones are ignored."""
        if self.reason is None:
            self.reason = reason
            self._stopped.set()

    async def stopped(self) -> None:
        """Wait until the run is stopped."""
        await self._stopped.wait()

    async def may_send(self) -> None:
        """Return at once while the run goes on; never return once it is stopped."""
        if self.reason is not None:
            await self._for_ever.wait()

    @contextmanager
    def call_in_flight(self) -> Iterator[None]:
        """Count a call as in flight while the block runs: from its sending until its outcome is on disk."""
        self.in_flight += 1
        self._drained.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._drained.set()

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        await self._drained.wait()
