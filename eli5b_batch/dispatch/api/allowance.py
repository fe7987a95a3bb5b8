"""What may be sent under one set of limits, requests and tokens: those of an account, or of one model on it.

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
"""A host that asks for a longer wait means a quota, and a quota ends the run."""
_REMEMBERED: Final = 64
_CLEARED: Final = 20
"""After so many answers without a second refusal, the first is taken to have been about the refused call alone."""


class Allowance:
    """Pace, tokens and pauses under one set of limits.

    A 429 slows all calls down once: calls that were sent before the cut and come back with a 429 as well say nothing
    new. Before any limit has shown, a single refused call says nothing either, since hosts also refuse single prompts
    with a 429: the cut is made when a second call is refused. If the host says how long to wait, all calls wait.

    Args:
        requests: the job's limit of requests per second; None: unknown.
        tokens: the job's limit of tokens per second; None: unknown.
        clock: the event loop's clock, seconds.
        adaptive: False keeps to the job's limits whatever happens.
        search: where no limit of requests is known, begin slowly and search for one.
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
        """The last cuts: the refused call, the limit that was cut, and a copy of the limit from before the cut."""
        self.cuts = 0
        """How many cuts were made. Each call remembers the number at which it was sent."""

    @property
    def paused_s(self) -> float:
        """Seconds left of the pause that the host asked for."""
        return max(0.0, self._paused_until - self._clock())

    def due_in(self, tokens: float) -> float:
        """Return the seconds until a call of `tokens` may go out; 0 for now."""
        self._pacer.set_rate(self.requests.rate())
        self._bucket.set_rate(self.tokens.rate())
        pause = self._paused_until - self._clock()
        due = max(self._pacer.due_in(), self._bucket.due_in(tokens))
        return max(due, pause) if pause > TICK_S else due

    def start(self, tokens: float) -> None:
        """Count a call of `tokens` as sent now."""
        self._pacer.start()
        self._bucket.take(tokens)
        self.requests.sent(1.0)
        self.tokens.sent(tokens)

    def settle(self, reserved: float, used: float) -> None:
        """Correct the tokens `reserved` for a call to those it `used`."""
        self._bucket.settle(reserved, used)

    def answered(self) -> None:
        """Count an answered call."""
        if self._doubted is not None:
            self._answers += 1
            if self._answers >= _CLEARED:
                self._doubted = None

    def hold(self) -> None:
        """Let the rates not grow for a while after a 503 or a time-out, and cut nothing."""
        self.requests.hold()
        self.tokens.hold()

    def heed(self, advice: Advice) -> None:
        """Take over the limits and the pause in a reply's headers."""
        if advice.requests_per_s is not None:
            self.requests.set_limit(advice.requests_per_s)
        if advice.tokens_per_s is not None:
            self.tokens.set_limit(advice.tokens_per_s)
        if advice.pause_s is not None:
            self._pause(advice.pause_s)

    def refused(self, failure: RateLimitedError, need: Need, *, news: bool) -> None:
        """Count a 429, and cut a limit if the 429 says something of it.

        Args:
            failure: the 429.
            need: what the refused call needed.
            news: the call was sent after the last cut, and the 429 is not likely to be about this call alone.
        """
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
        """Take back the cuts made for a call that is refused again: the refusals are likely to be about it alone."""
        for cut in [cut for cut in self._cut_for if cut[0] is need]:
            self._cut_for.remove(cut)
            _, limited, before = cut
            limited.take_back(before)

    def _is_credible(self, limited: RateControl, need: Need) -> bool:
        """True if this refusal says something of the limits, and not of the refused call alone."""
        if limited.limit_seen or (self._doubted is not None and self._doubted is not need):
            self._doubted = None
            return True
        self._doubted, self._answers = need, 0
        return False

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + min(seconds, _LONGEST_PAUSE_S))
