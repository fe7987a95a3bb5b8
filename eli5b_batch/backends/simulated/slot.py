"""A simulated GPU slot: how many calls run at once, and which model is loaded.

Must not know: HTTP, replies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Loaded(NamedTuple):
    """What an Ollama server keeps in memory; another window means loading anew."""

    model: str
    num_ctx: int


class Slot:
    """First come, first served: at most `parallel` calls at once, all on the one model that is loaded.

    A call for another model waits until the running ones have ended, then loads it; later calls wait behind
    it, as in the scheduler of a server that may keep one model. So calls in mixed order cost a load each.

    Args:
        parallel: calls at once.
        load_s: seconds to load a model.
    """

    def __init__(self, parallel: int, load_s: float) -> None:
        self.loaded: Loaded | None = None
        self._parallel = parallel
        self._load_s = load_s
        self._running = 0
        self._loading = False
        self._waiting: deque[tuple[Loaded, asyncio.Future[bool]]] = deque()

    @asynccontextmanager
    async def turn(self, wanted: Loaded) -> AsyncIterator[float]:
        """Wait for a place with `wanted` loaded, and hold it.

        Yields:
            Seconds that loading took, 0 where it was loaded already.
        """
        loop = asyncio.get_running_loop()
        place: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((wanted, place))
        self._admit()
        try:
            load_s = 0.0
            if await place:  # this caller does the loading
                started = loop.time()
                await asyncio.sleep(self._load_s)
                load_s = loop.time() - started
                self._loading = False
                self._admit()
            yield load_s
        finally:
            if not place.cancelled():  # cancelled: it left before it had a place
                self._running -= 1
                if self._loading and place.result():  # it left while it was loading
                    self._loading = False
                    self.loaded = None
            self._admit()

    def unload(self, model: str) -> None:
        """Free the memory, unless another model is there or calls are running."""
        if self.loaded is not None and self.loaded.model == model and not self._running:
            self.loaded = None

    def _admit(self) -> None:
        while self._waiting and not self._loading:
            wanted, place = self._waiting[0]
            if not place.cancelled():
                if wanted == self.loaded:
                    if self._running >= self._parallel:
                        return
                elif self._running:
                    return
                else:
                    self._loading = True
                    self.loaded = wanted
                self._running += 1
                place.set_result(self._loading)
            self._waiting.popleft()
