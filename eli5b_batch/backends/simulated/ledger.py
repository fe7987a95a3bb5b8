"""The ledger: what simulated servers did, in books of their own, so that a run's records can be audited against them.

Must not know: what is asked, the run. One line per chat request, written once its reply is out or can't be:

    {"t", "server", "key", "status", "delivered", "tokens", "fault"}

`t` is unix seconds, `key` the call's. `status` is 499 where the client left before its reply began. `delivered` says
that the whole reply went out on a connection which the other end had not closed. `tokens` counts both sides of the
work done, delivered or not (0: none was done); `fault` names what was made to go wrong, null for nothing.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler, Middleware

TOKENS: Final = "tokens"
FAULT: Final = "fault"
"""Where a server notes on a request what it did for it."""

_CHATS: Final = ("/v1/chat/completions", "/api/chat")
_CLIENT_LEFT: Final = 499
_ESTABLISHED: Final = 1
_CALL_HEADER: Final = "x-eli5b-call"


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
            status, delivered = _CLIENT_LEFT, False
            try:
                response = await handler(request)
                status = response.status
                await response.prepare(request)
                await response.write_eof()
                delivered = _peer_is_there(request)
            except ConnectionError:
                # The client has gone. The framework meets the same error when it wants to send, and closes the connection.
                pass
            finally:
                self._add(server, request, status, delivered=delivered)
            return response

        return keep

    def _add(self, server: str, request: web.Request, status: int, *, delivered: bool) -> None:
        line = {
            "t": time.time(),
            "server": server,
            "key": request.headers.get(_CALL_HEADER, ""),
            "status": status,
            "delivered": delivered,
            "tokens": request.get(TOKENS, 0),
            "fault": request.get(FAULT),
        }
        os.write(self._fd, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


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
