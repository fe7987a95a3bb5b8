"""The watch over GPU slots: which servers still answer, and what they have in memory.

Must not know: HTTP, queues, calls. A server whose calls hang would hold them until their deadline; asked for its
health, it is found out within seconds, and its calls go elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from eli5b_batch.errors import RetryableError
from eli5b_batch.log import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from eli5b_batch.dispatch.slots.state import SlotState

    Look = Callable[[str], Awaitable[Mapping[str, float] | None]]
    """Asks the server at an address for the models in its memory, each with its share in GPU memory; None where it
    does not say. A `RetryableError` where it does not answer in time."""

INTERVAL_S: Final = 10.0
DOWN_INTERVAL_S: Final = 2.0
MISSES: Final = 2
_WHOLLY: Final = 0.999


class Watch:
    """Looks at every server each ten seconds (two while it is down), and at one that has just loaded a model at once.

    Args:
        servers: all slots.
        look: see `Look`.
        changed: called after each look.
    """

    def __init__(self, servers: Sequence[SlotState], look: Look, changed: Callable[[], None]) -> None:
        self._look = look
        self._changed = changed
        self._wanted = {server: asyncio.Event() for server in servers}
        self._warned: set[tuple[str, str]] = set()

    def look_at(self, server: SlotState) -> None:
        """Look at this one soon."""
        self._wanted[server].set()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            ProviderRefusedError: a server is no longer what the run began with.
        """
        try:
            async with asyncio.TaskGroup() as group:  # each for itself: one that hangs keeps nobody from the others
                for server, wanted in self._wanted.items():
                    group.create_task(self._watch(server, wanted))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _watch(self, server: SlotState, wanted: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(DOWN_INTERVAL_S if server.breaker.is_open else INTERVAL_S):
                    await wanted.wait()
            except TimeoutError:
                pass  # its time has come without being asked for
            wanted.clear()
            await self._see(server)
            self._changed()

    async def _see(self, server: SlotState) -> None:
        try:
            loaded = await self._look(server.url)
        except RetryableError as error:
            server.missed += 1
            server.cleared = False
            if error.unsent or server.missed >= MISSES:
                if not server.breaker.is_open:
                    log("slot taken out", level=logging.WARNING, slot=server.name, url=server.url, reason=str(error))
                server.take_out()  # again and again: the probe that was sent since comes back, too
            return
        if server.missed and server.breaker.is_open:
            log("slot answers again", slot=server.name, url=server.url)
            server.take_out()  # what it was sent while it was away may never be answered
            server.breaker.reachable()
        server.missed = 0
        server.cleared = True
        if loaded is not None:
            server.sees(loaded)
            for model, share in loaded.items():
                if share < _WHOLLY and (server.name, model) not in self._warned:
                    self._warned.add((server.name, model))
                    log("model partly on the CPU", level=logging.WARNING, slot=server.name, model=model, on_gpu=share)
