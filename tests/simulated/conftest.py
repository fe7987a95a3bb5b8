from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import ClientResponse, web

    Post = Callable[..., Awaitable[ClientResponse]]


@pytest.fixture
async def start() -> AsyncIterator[Callable[[web.Application], Awaitable[Post]]]:
    """Serves an application for the rest of the test; what it returns sends a request, with a call key if given.

    A body of None is a GET, bytes are sent as they are, anything else as JSON.
    """
    clients: list[TestClient[web.Request, web.Application]] = []

    async def serve(app: web.Application) -> Post:
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)

        async def post(path: str, body: object, call: str = "", **headers: str) -> ClientResponse:
            named = {"x-eli5b-call": call, **headers} if call else headers
            if body is None:
                return await client.get(path, headers=named)
            if isinstance(body, bytes):
                return await client.post(path, data=body, headers=named)
            return await client.post(path, json=body, headers=named)

        return post

    yield serve
    for client in clients:
        await client.close()
