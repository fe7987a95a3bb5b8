"""ledger.py: the servers' own books, against what clients really saw."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from eli5b_batch.data.problem import Problem
from eli5b_batch.job.schema import Job, Simulation
from eli5b_batch.records import make_key
from eli5b_batch.simulated.ledger import Ledger
from eli5b_batch.simulated.model import BookEntry, SimulatedModel
from eli5b_batch.simulated.ollama import SimulatedOllama
from eli5b_batch.simulated.openai import SimulatedAPI
from eli5b_batch.simulated.process import simulated_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}
KEY = make_key("p", "answer", "m", {"hint": "none", "hint_for": "any", "sample": 0})
BODY = {"model": "m", "messages": [{"role": "user", "content": "6 times 7?"}], "stream": False}


def simulation(**fields: object) -> Simulation:
    return Simulation.model_validate({"latency_s": 0, "tokens_per_s": 1e9, **fields})


@asynccontextmanager
async def serving(wire: str, ledger: Ledger, **faults: object) -> AsyncIterator[str]:
    """A server that keeps books; gives the address of its chats."""
    how = simulation(**faults)
    mind = SimulatedModel({"p": BookEntry("6 times 7?", "42", 1.0)}, {"m": "m"}, how, seed=0)
    app = SimulatedAPI(mind, how).app() if wire == "openai" else SimulatedOllama(mind, how, ["m"], 2).app()
    app.middlewares.insert(0, ledger.middleware("api"))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{PATHS[wire]}"
    finally:
        await runner.cleanup()


async def ask(session: aiohttp.ClientSession, url: str, body: object = BODY) -> bytes:
    async with session.post(url, json=body, headers={"x-eli5b-call": KEY}) as response:
        return await response.read()


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def booked(path: Path, count: int) -> list[dict[str, Any]]:
    """The lines, once there are `count` of them: a client may have its reply before the server has booked it."""
    async with asyncio.timeout(60):
        while len(found := lines(path)) < count:  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.002)
    return found


@pytest.mark.parametrize("wire", PATHS)
async def test_a_reply_is_booked_once_it_is_out(wire: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    before = time.time()
    async with serving(wire, Ledger(path)) as url, aiohttp.ClientSession() as session:
        await ask(session, url)
        (line,) = await booked(path, 1)
        assert before <= line.pop("t") <= time.time()
        assert line.pop("tokens") > 0
        assert line.pop("peer") > 1023
        assert line == {"server": "api", "key": KEY, "status": 200, "delivered": True, "fault": None}
        await session.get(url.replace("chat", "other"))
        await ask(session, url, {**BODY, "model": "unknown"})
        *_, refused = await booked(path, 2)
    assert (len(lines(path)), refused["status"], refused["delivered"], refused["tokens"]) == (2, 404, True, 0)


@pytest.mark.parametrize("wire", PATHS)
@pytest.mark.parametrize(
    ("fault", "status", "delivered", "worked"),
    [
        ("drop", 503, False, False),
        ("lost", 200, False, True),
        ("garbage", 200, True, True),
        ("empty", 200, True, True),
    ],
)
async def test_faults_are_booked_with_the_work_done(
    wire: str, fault: str, status: int, *, delivered: bool, worked: bool, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.jsonl"
    rates: dict[str, object] = {f"{fault}_rate": 1.0}
    async with serving(wire, Ledger(path), **rates) as url, aiohttp.ClientSession() as session:
        if delivered:
            await ask(session, url)
        else:
            with pytest.raises(aiohttp.ClientError):
                await ask(session, url)
        (line,) = await booked(path, 1)
    assert (line["status"], line["delivered"], line["tokens"] > 0) == (status, delivered, worked)
    assert line["fault"] == fault


@pytest.mark.parametrize("wire", PATHS)
async def test_a_reply_that_hangs_has_begun_and_is_booked_when_the_client_leaves(wire: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with serving(wire, Ledger(path), hang_rate=1.0) as url, aiohttp.ClientSession() as session:
        async with session.post(url, json=BODY) as response:
            assert await response.content.read(1) == b"{"
            assert lines(path) == []
        (line,) = await booked(path, 1)
    assert (line["status"], line["delivered"], line["fault"], line["key"]) == (499, False, "hang", "")
    assert line["tokens"] > 0


async def test_a_late_reply_is_a_reply(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    late = serving("openai", Ledger(path), late_rate=1.0, late_s=0.01)
    async with late as url, serving("openai", Ledger(path)) as other, aiohttp.ClientSession() as session:
        answers = [orjson.loads(await ask(session, address))["choices"] for address in (url, other)]
        first, second = await booked(path, 2)
    assert answers[0] == answers[1]
    assert (first["fault"], first["delivered"], second["fault"]) == ("late", True, None)


@pytest.mark.parametrize("wire", PATHS)
async def test_what_is_sent_to_a_client_that_has_closed_is_not_delivered(
    wire: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's loop has not heard of it when it writes: the kernel has."""
    path = tmp_path / "ledger.jsonl"
    async with serving(wire, Ledger(path)) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        real = SimulatedModel.reply

        def close_first(*args: Any) -> Any:  # noqa: ANN401 (passed on)
            writer.get_extra_info("socket")._sock.close()
            return real(*args)

        monkeypatch.setattr(SimulatedModel, "reply", close_first)
        body = orjson.dumps(BODY)
        head = f"POST {PATHS[wire]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nx-eli5b-call: {KEY}\r\n\r\n"
        writer.write(head.encode() + body)
        (line,) = await booked(path, 1)
        writer.transport.abort()
    assert (line["key"], line["delivered"]) == (KEY, False)


async def test_a_process_of_servers_keeps_one_ledger_and_the_ports_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    tree = {
        "name": "small",
        "data": {"reader": "quickstart"},
        "providers": {
            "api": {"api": "simulated", "limits": {}},
            "gpus": {"api": "simulated", "slots": [{"gpu": 0}, {"gpu": 1}]},
        },
        "models": {"big": {"provider": "api", "model": "m"}, "1b": {"provider": "gpus", "model": "m"}},
    }
    job, problems = Job.model_validate(tree), [Problem(id="p", text="6 times 7?", answer="42", difficulty=1.0)]
    ports: dict[str, list[int]] = {}
    for _ in range(2):  # the second time on the ports of the first
        async with (
            simulated_servers(job, problems, ledger=path, ports=ports) as urls,
            aiohttp.ClientSession() as session,
        ):
            assert not ports or ports == {name: [port_of(url) for url in found] for name, found in urls.items()}
            ports = {name: [port_of(url) for url in found] for name, found in urls.items()}
            await ask(session, urls["api"][0] + PATHS["openai"])
            for url in urls["gpus"]:
                await ask(session, url + PATHS["ollama"])
    assert [line["server"] for line in lines(path)] == ["api", "gpus/gpu0", "gpus/gpu1"] * 2


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
