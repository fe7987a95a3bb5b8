"""One account at one host: everything that decides when it may be sent another call.

Must not know: HTTP, queues, retries. Nothing here waits: `due_in` says how long the gate should.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.backends.base import Advice
from eli5b_batch.dispatch.api.allowance import Allowance
from eli5b_batch.dispatch.api.concurrency import ConcurrencyWindow
from eli5b_batch.dispatch.breaker import Breaker, is_stall
from eli5b_batch.dispatch.capacity import Need, Place
from eli5b_batch.dispatch.timing import RateMeter
from eli5b_batch.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.dispatch.api.rate_control import RateControl
    from eli5b_batch.errors import CallError
    from eli5b_batch.job.schema import Limits

_NO_LIMITS: Final = Advice(requests_per_s=math.inf, tokens_per_s=math.inf)
_LONGEST_MODEL_PROBE_S: Final = 5.0
"""Most seconds between two probes of a model: one that is limited upstream is often back sooner than a dead server."""


@dataclass(slots=True)
class AccountMark:
    """The account's mark on a place: how things stood when the call went out.

    Attributes:
        account: the account.
        at: the clock, seconds.
        cuts: cuts that the account's allowance had seen.
        probe: the number of the call as a probe of the account; 0 if it is none.
        model: the state of the call's model, if the account keeps one.
        model_cuts: cuts that the model's allowance had seen.
        model_probe: the number of the call as a probe of the model; 0 if it is none.
    """

    account: Account
    at: float
    cuts: int
    probe: int
    model: _ModelState | None
    model_cuts: int = 0
    model_probe: int = 0


@dataclass(slots=True)
class _ModelState:
    """The state of one model on an account: its own limits, and whether its calls get through at all."""

    allowance: Allowance
    breaker: Breaker

    def finish(self, probe: int, *, inconclusive: bool) -> None:
        """Count a call that came back and was not refused; `inconclusive`: its outcome says nothing of the model."""
        if inconclusive:
            self.breaker.gave_up(probe=probe)
        else:
            self.breaker.succeeded()


class Account:
    """Limits, adaptive control and breaker of one account of a provider.

    The limits in the job are those of the account. A limit that is learnt is the account's as well, unless the host
    speaks of one model: in a refusal that names the model, or in headers, where the limits differ between the replies
    of several models. A model that is refused before any of its calls got through is probed like a server that is down.

    Args:
        name: the account's name; "" where there is only one account.
        base_url: where calls go.
        limits: the account's limits in the job.
        weight: the account's share of the calls, among accounts that have room.
        clock: the event loop's clock, seconds.
        several_models: True if the job asks more than one model through this account.
    """

    def __init__(
        self,
        base_url: str,
        limits: Limits,
        clock: Callable[[], float],
        *,
        name: str = "",
        weight: float = 1.0,
        several_models: bool = False,
    ) -> None:
        self.name = name
        self.base_url = base_url
        self.weight = weight
        self.breaker = Breaker(clock)
        self._clock = clock
        self._adaptive = limits.adaptive
        self._several_models = several_models
        self._whole = Allowance(
            _per_second(limits.requests_per_minute),
            _per_second(limits.tokens_per_minute),
            clock,
            adaptive=limits.adaptive,
        )
        self._models: dict[str, _ModelState] = {}
        """By model id: the models that the host limits one by one; on most accounts none."""
        self._advice: dict[str, Advice] = {}
        """By model id: the limits in the headers of its last reply."""
        self._window = ConcurrencyWindow(limits.concurrency, clock, adaptive=limits.adaptive)
        self.in_flight = 0
        self.rate_limited = 0
        self._starts = RateMeter(clock)
        self._used = RateMeter(clock)

    def due_in(self, tokens: float) -> float:
        """Return the seconds until a call of `tokens` may go out: 0 for now, infinite until another call comes back."""
        if self.in_flight >= self._window.size:
            return math.inf
        return max(self.breaker.due_in(), self._whole.due_in(tokens))

    def model_due_in(self, need: Need) -> float:
        """Return the seconds that calls of this model have to wait, while calls of other models may go out."""
        model = self._models.get(need.model)
        return 0.0 if model is None else max(model.breaker.due_in(), model.allowance.due_in(need.tokens))

    @property
    def places(self) -> int:
        """How many calls may be in flight."""
        return self._window.size

    @property
    def load(self) -> float:
        """The share of the window in use, divided by the weight: the account with the least has the most room."""
        return self.in_flight / (self._window.size * self.weight)

    def start(self, need: Need) -> Place:
        """Count a call as sent now; return its place."""
        self.in_flight += 1
        self._whole.start(need.tokens)
        self._starts.add()
        mark = AccountMark(self, self._clock(), self._whole.cuts, self.breaker.started(), self._models.get(need.model))
        if mark.model is not None:
            mark.model.allowance.start(need.tokens)
            mark.model_cuts = mark.model.allowance.cuts
            mark.model_probe = mark.model.breaker.started()
        return Place(self.base_url, self.name or None, need, owner=mark)

    def finish(self, place: Place, *, tokens: int | None, failure: CallError | None, advice: Advice | None) -> None:
        """Count a call that came back, or that was given back unsent: then with neither tokens nor failure."""
        mark: AccountMark = place.owner
        self.in_flight -= 1
        self._used.add(tokens or 0)
        parts = (self._whole,) if mark.model is None else (self._whole, mark.model.allowance)
        # A refused call keeps its tokens reserved: given back, they would let the next call be refused at once.
        # A reply that counts no tokens is taken to have used what was reserved.
        uncounted = failure is None and tokens == 0
        if not (uncounted or isinstance(failure, RateLimitedError)):
            for part in parts:
                part.settle(place.need.tokens, tokens or 0)
        if advice is not None:
            self._heed(advice, place.need.model)
        if isinstance(failure, RateLimitedError):
            self.breaker.succeeded()  # an account that refuses a call is alive
            self._refused(failure, place)
        elif is_stall(failure):
            self.breaker.failed(probe=mark.probe, unreachable=failure.unsent)
            for part in parts:
                part.hold()
        elif tokens is not None or failure is not None:
            self.breaker.succeeded()
            for part in parts:
                part.answered()
            paced = any(part.requests.known or part.tokens.known for part in parts)
            self._window.answered(self._clock() - mark.at, self.in_flight + 1, paced=paced)
        else:
            self.breaker.gave_up(probe=mark.probe)
        model = self._models.get(place.need.model)
        if model is not None and not isinstance(failure, RateLimitedError):
            model.finish(mark.model_probe, inconclusive=is_stall(failure) or (tokens is None and failure is None))

    def _heed(self, advice: Advice, model_id: str) -> None:
        """Take limits in headers for the account's; for each model's own where those of two models differ."""
        self._advice[model_id] = advice._replace(pause_s=None)
        if not self._several_models or len(set(self._advice.values())) == 1:
            for model in self._models.values():
                model.allowance.heed(_NO_LIMITS)
            self._whole.heed(advice)
            return
        for other_id, limits in self._advice.items():
            self._model(other_id).allowance.heed(limits)
        self._whole.heed(_NO_LIMITS)
        if advice.pause_s is not None:
            self._model(model_id).allowance.heed(Advice(pause_s=advice.pause_s))

    def _refused(self, failure: RateLimitedError, place: Place) -> None:
        self.rate_limited += 1
        mark: AccountMark = place.owner
        if not (failure.of_model and self._several_models):
            if mark.model is not None:
                mark.model.breaker.gave_up(probe=mark.model_probe)
            self._whole.refused(failure, place.need, news=mark.cuts == self._whole.cuts and not place.suspect)
            return
        model = self._model(place.need.model)
        if not (model.allowance.requests.lets_through or failure.retry_after or place.suspect):
            model.breaker.failed(probe=mark.model_probe, unreachable=True)
            return
        model.breaker.gave_up(probe=mark.model_probe)
        news = mark.model_cuts == model.allowance.cuts and not place.suspect
        model.allowance.refused(failure, place.need, news=news)

    def _model(self, model_id: str) -> _ModelState:
        """Return the state of a model; a new one has no limits of its own."""
        model = self._models.get(model_id)
        if model is None:
            allowance = Allowance(None, None, self._clock, adaptive=self._adaptive, search=False)
            model = self._models[model_id] = _ModelState(allowance, Breaker(self._clock, _LONGEST_MODEL_PROBE_S))
        return model

    def snapshot(self) -> dict[str, Any]:
        """Return the figures for the dashboard; rates and limits are per minute."""
        return {
            "in_flight": self.in_flight,
            "concurrency": self._window.size,
            "requests_per_minute": self._starts.rate() * 60,
            "requests_limit": _limit(self._whole.requests),
            "tokens_per_minute": self._used.rate() * 60,
            "tokens_limit": _limit(self._whole.tokens),
            "rate_limited": self.rate_limited,
            "paused_s": max(
                part.paused_s for part in (self._whole, *(model.allowance for model in self._models.values()))
            ),
            "down_since": self.breaker.down_since,
            "limit_history": [(at, rate * 60) for at, rate in self._whole.requests.history],
        }


def _per_second(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60


def _limit(control: RateControl) -> float | None:
    """Return the limit per minute; None while no limit is known, even if one is searched for."""
    return control.rate() * 60 if control.known else None
