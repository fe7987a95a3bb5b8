"""providers.py: from the job's providers to dispatchers, each with the clients, keys and limits of its members."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import JobError, ProviderDownError
from eli5b_batch.job import PREFETCH
from eli5b_batch.jobfile import parse_job
from eli5b_batch.providers import open_dispatchers, read_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from eli5b_batch.dispatch.dispatcher import Dispatcher, Outcome
    from eli5b_batch.job import Job

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
    return await dispatcher.send(request, 0, None, lambda outcome: outcome)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("keys")
def test_each_member_has_its_own_key_from_the_environment() -> None:
    assert read_keys(job(members=TWO), ["api"]) == {("api", "first"): "sk-first", ("api", "second"): "sk-second"}


@pytest.mark.usefixtures("keys")
def test_a_member_without_a_key_of_its_own_has_the_providers() -> None:
    members = [{"name": "a"}, {"name": "b", "api_key_env": "SECOND_KEY"}]
    found = read_keys(job(api_key_env="FIRST_KEY", members=members), ["api"])
    assert found == {("api", "a"): "sk-first", ("api", "b"): "sk-second"}


@pytest.mark.usefixtures("keys")
def test_the_only_account_has_no_name() -> None:
    assert read_keys(job(api_key_env="FIRST_KEY"), ["api"]) == {("api", ""): "sk-first"}
    assert read_keys(job(), ["api"]) == {}
    assert read_keys(job(api_key_env="NO_SUCH_KEY"), []) == {}


@pytest.mark.parametrize(
    ("value", "said"), [(None, "has no"), ("", "has no"), ("  \n", "has no"), ("sk-\u00e9", "holds")]
)
@pytest.mark.usefixtures("keys")
def test_a_missing_or_broken_key_of_any_member_is_one_sentence_that_names_the_variable_and_no_key(
    monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    if value is None:
        monkeypatch.delenv("SECOND_KEY")
    else:
        monkeypatch.setenv("SECOND_KEY", value)
    with pytest.raises(JobError) as caught:
        read_keys(job(members=TWO), ["api"])
    message = str(caught.value)
    assert message.startswith("providers.api")
    assert "SECOND_KEY" in message
    assert said in message
    assert "\n" not in message
    assert "sk-" not in message


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
        with pytest.raises(ProviderDownError, match="nothing has worked for 0 s"):
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
