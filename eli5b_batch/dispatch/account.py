"""One account at one host: everything that decides when it may be sent another call.

Must not know: HTTP, queues, retries. Nothing here waits: `due_in` says how long the gate should.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.dispatch.breaker import Breaker, is_stall
from eli5b_batch.dispatch.capacity import Need, Place, RateMeter
from eli5b_batch.dispatch.control import RateControl, Window
from eli5b_batch.dispatch.pace import TICK_S, Pacer, TokenBucket
from eli5b_batch.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.backends.base import Advice
    from eli5b_batch.errors import CallError
    from eli5b_batch.job import Limits

_LONGEST_PAUSE_S: Final = 60.0


@dataclass(slots=True)
class Sending:
    """The account's own mark on a place: what was so when the call went out."""

    account: Account
    at: float
    cuts: int
    probe: int


class Account:
    """Limits, adaptive control and breaker of one member of a provider.

    A 429 slows everyone once: calls that were sent before the cut and come back with a 429 as well say nothing new.
    Where the server says how long to wait, the account waits, a minute at most.

    Args:
        name: which member it is; "" where there is only one.
        base_url: where calls go.
        limits: what the job says of it.
        weight: its share among members that have room.
        clock: the event loop's clock, seconds.
    """

    def __init__(
        self, base_url: str, limits: Limits, clock: Callable[[], float], *, name: str = "", weight: float = 1.0
    ) -> None:
        self.name = name
        self.base_url = base_url
        self.weight = weight
        self.breaker = Breaker(clock)
        self._clock = clock
        self._requests = RateControl(_per_second(limits.requests_per_minute), clock, adaptive=limits.adaptive)
        self._tokens = RateControl(
            _per_second(limits.tokens_per_minute), clock, adaptive=limits.adaptive, least=10.0, first=None
        )
        self._window = Window(limits.concurrency, clock, adaptive=limits.adaptive)
        self._pacer = Pacer(self._requests.rate(), clock)
        self._bucket = TokenBucket(self._tokens.rate(), clock)
        self._paused_until = -math.inf
        self._cuts = 0
        self.in_flight = 0
        self.rate_limited = 0
        self._starts = RateMeter(clock)
        self._used = RateMeter(clock)

    def due_in(self, tokens: float) -> float:
        """Seconds until a call of so many tokens may go out; 0 for now, infinite until one comes back."""
        if self.in_flight >= self._window.size:
            return math.inf
        pause = self._paused_until - self._clock()
        self._pacer.set_rate(self._requests.rate())
        self._bucket.set_rate(self._tokens.rate())
        due = max(self.breaker.due_in(), self._pacer.due_in(), self._bucket.due_in(tokens))
        return max(due, pause) if pause > TICK_S else due

    @property
    def places(self) -> int:
        """Calls that may be in flight."""
        return self._window.size

    @property
    def load(self) -> float:
        """Share of its window in use, by weight: the member with the least has the most room."""
        return self.in_flight / (self._window.size * self.weight)

    def start(self, need: Need) -> Place:
        """Send one call now."""
        self.in_flight += 1
        self._pacer.start()
        self._bucket.take(need.tokens)
        self._requests.sent(1.0)
        self._tokens.sent(need.tokens)
        self._starts.add()
        mark = Sending(self, self._clock(), self._cuts, self.breaker.started())
        return Place(self.base_url, self.name or None, need, owner=mark)

    def finish(self, place: Place, *, tokens: int | None, failure: CallError | None, advice: Advice | None) -> None:
        """One call came back, or was given back unsent (neither tokens nor failure)."""
        mark: Sending = place.owner
        self.in_flight -= 1
        self._used.add(tokens or 0)
        # A refused call has used its turn: given back, its tokens would send the next one into the same wall at once.
        # A reply that tells no usage is taken to have used what was reserved.
        usage_untold = failure is None and tokens == 0
        if not (usage_untold or isinstance(failure, RateLimitedError)):
            self._bucket.settle(place.need.tokens, tokens or 0)
        if advice is not None:
            self._heed(advice)
        if isinstance(failure, RateLimitedError):
            self.breaker.succeeded()  # it refuses, so it lives
            self._limited(failure, place.need.tokens, news=mark.cuts == self._cuts)
        elif is_stall(failure):
            self.breaker.failed(probe=mark.probe, unreachable=failure.unsent)
            self._requests.hold()
            self._tokens.hold()
        elif tokens is not None or failure is not None:
            self.breaker.succeeded()
            paced = self._requests.known or self._tokens.known
            self._window.answered(self._clock() - mark.at, self.in_flight + 1, paced=paced)
        else:
            self.breaker.gave_up(probe=mark.probe)

    def _heed(self, advice: Advice) -> None:
        if advice.requests_per_s is not None:
            self._requests.says(advice.requests_per_s)
        if advice.tokens_per_s is not None:
            self._tokens.says(advice.tokens_per_s)

    def _limited(self, failure: RateLimitedError, tokens: float, *, news: bool) -> None:
        self.rate_limited += 1
        by_tokens = failure.scope == "tokens" or (
            failure.scope is None and self._tokens.known and not self._requests.known
        )
        self._requests.refused(1.0, news=news and not by_tokens)
        self._tokens.refused(tokens, news=news and by_tokens)
        if not news:
            return
        self._cuts += 1
        if failure.retry_after:
            self._paused_until = self._clock() + min(failure.retry_after, _LONGEST_PAUSE_S)

    def snapshot(self) -> dict[str, Any]:
        """Figures for the dashboard; rates and limits per minute."""
        return {
            "in_flight": self.in_flight,
            "concurrency": self._window.size,
            "requests_per_minute": self._starts.rate() * 60,
            "requests_limit": _limit(self._requests),
            "tokens_per_minute": self._used.rate() * 60,
            "tokens_limit": _limit(self._tokens),
            "rate_limited": self.rate_limited,
            "down_since": self.breaker.down_since,
            "limit_history": [(at, rate * 60) for at, rate in self._requests.history],
        }


def _per_second(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60


def _limit(control: RateControl) -> float | None:
    """Per minute; None while no limit is known, even if one is searched for."""
    return control.rate() * 60 if control.known else None
