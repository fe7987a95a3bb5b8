"""One GPU slot's state: what its server has loaded, which calls it works on, and what its time went into.

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
"""A server reports some milliseconds of loading even for a model in its memory; more seconds than this are a load."""


def is_fault(failure: CallError | None) -> TypeGuard[RetryableError]:
    """True if the slot may be at fault: it stalled, or something that is no chat server answered in its place."""
    return is_stall(failure) or (isinstance(failure, RetryableError) and failure.kind == "bad_reply")


class SlotMark(NamedTuple):
    """The slot's mark on a place: how things stood when the call went out.

    Attributes:
        server: the slot.
        at: the clock, seconds.
        probe: the number of the call as a probe of the server; 0 if it is none.
        load_probe: the number of the call as a probe of whether the model can be loaded; 0 if it is none.
    """

    server: SlotState
    at: float
    probe: int
    load_probe: int


class SlotState:
    """The state of one slot and its server.

    Args:
        slot: the slot in the job.
        clock: the event loop's clock, seconds.
        watched: True if a `Watch` checks the server, and clears it for probes while it is down.
    """

    def __init__(self, slot: Slot, clock: Callable[[], float], *, watched: bool = False) -> None:
        self._watched = watched
        self.name = slot.name
        self.url = slot.url or ""
        self.breaker = Breaker(clock)
        self._load_breakers: dict[str, Breaker] = {}
        """By model: open while the server can't load the model, for instance for lack of memory."""
        self.resident: dict[str, bool] = {}
        """The models taken to be in memory; True if a reply or the server has confirmed that."""
        self.turning_to: str | None = None
        """The model that is loaded once the last call in flight has come back."""
        self.cleared = True
        """True if probes may go out while the server is down; a watch has to clear it for them first."""
        self.missed = 0
        """How many health checks in a row the server did not answer."""
        self.on_gpu: float | None = None
        """The share (0..1) of the loaded models that is in GPU memory; None if the server never said."""
        self.in_flight = 0
        self._clock = clock
        self._slot = slot
        self._model: str | None = None
        self._calls = 0
        self._tokens = RateMeter(clock)
        self._places: set[Place] = set()
        self.time = SlotTime(clock, slot.parallel)

    def view(self) -> SlotView:
        """Return the slot as the policy sees it."""
        unfit = [model for model, breaker in self._load_breakers.items() if breaker.due_in() > TICK_S]
        return SlotView(self.resident, self._slot.models, self.in_flight, self._slot.parallel, unfit)

    def serves(self, model: str) -> bool:
        """True if the slot may take calls of this model id."""
        return self._slot.serves(model)

    def down_since(self, model: str) -> float | None:
        """Return the clock since when the server can't be reached, or can't load this model; None while it works."""
        since = self.breaker.down_since
        return self._load_breaker(model).down_since if since is None else since

    def due_in(self) -> list[float]:
        """Return the seconds until each next probe, of the server and of models that it could not load.

        Infinite stands for a probe that is under way.
        """
        return [b.due_in() for b in (self.breaker, *self._load_breakers.values()) if b.is_open]

    def _load_breaker(self, model: str) -> Breaker:
        return self._load_breakers.setdefault(model, Breaker(self._clock))

    @property
    def parallel(self) -> int:
        """How many calls the server works on at once."""
        return self._slot.parallel

    def has_room(self) -> bool:
        """True if a call may go out now: a place or the prefetch is free, and a server that is down may be probed."""
        if self.breaker.is_open and not self.cleared:
            return False
        return self.in_flight < self._slot.most_in_flight and self.breaker.due_in() <= TICK_S

    @property
    def held_models(self) -> Collection[str]:
        """The models that the slot works on, or the one that it is about to load; none while it is down."""
        if self.breaker.is_open:
            return ()
        return (self.turning_to,) if self.turning_to is not None else self.resident

    def start(self, need: Need) -> Place:
        """Count a call as sent now; return its place.

        A model that the server has not loaded is taken to push out all that it has, until the server says otherwise.
        """
        if need.model not in self.resident:
            self.resident = {need.model: False}
        self.turning_to = None
        self._model = need.model
        self.in_flight += 1
        mark = SlotMark(self, self._clock(), self.breaker.started(), self._load_breaker(need.model).started())
        loading = not self.resident[need.model]
        place = Place(self.url, self.name, need, mark, loading=loading, recallable=True)
        self._places.add(place)
        self._book()
        return place

    def finish(self, place: Place, tokens: int | None, failure: CallError | None, load_s: float) -> None:
        """Count a call that came back. A server that can't be reached, or fails again and again, is only probed."""
        mark: SlotMark = place.owner
        self.in_flight -= 1
        self._tokens.add(tokens or 0)
        load_breaker = self._load_breaker(place.need.model)
        if is_fault(failure) and failure.status == HTTPStatus.INTERNAL_SERVER_ERROR and place.loading:
            load_breaker.failed(probe=mark.load_probe, unreachable=False)
            if not self.resident.get(place.need.model):
                self.resident.pop(place.need.model, None)
            self.breaker.succeeded()  # the server answers, and other models may well work
        elif is_fault(failure):
            load_breaker.gave_up(probe=mark.load_probe)
            self.breaker.failed(probe=mark.probe, unreachable=failure.unsent)
            if self.breaker.is_open or failure.kind == "connection":
                self._forget()
        elif tokens is not None or failure is not None:
            self._calls += 1
            self.breaker.succeeded()
            load_breaker.succeeded()
            if failure is None and place.need.model in self.resident:
                self.resident[place.need.model] = True
            if load_s >= LOAD_S:
                self.time.loaded(mark.at, load_s)
        else:
            self.breaker.gave_up(probe=mark.probe)
            load_breaker.gave_up(probe=mark.load_probe)
        self._places.discard(place)
        self._book()

    def _book(self) -> None:
        """Have the time from now on booked as the calls in flight and the breaker now stand."""
        since = min((place.owner.at for place in self._places), default=self._clock())
        self.time.change(self.in_flight, down=self.breaker.is_open, since=since)

    def set_loaded(self, loaded: Mapping[str, float]) -> None:
        """Take over the models that the server says are in its memory, each with its share (0..1) in GPU memory."""
        if (
            self._model is not None
            and self.in_flight
            and not (self.resident.get(self._model) and self._model in loaded)
        ):
            return  # the server is loading the model, or its answer is from before it did
        self.resident = {model: True for model in loaded if self.serves(model)}
        self.on_gpu = min(loaded.values(), default=None)

    def take_out(self) -> None:
        """Treat the server as dead: calls in flight come back at once, and only probes go out."""
        self.breaker.trip()
        self._forget()
        self._book()
        for place in self._places:
            if place.lifeline is not None and not place.lifeline.expired():
                place.lifeline.reschedule(0.0)

    def _forget(self) -> None:
        """Take no model for confirmed any more: the server may be started anew, with none loaded, or with others."""
        self.resident = dict.fromkeys(self.resident, False)
        self.cleared = not self._watched

    def snapshot(self, queued: Mapping[str, int]) -> dict[str, Any]:
        """Return the figures for the dashboard; `queued` are the waiting calls by model."""
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
