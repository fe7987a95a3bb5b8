"""The ledger: what simulated servers did, in books of their own, so that a run's records can be audited against them.

Must not know: what is asked, the run. One line per chat request, written once its reply is out or can't be:

    {"t", "server", "key", "peer", "status", "delivered", "tokens", "fault"}

`t` is unix seconds, `key` the call's, `peer` the client's port. `status` is 499 where the client left before its reply
began. `delivered` says that the whole reply went out on a connection which the other end had not closed. `tokens`
counts both sides of the work done, delivered or not (0: none was done); `fault` names what was made to go wrong, or the
quirk in whose way it was answered, null for neither.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from eli5b_batch.job.reserved_names import CALL_HEADER

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler, Middleware

_CHATS: Final = ("/v1/chat/completions", "/api/chat")
_CLIENT_LEFT: Final = 499
_ESTABLISHED: Final = 1


@dataclass(slots=True)
class RequestWork:
    """What a server did for the request at hand; it writes it down here as it goes along."""

    tokens: int = 0
    fault: str | None = None


_at_hand: ContextVar[RequestWork] = ContextVar("work")


def work_at_hand() -> RequestWork:
    """Of the request that the current task serves; where no books are kept, a page that is thrown away."""
    return _at_hand.get(None) or RequestWork()


class Ledger:
    """The file; several servers of one process, and several processes, may share it.

    Args:
        path: appended to; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def middleware(self, server: str) -> Middleware:
        """Keeps the books of one server; must be its outermost middleware, to see refusals as replies."""

        @web.middleware
        async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path not in _CHATS:
                return await handler(request)
            _at_hand.set(work := RequestWork())
            peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
            status, delivered = _CLIENT_LEFT, False
            try:
                response = await handler(request)
                status = response.status
                with suppress(ConnectionError):  # the client has gone: the framework meets the same error and knows it
                    await response.prepare(request)
                    await response.write_eof()
                    delivered = _peer_is_there(request)
            finally:
                self._add(server, request, peer, status, work, delivered=delivered)
            return response

        return keep

    def _add(
        self, server: str, request: web.Request, peer: int, status: int, work: RequestWork, *, delivered: bool
    ) -> None:
        line = {
            "t": time.time(),
            "server": server,
            "key": request.headers.get(CALL_HEADER, ""),
            "peer": peer,
            "status": status,
            "delivered": delivered,
            "tokens": work.tokens,
            "fault": work.fault,
        }
        os.write(self._fd, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _peer_is_there(request: web.Request) -> bool:
    """Whether the other end still holds its side of the connection open.

    The event loop hears of a closed connection later than the kernel, which accepts what is sent to a dead process all
    the same; so on Linux the kernel is asked.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return False
    info = getattr(socket, "TCP_INFO", None)
    if info is None:
        return True
    state = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, info, 1)
    return bool(state[0] == _ESTABLISHED)
