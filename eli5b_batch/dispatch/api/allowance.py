"""What may be sent under one set of limits, requests and tokens: an account's, or those of one model there.

Must not know: HTTP, queues, retries, windows, outages. Nothing here waits: `due_in` says how long the gate should.
"""

from __future__ import annotations

import math
from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Final

from eli5b_batch.dispatch.api.pacing import Pacer, TokenBucket
from eli5b_batch.dispatch.api.rate_control import RateControl
from eli5b_batch.dispatch.timing import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.backends.base import Advice
    from eli5b_batch.dispatch.capacity import Need
    from eli5b_batch.errors import RateLimitedError

_LONGEST_PAUSE_S: Final = 3600.0
"""A longer wait is told of a quota, and ends the run."""
_REMEMBERED: Final = 64
_CLEARED: Final = 20
"""Answers after which a refusal that stayed alone is taken to have been that call's own."""


class Allowance:
    """Pace, tokens and pauses under one set of limits.

    A 429 slows everyone once: calls that were sent before the cut and come back with a 429 as well say nothing new.
    Where no limit has been seen yet, one refused call says nothing either, as hosts refuse single prompts with a 429,
    too: a second refused call makes the cut. Where the host says how long to wait, all wait.

    Args:
        requests: per second, as the job says; None: unknown.
        tokens: the same, of tokens.
        clock: the event loop's clock, seconds.
        adaptive: False keeps to what the job says whatever happens.
        search: where no limit of requests is known, begin slowly and look for one.
    """

    def __init__(
        self,
        requests: float | None,
        tokens: float | None,
        clock: Callable[[], float],
        *,
        adaptive: bool,
        search: bool = True,
    ) -> None:
        self._clock = clock
        if search:
            self.requests = RateControl(requests, clock, adaptive=adaptive)
        else:
            self.requests = RateControl(requests, clock, adaptive=adaptive, first=None)
        self.tokens = RateControl(tokens, clock, adaptive=adaptive, least=10.0, first=None, least_named=10.0)
        self._pacer = Pacer(self.requests.rate(), clock)
        self._bucket = TokenBucket(self.tokens.rate(), clock)
        self._paused_until = -math.inf
        self._doubted: Need | None = None
        self._answers = 0
        self._cut_for: deque[tuple[Need, RateControl, RateControl]] = deque(maxlen=_REMEMBERED)
        """The last cuts: the call refused, the limit cut, and a copy of it from before."""
        self.cuts = 0
        """How often a 429 has said something new: a call remembers the number it was sent under."""

    @property
    def paused_s(self) -> float:
        """Seconds that the host has said to wait yet."""
        return max(0.0, self._paused_until - self._clock())

    def due_in(self, tokens: float) -> float:
        """Seconds until a call of so many tokens may go out; 0 for now."""
        self._pacer.set_rate(self.requests.rate())
        self._bucket.set_rate(self.tokens.rate())
        pause = self._paused_until - self._clock()
        due = max(self._pacer.due_in(), self._bucket.due_in(tokens))
        return max(due, pause) if pause > TICK_S else due

    def start(self, tokens: float) -> None:
        """One call goes out now."""
        self._pacer.start()
        self._bucket.take(tokens)
        self.requests.sent(1.0)
        self.tokens.sent(tokens)

    def settle(self, reserved: float, used: float) -> None:
        """A call came to other tokens than were reserved for it."""
        self._bucket.settle(reserved, used)

    def answered(self) -> None:
        """A call was answered."""
        if self._doubted is not None:
            self._answers += 1
            if self._answers >= _CLEARED:
                self._doubted = None

    def hold(self) -> None:
        """A 503 or a time-out: no growth for a while, and no cut."""
        self.requests.hold()
        self.tokens.hold()

    def heed(self, advice: Advice) -> None:
        """A reply's headers speak of these limits."""
        if advice.requests_per_s is not None:
            self.requests.says(advice.requests_per_s)
        if advice.tokens_per_s is not None:
            self.tokens.says(advice.tokens_per_s)
        if advice.pause_s is not None:
            self._pause(advice.pause_s)

    def refused(self, failure: RateLimitedError, need: Need, *, news: bool) -> None:
        """A call came back with a 429; `news`: it was sent after the last cut, and its refusals are not its own."""
        by_tokens = failure.scope == "tokens" or (
            failure.scope is None and self.tokens.known and not self.requests.known
        )
        limited = self.tokens if by_tokens else self.requests
        if not news:
            self._clear(need)
        credible = news and self._is_credible(limited, need)
        if credible:
            self._cut_for.append((need, limited, copy(limited)))
        self.requests.refused(1.0, news=credible and not by_tokens)
        self.tokens.refused(need.tokens, news=credible and by_tokens)
        if credible:
            self.cuts += 1
        if news and failure.retry_after:
            self._pause(failure.retry_after)

    def _clear(self, need: Need) -> None:
        """A call is refused again: a cut that was made for it is taken back, as it is likely to be its own doing."""
        for one in [one for one in self._cut_for if one[0] is need]:
            self._cut_for.remove(one)
            _, limited, before = one
            limited.take_back(before)

    def _is_credible(self, limited: RateControl, need: Need) -> bool:
        """Whether this refusal says something of the limits, and not of the refused call alone."""
        if limited.seen or (self._doubted is not None and self._doubted is not need):
            self._doubted = None
            return True
        self._doubted, self._answers = need, 0
        return False

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + min(seconds, _LONGEST_PAUSE_S))
