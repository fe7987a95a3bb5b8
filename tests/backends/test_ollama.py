from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.errors import BadReplyError, CallError, ProviderRefusedError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]
    Ask = Callable[[Handler], Awaitable[ChatReply]]

REQUEST = ChatRequest(
    key="00012-abcdef|answer|hint:none|model:1b",
    model="llama3.2:1b",
    messages=[{"role": "user", "content": "1 + 1?\u2028π"}],
    sampling={"temperature": 0.7, "max_tokens": 2048, "num_ctx": 256, "top_k": 40, "top_p": 0.9, "stop": ["Q:"]},
    seed=7,
)

# As Ollama 0.9.3 answered.
CHAT: dict[str, Any] = {
    "model": "llama3.2:1b",
    "created_at": "2026-11-21T00:03:51.04176983Z",
    "message": {"role": "assistant", "content": "q3g9#{b`\\}9#;FH5"},
    "done_reason": "length",
    "done": True,
    "total_duration": 268207305,
    "load_duration": 261019237,
    "prompt_eval_count": 25,
    "prompt_eval_duration": 2721827,
    "eval_count": 16,
    "eval_duration": 3488837,
}
STOPPED_AT_ONCE: dict[str, Any] = {
    **CHAT,
    "message": {"role": "assistant", "content": ""},
    "done_reason": "stop",
    "eval_count": 1,
}
REPEAT_ABORT: dict[str, Any] = {
    "model": "llama3.2:1b",
    "created_at": "2026-11-21T00:19:35.857858512Z",
    "message": {"role": "assistant", "content": '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'},
    "done": False,
}
FILLED: dict[str, Any] = {
    **CHAT,
    "message": {"role": "assistant", "content": "q3g9"},
    "prompt_eval_count": 256,
    "eval_count": 4,
}
# As later versions answer where `truncate` is false: the older text, and llama-server's own error, kept as a text.
TOO_LONG = {
    "error": "the prompt is longer than the context length currently available to the model; shorten the prompt, "
    "adjust the context length in settings, or use a model with a longer context length"
}
EXCEEDS = {
    "error": '{"error":{"code":400,"message":"request (18995 tokens) exceeds the available context size (4096 tokens), '
    'try increasing it","type":"exceed_context_size_error","n_prompt_tokens":18995,"n_ctx":4096}}'
}


def handler_of(body: object, status: int = 200, **headers: str) -> Handler:
    """Return a handler that always gives this answer; a text is sent as it is, anything else as JSON."""
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=raw, status=status, headers=headers)

    return handler


def backend(transport: Transport, *urls: str, trace: bool = False) -> OllamaBackend:
    return OllamaBackend("gpus", {url: ["llama3.2:1b"] for url in urls}, transport=transport, trace=trace)


@pytest.fixture
def ask(host: Host, connect: Connect) -> Ask:
    """A function that sends `REQUEST` to a server with a given handler."""

    async def send(handler: Handler) -> ChatReply:
        url = await host(handler)
        return await backend(connect(), url).chat(REQUEST, url)

    return send


async def fails(reply: Awaitable[object]) -> CallError:
    with pytest.raises(CallError) as caught:
        await reply
    return caught.value


@pytest.mark.parametrize("trace", [False, True])
async def test_a_request_is_sent_exactly_so(trace: bool, host: Host, connect: Connect) -> None:  # noqa: FBT001
    requests: list[tuple[str, str, bytes, Mapping[str, str]]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        requests.append((request.method, request.path, await request.read(), request.headers))
        return web.json_response(CHAT)

    url = await host(handler)
    await backend(connect(), url, trace=trace).chat(REQUEST, url)
    method, path, body, headers = requests[0]
    assert (method, path) == ("POST", "/api/chat")
    assert orjson.loads(body) == {
        "model": "llama3.2:1b",
        "messages": [{"role": "user", "content": "1 + 1?\u2028π"}],
        "stream": False,
        "truncate": False,
        "shift": False,
        "keep_alive": "30m",
        "options": {
            "temperature": 0.7,
            "num_predict": 2048,
            "num_ctx": 256,
            "top_k": 40,
            "top_p": 0.9,
            "stop": ["Q:"],
            "seed": 7,
        },
    }
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert headers.get("x-eli5b-call") == (REQUEST.key if trace else None)


async def test_extras_are_options_or_stand_beside_them(host: Host, connect: Connect) -> None:
    requests: list[dict[str, Any]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        requests.append(orjson.loads(await request.read()))
        return web.json_response(CHAT)

    url = await host(handler)
    extra = {"repeat_penalty": 1.1, "think": "low", "keep_alive": "2h"}
    for sampling in (REQUEST.sampling, {**REQUEST.sampling, "extra": extra}):
        await backend(connect(), url).chat(dataclasses.replace(REQUEST, sampling=sampling), url)
    plain, more = requests
    options = plain["options"] | {"repeat_penalty": 1.1}
    assert more == plain | {"think": "low", "keep_alive": "2h", "options": options}


async def test_the_fields_of_a_reply_are_read_and_nanoseconds_become_seconds(ask: Ask) -> None:
    reply = await ask(handler_of(CHAT))
    assert reply.text == "q3g9#{b`\\}9#;FH5"
    assert reply.finish_reason == "length"
    assert reply.usage == {"input_tokens": 25, "output_tokens": 16}
    assert reply.load_s == pytest.approx(0.261019237)
    assert reply.extra == {"durations": {"total": 0.268207, "prompt_eval": 0.002722, "eval": 0.003489}}


async def test_thinking_tool_calls_and_probabilities_are_kept_with_the_reply(ask: Ask) -> None:
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    probabilities = [{"token": "2", "logprob": -0.1, "bytes": [50]}]
    message = {"role": "assistant", "content": "2", "thinking": "1 and 1", "tool_calls": [call]}
    reply = await ask(handler_of({**CHAT, "message": message, "logprobs": probabilities}))
    assert reply.thinking == "1 and 1"
    assert reply.extra["tool_calls"] == [call]
    assert reply.extra["logprobs"] == probabilities


async def test_line_separators_and_every_other_character_arrive(ask: Ask) -> None:
    text = "a\u2028b\u2029c\u0085d\r\n\x00\ufeff\U0001f600\\boxed{½}"
    assert (await ask(handler_of({**CHAT, "message": {"content": text}}))).text == text


async def test_a_reply_of_ten_megabytes_is_read(ask: Ask) -> None:
    reply = await ask(handler_of({**CHAT, "message": {"content": "word " * 2_000_000}}))
    assert len(reply.text) == 10_000_000


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (400, {"error": "model is required"}, "bad_request", "model is required"),
        (400, {"error": '"long:1b" does not support chat'}, "bad_request", '"long:1b" does not support chat'),
        (405, "", "bad_request", "''"),
        (422, {"detail": "no"}, "bad_request", "no"),
        (408, "", "server_error", "''"),
        (429, {"error": "too many requests"}, "server_error", "too many requests"),
        (499, "", "server_error", "''"),
        (
            500,
            {"error": "an error was encountered while running the model: unexpected EOF"},
            "server_error",
            "an error was encountered while running the model: unexpected EOF",
        ),
        (500, {"error": None}, "server_error", "'{\"error\":null}'"),
        (502, "<html>Bad gateway</html>", "server_error", "'<html>Bad gateway</html>'"),
        (
            503,
            {"error": "server busy, please try again.  maximum pending requests exceeded"},
            "server_error",
            "server busy, please try again. maximum pending requests exceeded",
        ),
        (504, "", "server_error", "''"),
        (529, "", "server_error", "''"),
    ],
)
async def test_a_status_that_fails_one_call_is_an_error_of_its_class(
    status: int, body: object, kind: str, sentence: str, ask: Ask
) -> None:
    error = await fails(ask(handler_of(body, status)))
    assert type(error) is (RetryableError if kind == "server_error" else CallError)
    assert (error.kind, error.status) == (kind, status)
    assert str(error).endswith(f" answered {status}: {sentence}")


@pytest.mark.parametrize("body", [TOO_LONG, EXCEEDS, {"error": "input length exceeds maximum context length"}])
async def test_a_prompt_that_does_not_fit_is_told_apart_from_other_bad_requests(body: object, ask: Ask) -> None:
    error = await fails(ask(handler_of(body, 400)))
    assert type(error) is CallError
    assert (error.kind, error.status) == ("context_overflow", 400)
    assert str(error).endswith("; raise sampling.num_ctx")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            404,
            {"error": 'model "llama3.2:1b" not found, try pulling it first'},
            'model "llama3.2:1b" not found, try pulling it first; run: ollama pull llama3.2:1b',
        ),
        (403, "", "refuses this host name: give localhost or its IP address"),
        (401, {"error": "unauthorized"}, "sign in there with `ollama signin` (401: unauthorized)"),
        (402, {"error": "payment required"}, "(402: payment required)"),
        (308, "", "redirects to https://new.example/ (308)"),
    ],
)
async def test_a_status_that_fails_every_call_refuses_with_what_to_do(
    status: int, body: object, message: str, ask: Ask
) -> None:
    with pytest.raises(ProviderRefusedError) as caught:
        await ask(handler_of(body, status, Location="https://new.example/"))
    assert str(caught.value).startswith("providers.gpus: http://127.0.0.1:")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "<html><body>please come back later</body></html>",
        "",
        '{"message": {"content": "cut',
        "[]",
        "null",
        "7",
        '"text"',
        "{}",
        '{"message": null, "done": true}',
        '{"message": "text", "done": true}',
        '{"message": ["text"], "done": true}',
    ],
)
async def test_a_200_that_is_no_chat_message_is_worth_sending_again_and_kept(body: str, ask: Ask) -> None:
    error = await fails(ask(handler_of(body)))
    assert isinstance(error, RetryableError)
    assert error.kind == ("server_error" if "<html>" in body else "bad_reply")
    assert error.partial == {"reply": {"text": "", "body": body}}


@pytest.mark.parametrize("done", [False, None, 1, "true"])
async def test_a_server_that_gave_up_in_the_middle_has_failed(done: object, ask: Ask) -> None:
    error = await fails(ask(handler_of({**REPEAT_ABORT, "done": done})))
    assert isinstance(error, BadReplyError)
    assert error.kind == "not_done"
    assert error.partial == {
        "usage": {"input_tokens": 0, "output_tokens": 0},
        "reply": {"text": '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', "finish_reason": "", "finish": "broken"},
    }


async def test_a_prompt_that_filled_the_window_was_cut_and_has_failed(ask: Ask) -> None:
    error = await fails(ask(handler_of(FILLED)))
    assert isinstance(error, BadReplyError)
    assert error.kind == "context_overflow"
    assert "the window of 256 tokens" in str(error)
    assert error.partial == {
        "usage": {"input_tokens": 256, "output_tokens": 4},
        "reply": {"text": "q3g9", "finish_reason": "length", "finish": "cut"},
    }


async def test_a_prompt_one_token_short_of_the_window_is_sound(ask: Ask) -> None:
    assert (await ask(handler_of({**FILLED, "prompt_eval_count": 255}))).usage["input_tokens"] == 255


@pytest.mark.parametrize("reason", ["length", "stop"])
@pytest.mark.parametrize(("output", "full"), [(231, True), (232, True), (900, True), (230, False)])
async def test_a_reply_that_reached_the_end_of_the_window_says_so(
    reason: str,
    output: int,
    full: bool,  # noqa: FBT001
    ask: Ask,
) -> None:
    reply = await ask(handler_of({**CHAT, "done_reason": reason, "eval_count": output}))
    assert reply.extra.get("window_full", False) is full
    assert (reply.finish_reason, reply.finish) == (reason, "cut" if full or reason == "length" else "whole")


async def test_without_num_ctx_no_window_is_known(host: Host, connect: Connect) -> None:
    url = await host(handler_of(FILLED))
    request = ChatRequest("k", "llama3.2:1b", [], {"max_tokens": 4}, 7)
    reply = await backend(connect(), url).chat(request, url)
    assert reply.usage["input_tokens"] == 256
    assert "window_full" not in reply.extra


@pytest.mark.parametrize("content", ["", " \n\t\u2028", None, []])
async def test_a_reply_without_text_fails_and_keeps_what_was_generated(content: object, ask: Ask) -> None:
    error = await fails(ask(handler_of({**STOPPED_AT_ONCE, "message": {"role": "assistant", "content": content}})))
    assert isinstance(error, BadReplyError)
    assert error.kind == "empty_reply"
    assert str(error) == "the reply has no content (done_reason stop)"
    assert error.partial == {
        "usage": {"input_tokens": 25, "output_tokens": 1},
        "reply": {"text": content if isinstance(content, str) else "", "finish_reason": "stop", "finish": "whole"},
    }


@pytest.mark.parametrize("value", [None, "many", -1, [], {}, True, 1e300])
async def test_counts_and_durations_that_are_no_numbers_count_as_none(value: object, ask: Ask) -> None:
    names = ("eval_count", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    reply = await ask(handler_of({**CHAT, **dict.fromkeys(names, value)}))
    largest = 2**53 if isinstance(value, float) else 0
    assert reply.usage == {"input_tokens": 25, "output_tokens": largest}
    assert reply.load_s == pytest.approx(largest * 1e-9)


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
