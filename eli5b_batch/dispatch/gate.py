"""The gate of one API account: concurrency, requests and tokens per minute, and one shared answer to a 429.

Must not know: HTTP, retries, the journal. One dispatcher task opens the gate, so pacing is awaited in one place.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.dispatch.capacity import Need, Place, RateMeter, Waiting, doubling, granted
from eli5b_batch.dispatch.pace import TICK_S, Pacer, TokenBucket
from eli5b_batch.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.errors import CallError
    from eli5b_batch.job import Limits

_CUT: Final = 0.5
_FLOOR: Final = 0.05
_GROWTH_PER_S: Final = 0.02
_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0


class Gate:
    """Hands out places under the limits of one account.

    A 429 pauses everyone (for the server's advice, at most a minute, else for a doubling second) and, when the
    limits are adaptive, halves the pace; the pace grows back by 2% of the limit a second. Calls sent before that pause
    that come back with a 429 as well say nothing new, and change nothing.

    Args:
        base_url: where calls go.
        limits: what the account allows.
        clock: the event loop's clock, seconds.
    """

    def __init__(self, base_url: str, limits: Limits, clock: Callable[[], float]) -> None:
        self._base_url = base_url
        self._limits = limits
        self._clock = clock
        self._waiting = Waiting()
        self._changed = asyncio.Event()
        self._pacer = Pacer(limits.requests_per_minute, clock) if limits.requests_per_minute else None
        self._bucket = TokenBucket(limits.tokens_per_minute, clock) if limits.tokens_per_minute else None
        self._factor = 1.0
        self._grown_at = clock()
        self._pauses = 0
        self._paused_until = clock()
        self._limited_in_a_row = 0
        self.in_flight = 0
        self.rate_limited = 0
        self._starts = RateMeter(clock)
        self._tokens = RateMeter(clock)

    async def acquire(self, need: Need) -> Place:
        """Wait for a place; see `Capacity`."""
        future = self._waiting.join(need)
        self._changed.set()
        return await granted(future, self)

    def release(self, place: Place, *, tokens: int, failure: CallError | None) -> None:
        """Give a place back; see `Capacity`."""
        self.in_flight -= 1
        self._tokens.add(tokens)
        if self._bucket:
            self._bucket.settle(place.need.tokens, tokens)
        sent_since = place.owner == self._pauses
        if isinstance(failure, RateLimitedError):
            self.rate_limited += 1
            if sent_since:
                self._slow_down(failure.retry_after)
        elif failure is None and sent_since:
            self._limited_in_a_row = 0
        self._changed.set()

    async def run(self) -> None:
        """Open the gate for one call after another, until cancelled."""
        while True:
            while not len(self._waiting) or self.in_flight >= self._concurrency():
                self._changed.clear()
                await self._changed.wait()
            if (left := self._pause_left()) > TICK_S:
                await asyncio.sleep(left)
            first = self._waiting.first()
            if first is None:
                continue
            tokens = first[0].tokens
            if self._bucket:
                await self._bucket.take(tokens)
            if self._pacer:
                self._pacer.set_rate((self._limits.requests_per_minute or 0) * self._grown())
                await self._pacer.acquire()
            opened = self._open()
            if self._bucket:  # an older call may have come meanwhile, and is the one let through
                self._bucket.settle(tokens, opened)

    def _open(self) -> float:
        """Let the oldest call through; its tokens, 0 if all have left or a 429 came while the gate kept its pace."""
        if self._waiting.first() is None or self._pause_left() > TICK_S:
            return 0.0
        need, future = self._waiting.pop()
        self.in_flight += 1
        self._starts.add()
        future.set_result(Place(self._base_url, None, need, owner=self._pauses))
        return need.tokens

    def _pause_left(self) -> float:
        return self._paused_until - self._clock()

    def _slow_down(self, advice: float | None) -> None:
        own = doubling(_PAUSE_S, self._limited_in_a_row, _LONGEST_PAUSE_S)
        self._limited_in_a_row += 1
        self._pauses += 1
        self._paused_until = self._clock() + min(advice or own, _LONGEST_PAUSE_S)  # advice to wait 0 s is none
        if self._limits.adaptive:
            self._factor = max(_FLOOR, self._grown() * _CUT)

    def _grown(self) -> float:
        """The share of the limits in use now."""
        now = self._clock()
        self._factor = min(1.0, self._factor + (now - self._grown_at) * _GROWTH_PER_S)
        self._grown_at = now
        return self._factor

    def _concurrency(self) -> int:
        return max(1, round(self._limits.concurrency * self._grown()))

    def snapshot(self) -> dict[str, Any]:
        """Figures for the dashboard; rates per minute."""
        rpm, tpm = self._limits.requests_per_minute, self._limits.tokens_per_minute
        return {
            "in_flight": self.in_flight,
            "concurrency": self._concurrency(),
            "queued": len(self._waiting),
            "requests_per_minute": round(self._starts.rate() * 60, 1),
            "requests_limit": rpm and round(rpm * self._grown(), 1),
            "tokens_per_minute": round(self._tokens.rate() * 60, 1),
            "tokens_limit": tpm,
            "rate_limited": self.rate_limited,
        }
