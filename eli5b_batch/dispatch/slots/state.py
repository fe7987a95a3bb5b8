"""One GPU slot's state: what its server has loaded, what is in flight there, and what its time went into.

Must not know: other slots, queues, which call comes next.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

from eli5b_batch.dispatch.breaker import Breaker, is_stall
from eli5b_batch.dispatch.capacity import Need, Place
from eli5b_batch.dispatch.slots.policy import SlotView
from eli5b_batch.dispatch.slots.time_spent import SlotTime
from eli5b_batch.dispatch.timing import TICK_S, RateMeter
from eli5b_batch.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from eli5b_batch.errors import CallError
    from eli5b_batch.job.schema import Slot

LOAD_S: Final = 0.1
"""A server names some milliseconds of loading for a model that is there; what takes longer was a load."""


def is_fault(failure: CallError | None) -> TypeGuard[RetryableError]:
    """Whether a failure may be the slot's: a stall, or what is no chat reply at all and comes from something else."""
    return is_stall(failure) or (isinstance(failure, RetryableError) and failure.kind == "bad_reply")


class SlotMark(NamedTuple):
    """A pool's own mark on a place: which server, since when, and whether the call probes it, or the model there."""

    server: SlotState
    at: float
    probe: int
    loads: int


class SlotState:
    """The state of one slot.

    Args:
        slot: the job's.
        clock: the event loop's clock, seconds.
        watched: a watch looks at it, and clears it for probes when it is down.
    """

    def __init__(self, slot: Slot, clock: Callable[[], float], *, watched: bool = False) -> None:
        self._watched = watched
        self.name = slot.name
        self.url = slot.url or ""
        self.breaker = Breaker(clock)
        self._loading: dict[str, Breaker] = {}
        self.resident: dict[str, bool] = {}
        """Models taken to be in memory; whether one has been seen there, by an answer or by the server's own word."""
        self.turning_to: str | None = None
        """The model it loads when the last call in flight has come back."""
        self.cleared = True
        """Whether probes may go out while it is down: a watch looks at it first."""
        self.missed = 0
        """Health checks in a row that it did not answer."""
        self.on_gpu: float | None = None
        """Share of what is loaded that is in GPU memory; None if it never said."""
        self.in_flight = 0
        self._clock = clock
        self._slot = slot
        self._model: str | None = None
        self._calls = 0
        self._tokens = RateMeter(clock)
        self._places: set[Place] = set()
        self.time = SlotTime(clock, slot.parallel)

    def view(self) -> SlotView:
        """What the policy sees."""
        unfit = [model for model, breaker in self._loading.items() if breaker.due_in() > TICK_S]
        return SlotView(self.resident, self._slot.models, self.in_flight, self._slot.parallel, unfit)

    def serves(self, model: str) -> bool:
        """Whether it may take calls of this model id."""
        return self._slot.serves(model)

    def down_since(self, model: str) -> float | None:
        """Since when it can't be reached, or can't load this model; None while it works."""
        since = self.breaker.down_since
        return self._loads(model).down_since if since is None else since

    def due_in(self) -> list[float]:
        """Seconds until the next probes, of the server and of models it could not load; infinite: one is under way."""
        return [b.due_in() for b in (self.breaker, *self._loading.values()) if b.is_open]

    def _loads(self, model: str) -> Breaker:
        """Whether this model can be loaded here: memory may not do for it, while others work."""
        return self._loading.setdefault(model, Breaker(self._clock))

    @property
    def parallel(self) -> int:
        """Calls at once."""
        return self._slot.parallel

    def has_room(self) -> bool:
        """Whether a call may go out now: a place or the prefetch is free; one probe at a time while it is down."""
        if self.breaker.is_open and not self.cleared:
            return False
        return self.in_flight < self._slot.most_in_flight and self.breaker.due_in() <= TICK_S

    @property
    def holds(self) -> Collection[str]:
        """The models it works on, or the one it is about to load."""
        if self.breaker.is_open:
            return ()
        return (self.turning_to,) if self.turning_to is not None else self.resident

    def start(self, need: Need) -> Place:
        """Send it a call now. A model that it has not loaded pushes out what it has, as far as is known."""
        if need.model not in self.resident:
            self.resident = {need.model: False}
        self.turning_to = None
        self._model = need.model
        self.in_flight += 1
        mark = SlotMark(self, self._clock(), self.breaker.started(), self._loads(need.model).started())
        loading = not self.resident[need.model]
        place = Place(self.url, self.name, need, mark, loading=loading, recallable=True)
        self._places.add(place)
        self._book()
        return place

    def finish(self, place: Place, tokens: int | None, failure: CallError | None, load_s: float) -> None:
        """A call has come back; one that can't be reached, or fails again and again, is only probed."""
        mark: SlotMark = place.owner
        self.in_flight -= 1
        self._tokens.add(tokens or 0)
        loads = self._loads(place.need.model)
        if is_fault(failure) and failure.status == HTTPStatus.INTERNAL_SERVER_ERROR and place.loading:
            loads.failed(probe=mark.loads, unreachable=False)
            if not self.resident.get(place.need.model):
                self.resident.pop(place.need.model, None)
            self.breaker.succeeded()  # it answers, and other models may well work
        elif is_fault(failure):
            loads.gave_up(probe=mark.loads)
            self.breaker.failed(probe=mark.probe, unreachable=failure.unsent)
            if self.breaker.is_open or failure.kind == "connection":
                self._forget()
        elif tokens is not None or failure is not None:
            self._calls += 1
            self.breaker.succeeded()
            loads.succeeded()
            if failure is None and place.need.model in self.resident:
                self.resident[place.need.model] = True
            if load_s >= LOAD_S:
                self.time.loaded(mark.at, load_s)
        else:
            self.breaker.gave_up(probe=mark.probe)
            loads.gave_up(probe=mark.loads)
        self._places.discard(place)
        self._book()

    def _book(self) -> None:
        """Things have changed: the time from now on goes elsewhere."""
        since = min((place.owner.at for place in self._places), default=self._clock())
        self.time.change(self.in_flight, down=self.breaker.is_open, since=since)

    def sees(self, loaded: Mapping[str, float]) -> None:
        """The server names the models in its memory, each with its share in GPU memory."""
        if (
            self._model is not None
            and self.in_flight
            and not (self.resident.get(self._model) and self._model in loaded)
        ):
            return  # it is loading, or speaks of a moment before
        self.resident = {model: True for model in loaded if self.serves(model)}
        self.on_gpu = min(loaded.values(), default=None)

    def take_out(self) -> None:
        """It was found dead: what is in flight there comes back at once, and only probes go out."""
        self.breaker.trip()
        self._forget()
        self._book()
        for place in self._places:
            if place.lifeline is not None and not place.lifeline.expired():
                place.lifeline.reschedule(0.0)

    def _forget(self) -> None:
        """It may be started anew, and then has nothing loaded, or other models."""
        self.resident = dict.fromkeys(self.resident, False)
        self.cleared = not self._watched

    def snapshot(self, queued: Mapping[str, int]) -> dict[str, Any]:
        """Figures for the dashboard; `queued` is by model."""
        seconds = self.time.seconds()
        return {
            "slot": self.name,
            "url": self.url,
            "model": self._model,
            "resident": sorted(self.resident),
            "in_flight": self.in_flight,
            "parallel": self.parallel,
            "queued": sum(queued.get(model, 0) for model in self.resident),
            **{name: round(value, 3) for name, value in seconds.items()},
            "down": self.breaker.is_open,
            "busy_share": round(seconds["busy_s"] / max(1e-9, sum(seconds.values())), 4),
            "tokens_per_s": round(self._tokens.rate(), 1),
            "calls": self._calls,
            "loads": self.time.loads,
            "on_gpu": self.on_gpu,
        }
