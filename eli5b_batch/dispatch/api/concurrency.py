"""How many calls of one account may be in flight: as the job says, or fewer where the server is saturated before.

Must not know: HTTP, queues, rates. A window is a pure function of what happened on a given clock: nothing here waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eli5b_batch.dispatch.timing import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable

_ROUND: Final = 16
_WIDER: Final = 1.25
_FASTER: Final = 1.05
_SLOWER: Final = 1.3
_BACK: Final = 0.75


class ConcurrencyWindow:
    """The most calls in flight, `size`: the job's concurrency, or less where the server is saturated before.

    The server counts as saturated where a quarter more calls in flight bring less than 5% more replies a second, and
    the replies take 30% longer. The window then shrinks to three quarters of the calls that were in flight. After ten
    times as many replies as the window is wide, it grows again, by one a reply.

    Args:
        most: the job's concurrency.
        clock: seconds, monotonic.
        adaptive: False keeps to the job's concurrency.
    """

    def __init__(self, most: int, clock: Callable[[], float], *, adaptive: bool) -> None:
        self.size = most
        self._most = most
        self._clock = clock
        self._adaptive = adaptive
        self._patience = 0
        self._begin_round(None)

    def _begin_round(self, before: tuple[float, float, float] | None) -> None:
        self._before = before
        self._replies = 0
        self._latency = self._in_flight = 0.0
        self._began = self._clock()

    def answered(self, latency_s: float, in_flight: int, *, paced: bool) -> None:
        """Count a reply.

        Args:
            latency_s: seconds from sending the call to its reply.
            in_flight: calls in flight when the reply came.
            paced: a known limit bounds the calls per second, so that slower replies only put more calls in flight.
        """
        if not self._adaptive:
            return
        self._replies += 1
        self._latency += latency_s
        self._in_flight += in_flight
        if self._patience:
            self._patience -= 1
        elif self.size < self._most:
            self.size += 1
        if paced:
            self._begin_round(None)
        elif self._replies >= max(_ROUND, in_flight):
            self._end_round()

    def _end_round(self) -> None:
        speed = self._replies / max(self._clock() - self._began, TICK_S)
        latency, in_flight = self._latency / self._replies, self._in_flight / self._replies
        if self._before is not None and in_flight >= _WIDER * self._before[0]:
            _, speed_before, latency_before = self._before
            if speed < _FASTER * speed_before and latency > _SLOWER * latency_before:
                self.size = max(1, int(in_flight * _BACK))
                self._patience = 10 * self.size
        self._begin_round((in_flight, speed, latency))
