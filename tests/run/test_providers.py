"""providers.py: from the job's providers to dispatchers, each with the clients, keys and limits of its members."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.charges import Charges
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import JobError, ProviderDownError, ProviderRefusedError
from eli5b_batch.job.load import parse_job
from eli5b_batch.job.schema import PREFETCH
from eli5b_batch.run.providers import open_dispatchers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from eli5b_batch.dispatch.dispatcher import Dispatcher, Outcome
    from eli5b_batch.job.schema import Job

KEYS = {"FIRST_KEY": "sk-first", "SECOND_KEY": "sk-second"}
TWO: list[dict[str, Any]] = [
    {"name": "first", "api_key_env": "FIRST_KEY", "limits": {"concurrency": 3, "requests_per_minute": 6000}},
    {"name": "second", "api_key_env": "SECOND_KEY", "weight": 3.0},
]


def job(**provider: object) -> Job:
    told = {"api": "openai", "base_url": "http://127.0.0.1:9/v1", "limits": {"concurrency": 5}, **provider}
    return parse_job(
        {
            "name": "test",
            "data": {"reader": "quickstart"},
            "providers": {"api": told},
            "models": {"m": {"provider": "api", "model": "org/m", "price": "unknown"}},
        },
        "test.yaml",
    )


def dispatchers(chosen: Job, give_up_after_s: float = 1e9) -> AbstractAsyncContextManager[dict[str, Dispatcher]]:
    return open_dispatchers(
        chosen,
        [],
        providers=list(chosen.providers),
        budget=Budget(None),
        stop=Stop(),
        clock=asyncio.get_running_loop().time,
        give_up_after_s=give_up_after_s,
    )


async def send(dispatcher: Dispatcher, key: str = "p") -> Outcome:
    request = ChatRequest(key, "org/m", [{"role": "user", "content": "Why?"}], {"max_tokens": 10}, 7)
    return await dispatcher.send(request, 0, Charges({"": None}), lambda outcome: outcome)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("keys")
async def test_members_have_names_limits_weights_and_what_they_leave_out_from_the_provider() -> None:
    chosen = job(members=[*TWO, {"name": "third", "base_url": "http://127.0.0.1:8/v1/"}])
    async with dispatchers(chosen) as opened:
        dispatcher = opened["api"]
        assert list(dispatcher.backends) == ["first", "second", "third"]
        accounts: list[Any] = dispatcher.capacity._accounts  # type: ignore[attr-defined]
        assert [(a.name, a.base_url, a.weight, a.snapshot()["concurrency"]) for a in accounts] == [
            ("first", "http://127.0.0.1:9/v1", 1.0, 3),
            ("second", "http://127.0.0.1:9/v1", 3.0, 5),
            ("third", "http://127.0.0.1:8/v1", 1.0, 5),
        ]
        assert dispatcher.snapshot()["concurrency"] == chosen.places == 13


@pytest.mark.usefixtures("keys")
async def test_every_call_goes_out_with_the_key_of_the_member_it_is_sent_as(
    serve: Callable[[web.Application], str],
) -> None:
    seen: dict[str, list[str]] = {"/a/chat/completions": [], "/b/chat/completions": []}

    async def answer(request: web.Request) -> web.Response:
        seen[request.path].append(request.headers["Authorization"])
        choice = {"index": 0, "message": {"role": "assistant", "content": "2"}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})

    app = web.Application()
    for path in seen:
        app.router.add_post(path, answer)
    url = serve(app)
    members = [TWO[0] | {"base_url": f"{url}/a"}, TWO[1] | {"base_url": f"{url}/b"}]
    async with dispatchers(job(members=members)) as opened:
        outcomes = await asyncio.gather(*(send(opened["api"], f"{i}") for i in range(8)))
    assert {path: set(headers) for path, headers in seen.items()} == {
        "/a/chat/completions": {"Bearer sk-first"},
        "/b/chat/completions": {"Bearer sk-second"},
    }
    assert {outcome.place.slot for outcome in outcomes} == {"first", "second"}


class Echo:
    """A host that answers every request, and notes its headers and its body."""

    def __init__(self) -> None:
        self.seen: list[tuple[Mapping[str, str], dict[str, Any]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append((request.headers, orjson.loads(await request.read())))
        choice = {"index": 0, "message": {"role": "assistant", "content": "2"}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        return app


@pytest.mark.usefixtures("keys")
async def test_headers_are_sent_with_every_request_and_fields_left_off_as_each_member_says(
    serve: Callable[[web.Application], str],
) -> None:
    here, there = Echo(), Echo()
    members = [
        {"name": "here", "base_url": f"{serve(here.app())}/v1", "headers_env": {"Authorization": "FIRST_KEY"}},
        {"name": "there", "base_url": f"{serve(there.app())}/v1", "headers_env": {"X-Key": "SECOND_KEY"}, "omit": []},
    ]
    async with dispatchers(job(members=members, omit=["seed"])) as opened:
        await asyncio.gather(*(send(opened["api"], f"{i}") for i in range(6)))
    assert {headers["Authorization"] for headers, _ in here.seen} == {"sk-first"}
    assert {headers["X-Key"] for headers, _ in there.seen} == {"sk-second"}
    assert not any("Authorization" in headers for headers, _ in there.seen)
    assert not any("seed" in body for _, body in here.seen)
    assert {body["seed"] for _, body in there.seen} == {7}


async def test_each_member_is_asked_by_its_own_id_of_the_model(serve: Callable[[web.Application], str]) -> None:
    here, there = Echo(), Echo()
    members = [
        {"name": "here", "base_url": f"{serve(here.app())}/v1"},
        {"name": "there", "base_url": f"{serve(there.app())}/v1", "models": {"m": {"model": "m-fp8"}}},
    ]
    async with dispatchers(job(members=members)) as opened:
        await asyncio.gather(*(send(opened["api"], f"{i}") for i in range(6)))
    assert {body["model"] for _, body in here.seen} == {"org/m"}
    assert {body["model"] for _, body in there.seen} == {"m-fp8"}


async def test_a_variable_that_a_header_needs_is_asked_for_before_anything_is_sent() -> None:
    with pytest.raises(JobError, match=r"^providers\.api\.headers_env\.X-Key: the environment has no NO_SUCH_KEY"):
        async with dispatchers(job(headers_env={"X-Key": "NO_SUCH_KEY"})):
            pass


@pytest.mark.usefixtures("keys")
async def test_each_member_has_the_key_that_its_own_program_prints(serve: Callable[[web.Application], str]) -> None:
    hosts = [Echo(), Echo(), Echo()]
    members: list[dict[str, Any]] = [
        {"name": f"{n}", "base_url": f"{serve(host.app())}/v1"} for n, host in enumerate(hosts)
    ]
    members[0] |= {"api_key_command": ["echo", "printed-0"]}
    members[1] |= {"api_key_command": ["echo", "printed-1"], "headers_env": {"X-Key": "SECOND_KEY"}}
    async with dispatchers(job(members=members, api_key_env="FIRST_KEY")) as opened:
        await asyncio.gather(*(send(opened["api"], f"{i}") for i in range(9)))
    sent = [{(h.get("Authorization"), h.get("X-Key")) for h, _ in host.seen} for host in hosts]
    assert sent == [{("Bearer printed-0", None)}, {("Bearer printed-1", "sk-second")}, {(None, None)}]


async def test_a_program_that_prints_no_key_ends_the_run_in_one_sentence() -> None:
    async with dispatchers(job(api_key_command=["sh", "-c", "echo no login >&2; exit 4"])) as opened:
        with pytest.raises(ProviderRefusedError) as caught:
            await opened["api"].reach(["org/m"])
    assert str(caught.value) == "providers.api.api_key_command: sh failed (no login; exit code 4)"


async def test_the_only_account_is_no_slot_in_the_records(serve_openai: Callable[..., str]) -> None:
    reply = b'{"choices": [{"message": {"content": "2"}, "finish_reason": "stop"}], "usage": {}}'
    async with dispatchers(job(base_url=serve_openai(["org/m"], reply))) as opened:
        assert list(await opened["api"].reach(["org/m"])) == ["org/m"]
        outcome = await send(opened["api"])
    assert outcome.reply is not None
    assert outcome.place.slot is None


async def test_a_provider_that_is_down_for_too_long_ends_its_watch() -> None:
    async with dispatchers(job(), give_up_after_s=0.0) as opened:
        watching = asyncio.create_task(opened["api"].capacity.run())
        calls = [asyncio.create_task(send(opened["api"], f"{i}")) for i in range(2)]
        with pytest.raises(ProviderDownError, match=r"nothing has worked for 0\.0s"):
            await watching
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_gpu_servers_share_one_client_and_keep_their_names() -> None:
    slots = [{"gpu": i, "url": f"http://127.0.0.1:{9 + i}", "parallel": 2} for i in range(2)]
    told = {
        "name": "test",
        "data": {"reader": "quickstart"},
        "providers": {"gpus": {"api": "ollama", "slots": slots}},
        "models": {"m": {"provider": "gpus", "model": "llama3.2:1b"}},
    }
    chosen = parse_job(told, "test.yaml")
    async with dispatchers(chosen) as opened:
        assert list(opened["gpus"].backends) == [""]
        assert [slot["slot"] for slot in opened["gpus"].snapshot()["slots"]] == ["gpu0", "gpu1"]
        assert opened["gpus"].snapshot()["concurrency"] == chosen.places - 2 * PREFETCH == 4
