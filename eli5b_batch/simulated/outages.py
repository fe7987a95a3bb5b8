"""Failures of a whole simulated server by the clock: it freezes, or refuses everything.

Must not know: protocols, models.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from aiohttp import web

from eli5b_batch.simulated.faults import drop_connection, json_reply
from eli5b_batch.simulated.ledger import work_at_hand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.typedefs import Handler

    Intervals = Sequence[Sequence[float]]


class Outages:
    """Stands before everything else that a server does.

    While a server is frozen it takes connections and answers nothing; what came in, and what was to go out, does so
    when the freeze ends. While it refuses, new requests get a 503 and a dropped connection by turns, and replies that
    would go out are dropped. Work in progress and models in memory outlast both.

    Args:
        freezes: [begin, end] pairs, in seconds from when this was made.
        refuses: the same.
        clock: seconds.
    """

    def __init__(self, freezes: Intervals, refuses: Intervals, clock: Callable[[], float]) -> None:
        began = clock()
        self._freezes = sorted((began + begin, began + end) for begin, end in freezes)
        self._refuses = [(began + begin, began + end) for begin, end in refuses]
        self.none = not (freezes or refuses)
        self._clock = clock
        self._refused = itertools.count()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets a request through, when there is no outage; must come before all that answers."""
        if self.none:
            return await handler(request)
        await self._thaw()
        if self._refusing():
            work_at_hand().fault = "refused"
            if next(self._refused) % 2:
                return drop_connection(request)
            return json_reply({"error": "SIMULATED: the server is going down"}, 503)
        response = await handler(request)
        await self._thaw()
        if self._refusing():
            work_at_hand().fault = "refused"
            return drop_connection(request, response.status)
        return response

    async def _thaw(self) -> None:
        for begin, end in self._freezes:
            now = self._clock()
            if begin <= now < end:
                work_at_hand().fault = "frozen"
                await asyncio.sleep(end - now)

    def _refusing(self) -> bool:
        now = self._clock()
        return any(begin <= now < end for begin, end in self._refuses)
