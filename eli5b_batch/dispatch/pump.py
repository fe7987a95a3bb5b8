"""What both kinds of capacity do when something has changed: hand out places, sleep on one timer, give up in the end.

Must not know: what a place is, how it is chosen.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from eli5b_batch.dispatch.api.pacing import TICK_S
from eli5b_batch.errors import ProviderDownError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.errors import CallError


class Pump:
    """Base of a capacity: `_hand_out` is called at the end of a turn of the loop, and when a timer is due.

    Args:
        clock: the event loop's clock, seconds.
        give_up_after_s: seconds that all servers of a call may be down before the run ends.
    """

    def __init__(self, clock: Callable[[], float], give_up_after_s: float) -> None:
        self._clock = clock
        self._give_up_after_s = give_up_after_s
        self._pumping: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None
        self._last_failure: CallError | None = None

    async def run(self) -> None:
        """Watch over the servers until cancelled.

        Raises:
            ProviderDownError: none that a call could go to has worked for too long.
        """
        self._over = asyncio.get_running_loop().create_future()
        await self._over

    def _hand_out(self) -> None:
        raise NotImplementedError

    def _pump_soon(self) -> None:
        """Hand out places at the end of this turn of the loop: calls that come in one turn are seen together."""
        if self._pumping is None:
            self._pumping = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hand_out()

    def _pump_in(self, seconds: float) -> None:
        """Hand out places again in so many seconds; infinite: when something changes."""
        if math.isfinite(seconds):
            self._timer = asyncio.get_running_loop().call_later(seconds, self._pump)

    def _give_up_on(self, down_since: Sequence[float | None], model: str = "") -> float:
        """End the run where every server (of `model`) has been down for too long, None standing for one that works.

        Returns:
            Seconds until that would be; infinite where it would not.
        """
        downs = [since for since in down_since if since is not None]
        if self._over is None or self._over.done() or len(downs) < len(down_since):
            return math.inf
        down_s = self._clock() - max(downs)
        left = self._give_up_after_s - down_s
        if left > TICK_S:
            return left
        self._over.set_exception(ProviderDownError(down_s, self._last_failure, model))
        return math.inf
