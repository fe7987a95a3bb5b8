"""HTTP for both backends: one aiohttp session, responses and their bodies, failures in the package's own terms.

Must not know: what the bodies mean.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import orjson

from eli5b_batch.backends import bodies
from eli5b_batch.backends.masking import mask
from eli5b_batch.errors import RetryableError
from eli5b_batch.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECT_TIMEOUT_S: Final = 10.0
CONTROL_TIMEOUT_S: Final = 30.0

_LONGEST_REASON: Final = 200
_LONGEST_BODY: Final = 65536
"""Most characters of an unreadable body that are recorded."""


class Response(NamedTuple):
    """Status, headers and body of an answered request; no message may quote any of `secrets`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: Sequence[str] = ()

    @property
    def text(self) -> str:
        """The body decoded as text, whether it is text or not."""
        return bodies.text_of(self.body, bodies.charset(self._content_type))

    @property
    def is_page(self) -> bool:
        """True if a body that is no JSON is a page of HTML, such as proxies send."""
        return bodies.is_page(self.text, self._content_type)

    @property
    def _content_type(self) -> str:
        return self.headers.get("content-type", "")

    def json(self) -> Any:  # noqa: ANN401 (JSON)
        """Return the body's JSON value.

        Raises:
            RetryableError: the body is no JSON, such as a proxy's error page.
        """
        try:
            return bodies.read(self.body, bodies.charset(self._content_type))
        except bodies.UnreadableBodyError as error:
            raise self.unreadable(f"the server answered {self.status} with {error}: {self.excerpt()}") from None

    def unreadable(self, reason: str) -> RetryableError:
        """Return the failure of a reply that can't be read; the call is worth sending again, and the body is recorded.

        A page of HTML does not come from the host's API but from something on the way, which fails or wants a login.
        """
        body = mask(self.text[:_LONGEST_BODY], self.secrets)
        kind = "server_error" if self.is_page else "bad_reply"
        return RetryableError(
            kind, self.quote(reason), status=self.status, partial={"reply": {"text": "", "body": body}}
        )

    def excerpt(self, length: int = 120) -> str:
        """Return the beginning of the body, on one line, for a message."""
        beginning = clean(mask(self.text[: 4 * length], self.secrets))
        return repr(beginning if len(beginning) <= length else beginning[:length] + "...")

    def quote(self, words: str, length: int = 300) -> str:
        """Return the server's words on one line, at most `length` characters, for a message.

        Secrets are masked before the text is cut, as a cut could leave a part of one.
        """
        return clean(mask(words, self.secrets))[:length]


class Transport:
    """A session with a pool of `connections`; made inside a running event loop.

    Args:
        connections: most requests in flight; the pool never bounds a caller that keeps to it.
        timeout_s: longest time for one request, connecting included.
        headers: sent with every request.
    """

    def __init__(self, connections: int, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        self._timeout_s = timeout_s
        self._timeout = _timeout(timeout_s)
        self._secrets = [value.removeprefix("Bearer ") for value in (headers or {}).values()]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, limit_per_host=0, keepalive_timeout=60),
            headers={"Content-Type": "application/json", **(headers or {})},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(
        self,
        url: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        deadline_s: float = math.inf,
    ) -> Response:
        """POST a JSON body; the time limit is `deadline_s` or the transport's own, whichever is shorter.

        Raises:
            RetryableError: class `timeout` or `connection`.
        """
        timeout = self._timeout if deadline_s >= self._timeout_s else _timeout(deadline_s)
        return await self._request("POST", url, orjson.dumps(body), headers, timeout)

    async def get(self, url: str, deadline_s: float = CONTROL_TIMEOUT_S) -> Response:
        """GET a resource within `deadline_s`, a shorter time, as no model works on it; errors as of `post`."""
        return await self._request("GET", url, None, None, _timeout(deadline_s))

    async def _request(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (handed to aiohttp, which keeps it)
    ) -> Response:
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                return Response(response.status, response.headers, await response.read())
        except aiohttp.ConnectionTimeoutError:
            raise RetryableError("connection", f"{url}: can't connect: no answer in time", unsent=True) from None
        except TimeoutError:
            raise RetryableError("timeout", f"{url}: no answer in time") from None
        except aiohttp.ClientConnectorError as error:
            raise RetryableError(
                "connection", f"{url}: can't connect: {_reason(error.os_error)}", unsent=True
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            # aiohttp quotes what it could not read, which may be the request that a broken server sends back
            reason = clean(mask(str(error), self._secrets))[:_LONGEST_REASON] or type(error).__name__
            raise RetryableError("connection", f"{url}: the connection broke: {reason}") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def _timeout(total_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_TIMEOUT_S)


def _reason(error: OSError) -> str:
    words = error.strerror or str(error)
    return os.strerror(error.errno) if error.errno and words.startswith("Connect call failed") else words
