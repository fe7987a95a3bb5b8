"""The problem window: how many problems are in flight, and when the next one is begun.

Must not know: what a problem is, which servers there are. It grows just as far as something would run dry, and so holds
memory down and keeps the order of work: a problem begun is finished before one behind it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE_S: Final = 0.02
"""Seconds between two looks at whether more is wanted."""
_TURNS: Final = 4
"""Turns of the loop after which a new problem's first calls are in their queues."""


class ProblemWindow:
    """Lets problems in, one at a time, in order.

    Args:
        least: problems that may be in flight in any case.
        most: problems that may be in flight at most, as things are.
        wants_more: whether another one is wanted beyond `least`.
    """

    def __init__(self, least: int, most: Callable[[], int], wants_more: Callable[[], bool]) -> None:
        self._least = least
        self._most = most
        self._wants_more = wants_more
        self._changed = asyncio.Event()
        self.active = 0

    @property
    def size(self) -> int:
        """Problems that may be in flight now."""
        return max(self._least, self.active)

    async def enter(self) -> None:
        """Wait until the next problem may begin."""
        while self.active >= self._least:
            self._changed.clear()  # before the look: what changes meanwhile is looked at, too
            if await self._another():
                break
            await self._changed.wait()
        self.active += 1

    def leave(self) -> None:
        """A problem is finished."""
        self.active -= 1
        self._changed.set()

    def look(self) -> None:
        """A call was answered: more may be wanted."""
        self._changed.set()

    async def _another(self) -> bool:
        if self.active >= self._most():
            return False
        for _ in range(_TURNS):  # what the problem before asks for is to be counted
            await asyncio.sleep(0)
        if self._wants_more():
            return True
        await asyncio.sleep(PAUSE_S)
        return self._wants_more()
