"""Stopping: from one moment on no new call goes out, and those in flight come home.

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
    """Shared by every dispatcher of a run.

    A call that may no longer go out waits for ever: nothing is raised into a protocol, and the run cancels its tasks
    once everything in flight is on disk.
    """

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.in_flight = 0
        self._asked = asyncio.Event()
        self._for_ever = asyncio.Event()  # never set; it also keeps the tasks that wait here from the garbage collector
        self._home = asyncio.Event()
        self._home.set()

    def ask(self, reason: Reason) -> None:
        """Stop sending; the first reason stays."""
        if self.reason is None:
            self.reason = reason
            self._asked.set()

    async def asked(self) -> None:
        """Wait until somebody asks."""
        await self._asked.wait()

    async def may_send(self) -> None:
        """Returns at once while the run goes on, never afterwards."""
        if self.reason is not None:
            await self._for_ever.wait()

    @contextmanager
    def in_the_air(self) -> Iterator[None]:
        """Around a call from its sending until its outcome is on disk."""
        self.in_flight += 1
        self._home.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._home.set()

    async def all_home(self) -> None:
        """Wait until nothing is in flight."""
        await self._home.wait()
