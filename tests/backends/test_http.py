from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.backends.http import Response, Transport
from eli5b_batch.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]
    Forward = Callable[[float], None]
    RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SECRET = "tgp_v1_0123456789abcdef"


async def failure(request: Awaitable[object]) -> RetryableError:
    with pytest.raises(RetryableError) as caught:
        await request
    return caught.value


async def raw(answer: bytes) -> tuple[asyncio.Server, str]:
    """Start a server that answers its first bytes with `answer` and hangs up; return the server and its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_post_sends_the_body_as_json_with_the_headers_of_the_session_and_of_the_call(
    host: Host, connect: Connect
) -> None:
    requests: list[tuple[str, str, dict[str, str], bytes]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        requests.append((request.method, request.path, headers, await request.read()))
        return web.json_response({"ok": True}, status=201, headers={"x-request-id": "abc"})

    transport = connect(headers={"Authorization": f"Bearer {SECRET}"})
    response = await transport.post(f"{await host(handler)}/a/b", {"text": "x\u2028y", "n": 1}, {"x-eli5b-call": "key"})
    method, path, headers, body = requests[0]
    assert (method, path) == ("POST", "/a/b")
    assert body == '{"text":"x\u2028y","n":1}'.encode()
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["x-eli5b-call"] == "key"
    assert (response.status, response.headers["X-Request-Id"], response.json()) == (201, "abc", {"ok": True})


async def test_a_get_sends_no_body(host: Host, connect: Connect) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return web.json_response([request.method, request.path, (await request.read()).decode()])

    response = await connect().get(f"{await host(handler)}/models")
    assert response.json() == ["GET", "/models", ""]


async def test_a_refused_connection_is_named_with_its_address(connect: Connect, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/x"
    error = await failure(connect().post(url, {}))
    assert error.kind == "connection"
    assert error.status is None
    assert str(error) == f"{url}: can't connect: Connection refused"


@pytest.mark.parametrize("url", ["http://[::1/", "http://127.0.0.1:99999/", "http:///x", "http://a b/"])
async def test_an_impossible_address_is_a_failed_connection(url: str, connect: Connect) -> None:
    error = await failure(connect().get(url))
    assert error.kind == "connection"
    assert url in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"cut',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cut\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{"a"',
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
    ids=["nothing", "not http", "cut body", "cut chunk", "no gzip", "endless header", "tls alert"],
)
async def test_a_connection_that_breaks_or_speaks_no_http_is_a_failed_connection(
    answer: bytes, connect: Connect
) -> None:
    server, url = await raw(answer)
    async with server:
        error = await failure(connect(headers={"Authorization": f"Bearer {SECRET}"}).post(url, {}))
    assert error.kind == "connection"
    assert str(error).startswith(f"{url}: the connection broke: ")
    assert "\n" not in str(error)
    assert len(str(error)) < 400


async def test_a_server_that_echoes_the_request_can_not_put_the_key_into_a_message(connect: Connect) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(65536))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        error = await failure(connect(headers={"Authorization": f"Bearer {SECRET}"}).post(url, {}))
    assert error.kind == "connection"
    assert SECRET not in str(error)


class Silent:
    """A handler that never answers; it sends at most `beginning`. `arrived` is set when a request has come."""

    def __init__(self, beginning: bytes = b"") -> None:
        self.arrived = asyncio.Event()
        self._beginning = beginning

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._beginning:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(self._beginning)
        self.arrived.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("beginning", [b"", b'{"begun": '], ids=["nothing", "half a body"])
@pytest.mark.parametrize(
    ("session_s", "deadline_s"), [(9000, 3600), (3600, 9000), (3600, math.inf)], ids=["deadline", "session", "none"]
)
async def test_a_server_that_does_not_answer_in_full_is_a_timeout_by_the_deadline_or_the_sessions_if_that_is_earlier(
    host: Host, connect: Connect, forward: Forward, session_s: float, deadline_s: float, *, beginning: bytes
) -> None:
    silent = Silent(beginning)
    url = await host(silent)
    asking = asyncio.create_task(failure(connect(timeout_s=session_s).post(url, {}, deadline_s=deadline_s)))
    async with asyncio.timeout(60):
        await silent.arrived.wait()
    forward(3000)
    await settle()
    assert not asking.done()
    forward(601)  # aiohttp's deadlines are at whole seconds
    async with asyncio.timeout(60):
        error = await asking
    assert (error.kind, str(error)) == ("timeout", f"{url}: no answer in time")


async def settle() -> None:
    """Let the loop turn until every task waits for something outside of it."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_cancelled_request_hangs_up_so_that_the_server_can_stop(host: Host, connect: Connect) -> None:
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(_request: web.BaseRequest) -> web.Response:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    task = asyncio.create_task(connect().post(await host(handler), {}))
    await arrived.wait()
    task.cancel()
    async with asyncio.timeout(60):
        await cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_redirect_is_not_followed_with_the_prompt_and_the_key(host: Host, connect: Connect) -> None:
    visited: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        visited.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    response = await connect().post(f"{await host(handler)}/here", {})
    assert response.status == 307
    assert visited == ["/here"]


async def test_cookies_are_not_kept(host: Host, connect: Connect) -> None:
    cookies: list[str | None] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "session=1"})

    url, transport = await host(handler), connect()
    await transport.get(url)
    await transport.get(url)
    assert cookies == [None, None]


async def test_a_reply_of_ten_megabytes_arrives_whole(host: Host, connect: Connect) -> None:
    text = "pi \u2028 " * 2_000_000

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=orjson.dumps({"text": text}))

    response = await connect().get(await host(handler))
    assert len(response.body) > 10_000_000
    assert response.json() == {"text": text}
    assert len(response.excerpt()) < 200


async def test_as_many_requests_are_in_flight_as_there_are_connections(host: Host, connect: Connect) -> None:
    everyone = asyncio.Barrier(64)

    async def handler(_request: web.BaseRequest) -> web.Response:
        await everyone.wait()
        return web.Response()

    url, transport = await host(handler), connect(connections=64)
    async with asyncio.timeout(60):
        responses = await asyncio.gather(*(transport.post(url, {}) for _ in range(64)))
    assert [r.status for r in responses] == [200] * 64


async def test_connections_are_kept_and_used_again(host: Host, connect: Connect) -> None:
    peers: set[object] = set()

    async def handler(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    url, transport = await host(handler), connect(connections=3)
    for _ in range(5):
        await asyncio.gather(*(transport.post(url, {}) for _ in range(3)))
    assert len(peers) == 3


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>\n <body>Bad  gateway</body>", "a page of HTML: '<html> <body>Bad gateway</body>'"),
        (b"", "an empty body: ''"),
        (b"\xff", "something that is not JSON: '\ufffd'"),
        (b'{"cut": "her', 'JSON that breaks off after 12 characters: \'{"cut": "her\''),
        (b"x" * 5000, f"something that is not JSON: '{'x' * 120}...'"),
    ],
)
def test_a_body_that_is_not_json_is_shown_short_and_on_one_line(body: bytes, reason: str) -> None:
    with pytest.raises(RetryableError) as caught:
        Response(502, {}, body).json()
    assert caught.value.kind == ("server_error" if "page" in reason else "bad_reply")
    assert str(caught.value) == f"the server answered 502 with {reason}"


@given(before=st.text(max_size=600), after=st.text(max_size=600))
def test_no_part_of_a_secret_is_left_by_a_cut(before: str, after: str) -> None:
    answer = f"{before} {SECRET} {after}"
    response = Response(400, {}, answer.encode(), [SECRET])
    for message in (response.excerpt(), response.quote(answer)):
        assert SECRET[:8] not in message
    assert len(response.quote(answer)) <= 300


def test_without_a_secret_everything_is_quoted_as_it_is() -> None:
    response = Response(400, {}, b"plain\nwords")
    assert (response.quote("plain\nwords"), response.excerpt()) == ("plain words", "'plain words'")
