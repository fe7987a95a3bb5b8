"""The servers of runner.py: a raw asyncio protocol on uvloop that speaks as much of two wires as a runner needs.

    python scripts/bench/stub.py LOG < specification

Must not know: who measures what. The first line of stdin is a JSON list of `Spec`s; the addresses come back as one JSON
line; when stdin closes, what each server saw is written to LOG and the process ends. Rate limits are counted per second
with a small burst (1.25 s worth and one more), as API accounts are; a limit's time, outages and refusals are counted
from a server's first chat request. A prompt's tokens are a quarter of the request's bytes, times a factor that depends
on its text if `token_spread` is set; replies are always the same text of about 1 kB.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

import orjson
import uvloop

from measure import GONE, OK, TOO_MANY, Schedule, Seen

TEXT: Final = "Let x be the number we look for; both conditions say that it is odd and larger than five. " * 8
TEXT_JSON: Final = orjson.dumps(f"{TEXT}\nThe final answer is \\boxed{{7}}.")
OUTPUT_TOKENS: Final = len(TEXT_JSON) // 4
_BURST_S: Final = 1.25
_REASONS: Final = {OK: b"OK", TOO_MANY: b"Too Many Requests", 503: b"Service Unavailable", 404: b"Not Found"}


@dataclass(frozen=True)
class Spec:
    """One server.

    Args:
        name: in the log and among the addresses.
        wire: what it speaks.
        latency_s: from a request to its reply.
        limit: (seconds, per minute from then on), the first at 0; None for no limit.
        counts: what the limit counts.
        tells: the limit stands in the headers of every reply, and a 429 says when to come back.
        storm: from this second on, so many chat requests in a row are refused with 429.
        outage: from this second on, for so many seconds, connections are refused, or requests answered 503.
        token_spread: prompts have up to this factor more or fewer tokens than a quarter of their bytes.
    """

    name: str
    wire: Literal["openai", "ollama"] = "openai"
    latency_s: float = 0.0
    limit: list[tuple[float, float]] | None = None
    counts: Literal["requests", "tokens"] = "requests"
    tells: bool = False
    storm: tuple[float, int] | None = None
    outage: tuple[float, float, Literal["refuse", "503"]] | None = None
    token_spread: float = 1.0
    models: list[str] = field(default_factory=lambda: ["stub"])


class Allowance:
    """What a limit leaves: a bucket that fills as the schedule says and may go into debt."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._level = self._most(0.0)
        self._at = 0.0

    def _most(self, now: float) -> float:
        return max(2.0, self._schedule.rate_at(now) * _BURST_S + 1)

    def left(self, now: float) -> float:
        """Units that may be taken now."""
        self._level = min(self._most(now), self._level + self._schedule.integral(self._at, now))
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        """Count `amount`, now."""
        self._level -= amount

    def headers(self, now: float, kind: str) -> bytes:
        """The limit as Together's headers tell it: per second, what is left, whole seconds to wait."""
        rate, left = self._schedule.rate_at(now), self.left(now)
        wait = math.ceil(max(0.0, 1 - left) / rate)
        return (
            f"x-{kind}-limit: {rate:g}\r\nx-{kind}-remaining: {max(0, int(left))}\r\nx-ratelimit-reset: {wait}\r\n"
        ).encode()


class Stub:
    """One server: decides on each chat request, keeps the log, and comes and goes as its outage says."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.log: list[Seen] = []
        self.connections: set[Wire] = set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._began: float | None = None
        self._allowance = Allowance(Schedule(spec.limit)) if spec.limit else None
        self._storm_left = spec.storm[1] if spec.storm else 0
        self._kind = "ratelimit" if spec.counts == "requests" else "tokenlimit"

    async def open(self) -> None:
        """Listen; at the port of before, if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Wire(self), "127.0.0.1", self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more and break every connection."""
        if self._server is not None:
            self._server.close()
        for wire in list(self.connections):
            wire.transport.abort()

    def since_start(self, now: float) -> float:
        """Seconds since the first chat request, which this may be."""
        if self._began is None:
            self._began = now
            if self.spec.outage and self.spec.outage[2] == "refuse":
                loop = asyncio.get_running_loop()
                loop.call_later(self.spec.outage[0], self.close)
                loop.call_later(self.spec.outage[0] + self.spec.outage[1], self._reopen)
        return now - self._began

    def _reopen(self) -> None:
        self._opening = asyncio.ensure_future(self.open())

    def status(self, now: float, tokens: int) -> int:
        """Whether a chat request that comes `now` (seconds since the first) is let through; if so, it is counted."""
        outage, storm = self.spec.outage, self.spec.storm
        if outage and outage[0] <= now < outage[0] + outage[1]:
            return 503
        if storm and now >= storm[0] and self._storm_left:
            self._storm_left -= 1
            return TOO_MANY
        if self._allowance is not None:
            if self._allowance.left(now) < 1:
                return TOO_MANY
            self._allowance.take(1 if self.spec.counts == "requests" else tokens)
        return OK

    def headers(self, now: float) -> bytes:
        """What every reply says of the limit."""
        return self._allowance.headers(now, self._kind) if self._allowance and self.spec.tells else b""

    def tokens(self, body: bytes) -> int:
        """Tokens of a prompt."""
        tokens = len(body) / 4
        if self.spec.token_spread > 1:
            tokens *= self.spec.token_spread ** (zlib.crc32(body) / 2**31 - 1)
        return max(1, int(tokens))

    def completion(self, prompt_tokens: int) -> bytes:
        """The reply to a chat request."""
        if self.spec.wire == "ollama":
            return (
                b'{"model":"stub","created_at":"2026-11-21T01:00:00Z","message":{"role":"assistant","content":%b},'
                b'"done_reason":"stop","done":true,"total_duration":%d,"load_duration":1,"prompt_eval_count":%d,'
                b'"prompt_eval_duration":1,"eval_count":%d,"eval_duration":%d}'
            ) % (TEXT_JSON, nanos := int(self.spec.latency_s * 1e9) + 1, prompt_tokens, OUTPUT_TOKENS, nanos)
        return (
            b'{"id":"stub","object":"chat.completion","created":1,"model":"stub","choices":[{"index":0,"message":'
            b'{"role":"assistant","content":%b},"finish_reason":"stop"}],'
            b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}'
        ) % (TEXT_JSON, prompt_tokens, OUTPUT_TOKENS, prompt_tokens + OUTPUT_TOKENS)

    def page(self, path: bytes) -> dict[str, Any] | None:
        """What else a client asks for before a run."""
        details = {"family": "stub", "parameter_size": "1B", "quantization_level": "Q8_0"}
        rows = [{"name": m, "model": m, "size": 1, "digest": "0" * 64, "details": details} for m in self.spec.models]
        pages: dict[bytes, dict[str, Any]] = {
            b"/v1/models": {"object": "list", "data": [{"id": m} for m in self.spec.models]},
            b"/api/version": {"version": "0.33.0"},
            b"/api/tags": {"models": rows},
            b"/api/ps": {"models": []},
            b"/api/show": {"details": details, "model_info": {}},
        }
        return pages.get(path)


class Wire(asyncio.Protocol):
    """One connection: HTTP/1.1 with Content-Length, kept alive."""

    def __init__(self, stub: Stub) -> None:
        self.transport: asyncio.Transport
        self._stub = stub
        self._buffer = b""
        self._due: tuple[asyncio.TimerHandle, float, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop has classes of its own
        self._stub.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """It went, perhaps before its reply."""
        self._stub.connections.discard(self)
        if self._due is not None:
            handle, arrived, tokens = self._due
            handle.cancel()
            self._stub.log.append(Seen(arrived, time.monotonic(), GONE, tokens))

    def data_received(self, data: bytes) -> None:
        """Some bytes of requests."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length, at = 0, head.lower().find(b"content-length:")
            if at >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._request(head.split(b" ", 2)[1], body)

    def _request(self, path: bytes, body: bytes) -> None:
        if not path.endswith((b"/chat/completions", b"/api/chat")):
            page = self._stub.page(path)
            self._write(OK if page else 404, b"", orjson.dumps(page))
            return
        arrived, prompt = time.monotonic(), self._stub.tokens(body)
        now, tokens = self._stub.since_start(arrived), prompt + OUTPUT_TOKENS
        status = self._stub.status(now, tokens)
        if status != OK:
            what = {TOO_MANY: f"dynamic_{self._stub.spec.counts[:-1]}_limited"}.get(status, "server_error")
            error = {"error": {"message": "refused by the stub", "type": what}, "error_type": what}
            self._stub.log.append(Seen(arrived, arrived, status, 0))
            self._write(status, self._stub.headers(now), orjson.dumps(error))
        elif self._stub.spec.latency_s:
            handle = asyncio.get_running_loop().call_later(
                self._stub.spec.latency_s, self._answer, arrived, now, prompt
            )
            self._due = handle, arrived, tokens
        else:
            self._answer(arrived, now, prompt)

    def _answer(self, arrived: float, now: float, prompt: int) -> None:
        self._due = None
        replied = time.monotonic()
        self._write(OK, self._stub.headers(now + replied - arrived), self._stub.completion(prompt))
        self._stub.log.append(Seen(arrived, replied, OK, prompt + OUTPUT_TOKENS))

    def _write(self, status: int, headers: bytes, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
            % (status, _REASONS[status], headers, len(body), body)
        )


async def serve(specs: list[Spec]) -> bytes:
    """Serve until stdin closes.

    Returns:
        By server, what it saw, as JSON.
    """
    stubs = [Stub(spec) for spec in specs]
    for stub in stubs:
        await stub.open()
    sys.stdout.buffer.write(
        orjson.dumps({s.spec.name: f"http://127.0.0.1:{s.port}" for s in stubs}, option=orjson.OPT_APPEND_NEWLINE)
    )
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    for stub in stubs:
        stub.close()
    await asyncio.sleep(0)
    return orjson.dumps({s.spec.name: sorted(s.log) for s in stubs}, default=list)


def main() -> None:
    """Read what to be, and be it."""
    specs = [Spec(**fields) for fields in orjson.loads(sys.stdin.buffer.readline())]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Path(sys.argv[1]).write_bytes(runner.run(serve(specs)))


if __name__ == "__main__":
    main()
