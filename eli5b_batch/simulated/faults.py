"""What both simulated wires share: reading a request's call key, JSON replies, faults.

Must not know: the fields of either protocol.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from eli5b_batch.job.reserved_names import CALL_HEADER
from eli5b_batch.records.keys import CallName, parse_key
from eli5b_batch.simulated.ledger import work_at_hand
from eli5b_batch.simulated.model import digest_of, fraction_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eli5b_batch.job.schema import Simulation

_NAMED: Final = {"Server": "SIMULATED"}
_KEEP_ALIVE_S: Final = 3600.0
_FOR_EVER_S: Final = 86_400.0


class RefusedError(Exception):
    """A request that gets an error in place of a reply: a status and a JSON body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Fault(Enum):
    """What goes wrong with a request."""

    BROKEN = auto()
    """500, before any work."""
    OVERLOADED = auto()
    """503, before any work."""
    DROP = auto()
    """The connection is closed before any work."""
    GARBAGE = auto()
    """200 and a body that is no JSON, after the work."""
    EMPTY = auto()
    """A reply without content, after the work."""
    LOST = auto()
    """The connection is closed after the work."""
    HANG = auto()
    """200, a byte of the body, and then nothing until the client leaves; after the work."""
    LATE = auto()
    """The reply, only later."""
    NOT_DONE = auto()
    """The beginning of a reply that the server gives up, after the work; only Ollama does this."""


class Faults:
    """Draws faults from a request and how often it has failed here, so that sending it again can succeed.

    A request is forgotten once it is answered: memory holds the failing ones only.
    """

    def __init__(self, simulation: Simulation) -> None:
        half = simulation.error_rate / 2
        self._rates = (
            (Fault.BROKEN, half),
            (Fault.OVERLOADED, half),
            (Fault.DROP, simulation.drop_rate),
            (Fault.GARBAGE, simulation.garbage_rate),
            (Fault.EMPTY, simulation.empty_rate),
            (Fault.LOST, simulation.lost_rate),
            (Fault.HANG, simulation.hang_rate),
            (Fault.LATE, simulation.late_rate),
            (Fault.NOT_DONE, simulation.not_done_rate),
        )
        self._late_s = simulation.late_s
        self._none = not any(rate for _, rate in self._rates)
        self._failed: dict[bytes, int] = {}

    def draw(self, fingerprint: bytes) -> Fault | None:
        """What happens to this sending of the request."""
        if self._none:
            return None
        failed = self._failed.get(fingerprint, 0)
        luck = fraction_of(digest_of(b"fault", fingerprint, b"%d" % failed))
        for fault, rate in self._rates:
            if luck < rate:
                self._failed[fingerprint] = failed + 1
                work_at_hand().fault = fault.name.lower()
                return fault
            luck -= rate
        self._failed.pop(fingerprint, None)
        return None

    async def spoil(
        self, request: web.Request, fingerprint: bytes, fault: Fault | None, tokens: int
    ) -> web.StreamResponse | None:
        """Once the work is done, `tokens` of it: what reaches the client in place of the reply; None for the reply."""
        work_at_hand().tokens = tokens
        if fault is Fault.GARBAGE:
            return _garbage(fingerprint)
        if fault is Fault.LOST:
            return drop_connection(request, 200)
        if fault is Fault.HANG:
            return await _stall(request)
        if fault is Fault.LATE:
            await asyncio.sleep(self._late_s)
            self._failed.pop(fingerprint, None)  # the client has waited
        return None


def read_call(request: web.Request) -> tuple[str, CallName | None]:
    """The call key a client sent with its request, and what it says; "" and None where it sent none.

    Raises:
        ValueError: it is not a call key.
    """
    key = request.headers.get(CALL_HEADER, "")
    return key, parse_key(key) if key else None


def json_reply(
    payload: Any,  # noqa: ANN401 (JSON)
    status: int = 200,
    *,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """`payload` as a JSON reply."""
    return web.Response(
        body=orjson.dumps(payload),
        status=status,
        headers={"Content-Type": content_type, **_NAMED, **(headers or {})},
    )


def text_reply(text: str, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """Plain text, as both real servers answer an unknown path."""
    return web.Response(
        body=text.encode(), status=status, headers={"Content-Type": "text/plain", **_NAMED, **(headers or {})}
    )


def _garbage(fingerprint: bytes) -> web.Response:
    """A 200 without JSON: a proxy's page, or a body that ends too early."""
    if fingerprint[0] & 1:
        page = b"<html><body>SIMULATED gateway: please come back later</body></html>"
        return web.Response(body=page, headers={"Content-Type": "text/html", **_NAMED})
    return web.Response(
        body=b'{"SIMULATED": "this body ends too', headers={"Content-Type": "application/json", **_NAMED}
    )


async def _stall(request: web.Request) -> web.StreamResponse:
    """Begin a reply and wait until the client leaves, which cancels this; one in this process has nothing to read."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", **_NAMED})
    if isinstance(request, web.Request):
        await response.prepare(request)
        await response.write(b"{")
    await asyncio.sleep(_FOR_EVER_S)
    return response


def drop_connection(request: web.Request, status: int = 503) -> web.Response:
    """Close the connection; the reply returned is for the caller to return, and reaches nobody but the ledger."""
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=status)


async def listen(app: web.Application, port: int = 0) -> str:
    """Serve `app` on a loopback port, 0 for any free one, for as long as the event loop runs.

    Returns:
        The server's address, `http://127.0.0.1:PORT`.
    """
    # A client that leaves ends its request, as with the real servers. Nothing is logged per request.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, keepalive_timeout=_KEEP_ALIVE_S)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"
