"""GPU slots: which Ollama server takes the next call of which model.

Must not know: HTTP, retries, the journal. A slot keeps to the model it has loaded while calls for that model wait,
and changes only when nothing of the old model is in flight: alternating models on one server costs 3 to 9 times
the time of grouping them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from eli5b_batch.dispatch.breaker import Breaker, is_stall
from eli5b_batch.dispatch.capacity import Need, Place, RateMeter, Waiting, granted
from eli5b_batch.dispatch.pace import TICK_S
from eli5b_batch.dispatch.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.backends.base import Advice
    from eli5b_batch.errors import CallError
    from eli5b_batch.job import Slot


@dataclass(slots=True)
class _Server:
    """One slot's state."""

    name: str
    url: str
    parallel: int
    models: tuple[str, ...]
    tokens: RateMeter
    breaker: Breaker
    opened: float
    model: str | None = None
    loaded: bool = False
    in_flight: int = 0
    calls: int = 0
    busy_s: float = 0.0
    busy_since: float = 0.0

    def serves(self, model: str) -> bool:
        return not self.models or model in self.models

    def free(self) -> bool:
        return self.in_flight < self.parallel and self.breaker.due_in() <= TICK_S

    def busy(self, now: float) -> float:
        """Place-seconds in use so far."""
        return self.busy_s + self.in_flight * (now - self.busy_since)

    def occupy(self, change: int, now: float) -> None:
        self.busy_s = self.busy(now)
        self.busy_since = now
        self.in_flight += change


class _Mark(NamedTuple):
    """The pool's own mark on a place: which server, and whether the call probes it."""

    server: _Server
    probe: int


class SlotPool(Pump):
    """Hands out places on a provider's slots.

    Args:
        slots: the slots of the job; a `url` each.
        clock: the event loop's clock, seconds.
        give_up_after_s: seconds that every slot of a model in demand may be down before the run ends.
    """

    def __init__(self, slots: Sequence[Slot], clock: Callable[[], float], *, give_up_after_s: float = math.inf) -> None:
        super().__init__(clock, give_up_after_s)
        now = clock()
        self._servers = [
            _Server(s.name, s.url or "", s.parallel, tuple(s.models), RateMeter(clock), Breaker(clock), opened=now)
            for s in slots
        ]
        self._queues: defaultdict[str, Waiting] = defaultdict(Waiting)

    async def acquire(self, need: Need) -> Place:
        """Wait for a place on a slot that serves the model; see `Capacity`."""
        future = self._queues[need.model].join(need)
        self._pump_soon()
        return await granted(future, self)

    def release(
        self,
        place: Place,
        *,
        tokens: int | None = None,
        failure: CallError | None = None,
        advice: Advice | None = None,  # noqa: ARG002 (part of the interface; a GPU has no limits to tell)
    ) -> None:
        """Give a place back; a server that can't be reached, or fails again and again, is only probed."""
        mark: _Mark = place.owner
        server = mark.server
        server.occupy(-1, self._clock())
        server.calls += 1
        server.tokens.add(tokens or 0)
        if is_stall(failure):
            server.breaker.failed(probe=mark.probe, unreachable=failure.unsent)
            server.loaded = False  # it may have been started anew
            self._last_failure = failure
        elif tokens is not None or failure is not None:
            server.breaker.succeeded()
            server.loaded = server.loaded or failure is None
        else:
            server.breaker.gave_up(probe=mark.probe)
        self._pump_soon()

    def is_down(self, place: Place) -> bool:
        """Whether the slot of this place is taken to be down; see `Capacity`."""
        mark: _Mark = place.owner
        return mark.server.breaker.is_open

    def _hand_out(self) -> None:
        while (match := self._match()) is not None:
            self._grant(*match)
        wanted = [model for model, queue in self._queues.items() if len(queue)]
        if not wanted or not any(server.breaker.is_open for server in self._servers):
            return
        for model in wanted:
            self._give_up_on([s.breaker.down_since for s in self._servers if s.serves(model)])
        # A probe that is due now and was not sent is not wanted by any call: the next call to come asks again.
        self._pump_in(min((due for s in self._servers if (due := s.breaker.due_in()) > 0), default=math.inf))

    def _match(self) -> tuple[_Server, str] | None:
        """A slot with a free place and the model it should serve there: the one it has loaded or, if idle, another."""
        waiting = {model: len(queue) for model, queue in self._queues.items() if len(queue)}
        free = [s for s in self._servers if s.free()] if waiting else []
        free.sort(key=lambda s: (s.in_flight / s.parallel, s.model is not None))
        for server in free:
            if server.model in waiting:
                return server, server.model
        loaded = [s.model for s in self._servers]
        for server in free:
            here = [model for model in waiting if server.serves(model)]
            if here and not server.in_flight:
                return server, max(here, key=lambda m: waiting[m] / (1 + loaded.count(m)))
        return None

    def _grant(self, server: _Server, model: str) -> None:
        need, future = self._queues[model].pop()
        server.loaded, server.model = server.loaded and server.model == model, model
        server.occupy(1, self._clock())
        mark = _Mark(server, server.breaker.started())
        future.set_result(Place(server.url, server.name, need, mark, loading=not server.loaded))

    def snapshot(self) -> dict[str, Any]:
        """Figures for the dashboard: totals, and under `slots` one entry a slot."""
        now = self._clock()
        waiting = {model: len(queue) for model, queue in self._queues.items()}
        downs = [s.breaker.down_since for s in self._servers]
        return {
            "down_s": None if None in downs else round(now - max(at for at in downs if at is not None), 1),
            "in_flight": sum(s.in_flight for s in self._servers),
            "concurrency": sum(s.parallel for s in self._servers),
            "queued": sum(waiting.values()),
            "slots": [
                {
                    "slot": s.name,
                    "url": s.url,
                    "model": s.model,
                    "in_flight": s.in_flight,
                    "parallel": s.parallel,
                    "queued": waiting.get(s.model or "", 0),
                    "busy_share": round(s.busy(now) / max(1e-9, (now - s.opened) * s.parallel), 4),
                    "tokens_per_s": round(s.tokens.rate(), 1),
                    "calls": s.calls,
                }
                for s in self._servers
            ],
        }
