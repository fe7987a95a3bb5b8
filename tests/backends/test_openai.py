from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eli5b_batch.backends.base import ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import (
    BadReplyError,
    CallError,
    ProviderError,
    ProviderRefusedError,
    RateLimitedError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from eli5b_batch.backends.transport import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]
    Ask = Callable[[Handler], Awaitable[ChatReply]]

KEY = "tgp_v1_0123456789abcdef"
MODEL = "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"
REQUEST = ChatRequest(
    key="00012-abcdef|answer|hint:none|model:maverick",
    model=MODEL,
    messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "1 + 1?\u2028π"}],
    sampling={"temperature": 0.7, "max_tokens": 1024, "stop": ["Q:"], "num_ctx": 8192},
    seed=7,
)

# As Ollama 0.9.3 and llama-cpp-python 0.3.36 answered.
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-458",
    "object": "chat.completion",
    "created": 1795219435,
    "model": "llama3.2:1b",
    "system_fingerprint": "fp_ollama",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "q3g9#{b`"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 25, "completion_tokens": 8, "total_tokens": 33},
}
UNKNOWN_MODEL = {
    "error": {
        "message": 'model "nosuch" not found, try pulling it first',
        "type": "api_error",
        "param": None,
        "code": None,
    }
}
OVERFLOW = {
    "error": {
        "message": "This model's maximum context length is 512 tokens. However, you requested 1627 tokens.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
}
NO_CREDIT = {
    "error": {
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
}


def says(body: object, status: int = 200, **headers: str) -> Handler:
    """A handler that always gives this answer; a body of text or bytes is sent as it is, anything else as JSON."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else orjson.dumps(body)

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=raw, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


def completion(content: object, **fields: object) -> dict[str, Any]:
    return {**COMPLETION, "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, **fields}]}


def backend(transport: Transport, url: str, *, key: str = KEY, trace: bool = False) -> OpenAIBackend:
    return OpenAIBackend("together", f"{url}/v1", key=key, key_env="TOGETHER_API_KEY", transport=transport, trace=trace)


@pytest.fixture
def ask(host: Host, connect: Connect) -> Ask:
    """Sends `REQUEST` to a server that has this handler."""

    async def send(handler: Handler) -> ChatReply:
        url = await host(handler)
        return await backend(connect(), url).chat(REQUEST, f"{url}/v1")

    return send


async def fails(reply: Awaitable[object]) -> CallError:
    with pytest.raises(CallError) as caught:
        await reply
    return caught.value


@pytest.mark.parametrize("trace", [False, True])
async def test_a_request_is_sent_exactly_so(trace: bool, host: Host, connect: Connect) -> None:  # noqa: FBT001
    asked: list[tuple[str, str, bytes, Mapping[str, str]]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        asked.append((request.method, request.path, await request.read(), request.headers))
        return web.json_response(COMPLETION)

    url = await host(handler)
    transport = connect(headers={"Authorization": f"Bearer {KEY}"})
    await backend(transport, url, trace=trace).chat(REQUEST, f"{url}/v1")
    method, path, body, headers = asked[0]
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert orjson.loads(body) == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1 + 1?\u2028π"}],
        "seed": 7,
        "stream": False,
        "temperature": 0.7,
        "max_tokens": 1024,
        "stop": ["Q:"],
    }
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers.get("x-eli5b-call") == (REQUEST.key if trace else None)


async def test_the_fields_of_a_reply_are_read(ask: Ask) -> None:
    reply = await ask(says(COMPLETION))
    assert reply == ChatReply("q3g9#{b`", "length", {"input_tokens": 25, "output_tokens": 8})


async def test_tokens_are_kept_by_class_and_reasoning_tools_and_probabilities_with_the_reply(
    ask: Ask,
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    probabilities = {"content": [{"token": "2", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    message = {"role": "assistant", "content": "2", "tool_calls": [call], "reasoning_content": "1 and 1"}
    reply = await ask(
        says(
            {
                "choices": [{"index": 0, "message": message, "logprobs": probabilities, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": 25,
                    "completion_tokens": 8,
                    "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 5},
                },
            }
        )
    )
    assert reply.usage == {
        "input_tokens": 25,
        "output_tokens": 8,
        "cached_input_tokens": 16,
        "reasoning_tokens": 5,
    }
    assert reply.extra == {"tool_calls": [call], "reasoning_content": "1 and 1", "logprobs": probabilities}


async def test_line_separators_and_every_other_character_arrive(
    ask: Ask,
) -> None:
    text = "a\u2028b\u2029c\u0085d\r\n\x00\ufeff\U0001f600\\boxed{½}"
    assert (await ask(says(completion(text)))).text == text


async def test_a_reply_of_ten_megabytes_is_read(ask: Ask) -> None:
    reply = await ask(says(completion("word " * 2_000_000)))
    assert len(reply.text) == 10_000_000


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"error": {"message": "seed: not an integer"}}, "bad_request", "seed: not an integer"),
        (400, OVERFLOW, "context_overflow", OVERFLOW["error"]["message"]),
        (403, {"error": {"message": "not allowed"}}, "bad_request", "not allowed"),
        (403, {"error": {"message": "over the context length"}}, "context_overflow", "over the context length"),
        (405, "", "bad_request", "''"),
        (413, {"error": "too large"}, "bad_request", "too large"),
        (422, {"error": {"message": "bad role", "code": 7}}, "bad_request", "bad role"),
        (422, {"detail": [{"msg": "bad role"}]}, "bad_request", '\'{"detail":[{"msg":"bad role"}]}\''),
        (408, "", "server_error", "''"),
        (409, "", "server_error", "''"),
        (499, "", "server_error", "''"),
        (500, {"error": {"message": "boom"}}, "server_error", "boom"),
        (500, {"message": "boom"}, "server_error", "boom"),
        (502, "<html>Bad gateway</html>", "server_error", "'<html>Bad gateway</html>'"),
        (503, {"error": {"message": "overloaded", "type": "overloaded"}}, "server_error", "overloaded"),
        (504, "", "server_error", "''"),
        (520, "", "server_error", "''"),
        (524, "", "server_error", "''"),
        (529, {"error": None}, "server_error", "'{\"error\":null}'"),
    ],
)
async def test_a_status_that_fails_one_call_is_an_error_of_its_class(
    status: int, body: object, kind: str, said: str, ask: Ask
) -> None:
    error = await fails(ask(says(body, status)))
    assert type(error) is (RetryableError if kind == "server_error" else CallError)
    assert (error.kind, error.status) == (kind, status)
    assert str(error) == f"together answered {status}: {said}"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (301, "", "redirects to https://new.example/v1 (301); is base_url right?"),
        (307, "", "redirects to https://new.example/v1 (307); is base_url right?"),
        (401, {"error": {"message": "Invalid key"}}, "set TOGETHER_API_KEY to a valid key (401: Invalid key)"),
        (402, {"error": {"message": "Credit limit"}}, "the account has no credit left"),
        (429, NO_CREDIT, "the account has no credit left"),
        (404, UNKNOWN_MODEL, f"no model '{MODEL}' at http://"),
        (404, {"detail": "Not Found"}, '(404: \'{"detail":"Not Found"}\')'),
    ],
)
async def test_a_status_that_fails_every_call_refuses_with_what_to_do(
    status: int, body: object, message: str, ask: Ask
) -> None:
    with pytest.raises(ProviderRefusedError) as caught:
        await ask(says(body, status, location="https://new.example/v1"))
    assert str(caught.value).startswith("providers.together: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, 0.0),
        ({"x_ratelimit_reset": "2"}, 2.0),
        ({"X_RateLimit_Reset": "2"}, 2.0),
        ({"retry_after": "1", "x_ratelimit_reset": "2"}, 1.0),
        ({"retry_after": "Sat, 21 Nov 2026 02:00:00 GMT"}, None),
        ({"retry_after": "Sat, 21 Nov 2026 02:00:00 GMT", "x_ratelimit_reset": "2"}, 2.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "1e999", "x_ratelimit_reset": "2"}, 2.0),
    ],
)
async def test_a_429_carries_the_seconds_that_the_server_advises(
    headers: dict[str, str], advice: float | None, ask: Ask
) -> None:
    body = {"error": {"message": "too many requests", "type": "rate_limit", "code": None}}
    error = await fails(ask(says(body, 429, **headers)))
    assert isinstance(error, RateLimitedError)
    assert (error.kind, error.status, error.retry_after) == ("rate_limited", 429, advice)
    assert str(error) == "together answered 429: too many requests"


@pytest.mark.parametrize(
    "body",
    [
        "<html><body>please come back later</body></html>",
        "",
        '{"choices": [{"message": {"content": "cut',
        "[]",
        "null",
        "7",
        '"text"',
        "{}",
        '{"choices": []}',
        '{"choices": "none"}',
        '{"choices": {"0": 1}}',
        '{"choices": [null]}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": "text"}]}',
        '{"choices": [{"message": ["text"]}]}',
        '{"choices": [{"delta": {"content": "text"}}]}',
        '{"error": {"message": "upstream failed"}}',
    ],
)
async def test_a_200_that_is_no_chat_completion_is_worth_sending_again(body: str, ask: Ask) -> None:
    error = await fails(ask(says(body)))
    assert isinstance(error, RetryableError)
    assert error.kind == "bad_reply"
    assert error.partial == {}


@pytest.mark.parametrize("content", [None, "", " \n\t\u2028", 7, ["text"], [{"type": "text", "text": "2"}], {"a": 1}])
async def test_a_reply_without_text_fails_and_keeps_what_was_paid_for(content: object, ask: Ask) -> None:
    error = await fails(ask(says(completion(content, finish_reason="length"))))
    assert isinstance(error, BadReplyError)
    assert error.kind == "empty_reply"
    assert str(error) == "the reply has no content (finish_reason length)"
    assert error.partial == {
        "usage": {"input_tokens": 25, "output_tokens": 8},
        "reply": {"text": content if isinstance(content, str) else "", "finish_reason": "length"},
    }


async def test_a_message_without_content_is_an_empty_reply(ask: Ask) -> None:
    body = {"choices": [{"message": {"role": "assistant", "refusal": "no"}}]}
    error = await fails(ask(says(body)))
    assert str(error) == "the reply has no content (finish_reason not given)"
    assert error.partial["usage"] == {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize("usage", [None, [], "many", 7, {}, {"prompt_tokens": None, "completion_tokens": "8"}])
async def test_tokens_that_are_not_told_count_as_none(usage: object, ask: Ask) -> None:
    reply = await ask(says({**COMPLETION, "usage": usage}))
    assert reply.usage == {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": f"Invalid API key {KEY} given"}}, 401),
        ({"error": {"message": "x" * 290 + KEY}}, 400),
        ({"error": f"no such key: {KEY}"}, 429),
        ({"detail": f"Bearer {KEY}"}, 500),
        (f"<html>Authorization: Bearer {KEY}</html>", 502),
        (f"<html>Authorization: Bearer {KEY}</html>", 200),
        ("x" * 110 + KEY, 200),
        ({"echo": {"authorization": f"Bearer {KEY}"}}, 200),
        (completion("", finish_reason=KEY), 200),
        ("", 307),
    ],
)
async def test_the_key_stands_in_no_message(body: object, status: int, ask: Ask) -> None:
    with pytest.raises(ProviderError) as caught:
        await ask(says(body, status, location=f"/login?token={KEY}"))
    assert KEY[:10] not in str(caught.value)


async def test_without_a_key_nothing_is_hidden(host: Host, connect: Connect) -> None:
    url = await host(says({"error": {"message": "plain words"}}, 400))
    error = await fails(backend(connect(), url, key="").chat(REQUEST, url))
    assert str(error) == "together answered 400: plain words"


async def test_a_dropped_connection_and_a_refused_one_are_worth_sending_again(
    host: Host, connect: Connect, unused_tcp_port: int
) -> None:
    async def hang_up(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    transport = connect()
    for url in (await host(hang_up), f"http://127.0.0.1:{unused_tcp_port}"):
        error = await fails(backend(transport, url).chat(REQUEST, url))
        assert isinstance(error, RetryableError)
        assert error.kind == "connection"


# What `check` asks.

SERVED = ["meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "Qwen/Qwen3-8B"]


async def reach(transport: Transport, url: str, *models: str) -> dict[str, ModelFacts]:
    return await backend(transport, url).reach(models)


@pytest.mark.parametrize(
    "listed",
    [
        {"object": "list", "data": [{"id": m, "object": "model"} for m in (MODEL, *SERVED)]},
        [{"id": m, "type": "chat"} for m in (MODEL, *SERVED)],
    ],
    ids=["openai", "together"],
)
async def test_a_model_in_the_hosts_list_is_served(listed: object, host: Host, connect: Connect) -> None:
    url = await host(says(listed))
    assert await reach(connect(), url, MODEL, SERVED[2]) == {MODEL: ModelFacts(), SERVED[2]: ModelFacts()}


async def test_the_list_is_asked_for_with_the_key(host: Host, connect: Connect) -> None:
    asked: list[tuple[str, str, str | None]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        asked.append((request.method, request.path, request.headers.get("Authorization")))
        return web.json_response([{"id": MODEL}])

    await reach(connect(headers={"Authorization": f"Bearer {KEY}"}), await host(handler), MODEL)
    assert asked == [("GET", "/v1/models", f"Bearer {KEY}")]


async def test_a_model_that_is_not_served_is_named_with_the_closest_that_are(host: Host, connect: Connect) -> None:
    url = await host(says([{"id": m} for m in SERVED]))
    with pytest.raises(ProviderRefusedError) as caught:
        await reach(connect(), url, MODEL)
    assert str(caught.value) == (
        "providers.together: the host no longer serves, or never served, the model "
        f"'{MODEL}'; closest in name of the 3 it serves: {SERVED[1]}, {SERVED[0]}"
    )


async def test_where_no_name_comes_close_some_that_are_served_are_named(host: Host, connect: Connect) -> None:
    url = await host(says([{"id": m} for m in ("zz/9", "aa/1", "mm/5", "bb/2")]))
    with pytest.raises(ProviderRefusedError, match=r"of the 4 it serves: aa/1, bb/2, mm/5$"):
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
    assert await reach(connect(), await host(says(body, status)), MODEL) == {MODEL: ModelFacts()}


@pytest.mark.parametrize(("status", "advice"), [(401, "set TOGETHER_API_KEY"), (402, "no credit left")])
async def test_a_refused_account_is_told_before_the_run(status: int, advice: str, host: Host, connect: Connect) -> None:
    url = await host(says({"error": {"message": f"key {KEY} is not valid"}}, status))
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


# Whatever a server sends.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["message", "content", "error", "id", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
STATUSES = st.sampled_from([200, 200, 200, 201, 302, 400, 401, 403, 404, 418, 422, 429, 499, 500, 503, 529])


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every value within a JSON value, itself included."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(place for name, inner in items for place in places(inner, (*path, name)))]


def put(body: Any, place: tuple[str | int, ...], value: object) -> Any:  # noqa: ANN401
    """A copy of a JSON value with another value at one place."""
    if not place:
        return value
    changed = copy.deepcopy(body)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return changed


FULL = {
    **completion("2", finish_reason="stop", logprobs={"content": []}),
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}
DAMAGED = st.builds(put, st.just(FULL), st.sampled_from(places(FULL)), JSON)
BODIES = (st.sampled_from([COMPLETION, UNKNOWN_MODEL, OVERFLOW, NO_CREDIT]) | DAMAGED | DAMAGED | JSON).map(
    orjson.dumps
) | st.binary(max_size=30)


class Puppet(NamedTuple):
    """A client, and the answer that its server is to give next."""

    client: OpenAIBackend
    url: str
    answer: dict[str, Any]


@pytest.fixture
async def puppet(host: Host, connect: Connect) -> Puppet:
    answer: dict[str, Any] = {}

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(**answer)

    url = await host(handler)
    return Puppet(backend(connect(), url), f"{url}/v1", answer)


async def outcome(call: Awaitable[ChatReply]) -> ChatReply | ProviderError:
    try:
        return await call
    except ProviderError as error:
        return error


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=BODIES, status=STATUSES, advice=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8))
async def test_whatever_a_server_sends_is_a_sound_reply_or_an_error_of_the_tree(
    body: bytes, status: int, advice: str, puppet: Puppet
) -> None:
    puppet.answer.update(body=body, status=status, headers={"Retry-After": advice})
    result = await outcome(puppet.client.chat(REQUEST, puppet.url))
    if isinstance(result, ChatReply):
        assert result.text.strip()
        parts: dict[str, Any] = {"usage": result.usage, "reply": {"text": result.text, "reason": result.finish_reason}}
        orjson.dumps(result.extra)
    else:
        assert isinstance(result, CallError | ProviderRefusedError)
        assert "\n" not in str(result)
        assert len(str(result)) < 1000
        parts = result.partial if isinstance(result, CallError) else {}
    orjson.dumps(parts)
    assert all(type(tokens) is int and tokens >= 0 for tokens in parts.get("usage", {}).values())
    assert all(type(words) is str for words in parts.get("reply", {}).values())


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=JSON.map(orjson.dumps) | st.binary(max_size=30), status=STATUSES)
async def test_whatever_list_of_models_a_host_sends_it_is_read_or_refused(
    body: bytes, status: int, puppet: Puppet
) -> None:
    puppet.answer.update(body=body, status=status)
    try:
        facts = await puppet.client.reach([MODEL])
    except ProviderRefusedError:
        return
    assert facts == {MODEL: ModelFacts()}
