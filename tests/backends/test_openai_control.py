"""The control side of an OpenAI-compatible provider: the requests of `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends.base import ModelFacts
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import ProviderRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]

KEY = "tgp_v1_0123456789abcdef"
MODEL = "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"
SERVED = ["meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "Qwen/Qwen3-8B"]


def handler_of(body: object, status: int = 200) -> Handler:
    """Return a handler that always gives this answer; a text is sent as it is, anything else as JSON."""
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=raw, status=status)

    return handler


async def reach(transport: Transport, url: str, *models: str) -> dict[str, ModelFacts]:
    client = OpenAIBackend("together", f"{url}/v1", secrets=[KEY], key_env="TOGETHER_API_KEY", transport=transport)
    return await client.reach(models)


@pytest.mark.parametrize(
    "listed",
    [
        {"object": "list", "data": [{"id": m, "object": "model"} for m in (MODEL, *SERVED)]},
        [{"id": m, "type": "chat"} for m in (MODEL, *SERVED)],
    ],
    ids=["openai", "together"],
)
async def test_a_model_in_the_hosts_list_is_served(listed: object, host: Host, connect: Connect) -> None:
    url = await host(handler_of(listed))
    assert await reach(connect(), url, MODEL, SERVED[2]) == {MODEL: ModelFacts(), SERVED[2]: ModelFacts()}


async def test_the_list_is_asked_for_with_the_key(host: Host, connect: Connect) -> None:
    requests: list[tuple[str, str, str | None]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        requests.append((request.method, request.path, request.headers.get("Authorization")))
        return web.json_response([{"id": MODEL}])

    await reach(connect(headers={"Authorization": f"Bearer {KEY}"}), await host(handler), MODEL)
    assert requests == [("GET", "/v1/models", f"Bearer {KEY}")]


async def test_a_model_that_is_not_served_is_named_with_the_closest_that_are(host: Host, connect: Connect) -> None:
    url = await host(handler_of([{"id": m} for m in SERVED]))
    with pytest.raises(ProviderRefusedError) as caught:
        await reach(connect(), url, MODEL)
    assert str(caught.value) == (
        "providers.together: the host no longer serves, or never served, the model "
        f"'{MODEL}'; the closest names among the 3 models it serves: {SERVED[1]}, {SERVED[0]}"
    )


async def test_a_model_is_searched_by_the_hosts_id_and_its_facts_stand_under_its_own(
    host: Host, connect: Connect
) -> None:
    url = await host(handler_of([{"id": m} for m in SERVED]))

    def client(host_id: str) -> OpenAIBackend:
        return OpenAIBackend("together", f"{url}/v1", key_env=None, transport=connect(), ids={MODEL: host_id})

    assert await client(SERVED[1]).reach([MODEL, SERVED[2]]) == {MODEL: ModelFacts(), SERVED[2]: ModelFacts()}
    with pytest.raises(ProviderRefusedError, match=r"the model 'llama-4-scout'; .*: meta-llama/Llama-4-Scout"):
        await client("llama-4-scout").reach([MODEL])


async def test_where_no_name_comes_close_some_that_are_served_are_named(host: Host, connect: Connect) -> None:
    url = await host(handler_of([{"id": m} for m in ("zz/9", "aa/1", "mm/5", "bb/2")]))
    with pytest.raises(ProviderRefusedError, match=r"among the 4 models it serves: aa/1, bb/2, mm/5$"):
        await reach(connect(), url, MODEL)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("404 page not found", 404),
        ("", 405),
        ("", 500),
        ("<html>hello</html>", 200),
        ([], 200),
        ({"data": []}, 200),
        ({"data": None}, 200),
        ({"data": "none"}, 200),
        ({"data": 7}, 200),
        ([None, 7, "x", {"id": None}, {"id": 7}], 200),
        (7, 200),
        ("null", 200),
        ('"text"', 200),
    ],
)
async def test_a_host_without_a_list_of_models_is_taken_at_its_word(
    body: object, status: int, host: Host, connect: Connect
) -> None:
    assert await reach(connect(), await host(handler_of(body, status)), MODEL) == {MODEL: ModelFacts()}


@pytest.mark.parametrize(("status", "advice"), [(401, "set TOGETHER_API_KEY"), (402, "no credit left")])
async def test_a_refused_account_is_told_before_the_run(status: int, advice: str, host: Host, connect: Connect) -> None:
    url = await host(handler_of({"error": {"message": f"key {KEY} is not valid"}}, status))
    with pytest.raises(ProviderRefusedError, match=advice) as caught:
        await reach(connect(), url, MODEL)
    assert KEY not in str(caught.value)


async def test_a_base_url_that_refuses_is_named(connect: Connect, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with pytest.raises(ProviderRefusedError) as caught:
        await reach(connect(), url, MODEL)
    assert str(caught.value) == (
        f"providers.together: {url}/v1/models: can't connect: Connection refused; is base_url right?"
    )
