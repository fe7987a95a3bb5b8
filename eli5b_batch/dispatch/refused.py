"""Calls that come back with 429s: how long each waits, when one has failed, and since when nothing gets through.

Must not know: HTTP, how fast an account may be used. A 429 asks for patience and is no failed attempt, but a host may
refuse a single prompt with it for ever. No words tell the two apart for sure; what happens to other calls of the same
model does.
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
"""Refusals of one call, and answers to others meanwhile, that show that it is the call which is refused."""
_AGAIN: Final = 2
"""Refusals in a row, nobody answered between them, that show that an answer of before says nothing any more."""
_FIRST_WAIT_S: Final = 1.0
_SERVED_WAIT_S: Final = 0.4
"""Between two tries of a call while others get through: nothing is gained by a longer wait."""
_LONGEST_WAIT_S: Final = 60.0
_LONGEST_TOLD_S: Final = 3600.0


class _Tally(NamedTuple):
    """What the other calls of a model have come to on one account so far."""

    answered: int
    refused: int

    def since(self, before: _Tally) -> _Tally:
        return _Tally(self.answered - before.answered, self.refused - before.refused)

    @property
    def mostly_answered(self) -> bool:
        return self.answered > self.refused

    @property
    def are_served(self) -> bool:
        """Whether others get through, so that a refusal is likely to be the call's own."""
        return self.answered >= _ENOUGH and self.mostly_answered


@dataclass(slots=True)
class _Refused:
    """The 429s of one call on one account: how many, how many since another call was answered, and the others then."""

    first: _Tally
    last: _Tally
    times: int = 0
    in_a_row: int = 0


@dataclass(slots=True)
class Refusals:
    """The 429s of one call, by account."""

    model: str
    by_account: dict[str, _Refused] = field(default_factory=dict)

    @property
    def times(self) -> int:
        """How many."""
        return sum(refused.times for refused in self.by_account.values())


class RefusedCalls:
    """The calls of one provider that were refused by 429s, beside all others.

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
        """No further problem is going to be begun."""

    def begin(self, model: str) -> Refusals:
        """A call is under way, until `end`."""
        self._under_way[model] += 1
        return Refusals(model)

    def end(self, refusals: Refusals) -> None:
        """It has its outcome, or was cancelled."""
        self._under_way[refusals.model] -= 1
        self._refused[refusals.model] -= bool(refusals.by_account)
        if not self._refused[refusals.model]:
            self._since.pop(refusals.model, None)

    def answered(self, account: str, model: str) -> None:
        """A call of this model was answered."""
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
        """Whether others were mostly answered since this call was refused there: one more 429 is likely its own."""
        own = refusals.by_account.get(account)
        return own is not None and self._others(refusals, account).since(own.last).mostly_answered

    def count(self, refusals: Refusals, account: str, failure: RateLimitedError) -> CallError:
        """One more 429: the failure as it is, or, where no wait will help the call, the error that it ends with."""
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
        """Whether no wait will help this call: six 429s, while six others and more than were refused were answered.

        Where nothing but refused calls of the model is left under way, nobody else can be answered. There six refusals
        of the only one will do; of several, if others have been answered since its first, or nothing more is to come.
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
        """Wait as long as the host has said; else 1, 2, 4 ... s, or less where others get through meanwhile.

        Raises:
            ProviderDownError: this model has got nothing but 429s for too long.
        """
        self.waiting += 1
        try:
            if failure.retry_after:
                await self._sleep(min(failure.retry_after, _LONGEST_TOLD_S), failure, refusals.model)
            else:
                await self._wait_untold(refusals, failure)
        finally:
            self.waiting -= 1

    async def _wait_untold(self, refusals: Refusals, failure: RateLimitedError) -> None:
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
        """Done when six more calls of the model have been answered."""
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
