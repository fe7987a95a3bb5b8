"""The watch over GPU slots: which servers still answer, and what they have in memory.

Must not know: HTTP, queues, calls. A server that hangs would hold its calls until their deadline. Health checks show
within seconds that it hangs, and its calls go elsewhere.
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
    """Asks the server at an address for the models in its memory, each with its share (0..1) in GPU memory; returns
    None where the server does not say, and raises `RetryableError` where it does not answer in time."""

INTERVAL_S: Final = 10.0
DOWN_INTERVAL_S: Final = 2.0
MISSES: Final = 2
_WHOLLY: Final = 0.999


class Watch:
    """Health checks of every server: each ten seconds, or two while it is down, and at once after a model was loaded.

    Args:
        servers: all slots.
        look: asks a server for the models in its memory; see `Look`.
        changed: called after each check.
    """

    def __init__(self, servers: Sequence[SlotState], look: Look, changed: Callable[[], None]) -> None:
        self._look = look
        self._changed = changed
        self._requests = {server: asyncio.Event() for server in servers}
        self._warned: set[tuple[str, str]] = set()

    def look_at(self, server: SlotState) -> None:
        """Check this server soon."""
        self._requests[server].set()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            ProviderRefusedError: a model on a server is no longer the one that the run began with.
        """
        try:
            async with asyncio.TaskGroup() as group:  # one task a server: one that hangs delays no check of another
                for server, request in self._requests.items():
                    group.create_task(self._watch(server, request))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _watch(self, server: SlotState, request: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(DOWN_INTERVAL_S if server.breaker.is_open else INTERVAL_S):
                    await request.wait()
            except TimeoutError:
                pass  # the next regular check is due
            request.clear()
            await self._check(server)
            self._changed()

    async def _check(self, server: SlotState) -> None:
        try:
            loaded = await self._look(server.url)
        except RetryableError as error:
            server.missed += 1
            server.cleared = False
            if error.unsent or server.missed >= MISSES:
                if not server.breaker.is_open:
                    log("slot taken out", level=logging.WARNING, slot=server.name, url=server.url, reason=str(error))
                server.take_out()  # at every failed check: the probe that was sent since the last one must come back
            return
        if server.missed and server.breaker.is_open:
            log("slot answers again", slot=server.name, url=server.url)
            server.take_out()  # the calls that it was sent while it was down may never be answered
            server.breaker.reachable()
        server.missed = 0
        server.cleared = True
        if loaded is not None:
            server.set_loaded(loaded)
            for model, share in loaded.items():
                if share < _WHOLLY and (server.name, model) not in self._warned:
                    self._warned.add((server.name, model))
                    log("model partly on the CPU", level=logging.WARNING, slot=server.name, model=model, on_gpu=share)
