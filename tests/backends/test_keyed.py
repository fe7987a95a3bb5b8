"""keyed.py: requests carry the key that is in use; an expired key is renewed while calls are in flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.keyed import KeyedTransport, RenewingBackend
from eli5b_batch.backends.keys import FRESH_S, PrintedKey
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import CallError, KeyRefusedError, ProviderRefusedError
from eli5b_batch.job.schema import Simulation
from eli5b_batch.simulated.model import SimulatedModel
from eli5b_batch.simulated.openai import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]

FAST = Simulation(latency_s=0, tokens_per_s=1e9)
MODEL = "org/m"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A client, a simulated API whose key changes, and a program that prints the client's key from a file."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.text, self._runs = folder / "key.txt", folder / "runs.txt"
        self._runs.touch()
        self.prints("key-1")
        self.api = SimulatedAPI(SimulatedModel({}, {"m": MODEL}, FAST, seed=0), FAST, api_key="key-1")
        self.refusals = 0
        command = ["sh", "-c", f"echo ran >> {self._runs}; cat {self.text}"]
        self.secrets = ["seven"]
        key = PrintedKey(command, "providers.api.api_key_command", self.clock, self.secrets)
        self.transport = KeyedTransport(16, 5.0, {"X-Team": "seven"}, key)
        self.url = ""
        self._key = key

    def open(self, url: str) -> None:
        self.url = url
        client = OpenAIBackend(
            "api", f"{url}/v1", secrets=self.secrets, key_env="the output of api_key_command", transport=self.transport
        )
        self.backend = RenewingBackend(client, self._key)

    def prints(self, key: str) -> None:
        self.text.write_text(key)

    def takes(self, key: str) -> None:
        self.api._authorization = f"Bearer {key}"

    @property
    def runs(self) -> int:
        return self._runs.read_text().count("ran")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["X-Team"] == "seven"
        assert isinstance(request, web.Request)
        response = await self.api.answer(request)
        self.refusals += response.status == 401
        return response

    async def chat(self, text: str = "1 + 1?") -> ChatReply:
        request = ChatRequest("", MODEL, [{"role": "user", "content": text}], {"max_tokens": 9}, 7)
        return await self.backend.chat(request, f"{self.url}/v1")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", made.answer)
    app.router.add_get("/v1/models", made.api._list_models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.open(f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield made
    await made.backend.close()
    await runner.cleanup()


async def test_the_key_is_asked_for_at_the_first_request_and_sent_with_each(desk: Desk) -> None:
    assert desk.runs == 0
    for _ in range(3):
        assert (await desk.chat()).text.startswith("SIMULATED")
    assert (desk.runs, desk.refusals) == (1, 0)


async def test_a_key_that_has_worked_and_runs_out_is_renewed_once_and_every_refused_call_is_answered(
    desk: Desk,
) -> None:
    await desk.chat()
    desk.takes("key-2")
    desk.prints("key-2")
    replies = await asyncio.gather(*(desk.chat(f"{n} + 1?") for n in range(12)))
    assert [reply.text.startswith("SIMULATED") for reply in replies] == [True] * 12
    assert desk.runs == 2
    assert 1 <= desk.refusals <= 12


async def test_a_key_can_run_out_again_and_again(desk: Desk) -> None:
    for n in range(1, 5):
        desk.takes(f"key-{n}")
        desk.prints(f"key-{n}")
        await desk.chat()
    assert (desk.runs, desk.refusals) == (4, 3)


async def test_a_fresh_key_that_is_refused_stops_at_once_and_says_where_it_comes_from(desk: Desk) -> None:
    desk.takes("key-9")
    with pytest.raises(KeyRefusedError, match="set the output of api_key_command to a valid key") as caught:
        await desk.chat()
    assert "key-1" not in str(caught.value)
    assert (desk.runs, desk.refusals) == (1, 1)


async def test_a_key_that_has_never_worked_is_renewed_when_it_is_old(desk: Desk) -> None:
    desk.takes("key-2")
    await desk._key.value()
    desk.prints("key-2")
    desk.clock.now += FRESH_S + 1
    await desk.chat()
    assert (desk.runs, desk.refusals) == (2, 1)


async def test_a_renewed_key_that_is_refused_as_well_stops(desk: Desk) -> None:
    await desk.chat()
    desk.takes("key-9")
    desk.prints("key-2")
    with pytest.raises(ProviderRefusedError, match="the key was refused"):
        await desk.chat()
    assert (desk.runs, desk.refusals) == (2, 2)


async def test_the_list_of_models_needs_the_key_and_does_not_prove_that_it_works(desk: Desk) -> None:
    assert list(await desk.backend.reach([MODEL])) == [MODEL]
    desk.takes("key-2")
    desk.prints("key-2")
    with pytest.raises(KeyRefusedError):
        await desk.chat()
    assert desk.runs == 1


async def test_no_message_quotes_the_key_that_was_sent_or_a_header(host: Host, tmp_path: Path) -> None:
    async def echo(request: web.BaseRequest) -> web.Response:
        message = f"bad: {request.headers['Authorization']} {request.headers['X-Team']}"
        return web.json_response({"error": {"message": message}}, status=400)

    desk = Desk(tmp_path)
    desk.open(await host(echo))
    with pytest.raises(CallError, match=r"400: bad: Bearer \*\*\* \*\*\*$"):
        await desk.chat()
    await desk.backend.close()
