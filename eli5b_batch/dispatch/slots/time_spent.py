"""Where the time of one GPU slot went: working, loading, idle, down.

Must not know: calls, servers. How long a load took is known only afterwards, from a reply: the span that it took is
then booked anew.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_Point = tuple[float, float, float]
"""A moment on the clock, and the busy and down seconds up to that moment."""


class SlotTime:
    """The books of one slot, in seconds of slot time: half of its places in use for two seconds is one busy second.

    Args:
        clock: seconds, monotonic.
        parallel: how many places the slot has.
    """

    def __init__(self, clock: Callable[[], float], parallel: int) -> None:
        self._clock = clock
        self._parallel = parallel
        self._share = 0.0
        self._down = False
        self.begin()

    def begin(self) -> None:
        """Open the books now."""
        self.loads = 0
        self._began = self._loaded_at = self._clock()
        self._loading = self._busy_loading = 0.0
        self._curve: deque[_Point] = deque([(self._began, 0.0, 0.0)])

    def change(self, in_flight: int, *, down: bool, since: float) -> None:
        """Book the time from now on.

        Args:
            in_flight: calls in flight from now on.
            down: True if the slot is down from now on.
            since: seconds on the clock; no load that began before will be booked any more.
        """
        self._curve.append(self._at(self._clock()))
        while len(self._curve) > 2 and self._curve[1][0] <= since:  # noqa: PLR2004 (the point before it is still needed)
            self._curve.popleft()
        self._share = min(1.0, in_flight / self._parallel)
        self._down = down

    def loaded(self, began: float, load_s: float) -> None:
        """Book a load: a call sent at `began` waited `load_s` for its model.

        Several calls may wait for the same load. Their spans overlap, and the load is booked once.
        """
        begin, end = max(began, self._loaded_at, self._curve[0][0]), min(began + load_s, self._clock())
        if end <= begin:
            return
        self.loads += began >= self._loaded_at
        (_, busy, down), (_, busy_then, down_then) = self._at(begin), self._at(end)
        self._loading += (end - begin) - (down_then - down)
        self._busy_loading += busy_then - busy
        self._loaded_at = end

    def _at(self, moment: float) -> _Point:
        """Return the curve at a moment: straight between two points, after the last as the slot is busy or down now."""
        later: _Point | None = None
        for point in reversed(self._curve):
            if point[0] <= moment:
                time, busy, down = point
                passed = moment - time
                if later is None:
                    return moment, busy + passed * self._share * (not self._down), down + passed * self._down
                part = passed / (later[0] - time)
                return moment, busy + part * (later[1] - busy), down + part * (later[2] - down)
            later = point
        return self._curve[0]

    def seconds(self) -> dict[str, float]:
        """Return `busy_s`, `loading_s`, `idle_s` and `down_s`, which add up to the seconds since `begin`."""
        now, busy, down = self._at(self._clock())
        busy -= self._busy_loading
        return {
            "busy_s": busy,
            "loading_s": self._loading,
            "idle_s": max(0.0, now - self._began - busy - self._loading - down),
            "down_s": down,
        }
