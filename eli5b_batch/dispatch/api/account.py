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
"""A model that is limited upstream is back within seconds more often than a server that is down."""


@dataclass(slots=True)
class AccountMark:
    """The account's own mark on a place: what was so when the call went out."""

    account: Account
    at: float
    cuts: int
    probe: int
    of_model: _OfModel | None
    model_cuts: int = 0
    model_probe: int = 0


@dataclass(slots=True)
class _OfModel:
    """What is known of one model on an account: its own limits, and whether it gets through at all."""

    allowance: Allowance
    breaker: Breaker

    def came_back(self, probe: int, *, says_nothing: bool) -> None:
        """A call of the model came back, other than refused."""
        if says_nothing:
            self.breaker.gave_up(probe=probe)
        else:
            self.breaker.succeeded()


class Account:
    """Limits, adaptive control and breaker of one member of a provider.

    The job's limits are the account's. What is learnt is the account's as well, except where the host speaks of one
    model: a refusal that names it, and the limits in headers, where those of several models' replies differ.
    A model that is refused before anything of it got through is probed, as a server that is down is.

    Args:
        name: which member it is; "" where there is only one.
        base_url: where calls go.
        limits: what the job says of it.
        weight: its share among members that have room.
        clock: the event loop's clock, seconds.
        several_models: the job asks more than one model here.
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
        self._of_model: dict[str, _OfModel] = {}
        """By model id, where the host limits one; most accounts have none."""
        self._advised: dict[str, Advice] = {}
        """By model id: the limits in the headers of its last reply."""
        self._window = ConcurrencyWindow(limits.concurrency, clock, adaptive=limits.adaptive)
        self.in_flight = 0
        self.rate_limited = 0
        self._starts = RateMeter(clock)
        self._used = RateMeter(clock)

    def due_in(self, tokens: float) -> float:
        """Seconds until a call of so many tokens may go out; 0 for now, infinite until one comes back."""
        if self.in_flight >= self._window.size:
            return math.inf
        return max(self.breaker.due_in(), self._whole.due_in(tokens))

    def model_due_in(self, need: Need) -> float:
        """Seconds that this model alone has to wait, while calls of others may go out."""
        known = self._of_model.get(need.model)
        return 0.0 if known is None else max(known.breaker.due_in(), known.allowance.due_in(need.tokens))

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
        self._whole.start(need.tokens)
        self._starts.add()
        mark = AccountMark(
            self, self._clock(), self._whole.cuts, self.breaker.started(), self._of_model.get(need.model)
        )
        if mark.of_model is not None:
            mark.of_model.allowance.start(need.tokens)
            mark.model_cuts = mark.of_model.allowance.cuts
            mark.model_probe = mark.of_model.breaker.started()
        return Place(self.base_url, self.name or None, need, owner=mark)

    def finish(self, place: Place, *, tokens: int | None, failure: CallError | None, advice: Advice | None) -> None:
        """One call came back, or was given back unsent (neither tokens nor failure)."""
        mark: AccountMark = place.owner
        self.in_flight -= 1
        self._used.add(tokens or 0)
        of_model = mark.of_model
        parts = (self._whole,) if of_model is None else (self._whole, of_model.allowance)
        # A refused call has used its turn: given back, its tokens would send the next one into the same wall at once.
        # A reply that tells no usage is taken to have used what was reserved.
        usage_untold = failure is None and tokens == 0
        if not (usage_untold or isinstance(failure, RateLimitedError)):
            for part in parts:
                part.settle(place.need.tokens, tokens or 0)
        if advice is not None:
            self._heed(advice, place.need.model)
        if isinstance(failure, RateLimitedError):
            self.breaker.succeeded()  # it refuses, so it lives
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
        known = self._of_model.get(place.need.model)
        if known is not None and not isinstance(failure, RateLimitedError):
            known.came_back(mark.model_probe, says_nothing=is_stall(failure) or (tokens is None and failure is None))

    def _heed(self, advice: Advice, model: str) -> None:
        """Limits in headers are the account's, unless those of another model differ: then each model has its own."""
        self._advised[model] = advice._replace(pause_s=None)
        if not self._several_models or len(set(self._advised.values())) == 1:
            for known in self._of_model.values():
                known.allowance.heed(_NO_LIMITS)
            self._whole.heed(advice)
            return
        for other, limits in self._advised.items():
            self._known(other).allowance.heed(limits)
        self._whole.heed(_NO_LIMITS)
        if advice.pause_s is not None:
            self._known(model).allowance.heed(Advice(pause_s=advice.pause_s))

    def _refused(self, failure: RateLimitedError, place: Place) -> None:
        self.rate_limited += 1
        mark: AccountMark = place.owner
        if not (failure.of_model and self._several_models):
            if mark.of_model is not None:
                mark.of_model.breaker.gave_up(probe=mark.model_probe)
            self._whole.refused(failure, place.need, news=mark.cuts == self._whole.cuts and not place.suspect)
            return
        known = self._known(place.need.model)
        if not (known.allowance.requests.lets_through or failure.retry_after or place.suspect):
            known.breaker.failed(probe=mark.model_probe, unreachable=True)
            return
        known.breaker.gave_up(probe=mark.model_probe)
        news = mark.model_cuts == known.allowance.cuts and not place.suspect
        known.allowance.refused(failure, place.need, news=news)

    def _known(self, model: str) -> _OfModel:
        """What is known of a model; until the host says something of it, nothing but the account bounds it."""
        known = self._of_model.get(model)
        if known is None:
            allowance = Allowance(None, None, self._clock, adaptive=self._adaptive, search=False)
            known = self._of_model[model] = _OfModel(allowance, Breaker(self._clock, _LONGEST_MODEL_PROBE_S))
        return known

    def snapshot(self) -> dict[str, Any]:
        """Figures for the dashboard; rates and limits per minute."""
        return {
            "in_flight": self.in_flight,
            "concurrency": self._window.size,
            "requests_per_minute": self._starts.rate() * 60,
            "requests_limit": _limit(self._whole.requests),
            "tokens_per_minute": self._used.rate() * 60,
            "tokens_limit": _limit(self._whole.tokens),
            "rate_limited": self.rate_limited,
            "paused_s": max(
                part.paused_s for part in (self._whole, *(known.allowance for known in self._of_model.values()))
            ),
            "down_since": self.breaker.down_since,
            "limit_history": [(at, rate * 60) for at, rate in self._whole.requests.history],
        }


def _per_second(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60


def _limit(control: RateControl) -> float | None:
    """Per minute; None while no limit is known, even if one is searched for."""
    return control.rate() * 60 if control.known else None
