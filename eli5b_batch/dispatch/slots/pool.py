"""GPU slots: which Ollama server takes the next call of which model.

Must not know: HTTP, retries, the journal. `policy` decides which slot takes which model next, and `state` keeps what
one slot is doing. This module keeps the queues, one per model, and the costs of each model that were measured.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.dispatch.capacity import CapacityBase, Need, Place, Waiting, granted
from eli5b_batch.dispatch.slots.health import MISSES, Watch
from eli5b_batch.dispatch.slots.policy import Backlog, hesitates_s, is_full, is_hungry, next_model, runs_dry
from eli5b_batch.dispatch.slots.state import LOAD_S, SlotState, is_fault
from eli5b_batch.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eli5b_batch.backends.base import Advice
    from eli5b_batch.dispatch.slots.health import Look
    from eli5b_batch.dispatch.slots.state import SlotMark
    from eli5b_batch.errors import CallError
    from eli5b_batch.job.schema import Slot

_LEARNING: Final = 0.05
_ASSUMED_S: Final = 5.0
"""Seconds that a call is assumed to take before the first was answered; a load, before the first, is assumed free."""


@dataclass(slots=True)
class _ModelQueue:
    """The queue of one model, and running means of the seconds that its calls and loads take."""

    slots: int
    places: int
    unserved_since: float
    waiting: Waiting = field(default_factory=Waiting)
    call_s: float = _ASSUMED_S
    load_s: float = 0.0
    calls: int = 0
    loads: int = 0

    def learn(self, call_s: float, load_s: float) -> None:
        """Add one answered call to the means."""
        self.calls += 1
        self.call_s += max(_LEARNING, 1 / self.calls) * (call_s - self.call_s)
        if load_s >= LOAD_S:
            self.loads += 1
            self.load_s += max(_LEARNING, 1 / self.loads) * (load_s - self.load_s)


class SlotPool(CapacityBase):
    """Hands out places on a provider's slots.

    Args:
        slots: the slots of the job, each with a `url`.
        clock: the event loop's clock, seconds.
        give_up_after_s: seconds that every slot of a model in demand may be down before the run ends.
        look: asks a server for its health and the models in its memory; None: only calls show how a server is.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        clock: Callable[[], float],
        *,
        give_up_after_s: float = math.inf,
        look: Look | None = None,
    ) -> None:
        super().__init__(clock, give_up_after_s)
        self._servers = [SlotState(slot, clock, watched=look is not None) for slot in slots]
        self._models: dict[str, _ModelQueue] = {}
        self._watch = Watch(self._servers, look, self._pump_soon) if look else None

    async def run(self) -> None:
        """Watch over the servers until cancelled; see `Capacity`."""
        for server in self._servers:
            server.time.begin()
        tasks = [asyncio.create_task(super().run())]
        if self._watch is not None:
            tasks.append(asyncio.create_task(self._watch.run()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # an error of a task has been raised above

    async def acquire(self, need: Need) -> Place:
        """Wait for a place on a slot that serves the model; see `Capacity`."""
        model = self._models.get(need.model)
        if model is None:
            places = [s.parallel for s in self._servers if s.serves(need.model)]
            model = self._models[need.model] = _ModelQueue(len(places), sum(places), self._clock())
        if not len(model.waiting):
            model.unserved_since = self._clock()
        future = model.waiting.join(need)
        self._pump_soon()
        return await granted(future, self)

    def release(
        self,
        place: Place,
        *,
        tokens: int | None = None,
        failure: CallError | None = None,
        advice: Advice | None = None,  # noqa: ARG002 (part of the interface; a GPU has no limits to tell)
        load_s: float = 0.0,
        work_s: float = 0.0,
    ) -> None:
        """Give a place back; see `Capacity`."""
        mark: SlotMark = place.owner
        worked = self._works(mark.server, place.need.model)
        mark.server.finish(place, tokens, failure, load_s)
        if is_fault(failure):
            self._last_failure = failure
            if worked and not self._works(mark.server, place.need.model):
                event = "slot taken out" if mark.server.breaker.is_open else "model can't be loaded"
                slot, model = mark.server.name, place.need.model
                log(event, level=logging.WARNING, slot=slot, model=model, reason=str(failure))
        elif failure is None and tokens is not None:
            self._models[place.need.model].learn(work_s or max(0.0, self._clock() - mark.at - load_s), load_s)
            if self._watch is not None and load_s >= LOAD_S:
                self._watch.look_at(mark.server)
        self._pump_soon()

    @staticmethod
    def _works(server: SlotState, model: str) -> bool:
        return server.down_since(model) is None

    def is_down(self, place: Place) -> bool:
        """True if the slot of this place is taken to be down; see `Capacity`."""
        mark: SlotMark = place.owner
        return mark.server.breaker.is_open

    def take_out(self, urls: Collection[str]) -> None:
        """Take out the servers at these addresses, which did not answer at the start; see `Capacity`."""
        for server in self._servers:
            if server.url in urls:
                server.missed = MISSES
                server.take_out()

    def was_at_fault(self, place: Place) -> bool:
        """True if the slot does not work for the call's model and another slot does; see `Capacity`."""
        mark: SlotMark = place.owner
        model = place.need.model
        return not self._works(mark.server, model) and any(
            s.serves(model) and self._works(s, model) for s in self._servers
        )

    def is_hungry(self, lead_s: float, coming: Mapping[str, float]) -> bool:
        """True if more problems should be begun, so that no slot runs dry.

        Args:
            lead_s: seconds from the beginning of a problem to its calls on slots.
            coming: by model id, the calls to slots that the calls under way elsewhere will lead to.
        """
        backlogs = self._backlogs(coming)
        views = [s.view() for s in self._servers if not s.breaker.is_open]
        dry = [view for view in views if runs_dry(view, backlogs, lead_s)]
        return any(is_hungry(view, backlogs, lead_s, len(dry)) for view in dry)

    def is_full(self, lead_s: float) -> bool:
        """True if a model has far more work than its slots get through; see `Capacity`."""
        return is_full(self._backlogs({}), lead_s)

    def _backlogs(self, coming: Mapping[str, float]) -> dict[str, Backlog]:
        now = self._clock()
        holders = Counter(model for server in self._servers for model in server.held_models)
        backlogs = {}
        for name, model in self._models.items():
            first = model.waiting.first()
            backlogs[name] = Backlog(
                waiting=len(model.waiting) + coming.get(name, 0.0),
                unserved_s=now - model.unserved_since,
                first=first[0].order if first else 0,
                call_s=model.call_s,
                load_s=model.load_s,
                holders=holders[name],
                slots=model.slots,
                places=model.places,
            )
        return backlogs

    def _hand_out(self) -> None:
        while self._grant_next():
            pass
        backlogs = {name: b for name, b in self._backlogs({}).items() if b.waiting}
        if not backlogs:
            return
        # If a probe is due now and was not sent, no call needs it: the next call that joins a queue tries again.
        waits = [due for s in self._servers for due in s.due_in()]
        waits += [
            self._give_up_on([s.down_since(name) for s in self._servers if s.serves(name)], name)
            for name in (backlogs if waits else ())
        ]
        if any(not s.in_flight for s in self._servers):
            waits += [hesitates_s(b) for b in backlogs.values() if not b.holders]
        self._pump_in(min((seconds for seconds in waits if seconds > 0), default=math.inf))

    def _grant_next(self) -> bool:
        """Grant a place to the next call: on the server with most room that has its model, else on one that loads it.

        Returns:
            True if a call was granted a place.
        """
        free = [s for s in self._servers if s.has_room()]
        backlogs = self._backlogs({}) if free else {}
        if not any(b.waiting for b in backlogs.values()):
            return False
        free.sort(key=_load)
        loading: tuple[SlotState, str] | None = None
        for server in free:
            if server.breaker.is_open and loading is not None:
                break  # no call probes a server that is down while another has room for it
            model = self._choose(server, backlogs)
            if model is not None and model in server.resident:
                self._grant(server, model)
                return True
            if model is not None and loading is None:
                loading = server, model
            if server.turning_to is not None:
                backlogs = self._backlogs({})  # the next servers must see that this one turns to another model
        if loading is not None:
            self._grant(*loading)
        return loading is not None

    @staticmethod
    def _choose(server: SlotState, backlogs: Mapping[str, Backlog]) -> str | None:
        """Return the model whose call the server takes now; None: it waits for calls, or for its last ones to end."""
        if server.turning_to is not None and backlogs[server.turning_to].waiting:
            return None if server.in_flight else server.turning_to
        server.turning_to = None
        model = next_model(server.view(), backlogs)
        if model is not None and model not in server.resident and server.in_flight:
            server.turning_to = model
            return None
        return model

    def _grant(self, server: SlotState, name: str) -> None:
        model = self._models[name]
        need, future = model.waiting.pop()
        model.unserved_since = self._clock()
        future.set_result(server.start(need))

    def snapshot(self) -> dict[str, Any]:
        """Return the figures for the dashboard: totals, and under `slots` one entry for each slot."""
        queued = {name: len(model.waiting) for name, model in self._models.items()}
        downs = [s.breaker.down_since for s in self._servers]
        return {
            "down_s": None if None in downs else round(self._clock() - max(at for at in downs if at is not None), 1),
            "in_flight": sum(s.in_flight for s in self._servers),
            "concurrency": sum(s.parallel for s in self._servers),
            "queued": sum(queued.values()),
            "slots": [s.snapshot(queued) for s in self._servers],
        }


def _load(server: SlotState) -> tuple[bool, float, bool]:
    return server.breaker.is_open, server.in_flight / server.parallel, bool(server.resident)
