"""Requests with a key that a program prints: each carries the newest key, which is renewed when the host refuses it.

Must not know: the protocol; `KeyRefusedError` says that a key was refused. `backends/keys.py` runs the program.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

from eli5b_batch.backends.http import Transport
from eli5b_batch.errors import KeyRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import aiohttp

    from eli5b_batch.backends.base import Backend, ChatReply, ChatRequest, ModelFacts
    from eli5b_batch.backends.dialects import Manner
    from eli5b_batch.backends.http import Response
    from eli5b_batch.backends.keys import PrintedKey

T = TypeVar("T")


class KeyedTransport(Transport):
    """A transport whose requests carry the key that is in use when they are sent.

    Args:
        connections: see `Transport`.
        timeout_s: see `Transport`; the time of the program that prints the key does not count.
        headers: sent with every request.
        key: the key of the account.
    """

    def __init__(self, connections: int, timeout_s: float, headers: Mapping[str, str], key: PrintedKey) -> None:
        super().__init__(connections, timeout_s, headers)
        self._key = key
        self._secrets = key.secrets

    async def _request(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (handed to aiohttp, which keeps it)
    ) -> Response:
        key = await self._key.value()
        authorized = {**(headers or {}), "Authorization": f"Bearer {key}"}
        return await super()._request(method, url, data, authorized, timeout)


class RenewingBackend:
    """A backend whose refused requests are sent once more with a renewed key.

    Args:
        backend: sends the requests, over a `KeyedTransport`.
        key: the key of that transport.
    """

    def __init__(self, backend: Backend, key: PrintedKey) -> None:
        self._backend = backend
        self._key = key
        self.silent = backend.silent

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:
        """Send one request; see `Backend.chat`."""
        reply, key = await self._with_a_key(lambda: self._backend.chat(request, base_url, deadline_s))
        self._key.has_worked(key)
        return reply

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """See `Backend.reach`. An answer does not prove that the key works: many hosts list models for everybody."""
        facts, _ = await self._with_a_key(lambda: self._backend.reach(models))
        return facts

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:
        """See `Backend.manner`."""
        return self._backend.manner(model, sampling)

    async def close(self) -> None:
        """Close all connections."""
        await self._backend.close()

    async def _with_a_key(self, send: Callable[[], Awaitable[T]]) -> tuple[T, str]:
        """Send a request; return its result and the key that it carried.

        A request whose key is refused is sent once more if the key can be renewed.
        """
        key = await self._key.value()
        try:
            return await send(), key
        except KeyRefusedError:
            if not await self._key.renewed(key):
                raise
        key = await self._key.value()
        return await send(), key
