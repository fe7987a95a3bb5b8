"""One provider's dispatcher: waits for a place and for money, sends, retries, and has the outcome written down.

Must not know: protocols, the journal's format. The outcome is written (`commit`) before the place is given back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from eli5b_batch.dispatch.budget import Budget, cost, worst_cost
from eli5b_batch.dispatch.capacity import Capacity, Need, Place, doubling
from eli5b_batch.dispatch.speed import Speed
from eli5b_batch.errors import CallError, ProviderRefusedError, RateLimitedError, RetryableError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from eli5b_batch.backends.base import Backend, ChatReply, ChatRequest, ModelFacts
    from eli5b_batch.dispatch.stop import Stop
    from eli5b_batch.job import Price

T = TypeVar("T")

_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 60.0
_MAY_BE_BILLED: Final = frozenset({"timeout", "connection", "bad_reply"})
"""Classes of failure after which the server may have done, and billed, the work."""

_OUTAGE: Final = frozenset({502, 503, 504, 520, 521, 522, 523, 524, 529})
_EXCUSED: Final = 4
"""Failures of an outage are not the call's own, up to four times its attempts: then they may be its own after all."""


@dataclass(slots=True)
class Outcome:
    """What became of one call: a reply or an error, with when, where and at what cost.

    `cost_usd` is None where the server did not tell, or the call broke off.
    Times are seconds on the event loop's clock; `queued_s` is the wait from asking to the last sending.
    """

    reply: ChatReply | None
    error: CallError | None
    place: Place
    cost_usd: float | None
    tokens: int
    started: float
    latency_s: float
    queued_s: float = 0.0
    attempts: int = 0


@dataclass(slots=True)
class _Tries:
    """How often one call was sent, and of that: failures of its own, at most `most`, and failures of its servers."""

    most: int
    capacity: Capacity
    sent: int = 0
    failed: int = 0
    excused: int = 0

    @property
    def used_up(self) -> bool:
        """Whether it has failed for good."""
        return self.failed >= self.most

    def count(self, error: CallError, place: Place) -> bool:
        """One more failure; whether it was taken for the call's own. A 429 is none at all."""
        if isinstance(error, RateLimitedError):
            return False
        own = self.excused >= _EXCUSED * self.most or not self._is_outage(error, place)
        self.failed += own
        self.excused += not own
        return own

    def reconsider(self, place: Place) -> None:
        """The last failure was taken for the call's own; by now the server may have turned out to be at fault."""
        if self.excused < _EXCUSED * self.most and self.capacity.was_at_fault(place):
            self.failed -= 1
            self.excused += 1

    def _is_outage(self, error: CallError, place: Place) -> bool:
        """Whether a failure is the server's rather than the call's: it was not reached, or is known to be down."""
        if not isinstance(error, RetryableError):
            return False
        down = error.kind == "connection" or error.status in _OUTAGE
        return error.unsent or (down and self.capacity.is_down(place))


class Dispatcher:
    """Sends the calls of one provider.

    Args:
        name: the provider's name in the job.
        backends: its client, by the name of the account or slot a place is on; "" serves all that are not named.
        capacity: its gate or its slots.
        budget: the run's.
        stop: the run's.
        attempts: times a call is sent before it counts as failed. Waiting for capacity is no attempt, nor is what
            breaks off, or is answered 502 to 504, while the server is known to be down.
        timeout_s: longest wait for one reply; it gets shorter once the model's speed is known.
        clock: the event loop's clock, seconds.
        randomness: for jitter.
    """

    def __init__(
        self,
        name: str,
        *,
        backends: Mapping[str, Backend],
        capacity: Capacity,
        budget: Budget,
        stop: Stop,
        attempts: int,
        timeout_s: float,
        clock: Callable[[], float],
        randomness: random.Random,
    ) -> None:
        self.name = name
        self.backends = backends
        self.capacity = capacity
        self._budget = budget
        self._stop = stop
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._clock = clock
        self._random = randomness
        self._speeds: dict[str, Speed] = {}
        self.remarks: list[str] = []
        """What `reach` found worth knowing, a sentence each."""
        self.under_way = 0
        """Calls asked for and not yet answered."""
        self.retries = 0
        self.retry_waiting = 0
        self.last_error: str | None = None

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Check that every server answers and serves `models`; see `Backend.reach`."""
        facts: dict[str, ModelFacts] = {}
        for backend in self.backends.values():
            facts |= await backend.reach(models)
            self.remarks += backend.silent.values()
            self.capacity.take_out(backend.silent)
        self.last_error = self.remarks[-1] if self.remarks else None
        return facts

    async def send(self, request: ChatRequest, order: int, price: Price | None, commit: Callable[[Outcome], T]) -> T:
        """Send one call until it is answered or has failed for good.

        Args:
            request: the call.
            order: its age; see `Need`.
            price: None for a free model, or one whose price is unknown.
            commit: writes the outcome down; runs before the place is given back.

        Returns:
            What `commit` returned. Errors that end the run stop it and never return.
        """
        self.under_way += 1
        try:
            return await self._send(request, order, price, commit)
        finally:
            self.under_way -= 1

    @property
    def reply_s(self) -> float:
        """Mean seconds that a reply takes once it is sent, of the slowest model; 0 before any has come."""
        return max((speed.seconds for speed in self._speeds.values()), default=0.0)

    async def _send(self, request: ChatRequest, order: int, price: Price | None, commit: Callable[[Outcome], T]) -> T:
        asked = self._clock()
        most = request.sampling["max_tokens"]
        speed = self._speeds.setdefault(request.model, Speed(most / 2))
        size = sum(len(message["content"]) for message in request.messages)
        need = Need(request.model, order, speed.tokens(size))
        worst = worst_cost(price, request.messages, most) if price else 0.0
        tries = _Tries(self._attempts, self.capacity)
        while True:
            await self._stop.may_send()
            place = await self.capacity.acquire(need)
            outcome: Outcome | None = None
            own_failure = False
            try:
                await self._stop.may_send()
                await self._budget.reserve(worst)
                if self._stop.reason is not None:  # asked while this call waited for money
                    self._budget.settle(worst, 0.0)
                    continue
                with self._stop.in_the_air():
                    tries.sent += 1
                    longest = self._timeout_s
                    if not place.loading:  # twice as long after each failure: the provider may have become slower
                        longest = doubling(speed.deadline_s(most, longest), tries.failed + tries.excused, longest)
                    outcome = await self._attempt(request, place, price, worst, longest)
                    if outcome.reply is not None:
                        usage, seconds = outcome.reply.usage, outcome.latency_s - outcome.reply.load_s
                        speed.learn(size, usage.get("input_tokens", 0), usage.get("output_tokens", 0), seconds)
                    elif outcome.error is not None:
                        own_failure = tries.count(outcome.error, place)
                    if not isinstance(outcome.error, RetryableError) or tries.used_up:
                        outcome.queued_s, outcome.attempts = outcome.started - asked, tries.sent
                        return commit(outcome)
            except Exception as error:  # noqa: BLE001 (kept as the reason the run stops; what is in flight comes home)
                self._stop.ask(error)
            finally:
                self._give_back(place, outcome)
            if outcome is not None and outcome.error is not None:
                await self._back_off(outcome.error, tries.failed + tries.excused)
                if own_failure:
                    tries.reconsider(place)

    def _give_back(self, place: Place, outcome: Outcome | None) -> None:
        if outcome is None:
            self.capacity.release(place)
        elif outcome.reply is None:
            self.capacity.release(place, tokens=outcome.tokens, failure=outcome.error)
        else:
            reply = outcome.reply
            self.capacity.release(
                place, tokens=outcome.tokens, advice=reply.advice, load_s=reply.load_s, work_s=reply.work_s
            )

    async def _attempt(
        self, request: ChatRequest, place: Place, price: Price | None, worst: float, deadline_s: float
    ) -> Outcome:
        """Send once. Only what ends the run is raised; the reservation is settled either way."""
        started = self._clock()
        spent: float | None = None
        reply: ChatReply | None = None
        error: CallError | None = None
        usage: Mapping[str, int] = {}
        harmless = False
        try:
            backend = self.backends.get(place.slot or "") or self.backends[""]
            if place.recallable:
                async with asyncio.timeout(None) as place.lifeline:
                    reply = await backend.chat(request, place.base_url, deadline_s)
            else:
                reply = await backend.chat(request, place.base_url, deadline_s)
            usage = reply.usage
        except TimeoutError:
            error = RetryableError("connection", f"{place.base_url} stopped answering: {place.slot} was taken out")
            self.last_error = str(error)
        except CallError as failure:
            error, usage = failure, failure.partial.get("usage", {})
            self.last_error = str(failure)
            harmless = failure.unsent or failure.kind not in _MAY_BE_BILLED
        except ProviderRefusedError:
            harmless = True
            raise
        finally:
            # A call that broke off, was cancelled, or came back without a count of its tokens, may have been billed
            # in full: its reservation is kept as possibly spent.
            counted = reply is not None and any(usage.values())
            if counted or harmless or not price:
                spent = cost(price, usage) if price else 0.0
            self._budget.settle(worst, spent)
        tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
        return Outcome(reply, error, place, spent, tokens, started, self._clock() - started)

    async def _back_off(self, error: CallError, failed: int) -> None:
        """Wait before sending again: full jitter under a doubling bound.

        A 429 waits at the gate, for everyone. In an outage every call waits there, too; that the one that failed stays
        away for a while lets the next probe be another, so that a long outage does not use up one call's excuses.
        """
        if isinstance(error, RateLimitedError):
            return
        self.retries += 1
        self.retry_waiting += 1
        try:
            bound = doubling(_BACKOFF_S, failed - 1, _LONGEST_BACKOFF_S)
            await asyncio.sleep(self._random.uniform(0, bound))
        finally:
            self.retry_waiting -= 1

    def snapshot(self) -> dict[str, Any]:
        """Figures for the dashboard."""
        return {
            "provider": self.name,
            **self.capacity.snapshot(),
            "retries": self.retries,
            "retry_waiting": self.retry_waiting,
            "last_error": self.last_error,
        }
