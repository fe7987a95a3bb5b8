"""How fast one account is used: as the job says, as its replies' headers say, or as its 429s teach.

Must not know: HTTP, queues. A pure function of what happened on a given clock: nothing here waits. The shape of growth
after a cut follows TCP CUBIC (RFC 9438): quickly back to just under where it hurt, slowly past it, then faster and
faster, so that a limit that rises again is found again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CUT: Final = 0.95
"""Where the rate goes after a 429, as a share of the limit that was seen."""
_BLIND_CUT: Final = 0.8
"""The same where too little was sent since the last cut to see a limit."""
_SEARCHED_CUT: Final = 0.5
"""The same while searching: what went out until then went out of the server's first burst."""

_FIRST: Final = 20.0
_SEARCH_DOUBLING_S: Final = 1.0
"""With no limit known the search begins at 20 a second and doubles each second, as TCP's slow start does, but paced:
an unknown limit is met by few calls."""
_SEEN_S: Final = 0.25
_SEEN: Final = 10

_BACK_S: Final = 2.0
_NEARLY: Final = 0.98
_CREEP: Final = 0.005
_STRIDE: Final = 0.04
_DOUBLING_S: Final = 1.5
"""After a cut the rate is back at 98% of the limit seen in 2 s, creeps on by 0.5%, and doubles that each 1.5 s; it
strides by 4% after a cut that saw no limit."""
_LONGEST_DOUBLING: Final = 20.0

_STEP_S: Final = 0.04
"""Most that one call counts towards growth past a limit that was seen, seconds: where calls are few a cycle of growth
has as many of them, and so as small a share of refusals."""

_HOLD_S: Final = 5.0
"""Seconds without growth after a 503 or a time-out."""

_FLOOR: Final = 0.1
"""The rate never falls below this share of the limit that is known, or was ever seen."""

_LEAST_NAMED: Final = 1 / 60
"""A limit of requests in headers counts as one a minute at least."""

_HISTORY: Final = 240


class RateControl:
    """The rate of one limit, requests or tokens, of one account; units per second.

    What the server let through between two refusals is the limit itself, whatever burst it allows: its allowance was
    used up at both moments. Growth is counted in what is sent, a second's worth at the present rate as a second: what
    is not used does not grow, or the first moment after an outage would be a burst without bounds.

    Args:
        told: the limit the job gives; None: unknown.
        clock: seconds, monotonic.
        adaptive: False keeps to what the job says whatever happens.
        least: units per second; the rate never falls below it.
        least_named: units per second; a limit in headers counts as so much at least.
        first: units per second with which to search where no limit is known; None: nothing is searched for.
    """

    def __init__(
        self,
        told: float | None,
        clock: Callable[[], float],
        *,
        adaptive: bool = True,
        least: float = 1.0,
        first: float | None = _FIRST,
        least_named: float = _LEAST_NAMED,
    ) -> None:
        self._told = told
        self._adaptive = adaptive
        self._clock = clock
        self._least = least
        self._least_named = least_named
        self._first = first or 0.0
        self._ceiling = told or math.inf
        self._rate = self._from = self._ceiling
        self._creep = _CREEP
        self._seen: float | None = None
        self._best = 0.0
        self._hold_until = -math.inf
        self._grown_s = 0.0
        self._marked_at: float | None = None
        self._let_through = 0.0
        self._sends = 0
        self.history: list[tuple[float, float]] = []
        """(clock, rate) at every change of more than 2%, thinned out as it grows long."""
        self._note()

    @property
    def _searching(self) -> bool:
        return self._adaptive and self._first > 0 and math.isinf(self._ceiling)

    @property
    def known(self) -> bool:
        """Whether a limit is known: told, read from headers, or found."""
        return math.isfinite(self._rate)

    @property
    def seen(self) -> bool:
        """Whether a refusal has shown a limit."""
        return self._best > 0 or self._seen is not None

    @property
    def lets_through(self) -> bool:
        """Whether enough went out since the last cut, and came back otherwise, for a refusal to show a limit."""
        return self._sends >= _SEEN

    def rate(self) -> float:
        """Units per second that may be used now; infinite where nothing bounds them."""
        if self._seen is None:
            return self._searched() if self._searching else self._rate
        self._rate = min(self._ceiling, self._regrown(self._seen))
        if self._rate >= self._ceiling:
            self._seen = None
        self._note()
        return self._rate

    def _regrown(self, seen: float) -> float:
        nearly = max(self._from, _NEARLY * seen)
        if self._grown_s < _BACK_S:
            return self._from + (nearly - self._from) * self._grown_s / _BACK_S
        doublings = min((self._grown_s - _BACK_S) / _DOUBLING_S, _LONGEST_DOUBLING)
        return nearly + seen * self._creep * (math.exp2(doublings) - 1)

    def _searched(self) -> float:
        """The rate of the search, as long as nothing is refused."""
        return self._first * math.exp2(min(self._grown_s / _SEARCH_DOUBLING_S, _LONGEST_DOUBLING))

    def says(self, limit: float) -> None:
        """A reply's headers name the limit; the job's own stays the most. None is so low that nothing goes on."""
        ceiling = min(max(limit, self._least_named), self._told or math.inf)
        if not self._adaptive or ceiling == self._ceiling:
            return
        self._ceiling = ceiling
        if self._seen is None:
            self._rate = ceiling
            self._note()

    def sent(self, amount: float) -> None:
        """So much goes out now."""
        now = self._clock()
        self._let_through += amount
        self._sends += 1
        if self._marked_at is None:
            self._marked_at = now
        if now >= self._hold_until:
            step_s = amount / self.rate()
            self._grown_s += min(step_s, _STEP_S) if self._creep == _CREEP and self._seen is not None else step_s

    def refused(self, amount: float, *, news: bool) -> None:
        """So much came back with a 429; `news`: it was sent after the last cut."""
        self._let_through -= amount
        self._sends -= 1
        if not (news and self._adaptive):
            return
        now, rate = self._clock(), self.rate()
        span = now - (now if self._marked_at is None else self._marked_at)
        self._creep = _STRIDE
        if math.isinf(rate):  # nothing was searched for: what went out came out of the server's first burst
            seen = self._let_through / max(span, _SEEN_S) * _SEARCHED_CUT
            self._mark(now)
        elif self._seen is not None and span >= _SEEN_S and self._sends >= _SEEN:
            let_through = min(rate, self._let_through / span)
            self._best = max(self._best, let_through)
            # Where the rate came from far below the limit, less went out than was allowed.
            seen = max(let_through, rate * _SEARCHED_CUT)
            self._creep = _CREEP
            self._mark(now)
        elif self._best or (self._seen is not None and self._let_through > 0):
            seen = rate * _BLIND_CUT
        else:
            seen = rate * _SEARCHED_CUT
            self._mark(now)
        most = self._ceiling if math.isfinite(self._ceiling) else self._best
        least = min(self._least, _FLOOR * self._ceiling)
        self._seen = min(max(seen, least, _FLOOR * most), self._ceiling)
        self._rate = self._from = max(self._seen * _CUT, least)
        self._grown_s = 0.0
        self._note()

    def _mark(self, now: float) -> None:
        self._marked_at, self._let_through, self._sends = now, 0.0, 0

    def take_back(self, before: RateControl) -> None:
        """The last cut was made for a call that is refused by itself: go on as `before`, a copy made then."""
        if before.rate() > self.rate():
            for name in ("_ceiling", "_seen", "_best", "_rate", "_from", "_creep", "_grown_s"):
                setattr(self, name, getattr(before, name))
            self._mark(self._clock())
            self._note()

    def hold(self) -> None:
        """A 503 or a time-out: no growth for a while, and no cut."""
        self._hold_until = self._clock() + _HOLD_S

    def _note(self) -> None:
        if math.isinf(self._rate) or (self.history and abs(self._rate - self.history[-1][1]) < 0.02 * self._rate):
            return
        self.history.append((self._clock(), self._rate))
        if len(self.history) > _HISTORY:
            self.history = self.history[::2]
