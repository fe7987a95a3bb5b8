"""One GPU slot's state: what its server has loaded, what is in flight there, and what its time went into.

Must not know: other slots, queues, which call comes next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.dispatch.breaker import Breaker, is_stall
from eli5b_batch.dispatch.capacity import Need, Place, RateMeter
from eli5b_batch.dispatch.pace import TICK_S
from eli5b_batch.dispatch.policy import SlotView

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from eli5b_batch.errors import CallError
    from eli5b_batch.job import Slot

LOAD_S: Final = 0.1
"""A server names some milliseconds of loading for a model that is there; what takes longer was a load."""


class Mark(NamedTuple):
    """A pool's own mark on a place: which server, since when, and whether the call probes it."""

    server: Server
    at: float
    probe: int


class Server:
    """The state of one slot.

    Args:
        slot: the job's.
        clock: the event loop's clock, seconds.
    """

    def __init__(self, slot: Slot, clock: Callable[[], float]) -> None:
        self.name = slot.name
        self.url = slot.url or ""
        self.breaker = Breaker(clock)
        self.resident: dict[str, bool] = {}
        """Models taken to be in memory; whether one has been seen there, by an answer or by the server's own word."""
        self.turning_to: str | None = None
        """The model it loads when the last call in flight has come back."""
        self.missed = 0
        """Health checks in a row that it did not answer."""
        self.on_gpu: float | None = None
        """Share of what is loaded that is in GPU memory; None if it never said."""
        self.in_flight = 0
        self._clock = clock
        self._slot = slot
        self._model: str | None = None
        self._loading = False
        self._load_booked = self._load_told = 0.0
        self._calls = self._loads = 0
        self._tokens = RateMeter(clock)
        self._places: set[Place] = set()
        self._since = clock()
        self._seconds = dict.fromkeys(("busy_s", "loading_s", "idle_s", "down_s"), 0.0)

    def view(self) -> SlotView:
        """What the policy sees."""
        return SlotView(self.resident, self._slot.models, self.in_flight, self._slot.parallel)

    def serves(self, model: str) -> bool:
        """Whether it may take calls of this model id."""
        return self._slot.serves(model)

    @property
    def parallel(self) -> int:
        """Calls at once."""
        return self._slot.parallel

    def has_room(self) -> bool:
        """Whether a call may go out now: a place or the prefetch is free; one probe at a time while it is down."""
        return self.in_flight < self._slot.most_in_flight and self.breaker.due_in() <= TICK_S

    @property
    def holds(self) -> Collection[str]:
        """The models it works on, or the one it is about to load."""
        if self.breaker.is_open:
            return ()
        return (self.turning_to,) if self.turning_to is not None else self.resident

    def start(self, need: Need) -> Place:
        """Send it a call now. A model that it has not loaded pushes out what it has, as far as is known."""
        self._account()
        if need.model not in self.resident:
            self.resident = {need.model: False}
        self.turning_to = None
        self._model = need.model
        loading = not self.resident[need.model]
        if loading and not self._loading:
            self._loading, self._load_booked, self._load_told = True, 0.0, 0.0
        self.in_flight += 1
        mark = Mark(self, self._clock(), self.breaker.started())
        place = Place(self.url, self.name, need, mark, loading=loading)
        self._places.add(place)
        return place

    def finish(self, place: Place, tokens: int | None, failure: CallError | None, load_s: float) -> None:
        """A call has come back; one that can't be reached, or fails again and again, is only probed."""
        self._account()
        mark: Mark = place.owner
        self._places.discard(place)
        self.in_flight -= 1
        self._tokens.add(tokens or 0)
        if is_stall(failure):
            self.breaker.failed(probe=mark.probe, unreachable=failure.unsent)
            self._forget()
        elif tokens is not None or failure is not None:
            self._calls += 1
            self.breaker.succeeded()
            if failure is None:
                self._answered(place, load_s)
        else:
            self.breaker.gave_up(probe=mark.probe)
        if not self.in_flight:
            self._loading = False

    def _answered(self, place: Place, load_s: float) -> None:
        if self._loading and place.loading:
            self._loading = False  # all the time since was taken for loading; what is not told to be was work
            self._move("loading_s", "busy_s", self._load_booked)
        # Of several calls that waited for one load, some servers tell it to one only, others to each.
        told = self._load_told if place.loading else 0.0
        if load_s >= LOAD_S and load_s > told:
            self._loads += not told
            self._move("busy_s", "loading_s", load_s - told)
            self._load_told = load_s
        if place.need.model in self.resident:
            self.resident[place.need.model] = True

    def _move(self, source: str, goal: str, seconds: float) -> None:
        moved = min(seconds, self._seconds[source])
        self._seconds[source] -= moved
        self._seconds[goal] += moved

    def sees(self, loaded: Mapping[str, float]) -> None:
        """The server names the models in its memory, each with its share in GPU memory."""
        if self._loading or (self._model is not None and self.in_flight and self._model not in loaded):
            return  # it speaks of a moment before or after
        self.resident = {model: True for model in loaded if self.serves(model)}
        self.on_gpu = min(loaded.values(), default=None)

    def take_out(self) -> None:
        """It was found dead: what is in flight there comes back at once, and only probes go out."""
        self._account()
        self.breaker.trip()
        self._forget()
        for place in self._places:
            if place.lifeline is not None and not place.lifeline.expired():
                place.lifeline.reschedule(0.0)

    def _forget(self) -> None:
        """It may be started anew, and then has nothing loaded."""
        self.resident = dict.fromkeys(self.resident, False)

    def _account(self) -> None:
        """Put the time since the last change where it went."""
        now = self._clock()
        passed, self._since = now - self._since, now
        if self.breaker.is_open:
            self._seconds["down_s"] += passed
        elif self._loading:
            self._seconds["loading_s"] += passed
            self._load_booked += passed
        else:
            share = min(1.0, self.in_flight / self.parallel)
            self._seconds["busy_s"] += passed * share
            self._seconds["idle_s"] += passed * (1 - share)

    def snapshot(self, queued: Mapping[str, int]) -> dict[str, Any]:
        """Figures for the dashboard; `queued` is by model."""
        self._account()
        seconds = {name: round(value, 3) for name, value in self._seconds.items()}
        return {
            "slot": self.name,
            "url": self.url,
            "model": self._model,
            "resident": sorted(self.resident),
            "in_flight": self.in_flight,
            "parallel": self.parallel,
            "queued": sum(queued.get(model, 0) for model in self.resident),
            **seconds,
            "down": self.breaker.is_open,
            "busy_share": round(self._seconds["busy_s"] / max(1e-9, sum(self._seconds.values())), 4),
            "tokens_per_s": round(self._tokens.rate(), 1),
            "calls": self._calls,
            "loads": self._loads,
            "on_gpu": self.on_gpu,
        }
