"""A rate as an API account measures it: per second, with a small burst.

Must not know: what is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_BURST_S: Final = 1.25


def burst(per_second: float) -> float:
    """What may be taken at once: what 1.25 s allow and one more, at least two: a steady client is never refused."""
    return max(2.0, per_second * _BURST_S + 1)


class Meter:
    """A token bucket that may go into debt: more may be taken than is left, and is waited for later.

    Args:
        per_minute: the rate.
        clock: seconds.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self.per_second = per_minute / 60
        self._most = burst(self.per_second)
        self._level = self._most
        self._clock = clock
        self._read_at = clock()

    def wait_s(self) -> float:
        """Seconds until something may be taken; 0 when it may now."""
        return max(0.0, (1 - self._now()) / self.per_second)

    def take(self, amount: float) -> None:
        """Count `amount`."""
        self._level = self._now() - amount

    @property
    def left(self) -> int:
        """Whole units left now, never below 0."""
        return max(0, int(self._now()))

    def _now(self) -> float:
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._read_at) * self.per_second)
        self._read_at = now
        return self._level
