"""Pacing against limits per minute: requests by asyncio-throttle, tokens by a bucket.

Must not know: calls, providers, HTTP. Both are awaited by one dispatcher at a time, on the event loop's clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asyncio_throttle.throttler import Throttler

if TYPE_CHECKING:
    from collections.abc import Callable

_WINDOW_S: Final = 0.05
"""Starts are counted over windows of about this length: limits are really measured per second, so a minute's
allowance must not be sent in its first second."""

TICK_S: Final = 1e-6
"""What is due within a tick is due now: timers may fire early by the clock's resolution, and a wait for the rest,
lost in the rounding of the clock, would never end on a virtual clock."""


class Pacer(Throttler):
    """asyncio-throttle's sliding window, spread over the minute and on a given clock.

    The library's own `acquire` polls every 10 ms on the system clock; here the one waiter sleeps just until the
    window opens, so that a run can be tested on a virtual clock and no start comes late by the polling.

    Args:
        per_minute: starts per minute; may be changed at any time by `set_rate`.
        clock: seconds, monotonic.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        super().__init__(rate_limit=1)
        self._clock = clock
        self.set_rate(per_minute)

    def set_rate(self, per_minute: float) -> None:
        """Change the limit; starts already made count against the new one."""
        self.rate_limit = max(1, round(per_minute / 60 * _WINDOW_S))
        self.period = 60 * self.rate_limit / per_minute

    def flush(self) -> None:
        """Forget starts that have left the window."""
        while self._task_logs and self._until_forgotten() <= TICK_S:
            self._task_logs.popleft()

    def _until_forgotten(self) -> float:
        """Seconds until the oldest start leaves the window."""
        left: float = self._task_logs[0] + self.period - self._clock()
        return left

    async def acquire(self) -> None:
        """Wait for the next start the limit allows."""
        self.flush()
        while len(self._task_logs) >= self.rate_limit:
            await asyncio.sleep(self._until_forgotten())
            self.flush()
        self._task_logs.append(self._clock())


class TokenBucket:
    """Tokens per minute: reserved from an estimate before a call, settled after it.

    It starts empty and holds at most one second's worth, so that the run begins at the rate and not with a burst.
    A call larger than the bucket goes out when the bucket is full and leaves it in debt.

    Args:
        per_minute: tokens per minute.
        clock: seconds, monotonic.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._rate = per_minute / 60
        self._clock = clock
        self._level = 0.0
        self._at = clock()

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._rate, self._level + (now - self._at) * self._rate)
        self._at = now

    async def take(self, tokens: float) -> None:
        """Wait until `tokens` fit, then take them."""
        self._fill()
        needed = min(tokens, self._rate)
        while (wait := (needed - self._level) / self._rate) > TICK_S:
            await asyncio.sleep(wait)
            self._fill()
        self._level -= tokens

    def settle(self, reserved: float, used: float) -> None:
        """Correct a reservation by what was really used."""
        self._fill()
        self._level = min(self._rate, self._level + reserved - used)
