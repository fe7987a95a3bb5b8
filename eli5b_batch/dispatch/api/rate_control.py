"""How fast one account is used: as the job says, as its replies' headers say, or as its 429s teach.

Must not know: HTTP, queues. A rate is a pure function of what happened on a given clock: nothing here waits. Growth
after a cut follows TCP CUBIC (RFC 9438): quickly back to just under the limit, slowly past it, then faster and faster,
so that a limit that rises again is found again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CUT: Final = 0.95
"""The rate after a 429, as a share of the limit that was seen."""
_BLIND_CUT: Final = 0.8
"""The limit taken to be seen, as a share of the rate, where too little was sent since the last cut to see a limit."""
_SEARCHED_CUT: Final = 0.5
"""The same share during a search: the calls sent before the first 429 were let through by the server's first burst."""

_FIRST: Final = 20.0
_SEARCH_DOUBLING_S: Final = 1.0
"""Where no limit is known, the search begins at 20 a second and doubles each second, as TCP's slow start does, but
paced: few calls run into the unknown limit."""
_SIGHT_S: Final = 0.25
_SIGHT_SENDS: Final = 10
"""A refusal shows a limit where so many calls over so many seconds went before it."""

_BACK_S: Final = 2.0
_NEARLY: Final = 0.98
_CREEP: Final = 0.005
_STRIDE: Final = 0.04
_DOUBLING_S: Final = 1.5
"""Within 2 s after a cut, the rate is back at 98% of the limit that was seen. Then it grows past the limit by 0.5% of
it, and by twice as much each 1.5 s. After a cut that saw no limit, it begins with 4% instead."""
_LONGEST_DOUBLING: Final = 20.0

_STEP_S: Final = 0.04
"""Most seconds that one call adds to the growth past a limit that was seen: where calls are rare, a cycle of growth
then takes as many calls as elsewhere, and as small a share of them is refused."""

_HOLD_S: Final = 5.0
"""Seconds without growth after a 503 or a time-out."""

_FLOOR: Final = 0.1
"""The rate never falls below this share of the limit that is known, or of the largest that was seen."""

_LEAST_NAMED: Final = 1 / 60
"""A limit of requests in headers counts as one request a minute at least."""

_HISTORY: Final = 240


class RateControl:
    """The rate at which one limit of an account, of requests or of tokens, is used; units per second.

    What the server let through between two refusals is the limit itself, whatever burst the server allows: its
    allowance was used up at both moments. Growth is counted in units sent: as many as the present rate sends in a
    second count as a second. A rate that is not used does not grow, or an outage would end with a boundless burst.

    Args:
        job_limit: the limit in the job, units per second; None: unknown.
        clock: seconds, monotonic.
        adaptive: False keeps to the job's limit whatever happens.
        least: units per second; the rate never falls below it.
        least_named: units per second; a limit in headers counts as so much at least.
        first: units per second with which to begin the search where no limit is known; None: do not search.
    """

    def __init__(
        self,
        job_limit: float | None,
        clock: Callable[[], float],
        *,
        adaptive: bool = True,
        least: float = 1.0,
        first: float | None = _FIRST,
        least_named: float = _LEAST_NAMED,
    ) -> None:
        self._job_limit = job_limit
        self._adaptive = adaptive
        self._clock = clock
        self._least = least
        self._least_named = least_named
        self._first = first or 0.0
        self._ceiling = job_limit or math.inf
        self._rate = self._from = self._ceiling
        self._creep = _CREEP
        self._seen_limit: float | None = None
        self._best = 0.0
        self._hold_until = -math.inf
        self._grown_s = 0.0
        self._marked_at: float | None = None
        self._let_through = 0.0
        self._sends = 0
        self.history: list[tuple[float, float]] = []
        """(clock, rate) at every change of more than 2%; every other entry is dropped when there are too many."""
        self._note()

    @property
    def _searching(self) -> bool:
        return self._adaptive and self._first > 0 and math.isinf(self._ceiling)

    @property
    def known(self) -> bool:
        """True if a limit is known: from the job, from headers, or from refusals."""
        return math.isfinite(self._rate)

    @property
    def limit_seen(self) -> bool:
        """True if a refusal has shown a limit."""
        return self._best > 0 or self._seen_limit is not None

    @property
    def lets_through(self) -> bool:
        """True if enough calls went out since the last cut, and were not refused, for a refusal to show a limit."""
        return self._sends >= _SIGHT_SENDS

    def rate(self) -> float:
        """Return the units per second that may be used now; infinite where no limit is known or searched for."""
        if self._seen_limit is None:
            return self._searched() if self._searching else self._rate
        self._rate = min(self._ceiling, self._regrown(self._seen_limit))
        if self._rate >= self._ceiling:
            self._seen_limit = None
        self._note()
        return self._rate

    def _regrown(self, limit: float) -> float:
        """Return the rate after a cut that saw `limit`, as far as it has grown again."""
        nearly = max(self._from, _NEARLY * limit)
        if self._grown_s < _BACK_S:
            return self._from + (nearly - self._from) * self._grown_s / _BACK_S
        doublings = min((self._grown_s - _BACK_S) / _DOUBLING_S, _LONGEST_DOUBLING)
        return nearly + limit * self._creep * (math.exp2(doublings) - 1)

    def _searched(self) -> float:
        """Return the rate of the search, as long as nothing is refused."""
        return self._first * math.exp2(min(self._grown_s / _SEARCH_DOUBLING_S, _LONGEST_DOUBLING))

    def set_limit(self, limit: float) -> None:
        """Take over the limit in a reply's headers: at least `least_named`, so that calls go on, at most the job's."""
        ceiling = min(max(limit, self._least_named), self._job_limit or math.inf)
        if not self._adaptive or ceiling == self._ceiling:
            return
        self._ceiling = ceiling
        if self._seen_limit is None:
            self._rate = ceiling
            self._note()

    def sent(self, amount: float) -> None:
        """Count `amount` units as sent now."""
        now = self._clock()
        self._let_through += amount
        self._sends += 1
        if self._marked_at is None:
            self._marked_at = now
        if now >= self._hold_until:
            step_s = amount / self.rate()
            self._grown_s += min(step_s, _STEP_S) if self._creep == _CREEP and self._seen_limit is not None else step_s

    def refused(self, amount: float, *, news: bool) -> None:
        """Count `amount` units as refused by a 429, and cut the rate if they are `news`: sent after the last cut."""
        self._let_through -= amount
        self._sends -= 1
        if not (news and self._adaptive):
            return
        now, rate = self._clock(), self.rate()
        span = now - (now if self._marked_at is None else self._marked_at)
        self._creep = _STRIDE
        if math.isinf(rate):  # without a search, all that went out was let through by the server's first burst
            limit = self._let_through / max(span, _SIGHT_S) * _SEARCHED_CUT
            self._mark(now)
        elif self._seen_limit is not None and span >= _SIGHT_S and self._sends >= _SIGHT_SENDS:
            let_through = min(rate, self._let_through / span)
            self._best = max(self._best, let_through)
            # Where the rate has grown from far below the limit, less went out than the server would have allowed.
            limit = max(let_through, rate * _SEARCHED_CUT)
            self._creep = _CREEP
            self._mark(now)
        elif self._best or (self._seen_limit is not None and self._let_through > 0):
            limit = rate * _BLIND_CUT
        else:
            limit = rate * _SEARCHED_CUT
            self._mark(now)
        most = self._ceiling if math.isfinite(self._ceiling) else self._best
        least = min(self._least, _FLOOR * self._ceiling)
        self._seen_limit = min(max(limit, least, _FLOOR * most), self._ceiling)
        self._rate = self._from = max(self._seen_limit * _CUT, least)
        self._grown_s = 0.0
        self._note()

    def _mark(self, now: float) -> None:
        self._marked_at, self._let_through, self._sends = now, 0.0, 0

    def take_back(self, before: RateControl) -> None:
        """Undo the last cut, as its call turned out to be refused by itself: go on as `before`, a copy from then."""
        if before.rate() > self.rate():
            for name in ("_ceiling", "_seen_limit", "_best", "_rate", "_from", "_creep", "_grown_s"):
                setattr(self, name, getattr(before, name))
            self._mark(self._clock())
            self._note()

    def hold(self) -> None:
        """Let the rate not grow for a while after a 503 or a time-out, and cut nothing."""
        self._hold_until = self._clock() + _HOLD_S

    def _note(self) -> None:
        if math.isinf(self._rate) or (self.history and abs(self._rate - self.history[-1][1]) < 0.02 * self._rate):
            return
        self.history.append((self._clock(), self._rate))
        if len(self.history) > _HISTORY:
            self.history = self.history[::2]
