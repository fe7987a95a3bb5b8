"""One provider's dispatcher: waits for a place and for money, sends, retries, and has the outcome written down.

Must not know: protocols, the journal's format. The outcome is written (`commit`) before the place is given back.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from eli5b_batch.dispatch.budget import Budget, cost
from eli5b_batch.dispatch.capacity import Capacity, Need, Place
from eli5b_batch.dispatch.estimates import Speed
from eli5b_batch.dispatch.refused import RefusedCalls
from eli5b_batch.dispatch.timing import doubling
from eli5b_batch.errors import (
    CallError,
    ProviderDownError,
    ProviderRefusedError,
    RateLimitedError,
    RetryableError,
)
from eli5b_batch.job.prices import Price
from eli5b_batch.text import duration

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from eli5b_batch.backends.base import Backend, ChatReply, ChatRequest, ModelFacts
    from eli5b_batch.dispatch.charges import Charges
    from eli5b_batch.dispatch.refused import Refusals
    from eli5b_batch.dispatch.stop import Stop
    from eli5b_batch.job.prices import Charge

T = TypeVar("T")

_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 60.0
_MAY_BE_BILLED: Final = frozenset({"timeout", "connection", "bad_reply", "empty_reply", "not_done", "broken"})
"""Classes of failure after which the server may have done, and billed, the work. A refused call is not billed."""

_ABSURD: Final = 10
_OVERHEAD: Final = 100_000
"""A count of tokens is believed up to ten times the prompt's characters plus `max_tokens`, plus a host's overhead."""

_OUTAGE: Final = frozenset({502, 503, 504, 520, 521, 522, 523, 524, 529})
_EXCUSED: Final = 4
"""A failure during an outage is not the call's fault, up to four times its attempts: after that, it may be."""


@dataclass(slots=True)
class Outcome:
    """What became of one call: a reply or an error, with when, where and at what cost.

    Attributes:
        reply: the reply; None where the call failed.
        error: the error; None where the call was answered.
        place: where the call was sent.
        cost_usd: None where the server did not count the tokens, the call broke off, or the price is unknown.
        tokens: tokens of prompt and reply together.
        started: the event loop's clock at the last sending, seconds.
        latency_s: seconds from the last sending to the outcome.
        queued_s: seconds from the request to the last sending.
        attempts: how often the call was sent.
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
    """How often one call was sent, and with what result: failed, excused as the server's fault, or refused by a 429.

    The call has failed for good after `most` failures that were its own fault.
    """

    most: int
    capacity: Capacity
    refusals: Refusals
    sent: int = 0
    failed: int = 0
    excused: int = 0
    last_was_own: bool = False

    @property
    def failures(self) -> int:
        """How often the call failed, its own fault or not; refusals are not counted."""
        return self.failed + self.excused

    @property
    def used_up(self) -> bool:
        """True if the call has failed for good."""
        return self.failed >= self.most

    def count(self, error: CallError, place: Place) -> None:
        """Count one more failure, as the call's fault or as its server's."""
        self.last_was_own = self.excused >= _EXCUSED * self.most or not self._is_outage(error, place)
        self.failed += self.last_was_own
        self.excused += not self.last_was_own

    def reconsider(self, place: Place) -> None:
        """Count the last failure as the server's if the server has turned out to be at fault since."""
        if self.last_was_own and self.excused < _EXCUSED * self.most and self.capacity.was_at_fault(place):
            self.failed -= 1
            self.excused += 1

    def _is_outage(self, error: CallError, place: Place) -> bool:
        """True if a failure is the server's fault: the server was not reached, or is known to be down."""
        if not isinstance(error, RetryableError):
            return False
        is_page = error.kind == "server_error" and error.status == HTTPStatus.OK
        down = error.kind == "connection" or error.status in _OUTAGE or is_page
        return error.unsent or (down and self.capacity.is_down(place))


class Dispatcher:
    """Sends the calls of one provider.

    Args:
        name: the provider's name in the job.
        backends: the provider's clients, by the name of an account or slot; "" serves all that are not named.
        capacity: the provider's gate or slots.
        budget: the budget of the run.
        stop: the stop of the run.
        attempts: how often a call is sent before it counts as failed. Neither a wait for capacity is an attempt, nor a
            call that breaks off, or is answered 502 to 504, while the server is known to be down.
        timeout_s: longest wait for one reply, seconds; the wait gets shorter once the model's speed is known.
        clock: the event loop's clock, seconds.
        randomness: the random source of jitter.
        give_up_after_s: seconds that a model may have nothing but 429s before the run ends.
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
        give_up_after_s: float = math.inf,
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
        self.refused = RefusedCalls(clock, give_up_after_s)
        self.remarks: list[str] = []
        """A sentence for each server that did not answer `reach`."""
        self.under_way = 0
        """Calls that `send` was given and has not finished."""
        self.retries = 0
        self.retry_waiting = 0
        self.last_error: str | None = None
        self._last_error_at: float | None = None

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Check that every server answers and serves `models`; see `Backend.reach`."""
        facts: dict[str, ModelFacts] = {}
        for backend in self.backends.values():
            facts |= await backend.reach(models)
            self.remarks += backend.silent.values()
            self.capacity.take_out(backend.silent)
        self.last_error = self.remarks[-1] if self.remarks else None
        return facts

    async def send(self, request: ChatRequest, order: int, charges: Charges, commit: Callable[[Outcome], T]) -> T:
        """Send one call until it is answered or has failed for good.

        Args:
            request: the call.
            order: the call's age; see `Need`.
            charges: what the model costs on each account.
            commit: writes the outcome down; runs before the place is given back.

        Returns:
            What `commit` returned. Errors that end the run stop it and never return.
        """
        self.under_way += 1
        tries = _Tries(self._attempts, self.capacity, self.refused.begin(request.model))
        try:
            return await self._send(request, order, charges, commit, tries)
        finally:
            self.refused.end(tries.refusals)
            self.under_way -= 1

    @property
    def reply_s(self) -> float:
        """Mean seconds from sending a call to its reply, of the slowest model; 0 before the first reply."""
        return max((speed.seconds for speed in self._speeds.values()), default=0.0)

    async def _send(
        self, request: ChatRequest, order: int, charges: Charges, commit: Callable[[Outcome], T], tries: _Tries
    ) -> T:
        requested_at = self._clock()
        most = request.sampling["max_tokens"]
        speed = self._speeds.setdefault(request.model, Speed(most / 2))
        size = sum(len(message["content"]) for message in request.messages)
        need = Need(request.model, order, speed.tokens(size))
        worst = charges.dearest(request.messages, most)
        while True:
            await self._stop.may_send()
            place = await self.capacity.acquire(need)
            place.suspect = self.refused.is_suspect(tries.refusals, place.slot or "")
            outcome: Outcome | None = None
            failure: CallError | None = None
            try:
                await self._stop.may_send()
                await self._budget.reserve(worst)
                if self._stop.reason is not None:  # the run was stopped while this call waited for money
                    self._budget.settle(worst, 0.0)
                    continue
                with self._stop.call_in_flight():
                    longest = self._timeout_s
                    if not place.loading:  # twice as long after each failure: the provider may have become slower
                        longest = doubling(speed.deadline_s(most, longest), tries.failures, longest)
                    tries.sent += 1
                    outcome = await self._attempt(request, place, charges.at(place.slot), worst, longest)
                    failure = outcome.error
                    if failure is None:
                        self._learn(speed, size, outcome, request)
                    elif isinstance(failure, RateLimitedError):
                        outcome.error = self.refused.count(tries.refusals, place.slot or "", failure)
                    else:
                        tries.count(failure, place)
                    if not isinstance(outcome.error, RetryableError) or tries.used_up:
                        outcome.queued_s, outcome.attempts = outcome.started - requested_at, tries.sent
                        return commit(outcome)
            except Exception as error:  # noqa: BLE001 (it becomes the reason why the run stops)
                self._stop.ask(error)
            finally:
                self._give_back(place, outcome, failure)
            if failure is not None:
                await self._before_next_try(failure, tries, place)

    def _learn(self, speed: Speed, prompt_size: int, outcome: Outcome, request: ChatRequest) -> None:
        assert outcome.reply is not None
        usage, seconds = _believable(outcome.reply.usage, request), outcome.latency_s - outcome.reply.load_s
        speed.learn(prompt_size, usage.get("input_tokens", 0), usage.get("output_tokens", 0), seconds)
        self.refused.answered(outcome.place.slot or "", request.model)

    def _give_back(self, place: Place, outcome: Outcome | None, failure: CallError | None) -> None:
        if outcome is None:
            self.capacity.release(place)
        elif outcome.reply is None:
            self.capacity.release(place, tokens=outcome.tokens, failure=failure)
        else:
            reply = outcome.reply
            self.capacity.release(
                place, tokens=outcome.tokens, advice=reply.advice, load_s=reply.load_s, work_s=reply.work_s
            )

    async def _attempt(
        self, request: ChatRequest, place: Place, charge: Charge | None, worst: float, deadline_s: float
    ) -> Outcome:
        """Send a call once and return its outcome; the reservation is settled in every case.

        Raises:
            Exception: any error that ends the run. The failure of a call is part of its outcome.
        """
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
            usage = _believable(reply.usage, request)
        except TimeoutError:
            error = RetryableError("connection", f"{place.base_url} stopped answering: {place.slot} was taken out")
            self._failed(error)
        except CallError as failure:
            error, usage = failure, _believable(failure.partial.get("usage", {}), request)
            self._failed(failure)
            harmless = failure.unsent or failure.kind not in _MAY_BE_BILLED
        except ProviderRefusedError:
            harmless = True
            raise
        finally:
            # A call that broke off, was cancelled, or came back without a count of its tokens, may have been billed
            # in full: its reservation is kept as possibly spent.
            price = charge if isinstance(charge, Price) else None
            counted = any(usage.values())
            if counted or harmless or not price:
                spent = cost(price, usage) if price else 0.0
            self._budget.settle(worst, spent)
        tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
        cost_usd = None if charge == "unknown" else spent
        return Outcome(reply, error, place, cost_usd, tokens, started, self._clock() - started)

    def _failed(self, error: CallError) -> None:
        self.last_error, self._last_error_at = str(error), self._clock()

    async def _before_next_try(self, failure: CallError, tries: _Tries, place: Place) -> None:
        """Wait before a failed call is sent again; other calls go out meanwhile.

        After a 429 the wait is as long as the host asks for. After any other failure it is full jitter under a bound
        that doubles, or as long as the host asks for, a minute at most: a host in trouble may be back earlier. During
        an outage every call waits at the gate: while the failed call stays away, the next probe is another call, so
        that a long outage does not use up the excuses of a single call.
        """
        if isinstance(failure, RateLimitedError):
            try:
                await self.refused.wait(tries.refusals, failure)
            except ProviderDownError as error:
                self._stop.ask(error)
            return
        self.retries += 1
        self.retry_waiting += 1
        try:
            bound = doubling(_BACKOFF_S, tries.failures - 1, _LONGEST_BACKOFF_S)
            retry_after = failure.retry_after if isinstance(failure, RetryableError) else None
            await asyncio.sleep(max(self._random.uniform(0, bound), min(retry_after or 0.0, _LONGEST_BACKOFF_S)))
        finally:
            self.retry_waiting -= 1
        tries.reconsider(place)

    def snapshot(self) -> dict[str, Any]:
        """Return the figures for the dashboard."""
        figures = self.capacity.snapshot()
        failed_at = self._last_error_at
        return {
            "provider": self.name,
            **figures,
            "retries": self.retries,
            "retry_waiting": self.retry_waiting + self.refused.waiting,
            "last_error": self.last_error,
            "last_error_s": None if failed_at is None else round(self._clock() - failed_at, 1),
            "waiting_for": self._waiting_for(figures),
        }

    def _waiting_for(self, figures: Mapping[str, Any]) -> str | None:
        """Return in a few words what the next call waits for; None while calls are in flight."""
        if figures["down_s"] is not None:
            return f"a server that answers again; down for {duration(figures['down_s'])}"
        if figures["in_flight"]:
            return None
        if (paused_s := figures.get("paused_s")) is not None and paused_s >= 1:
            return f"the end of a pause that the host asks for, in {duration(paused_s)}"
        if self.refused.waiting:
            return f"the next try of calls that were refused with 429s: {self.refused.waiting}"
        if self.retry_waiting:
            return f"the next try of calls that failed: {self.retry_waiting}"
        return None


def _believable(usage: Mapping[str, int], request: ChatRequest) -> Mapping[str, int]:
    """Return the tokens that a server counted, or none where the count is more than such a call can use.

    An absurd count would use up the budget, or a limit for years. It stays in the record of the call all the same.
    """
    size = sum(len(message["content"]) for message in request.messages)
    most = _ABSURD * (size + int(request.sampling["max_tokens"])) + _OVERHEAD
    return usage if sum(usage.values()) <= most else {}
