"""Pacing against limits per minute: requests by asyncio-throttle, tokens by a bucket.

Must not know: calls, providers, HTTP. Nothing here waits: a pacer and a bucket say when the next start is due, on a
given clock, and the gate waits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from asyncio_throttle.throttler import Throttler

from eli5b_batch.dispatch.timing import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable

_WINDOW_S: Final = 0.05
"""Starts are counted over windows of about this length: hosts really measure limits per second, so a minute's
allowance must not be sent in its first second. A start that comes late by up to this length counts as in time."""

_TOKENS_S: Final = 0.25
"""Seconds' worth of tokens that the bucket holds."""

_LONGEST_DEBT_S: Final = 60.0


class Pacer(Throttler):
    """asyncio-throttle's sliding window, spread over the minute and on a given clock.

    The library's `acquire` polls every 10 ms on the system clock. This class says when the window opens instead, so
    that a run can be tested on a virtual clock and polling delays no start. A start that its timer delays is counted
    at the time when it was due: the delays would add up to a few percent of the limit.

    Args:
        per_second: starts per second, `math.inf` for no limit; may be changed at any time by `set_rate`.
        clock: seconds, monotonic.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        super().__init__(rate_limit=1)
        self._clock = clock
        self._free_since = clock()
        self._rate = math.nan
        self.set_rate(per_second)

    def set_rate(self, per_second: float) -> None:
        """Change the limit; starts already made count against the new one."""
        if per_second == self._rate:
            return
        self._rate = per_second
        self.rate_limit = max(1, round(min(per_second, 1e6) * _WINDOW_S))
        self.period = self.rate_limit / per_second

    def flush(self) -> None:
        """Forget starts that have left the window."""
        now = self._clock() + TICK_S
        while self._task_logs and self._task_logs[0] + self.period <= now:
            self._free_since = self._task_logs.popleft() + self.period

    def due_in(self) -> float:
        """Return the seconds until the limit allows the next start; 0 for now."""
        if math.isinf(self._rate):
            return 0.0
        self.flush()
        if len(self._task_logs) < self.rate_limit:
            return 0.0
        left: float = self._task_logs[len(self._task_logs) - self.rate_limit] + self.period - self._clock()
        return max(0.0, left)

    def start(self) -> None:
        """Count a start now."""
        if not math.isinf(self._rate):
            self._task_logs.append(max(self._clock() - _WINDOW_S, min(self._clock(), self._free_since)))


class TokenBucket:
    """A bucket of tokens that fills at a rate: calls take an estimate before they are sent, and settle it afterwards.

    The bucket starts empty and holds little, so that the run begins at the rate and not with a burst. A call larger
    than the bucket goes out when the bucket is full, and leaves it in debt: large calls wait no longer than their due.

    Args:
        per_second: tokens per second, `math.inf` for no limit; may be changed by `set_rate`.
        clock: seconds, monotonic.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._rate = per_second
        self._clock = clock
        self._level = 0.0
        self._at = clock()

    def set_rate(self, per_second: float) -> None:
        """Change the limit; the tokens in the bucket stay."""
        if per_second != self._rate:
            self._fill()
            self._level = self._level if math.isfinite(self._level) else 0.0
            self._rate = per_second

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._rate * _TOKENS_S, self._level + (now - self._at) * self._rate)
        self._at = now

    def due_in(self, tokens: float) -> float:
        """Return the seconds until a call of `tokens` may go out; 0 for now."""
        if math.isinf(self._rate):
            return 0.0
        self._fill()
        left = (min(tokens, self._rate * _TOKENS_S) - self._level) / self._rate
        return left if left > TICK_S else 0.0

    def take(self, tokens: float) -> None:
        """Take `tokens` out of the bucket."""
        if not math.isinf(self._rate):
            self._fill()
            self._level -= tokens

    def settle(self, reserved: float, used: float) -> None:
        """Correct a reservation to the tokens used; at most a minute's worth more, whatever a server counts."""
        if not math.isinf(self._rate):
            self.take(min(used - reserved, _LONGEST_DEBT_S * self._rate))
