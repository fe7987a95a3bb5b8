"""Whatever a server sends: a client turns it into a sound reply or into an error of the package's tree."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eli5b_batch.backends.base import Backend, ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.backends.replies import TOOL_CALL_FIELDS
from eli5b_batch.errors import CallError, ProviderError, ProviderRefusedError, RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypothesis.strategies import SearchStrategy

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]
    Place = tuple[str | int, ...]

MODEL = "llama3.2:1b"
REQUEST = ChatRequest("key", MODEL, [{"role": "user", "content": "1 + 1?"}], {"max_tokens": 8, "num_ctx": 256}, 7)
OPENAI = {
    "choices": [
        {
            "message": {
                "content": ["2", {"type": "text", "text": "3"}],
                "tool_calls": [],
                "reasoning": "",
                "refusal": "",
            },
            "logprobs": {"content": []},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}
OLLAMA = {
    "message": {"content": "2", "tool_calls": [], "thinking": ""},
    "logprobs": [],
    "done_reason": "stop",
    "done": True,
    "total_duration": 1,
    "load_duration": 1,
    "prompt_eval_count": 1,
    "prompt_eval_duration": 1,
    "eval_count": 1,
    "eval_duration": 1,
}
ERROR = {
    "error": {
        "message": "no",
        "type": "api_error",
        "code": None,
        "details": [{"reason": "X", "retryDelay": "34s", "violations": [{"quotaId": "PerDay"}]}],
        "metadata": {"raw": '{"error": "upstream"}', "headers": {"X-RateLimit-Reset": "1", "retry-after": "2"}},
    }
}

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
)
NAMES = st.sampled_from(["message", "content", "error", "choices", "data", "id", "type", "x"])
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
STATUSES = st.sampled_from([200, 200, 200, 202, 302, 400, 401, 403, 404, 410, 412, 418, 422, 429, 429, 498, 500, 529])
LIMITS = ("x-ratelimit-reset", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")
ADVICE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)


def places(value: object, path: Place = ()) -> list[Place]:
    """Return the path to every value within a JSON value, the value itself included."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(place for name, inner in items for place in places(inner, (*path, name)))]


def put(body: Any, place: Place, value: object) -> Any:  # noqa: ANN401 (JSON)
    """Return a copy of a JSON value with another value at one place."""
    if not place:
        return value
    changed = copy.deepcopy(body)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return changed


def bodies(full: object) -> SearchStrategy[bytes]:
    """Return a strategy for bodies: replies and errors with one wrong value, any JSON, and bytes that are no JSON."""
    damaged = st.sampled_from([full, full, ERROR]).flatmap(
        lambda body: st.builds(put, st.just(body), st.sampled_from(places(body)), JSON)
    )
    return (damaged | damaged | JSON).map(orjson.dumps) | st.binary(max_size=30)


class Puppet(NamedTuple):
    """Clients of both protocols, the address of their server, and the answer that it gives next."""

    openai: OpenAIBackend
    ollama: OllamaBackend
    url: str
    answer: dict[str, Any]


@pytest.fixture
async def puppet(host: Host, connect: Connect) -> Puppet:
    answer: dict[str, Any] = {}

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(**answer)

    url, transport = await host(handler), connect()
    return Puppet(
        OpenAIBackend("together", url, key_env=None, transport=transport),
        OllamaBackend("gpus", {url: [MODEL]}, transport=transport),
        url,
        answer,
    )


async def outcome(call: Awaitable[ChatReply]) -> ChatReply | ProviderError:
    try:
        return await call
    except ProviderError as error:
        return error


async def is_sound(client: Backend, url: str) -> None:
    """Whatever becomes of a chat can be written down, counted and shown on one line."""
    result = await outcome(client.chat(REQUEST, url))
    if isinstance(result, ChatReply):
        excused = result.finish in {"filtered", "cut"} or result.extra.keys() & {*TOOL_CALL_FIELDS, "left_out"}
        assert result.text.strip() or excused or result.thinking or result.usage.get("reasoning_tokens")
        assert result.load_s >= 0
        assert all(value is None or value > 0 for value in result.advice or ())
        parts: dict[str, Any] = {"usage": result.usage, "reply": {"text": result.text, "reason": result.finish_reason}}
        orjson.dumps(result.extra)
    else:
        assert isinstance(result, CallError | ProviderRefusedError)
        assert not isinstance(result, RateLimitedError) or 0 <= (result.retry_after or 0) <= 3600
        assert "\n" not in str(result)
        assert len(str(result)) < 1000
        parts = result.partial if isinstance(result, CallError) else {}
    orjson.dumps(parts)
    assert all(type(tokens) is int and tokens >= 0 for tokens in parts.get("usage", {}).values())
    assert type(parts.get("reply", {}).get("text", "")) is str


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies(OPENAI), status=STATUSES, advice=ADVICE)
async def test_whatever_an_api_sends_is_a_sound_reply_or_an_error_of_the_tree(
    body: bytes, status: int, advice: str, puppet: Puppet
) -> None:
    puppet.answer.update(body=body, status=status, headers={"Retry-After": advice, **dict.fromkeys(LIMITS, advice)})
    await is_sound(puppet.openai, puppet.url)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies(OLLAMA), status=STATUSES)
async def test_whatever_an_ollama_server_sends_is_a_sound_reply_or_an_error_of_the_tree(
    body: bytes, status: int, puppet: Puppet
) -> None:
    puppet.answer.update(body=body, status=status)
    await is_sound(puppet.ollama, puppet.url)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies({"object": "list", "data": [{"id": MODEL}]}), status=STATUSES)
async def test_whatever_list_of_models_an_api_sends_it_is_read_or_refused(
    body: bytes, status: int, puppet: Puppet
) -> None:
    puppet.answer.update(body=body, status=status)
    try:
        facts = await puppet.openai.reach([MODEL])
    except ProviderRefusedError:
        return
    assert facts == {MODEL: ModelFacts()}
