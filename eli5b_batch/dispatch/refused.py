"""Calls that come back with 429s: how long each waits, when one has failed, and since when nothing gets through.

Must not know: HTTP, how fast an account may be used. A 429 asks for patience and is no failed attempt, but a host may
also refuse a single prompt with 429s for ever. The words of the host don't tell the two cases apart for sure; what
happens to other calls of the same model does.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.dispatch.timing import TICK_S, doubling
from eli5b_batch.errors import CallError, ProviderDownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.errors import RateLimitedError

    Lane = tuple[str, str]
    """An account's name and a model id."""

_ENOUGH: Final = 6
"""So many refusals of one call, and as many answers to other calls meanwhile, show that the host refuses this call."""
_AGAIN: Final = 2
"""So many refusals in a row, without an answer to another call between them, show that earlier answers are outdated."""
_FIRST_WAIT_S: Final = 1.0
_SERVED_WAIT_S: Final = 0.4
"""Seconds between two tries of a call while others get through: a longer wait would gain nothing."""
_LONGEST_WAIT_S: Final = 60.0
_LONGEST_RETRY_AFTER_S: Final = 3600.0


class _Tally(NamedTuple):
    """How many times other calls of a model were answered, and refused by 429s, on one account so far."""

    answered: int
    refused: int

    def since(self, before: _Tally) -> _Tally:
        return _Tally(self.answered - before.answered, self.refused - before.refused)

    @property
    def mostly_answered(self) -> bool:
        return self.answered > self.refused

    @property
    def are_served(self) -> bool:
        """True if other calls get through, so that a refusal is likely to be about the refused call alone."""
        return self.answered >= _ENOUGH and self.mostly_answered


@dataclass(slots=True)
class _Refused:
    """The 429s of one call on one account.

    Attributes:
        first: the other calls at the first 429.
        last: the other calls at the last 429.
        times: how many 429s there were.
        in_a_row: how many there were since another call was answered.
    """

    first: _Tally
    last: _Tally
    times: int = 0
    in_a_row: int = 0


@dataclass(slots=True)
class Refusals:
    """The 429s of one call, by account name; `model` is its model id."""

    model: str
    by_account: dict[str, _Refused] = field(default_factory=dict)

    @property
    def times(self) -> int:
        """How many 429s there were on all accounts together."""
        return sum(refused.times for refused in self.by_account.values())


class RefusedCalls:
    """The calls of one provider that were refused by 429s, compared with its other calls.

    Args:
        clock: the event loop's clock, seconds.
        give_up_after_s: seconds that a model may have nothing but 429s before the run ends.
    """

    def __init__(self, clock: Callable[[], float], give_up_after_s: float = math.inf) -> None:
        self._clock = clock
        self._give_up_after_s = give_up_after_s
        self._answered: Counter[Lane] = Counter()
        self._refusals: Counter[Lane] = Counter()
        self._under_way: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._answers: Counter[str] = Counter()
        self._wakers: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        self.waiting = 0
        """Calls that wait for their next try after a 429."""
        self.nothing_to_come = False
        """True once no further problem is going to be begun."""

    def begin(self, model: str) -> Refusals:
        """Count a call of the model as under way until `end`; return its refusals, none yet."""
        self._under_way[model] += 1
        return Refusals(model)

    def end(self, refusals: Refusals) -> None:
        """Count a call as no longer under way: it has its outcome, or was cancelled."""
        self._under_way[refusals.model] -= 1
        self._refused[refusals.model] -= bool(refusals.by_account)
        if not self._refused[refusals.model]:
            self._since.pop(refusals.model, None)

    def answered(self, account: str, model: str) -> None:
        """Count an answered call of the model."""
        self._answered[account, model] += 1
        self._answers[model] += 1
        self._since.pop(model, None)
        wakers = self._wakers.get(model)
        while wakers and wakers[0][0] <= self._answers[model]:
            _, waker = wakers.popleft()
            if not waker.done():
                waker.set_result(None)

    def _others(self, refusals: Refusals, account: str) -> _Tally:
        lane = account, refusals.model
        own = refusals.by_account.get(account)
        return _Tally(self._answered[lane], self._refusals[lane] - (own.times if own else 0))

    def is_suspect(self, refusals: Refusals, account: str) -> bool:
        """True if other calls were mostly answered since the account refused this one.

        One more 429 is then likely to be about this call alone.
        """
        own = refusals.by_account.get(account)
        return own is not None and self._others(refusals, account).since(own.last).mostly_answered

    def count(self, refusals: Refusals, account: str, failure: RateLimitedError) -> CallError:
        """Count one more 429 of a call.

        Returns:
            `failure` if the call is to wait; the error with which the call ends if no wait will help it.
        """
        others = self._others(refusals, account)
        self._refused[refusals.model] += not refusals.by_account
        own = refusals.by_account.setdefault(account, _Refused(others, others))
        own.times += 1
        own.in_a_row = own.in_a_row + 1 if others.answered == own.last.answered else 1
        own.last = others
        self._refusals[account, refusals.model] += 1
        self._since.setdefault(refusals.model, self._clock())
        if not self._is_final(own, refusals.model):
            return failure
        served = ", others were answered" if own.last.since(own.first).are_served else ""
        return CallError("refused", f"refused {own.times} times{served}: {failure}", status=failure.status)

    def _is_final(self, own: _Refused, model: str) -> bool:
        """True if no wait will help a call.

        Usually that is so after six 429s of the call, during which six other calls were answered, and more were
        answered than refused. Where only refused calls of the model are left under way, no other call can be answered.
        Then six 429s are enough if the call is the only one. If it is one of several, they are enough if other calls
        were answered since its first 429, or if no more problems will be begun.
        """
        meanwhile = own.last.since(own.first)
        if own.times < _ENOUGH:
            return False
        if meanwhile.are_served:
            return True
        if self._under_way[model] > self._refused[model] or own.in_a_row < _AGAIN:
            return False
        alone = self._under_way[model] == 1
        return alone or meanwhile.answered > 0 or (self.nothing_to_come and own.in_a_row >= _ENOUGH)

    async def wait(self, refusals: Refusals, failure: RateLimitedError) -> None:
        """Wait before the next try: as long as the host asks for, an hour at most; else 1, 2, 4 ... 60 s.

        Where other calls get through meanwhile, the second wait is shorter.

        Raises:
            ProviderDownError: the model has got nothing but 429s for too long.
        """
        self.waiting += 1
        try:
            if failure.retry_after:
                await self._sleep(min(failure.retry_after, _LONGEST_RETRY_AFTER_S), failure, refusals.model)
            else:
                await self._back_off(refusals, failure)
        finally:
            self.waiting -= 1

    async def _back_off(self, refusals: Refusals, failure: RateLimitedError) -> None:
        if any(own.last.since(own.first).are_served for own in refusals.by_account.values()):
            await self._sleep(_SERVED_WAIT_S, failure, refusals.model)
            return
        await self._sleep(_FIRST_WAIT_S, failure, refusals.model)
        longest = doubling(_FIRST_WAIT_S, refusals.times - 1, _LONGEST_WAIT_S)
        if longest <= _FIRST_WAIT_S:
            return
        waker = self._waker(refusals.model)
        try:
            await self._sleep(longest - _FIRST_WAIT_S, failure, refusals.model, waker=waker)
        finally:
            waker.cancel()

    def _waker(self, model: str) -> asyncio.Future[None]:
        """Return a future that is done when six more calls of the model have been answered."""
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wakers = self._wakers.setdefault(model, deque())
        while wakers and wakers[0][1].done():
            wakers.popleft()
        wakers.append((self._answers[model] + _ENOUGH, waker))
        return waker

    async def _sleep(
        self, seconds: float, failure: RateLimitedError, model: str, *, waker: asyncio.Future[None] | None = None
    ) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > TICK_S and not (waker and waker.done()):
            since = self._since.get(model)
            allowed = math.inf if since is None else since + self._give_up_after_s - self._clock()
            if since is not None and allowed <= TICK_S:
                raise ProviderDownError(self._clock() - since, failure, of_model=f"{model} has got nothing but 429s")
            if waker is None:
                await asyncio.sleep(min(left, allowed))
            else:
                await asyncio.wait({waker}, timeout=min(left, allowed))
