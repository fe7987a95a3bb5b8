"""A simulated GPU slot: which models are in memory, how many calls of each run at once, how they slow each other.

Must not know: HTTP, replies.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.simulated.model_facts import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ON_CPU: Final = 5.0
"""How many times as long a call takes on a model that does not fit into the GPU's memory as a whole."""


class Loaded(NamedTuple):
    """What an Ollama server keeps in memory; another window means loading anew."""

    model: str
    num_ctx: int


@dataclass(slots=True)
class _Resident:
    """A model in memory: its bytes, the calls that hold a place, and whether it has finished loading."""

    size: int
    running: int = 0
    ready: bool = False


class SimulatedSlot:
    """First come, first served: at most `parallel` calls at once of each model in memory.

    A model that is not in memory is loaded once there is room, one at a time in the order of arrival. Room is made by
    driving out other models, idle ones first, and of them the one whose last call began longest ago. A model that is
    to go and has calls running ends them first and takes no calls that came after the one it goes for, so that
    none waits for ever; calls for the other models pass. With one model in memory, calls in mixed order cost a
    load each.

    Args:
        parallel: calls at once, per model.
        load_s: seconds to load a model, by its id.
        most: models in memory at once.
        memory: bytes of the GPU; a model larger than that is there alone, partly on the CPU. Windows take none.
        shared: whether models at work at once slow each other.
    """

    def __init__(
        self,
        parallel: int,
        load_s: Callable[[str], float],
        *,
        most: int = 1,
        memory: float = math.inf,
        shared: bool = True,
    ) -> None:
        self.memory = memory
        self._parallel = parallel
        self._load_s = load_s
        self._most = most
        self._shared = shared
        self._loading = False
        self._residents: dict[Loaded, _Resident] = {}  # the one whose last call began longest ago comes first
        self._waiting: dict[Loaded, deque[tuple[int, asyncio.Future[bool]]]] = {}
        self._arrivals = itertools.count()

    @property
    def residents(self) -> list[Loaded]:
        """What is in memory or being loaded, by the beginning of its last call."""
        return list(self._residents)

    @asynccontextmanager
    async def turn(self, wanted: Loaded) -> AsyncIterator[float]:
        """Wait for a place with `wanted` loaded, and hold it.

        Yields:
            Seconds that loading took, 0 where it was loaded already.
        """
        loop = asyncio.get_running_loop()
        place: asyncio.Future[bool] = loop.create_future()
        if self._waiting or not self._has_place(wanted):
            self._waiting.setdefault(wanted, deque()).append((next(self._arrivals), place))
            self._admit()
        else:
            self._give(wanted, place)
        try:
            load_s = 0.0
            if await place:  # this caller does the loading
                started = loop.time()
                await asyncio.sleep(self._load_s(wanted.model))
                load_s = loop.time() - started
                self._residents[wanted].ready = True
                self._loading = False
                self._admit()
            yield load_s
        finally:
            if not place.cancelled():  # cancelled: it left before it had a place
                resident = self._residents[wanted]
                resident.running -= 1
                if not resident.ready:  # it left while it was loading
                    del self._residents[wanted]
                    self._loading = False
            if self._waiting:
                self._admit()

    def slowdown(self, wanted: Loaded) -> float:
        """How many times as long a call takes that begins now: once per model at work, its own included.

        A call keeps what it began with, whoever comes or goes meanwhile.
        """
        at_work = 1
        if self._shared and len(self._residents) > 1:
            at_work = sum(r.running > 0 and r.ready for r in self._residents.values())
        return at_work * (ON_CPU if self._residents[wanted].size > self.memory else 1.0)

    def unload(self, model: str) -> None:
        """Free the memory that `model` takes, unless calls are running."""
        for name in [n for n, r in self._residents.items() if n.model == model and not r.running]:
            del self._residents[name]

    def _admit(self) -> None:
        """Give places to those who wait, as far as there are any."""
        stuck: set[Loaded] = set()
        while (wanted := self._next(stuck)) is not None:
            if wanted not in self._residents:
                going = [] if self._loading else self._going_for(wanted)
                if self._loading or any(self._residents[name].running for name in going):
                    stuck.update(going, (name for name in self._waiting if name not in self._residents))
                    continue
                for name in going:
                    del self._residents[name]
                self._residents[wanted] = _Resident(describe(wanted.model).size)
                self._loading = True
            elif not self._has_place(wanted):
                stuck.add(wanted)
                continue
            self._give(wanted, self._waiting[wanted].popleft()[1])

    def _has_place(self, wanted: Loaded) -> bool:
        resident = self._residents.get(wanted)
        return resident is not None and resident.ready and resident.running < self._parallel

    def _give(self, wanted: Loaded, place: asyncio.Future[bool]) -> None:
        resident = self._residents[wanted]
        resident.running += 1
        if len(self._residents) > 1:  # behind all others
            self._residents[wanted] = self._residents.pop(wanted)
        place.set_result(not resident.ready)

    def _next(self, stuck: set[Loaded]) -> Loaded | None:
        """Of the models that are not stuck, the one whose call has waited longest."""
        found, earliest, none_waits = None, math.inf, []
        for name, queue in self._waiting.items():
            while queue and queue[0][1].cancelled():
                queue.popleft()
            if not queue:
                none_waits.append(name)
            elif name not in stuck and queue[0][0] < earliest:
                found, earliest = name, queue[0][0]
        for name in none_waits:
            del self._waiting[name]
        return found

    def _going_for(self, wanted: Loaded) -> list[Loaded]:
        """Who has to leave the memory for `wanted`."""
        going = [name for name in self._residents if name.model == wanted.model]  # with another window
        rest = [name for name in self._residents if name.model != wanted.model]
        rest.sort(key=lambda name: self._residents[name].running > 0)
        room = self.memory - describe(wanted.model).size
        while rest and (len(rest) >= self._most or sum(self._residents[n].size for n in rest) > room):
            going.append(rest.pop(0))
        return going
