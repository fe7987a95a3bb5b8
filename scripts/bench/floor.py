"""What runner.py measures against: the best simple loop, and the stub's own speed.

    python scripts/bench/floor.py URL PROMPTS OUTPUT --workers 256
    python scripts/bench/floor.py URL --raw --calls 50000

Must not know: the package. The floor is a bare aiohttp loop on uvloop: so many workers, orjson, one line appended to
OUTPUT per reply; no retry, no limiter, no resume, no grades. `--raw` sends the same bytes over bare sockets and prints
replies per second: how fast the stub is when the client costs next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import orjson
import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator


def bodies(prompts: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The requests, numbered."""
    with prompts.open("rb") as file:
        for number, line in enumerate(file):
            messages = [{"role": "user", "content": orjson.loads(line)["prompt"]}]
            body = {"model": "stub", "messages": messages, "seed": number, "stream": False, "max_tokens": 1024}
            yield number, body


async def floor(url: str, prompts: Path, output: Path, workers: int) -> None:
    """Ask everything once."""
    work = bodies(prompts)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=workers),
        headers={"Content-Type": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:

        async def worker() -> None:
            for number, body in work:
                async with session.post(f"{url}/v1/chat/completions", data=orjson.dumps(body)) as response:
                    reply = orjson.loads(await response.read())
                row = {"key": number, "text": reply["choices"][0]["message"]["content"], "usage": reply["usage"]}
                os.write(file, orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

        await asyncio.gather(*(worker() for _ in range(workers)))
    os.close(file)


class Hammer(asyncio.Protocol):
    """One bare connection: writes the same request again when a reply has come."""

    def __init__(self, request: bytes, left: list[int], done: asyncio.Event) -> None:
        self._request = request
        self._left = left
        self._done = done
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has classes of its own
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 (a reply of the stub is one write: one piece)
        """Count a reply, and go on."""
        self._left[0] -= 1
        if self._left[0] > 0:
            self._transport.write(self._request)
        else:
            self._done.set()


async def hammer(url: str, calls: int, connections: int) -> float:
    """Replies per second."""
    body = orjson.dumps({"model": "stub", "messages": [{"role": "user", "content": "What is 3 + 4? " * 20}]})
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: stub\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    host, _, port = url.removeprefix("http://").partition(":")
    left, done = [calls], asyncio.Event()
    started = time.perf_counter()
    made = [
        await asyncio.get_running_loop().create_connection(lambda: Hammer(request, left, done), host, int(port))
        for _ in range(connections)
    ]
    await done.wait()
    seconds = time.perf_counter() - started
    for transport, _ in made:
        transport.abort()
    return calls / seconds


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("prompts", type=Path, nargs="?")
    parser.add_argument("output", type=Path, nargs="?")
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--calls", type=int, default=50_000)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.raw:
            print(runner.run(hammer(options.url, options.calls, 64)))
        else:
            runner.run(floor(options.url, options.prompts, options.output, options.workers))


if __name__ == "__main__":
    main()
