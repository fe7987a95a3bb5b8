from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from eli5b_batch.backends.http import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture
async def host() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """A function that serves one handler for all paths on loopback, in the test's own loop, and returns the address."""
    runners: list[web.ServerRunner] = []

    async def start(handler: Handler) -> str:
        runner = web.ServerRunner(web.Server(handler, access_log=None, handler_cancellation=True), shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Transport]]:
    """A function that returns a new transport; all are closed after the test."""
    transports: list[Transport] = []

    def make(connections: int = 4, timeout_s: float = 60.0, headers: dict[str, str] | None = None) -> Transport:
        transports.append(Transport(connections, timeout_s, headers))
        return transports[-1]

    yield make
    for transport in transports:
        await transport.close()


@pytest.fixture
async def forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that puts the clock of the test's loop forward by some seconds, which ends every wait of that time.

    Sockets work as ever. A test can thus set a deadline of an hour, which no busy machine misses, and let it pass at
    once.
    """
    loop = asyncio.get_running_loop()
    real_time, ahead_s = loop.time, 0.0

    def forward(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds

    monkeypatch.setattr(loop, "time", lambda: real_time() + ahead_s)
    return forward
