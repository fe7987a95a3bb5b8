from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import (
    BadReplyError,
    CallError,
    ProviderError,
    ProviderRefusedError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from eli5b_batch.backends.http import Transport

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


def handler_of(body: object, status: int = 200, **headers: str) -> Handler:
    """Return a handler that always gives this answer; text and bytes are sent as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else orjson.dumps(body)

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=raw, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


def completion(content: object, **fields: object) -> dict[str, Any]:
    return {**COMPLETION, "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, **fields}]}


def backend(
    transport: Transport, url: str, *, key: str = KEY, trace: bool = False, ids: Mapping[str, str] | None = None
) -> OpenAIBackend:
    return OpenAIBackend(
        "together", f"{url}/v1", secrets=[key], key_env="TOGETHER_API_KEY", transport=transport, trace=trace, ids=ids
    )


@pytest.fixture
def ask(host: Host, connect: Connect) -> Ask:
    """A function that sends `REQUEST` to a server with a given handler."""

    async def send(handler: Handler) -> ChatReply:
        url = await host(handler)
        return await backend(connect(), url).chat(REQUEST, f"{url}/v1")

    return send


async def fails(reply: Awaitable[object]) -> CallError:
    with pytest.raises(CallError) as caught:
        await reply
    return caught.value


async def test_a_model_is_asked_for_by_the_hosts_id_and_the_request_keeps_its_own(host: Host, connect: Connect) -> None:
    requests: list[dict[str, Any]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        requests.append(orjson.loads(await request.read()))
        return web.json_response(COMPLETION)

    url = await host(handler)
    transport = connect()
    await backend(transport, url).chat(REQUEST, f"{url}/v1")
    await backend(transport, url, ids={MODEL: "maverick-fp8"}).chat(REQUEST, f"{url}/v1")
    await backend(transport, url, ids={"another": "maverick-fp8"}).chat(REQUEST, f"{url}/v1")
    assert [body["model"] for body in requests] == [MODEL, "maverick-fp8", MODEL]
    assert requests[1] == requests[0] | {"model": "maverick-fp8"}
    assert REQUEST.model == MODEL


async def test_an_error_names_the_model_as_the_host_does(host: Host, connect: Connect) -> None:
    url = await host(handler_of({"error": {"message": "The model `maverick-fp8` does not exist"}}, 404))
    with pytest.raises(ProviderRefusedError, match=r"no model 'maverick-fp8' at http.*/v1 for this account \(404: The"):
        await backend(connect(), url, ids={MODEL: "maverick-fp8"}).chat(REQUEST, f"{url}/v1")


@pytest.mark.parametrize("trace", [False, True])
async def test_a_request_is_sent_exactly_so(trace: bool, host: Host, connect: Connect) -> None:  # noqa: FBT001
    requests: list[tuple[str, str, bytes, Mapping[str, str]]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        requests.append((request.method, request.path, await request.read(), request.headers))
        return web.json_response(COMPLETION)

    url = await host(handler)
    transport = connect(headers={"Authorization": f"Bearer {KEY}"})
    await backend(transport, url, trace=trace).chat(REQUEST, f"{url}/v1")
    method, path, body, headers = requests[0]
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
    reply = await ask(handler_of(COMPLETION))
    assert reply == ChatReply("q3g9#{b`", "length", {"input_tokens": 25, "output_tokens": 8}, finish="cut")


async def test_tokens_are_kept_by_class_and_reasoning_tools_and_probabilities_with_the_reply(
    ask: Ask,
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    probabilities = {"content": [{"token": "2", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    thoughts = {"reasoning": "1, 1", "reasoning_content": "1 and 1"}
    message = {"role": "assistant", "content": "2", "tool_calls": [call], **thoughts}
    reply = await ask(
        handler_of(
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
    assert reply.extra == {"tool_calls": [call], "logprobs": probabilities}
    assert reply.thinking == "1 and 1\n\n1, 1"


async def test_line_separators_and_every_other_character_arrive(
    ask: Ask,
) -> None:
    text = "a\u2028b\u2029c\u0085d\r\n\x00\ufeff\U0001f600\\boxed{½}"
    assert (await ask(handler_of(completion(text)))).text == text


async def test_a_reply_of_ten_megabytes_is_read(ask: Ask) -> None:
    reply = await ask(handler_of(completion("word " * 2_000_000)))
    assert len(reply.text) == 10_000_000


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (400, {"error": {"message": "seed: not an integer"}}, "bad_request", "seed: not an integer"),
        (400, OVERFLOW, "context_overflow", OVERFLOW["error"]["message"]),
        (403, {"error": {"message": "not allowed"}}, "refused", "not allowed"),
        (403, {"error": {"message": "over the context length"}}, "context_overflow", "over the context length"),
        (
            422,
            {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097."}},
            "context_overflow",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097.",
        ),
        (405, "", "bad_request", "''"),
        (413, {"error": "too large"}, "too_large", "too large"),
        (422, {"error": {"message": "bad role", "code": 7}}, "bad_request", "bad role"),
        (422, {"detail": [{"loc": ["body", "role"], "msg": "bad"}]}, "bad_request", "body.role: bad"),
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
    status: int, body: object, kind: str, sentence: str, ask: Ask
) -> None:
    error = await fails(ask(handler_of(body, status)))
    assert type(error) is (RetryableError if kind == "server_error" else CallError)
    assert (error.kind, error.status) == (kind, status)
    assert str(error) == f"together answered {status}: {sentence}"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (301, "", "redirects to https://new.example/v1 (301); is base_url right?"),
        (307, "", "redirects to https://new.example/v1 (307); is base_url right?"),
        (401, {"error": {"message": "Invalid key"}}, "set TOGETHER_API_KEY to a valid key (401: Invalid key)"),
        (402, {"error": {"message": "Credit limit"}}, "the account has no credit left"),
        (429, NO_CREDIT, "the account has no credit left"),
        (404, UNKNOWN_MODEL, f"no model '{MODEL}' at http://"),
        (404, {"detail": "Not Found"}, "(404: Not Found)"),
    ],
)
async def test_a_status_that_fails_every_call_refuses_with_what_to_do(
    status: int, body: object, message: str, ask: Ask
) -> None:
    with pytest.raises(ProviderRefusedError) as caught:
        await ask(handler_of(body, status, location="https://new.example/v1"))
    assert str(caught.value).startswith("providers.together: ")
    assert message in str(caught.value)


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
    ],
)
async def test_a_200_that_is_no_chat_completion_is_worth_sending_again_and_kept(body: str, ask: Ask) -> None:
    error = await fails(ask(handler_of(body)))
    assert isinstance(error, RetryableError)
    assert error.kind == ("server_error" if "<html>" in body else "bad_reply")
    assert error.partial == {"reply": {"text": "", "body": body}}


@pytest.mark.parametrize("content", [None, "", " \n\t\u2028", [], [" "], [{"type": "text"}], {"type": "text"}])
async def test_a_reply_without_text_fails_and_keeps_what_was_paid_for(content: object, ask: Ask) -> None:
    error = await fails(ask(handler_of(completion(content, finish_reason="stop"))))
    assert isinstance(error, BadReplyError)
    assert error.kind == "empty_reply"
    assert str(error) == "the reply has no content (finish_reason stop)"
    assert error.partial == {
        "usage": {"input_tokens": 25, "output_tokens": 8},
        "reply": {"text": error.partial["reply"]["text"], "finish_reason": "stop", "finish": "whole"},
    }
    assert not error.partial["reply"]["text"].strip()


async def test_a_message_without_content_is_an_empty_reply(ask: Ask) -> None:
    body = {"choices": [{"message": {"role": "assistant", "refusal": None}}]}
    error = await fails(ask(handler_of(body)))
    assert str(error) == "the reply has no content (finish_reason not given)"
    assert error.partial["usage"] == {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize("usage", [None, [], "many", 7, {}, {"prompt_tokens": None, "completion_tokens": "8"}])
async def test_tokens_that_are_not_told_count_as_none(usage: object, ask: Ask) -> None:
    reply = await ask(handler_of({**COMPLETION, "usage": usage}))
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
        await ask(handler_of(body, status, location=f"/login?token={KEY}"))
    assert KEY[:10] not in str(caught.value)


async def test_without_a_key_nothing_is_hidden(host: Host, connect: Connect) -> None:
    url = await host(handler_of({"error": {"message": "plain words"}}, 400))
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
