from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from eli5b_batch.job.schema import Limits, Simulation
from eli5b_batch.records import make_key
from eli5b_batch.simulated.model import BookEntry, SimulatedModel, count_tokens
from eli5b_batch.simulated.openai import SimulatedAPI
from eli5b_batch.simulated.quirks.thoughts import THOUGHT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import ClientResponse, web

    Post = Callable[..., Awaitable[ClientResponse]]
    Start = Callable[[web.Application], Awaitable[Post]]

PROBLEM = "00012-abcdef"
TEXT = "What is the sum of the first one hundred whole numbers?"
ANSWER = "5050"
CHAT = "/v1/chat/completions"
MAVERICK = "meta-llama/Llama-4-Maverick-17B"
MODELS = {"maverick": MAVERICK, "small": "meta-llama/Llama-3B"}


def fast(**fields: object) -> Simulation:
    """A simulation that takes no time."""
    return Simulation.model_validate({"latency_s": 0, "tokens_per_s": 1e9, **fields})


def mind(**fields: object) -> SimulatedModel:
    return SimulatedModel({PROBLEM: BookEntry(TEXT, ANSWER, 4.5)}, MODELS, fast(**fields), seed=0)


def key(model: str, sample: int = 0) -> str:
    return make_key(PROBLEM, "answer", model, {"hint": "none", "hint_for": "any", "sample": sample})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def chat(text: str = TEXT, **fields: object) -> dict[str, object]:
    return {"model": MAVERICK, "messages": [{"role": "user", "content": text}], "seed": 7, **fields}


async def serve(start: Start, limits: Limits | None = None, clock: Clock | None = None, **simulation: object) -> Post:
    api = SimulatedAPI(mind(**simulation), fast(**simulation), limits, clock=clock or Clock())
    return await start(api.app())


async def test_a_reply_has_the_fields_of_a_real_one(start: Start) -> None:
    post = await serve(start)
    response = await post(CHAT, chat(), key("maverick"))
    body = await response.json()
    assert response.status == 200
    assert response.content_type == "application/json"
    assert set(body) == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert body["object"] == "chat.completion"
    assert body["model"] == MAVERICK
    (choice,) = body["choices"]
    assert set(choice) == {"index", "message", "finish_reason"}
    assert set(choice["message"]) == {"role", "content"}
    assert choice["message"]["content"].startswith("SIMULATED answer")
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert set(usage) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert usage["prompt_tokens"] == -(-len(TEXT) // 4)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    ("asked", "thoughts"),
    [({"effort": "medium"}, True), ({"max_tokens": 99}, True), ({"effort": "off"}, False)],
)
async def test_a_model_thinks_where_it_is_asked_to(start: Start, asked: dict[str, object], *, thoughts: bool) -> None:
    body = await (await (await serve(start))(CHAT, chat(reasoning=asked), key("maverick"))).json()
    message, usage = body["choices"][0]["message"], body["usage"]
    assert message.get("reasoning") == (THOUGHT if thoughts else None)
    tokens = count_tokens(THOUGHT)
    assert usage.get("completion_tokens_details") == ({"reasoning_tokens": tokens} if thoughts else None)
    assert usage["completion_tokens"] == count_tokens(message["content"]) + thoughts * tokens


async def test_max_tokens_cut_the_reply(start: Start) -> None:
    post = await serve(start)
    body = await (await post(CHAT, chat(max_tokens=10))).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 10


async def test_the_list_of_models(start: Start) -> None:
    post = await serve(start)
    response = await post("/v1/models", None)
    body = await response.json()
    assert set(body) == {"object", "data"}
    assert [set(row) for row in body["data"]] == [{"id", "object", "created", "owned_by"}] * 2
    assert body["data"][0]["id"] == MAVERICK


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model": ', 400),
        (b"[1]", 400),
        (b"", 400),
        ({"messages": []}, 400),
        ({"model": MAVERICK}, 400),
        ({"model": ["x"], "messages": []}, 400),
        ({"model": MAVERICK, "messages": []}, 400),
        ({"model": MAVERICK, "messages": "hello"}, 400),
        ({"model": MAVERICK, "messages": [{"content": "x"}]}, 400),
        ({"model": MAVERICK, "messages": [{"role": "user", "content": None}]}, 400),
        (chat(stream=True), 400),
        (chat(max_tokens=0), 400),
        (chat(max_tokens="9"), 400),
        (chat(model="nosuch"), 404),
    ],
)
async def test_bad_requests(start: Start, body: object, status: int) -> None:
    post = await serve(start)
    response = await post(CHAT, body)
    error = (await response.json())["error"]
    assert response.status == status
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["code"] == ("model_not_available" if status == 404 else None)


async def test_a_header_that_is_no_call_key_is_refused(start: Start) -> None:
    post = await serve(start)
    assert (await post(CHAT, chat(), "not a key")).status == 400
    assert (await post(CHAT, chat())).status == 200


async def test_unknown_paths_and_methods(start: Start) -> None:
    post = await serve(start)
    assert (await post("/v1/nope", {})).status == 404
    assert (await post(CHAT, None)).status == 405


async def test_a_key_is_asked_for_only_where_one_is_set(start: Start) -> None:
    post = await start(SimulatedAPI(mind(), fast(), api_key="sk-1").app())
    assert (await post(CHAT, chat())).status == 401
    assert (await post("/v1/models", None)).status == 401
    refused = await post(CHAT, chat(), Authorization="Bearer other")
    assert (await refused.json())["error"]["code"] == "invalid_api_key"
    assert (await post(CHAT, chat(), Authorization="Bearer sk-1")).status == 200


async def test_requests_above_the_limit_are_refused(start: Start) -> None:
    clock = Clock()
    post = await serve(start, Limits(requests_per_minute=240, tokens_per_minute=1e6), clock)
    responses = [await post(CHAT, chat(seed=i)) for i in range(8)]
    assert [r.status for r in responses] == [200] * 6 + [429] * 2
    assert responses[0].headers["x-ratelimit-limit"] == "4"
    assert [r.headers["x-ratelimit-remaining"] for r in responses] == ["5", "4", "3", "2", "1", "0", "0", "0"]
    assert [r.headers["x-ratelimit-reset"] for r in responses] == ["0"] * 5 + ["1"] * 3
    assert float(responses[0].headers["x-tokenlimit-limit"]) == pytest.approx(1e6 / 60, rel=1e-4)
    body = await responses[-1].json()
    assert body["error_type"] == body["error"]["type"] == "dynamic_request_limited"
    clock.now += 0.25
    assert (await post(CHAT, chat())).status == 200


async def test_tokens_above_the_limit_are_refused(start: Start) -> None:
    clock = Clock()
    post = await serve(start, Limits(tokens_per_minute=600), clock)
    first, second = [await post(CHAT, chat(seed=i)) for i in range(2)]
    used = (await first.json())["usage"]["total_tokens"]
    assert second.status == 429
    assert (await second.json())["error_type"] == "dynamic_token_limited"
    assert second.headers["x-tokenlimit-remaining"] == "0"
    wait = float(second.headers["x-ratelimit-reset"])
    assert wait == pytest.approx((used - 13.5 + 1) / 10, abs=1)
    clock.now += wait
    assert (await post(CHAT, chat(seed=1))).status == 200


async def test_without_limits_there_are_no_limit_headers(start: Start) -> None:
    post = await serve(start)
    assert not [name for name in (await post(CHAT, chat())).headers if "limit" in name.lower()]


async def test_the_same_request_gets_the_same_reply_in_any_order(start: Start) -> None:
    requests = [(chat(seed=i % 3), key("maverick", sample=i)) for i in range(30)]

    async def ask_all(order: list[int]) -> dict[int, Any]:
        post = await serve(start)

        async def ask(i: int) -> tuple[int, Any]:
            body = await (await post(CHAT, *requests[i])).json()
            return i, [body["id"], body["choices"], body["usage"]]

        return dict(await asyncio.gather(*(ask(i) for i in order)))

    mixed = list(range(30))
    random.Random(1).shuffle(mixed)
    assert await ask_all(list(range(30))) == await ask_all(mixed)


@pytest.mark.parametrize(("rate", "statuses"), [("error_rate", {500, 503}), ("garbage_rate", {200})])
async def test_faults(start: Start, rate: str, statuses: set[int]) -> None:
    post = await serve(start, None, None, **{rate: 1.0})
    responses = [await post(CHAT, chat(seed=i)) for i in range(12)]
    assert {r.status for r in responses} == statuses
    for response in responses:
        raw = await response.read()
        assert b"SIMULATED" in raw
        if rate == "garbage_rate":
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(raw)
        else:
            assert orjson.loads(raw)["error"]["type"] == "server_error"


async def test_an_empty_reply(start: Start) -> None:
    post = await serve(start, empty_rate=1.0)
    body = await (await post(CHAT, chat())).json()
    assert body["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": ""},
        "finish_reason": "stop",
    }
    assert body["usage"]["completion_tokens"] == 0


async def test_a_dropped_connection(start: Start) -> None:
    post = await serve(start, drop_rate=1.0)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(CHAT, chat())


async def test_a_retry_can_succeed_and_gets_the_reply_that_was_due(start: Start) -> None:
    calm = await serve(start)
    rough = await serve(start, error_rate=0.5, garbage_rate=0.2)
    sendings = []
    for i in range(20):
        due = await (await calm(CHAT, chat(seed=i))).json()
        for sending in range(1, 30):
            response = await rough(CHAT, chat(seed=i))
            raw = await response.read()
            if response.status == 200 and raw.startswith(b'{"id"'):
                assert orjson.loads(raw)["choices"] == due["choices"]
                sendings.append(sending)
                break
    assert len(sendings) == 20
    assert max(sendings) > 2


async def test_faults_do_not_depend_on_the_order_of_requests(start: Start) -> None:
    async def statuses(order: list[int]) -> dict[int, list[int]]:
        post = await serve(start, error_rate=0.5)
        found: dict[int, list[int]] = {i: [] for i in order}
        for i in order * 3:
            found[i].append((await post(CHAT, chat(seed=i))).status)
        return found

    assert await statuses(list(range(12))) == await statuses(list(range(11, -1, -1)))


async def test_a_hint_that_is_passed_on_decides_the_answer(start: Start) -> None:
    post = await serve(start, skill={"maverick": {"none": 0.0, "generic": 1.0}})
    hint = f"SIMULATED hint [kind=generic for=any problem={PROBLEM}]\n1. Think."
    bare, hinted = [await (await post(CHAT, chat(text), key("maverick"))).json() for text in (TEXT, f"{TEXT}\n{hint}")]
    assert f"\\boxed{{{ANSWER}}}" not in bare["choices"][0]["message"]["content"]
    assert hinted["choices"][0]["message"]["content"].endswith(f"\\boxed{{{ANSWER}}}")
