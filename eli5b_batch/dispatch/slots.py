"""GPU slots: which Ollama server takes the next call of which model.

Must not know: HTTP, retries, the journal. A slot keeps to the model it has loaded while calls for that model wait,
and changes only when nothing of the old model is in flight: alternating models on one server costs 3 to 9 times
the time of grouping them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.dispatch.capacity import Need, Place, RateMeter, Waiting, doubling, granted
from eli5b_batch.dispatch.pace import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.errors import CallError
    from eli5b_batch.job import Slot

_REST_S: Final = 2.0
_LONGEST_REST_S: Final = 60.0


@dataclass(slots=True)
class _Server:
    """One slot's state."""

    name: str
    url: str
    parallel: int
    models: tuple[str, ...]
    tokens: RateMeter
    model: str | None = None
    in_flight: int = 0
    calls: int = 0
    busy_s: float = 0.0
    busy_since: float = 0.0
    failures: int = 0
    resting_until: float = 0.0
    opened: float = field(default=0.0)

    def serves(self, model: str) -> bool:
        return not self.models or model in self.models

    def free(self, now: float) -> bool:
        return self.in_flight < self.parallel and self.resting_until <= now + TICK_S

    def busy(self, now: float) -> float:
        """Place-seconds in use so far."""
        return self.busy_s + self.in_flight * (now - self.busy_since)

    def occupy(self, change: int, now: float) -> None:
        self.busy_s = self.busy(now)
        self.busy_since = now
        self.in_flight += change


class SlotPool:
    """Hands out places on a provider's slots.

    Args:
        slots: the slots of the job; a `url` each.
        clock: the event loop's clock, seconds.
    """

    def __init__(self, slots: Sequence[Slot], clock: Callable[[], float]) -> None:
        self._clock = clock
        now = clock()
        self._servers = [
            _Server(s.name, s.url or "", s.parallel, tuple(s.models), RateMeter(clock), opened=now) for s in slots
        ]
        self._queues: defaultdict[str, Waiting] = defaultdict(Waiting)
        self._changed = asyncio.Event()

    async def acquire(self, need: Need) -> Place:
        """Wait for a place on a slot that serves the model; see `Capacity`."""
        future = self._queues[need.model].join(need)
        self._changed.set()
        return await granted(future, self)

    def release(self, place: Place, *, tokens: int, failure: CallError | None) -> None:
        """Give a place back; a slot that can't be reached rests, doubling up to a minute."""
        server: _Server = place.owner
        now = self._clock()
        server.occupy(-1, now)
        server.calls += 1
        server.tokens.add(tokens)
        if failure is None or failure.kind != "connection":
            server.failures = 0
        elif server.resting_until <= now:  # the other calls that broke with this one say nothing new
            rest = doubling(_REST_S, server.failures, _LONGEST_REST_S)
            server.failures += 1
            server.resting_until = now + rest
            asyncio.get_running_loop().call_later(rest, self._changed.set)
        self._changed.set()

    async def run(self) -> None:
        """Hand out places, until cancelled. Calls that come in one turn of the loop are seen together."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while (match := self._match()) is not None:
                self._grant(*match)

    def _match(self) -> tuple[_Server, str] | None:
        """A slot with a free place and the model it should serve there: the one it has loaded or, if idle, another."""
        now = self._clock()
        waiting = {model: len(queue) for model, queue in self._queues.items() if len(queue)}
        free = [s for s in self._servers if s.free(now)] if waiting else []
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
        server.model = model
        server.occupy(1, self._clock())
        future.set_result(Place(server.url, server.name, need, server))

    def snapshot(self) -> dict[str, Any]:
        """Figures for the dashboard: totals, and under `slots` one entry a slot."""
        now = self._clock()
        waiting = {model: len(queue) for model, queue in self._queues.items()}
        return {
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
