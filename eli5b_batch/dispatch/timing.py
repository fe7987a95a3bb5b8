"""Times of dispatch: what is due now, waits that double, and events per second.

Must not know: calls, places, limits. Every function goes by the clock that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

TICK_S: Final = 1e-6
"""Whatever is due within a tick, seconds, is due now: a timer may fire early by the clock's resolution, and a wait for
the remainder would be lost in the clock's rounding, and so never end on a virtual clock."""


def doubling(first: float, times: int, longest: float) -> float:
    """Return `first` doubled `times` times, at most `longest`; `times` may be any number that a long run comes to."""
    return min(longest, first * 2.0 ** min(times, 60))


class RateMeter:
    """Events per second over the last `span` seconds.

    Args:
        clock: seconds, monotonic.
        span: seconds looked back over.
    """

    def __init__(self, clock: Callable[[], float], span: float = 10.0) -> None:
        self._clock = clock
        self._span = span
        self._buckets: dict[int, float] = {}
        self._since = clock()

    def add(self, amount: float = 1.0) -> None:
        """Count `amount` now."""
        second = int(self._clock())
        self._buckets[second] = self._buckets.get(second, 0.0) + amount
        while self._buckets and next(iter(self._buckets)) < second - self._span:
            del self._buckets[next(iter(self._buckets))]

    def rate(self) -> float:
        """Return the events per second over the span, or over the time since the start where that is shorter."""
        now = self._clock()
        oldest = int(now - self._span) + 1
        total = sum(v for second, v in self._buckets.items() if second >= oldest)
        return total / max(1.0, now - max(oldest, self._since))
