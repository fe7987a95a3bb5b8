"""HTTP for both backends: one aiohttp session, JSON by orjson, failures in the package's own terms.

Must not know: what the bodies mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import orjson

from eli5b_batch.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT_S: Final = 10.0


class Response(NamedTuple):
    """Status, headers and body of an answered request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 (JSON)
        """The body as JSON.

        Raises:
            RetryableError: it is none, as from a proxy's error page.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise RetryableError(
                "bad_reply",
                f"the server answered {self.status} with something that is not JSON: {excerpt(self.body)}",
            ) from None


class Transport:
    """A session with a pool of `connections`; made inside a running event loop.

    Args:
        connections: most requests in flight; the pool never bounds a caller that keeps to it.
        timeout_s: longest time for one request, connecting included.
        headers: sent with every request.
    """

    def __init__(self, connections: int, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, limit_per_host=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            headers={"Content-Type": "application/json", **(headers or {})},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
        """POST a JSON body.

        Raises:
            RetryableError: class `timeout` or `connection`.
        """
        return await self._request("POST", url, orjson.dumps(body), headers)

    async def get(self, url: str) -> Response:
        """GET; errors as `post`."""
        return await self._request("GET", url, None, None)

    async def _request(self, method: str, url: str, data: bytes | None, headers: Mapping[str, str] | None) -> Response:
        try:
            async with self._session.request(method, url, data=data, headers=headers) as response:
                return Response(response.status, response.headers, await response.read())
        except TimeoutError:
            raise RetryableError("timeout", f"{url}: no answer in time") from None
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or str(error.os_error)
            raise RetryableError("connection", f"{url}: can't connect: {reason}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise RetryableError(
                "connection", f"{url}: the connection broke: {str(error) or type(error).__name__}"
            ) from None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def excerpt(body: bytes, length: int = 120) -> str:
    """The beginning of a body, on one line, for a message."""
    text = " ".join(body[: 4 * length].decode("utf-8", "replace").split())
    return repr(text if len(text) <= length else text[:length] + "...")
