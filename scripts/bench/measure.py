"""The arithmetic of runner.py: limits that change over time, goodput, rates, ratios and their spread.

Must not know: processes, servers, sockets. Times are seconds on one clock; what a server saw comes as `Seen`.
"""

from __future__ import annotations

import itertools
import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OK = 200
TOO_MANY = 429
GONE = 499
"""The client's connection was gone before the reply was due."""


class Seen(NamedTuple):
    """One chat request, as the server logged it: when it came and was answered, with what, tokens of both sides."""

    arrived: float
    replied: float
    status: int
    tokens: int


class Schedule:
    """A limit per minute that changes at given times.

    Args:
        steps: (seconds from the start, units per minute from then on), ascending, the first at 0.
    """

    def __init__(self, steps: Sequence[tuple[float, float]]) -> None:
        self._starts = [at for at, _ in steps]
        self._rates = [per_minute / 60 for _, per_minute in steps]

    def rate_at(self, t: float) -> float:
        """Units per second at `t`."""
        return next(rate for at, rate in zip(self._starts[::-1], self._rates[::-1], strict=True) if at <= max(t, 0.0))

    def integral(self, begin: float, end: float) -> float:
        """Units that the limit allows from `begin` to `end`."""
        ends = [*self._starts[1:], float("inf")]
        pieces = zip(self._starts, ends, self._rates, strict=True)
        return sum(max(0.0, min(end, until) - max(begin, at)) * rate for at, until, rate in pieces)

    def without(self, begin: float, end: float) -> Schedule:
        """The same limit with nothing allowed from `begin` to `end`."""
        inside = [(begin, 0.0), (end, self.rate_at(end) * 60)]
        steps = [(at, rate * 60) for at, rate in zip(self._starts, self._rates, strict=True)]
        kept = [(at, per_minute) for at, per_minute in steps if not begin <= at <= end]
        return Schedule(sorted([*kept, *inside]))


def rate_of(log: Iterable[Seen]) -> float:
    """Good replies per second between the first and the last."""
    times = sorted(seen.replied for seen in log if seen.status == OK)
    return (len(times) - 1) / max(1e-9, times[-1] - times[0])


def goodput(log: Sequence[Seen], schedule: Schedule, *, tokens: bool = False) -> float:
    """What was let through and answered, as a share of what the limit allowed in that time.

    All requests that got a good reply but the last, or their tokens, over the limit's integral from the arrival of the
    first to the arrival of the last; arrivals, since that is when a server counts. The schedule starts with the first
    request of the log. A server that allows a burst lets a little more than 1 through.
    """
    start = min(seen.arrived for seen in log)
    good = sorted(seen for seen in log if seen.status == OK)
    amount = sum(seen.tokens for seen in good[:-1]) if tokens else len(good) - 1
    return amount / schedule.integral(good[0].arrived - start, good[-1].arrived - start)


def refusals(log: Sequence[Seen]) -> dict[str, float]:
    """429s: their number, their share of all requests, and how many came after the first second."""
    start = min(seen.arrived for seen in log)
    refused = [seen.arrived - start for seen in log if seen.status == TOO_MANY]
    return {
        "429s": float(len(refused)),
        "429s, share of requests": len(refused) / len(log),
        "429s after the first second": float(sum(at > 1.0 for at in refused)),
    }


def makespan(*logs: Sequence[Seen]) -> float:
    """Seconds from the first request to the last good reply."""
    seen = [entry for log in logs for entry in log]
    return max(s.replied for s in seen if s.status == OK) - min(s.arrived for s in seen)


def value_at(samples: Sequence[tuple[float, float]], t: float) -> float:
    """A growing figure at `t`, between samples (time, figure) on a straight line."""
    if t <= samples[0][0]:
        return samples[0][1]
    for (before, low), (after, high) in itertools.pairwise(samples):
        if t <= after:
            return low + (high - low) * (t - before) / (after - before)
    return samples[-1][1]


def ratios(ours: dict[str, float], floor: dict[str, float]) -> dict[str, float]:
    """Every figure of ours by the floor's (infinite where that was too small to be measured), then both as they are."""
    against = {f"{name}, by the floor's": _ratio(ours[name], floor[name]) for name in ours if name in floor}
    return against | ours | {f"{name}, the floor": value for name, value in floor.items()}


def _ratio(ours: float, floor: float) -> float:
    return ours / floor if floor else math.inf


class Spread(NamedTuple):
    """A figure over the rounds."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(statistics.median(values), min(values), max(values))
