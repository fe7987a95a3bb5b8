"""The ends of Ollama's replies and the meanings of its refusals: documented ones, recorded ones, and proxies' ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.errors import BadReplyError, CallError, ProviderError, ProviderRefusedError, QuotaError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]
    Ask = Callable[..., Awaitable[ChatReply]]

PAGE = "<html><title>502</title></html>"
REPEATED = "prediction aborted, token repeat limit reached"


@pytest.fixture
def ask(host: Host, connect: Connect) -> Ask:
    """A function that sends one call to a server with a given answer: a text as it is, anything else as JSON."""

    async def send(body: object, status: int = 200, **headers: str) -> ChatReply:
        raw = body.encode() if isinstance(body, str) else orjson.dumps(body)

        async def handler(_request: web.BaseRequest) -> web.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(body=raw, status=status, headers=named)

        url = await host(handler)
        client = OllamaBackend("gpus", {url: ["m:1b"]}, transport=connect())
        return await client.chat(ChatRequest("k", "m:1b", [], {"max_tokens": 8, "num_ctx": 256}, 7), url)

    return send


def chat(content: object = "2", **fields: object) -> dict[str, Any]:
    counts = {"prompt_eval_count": 25, "eval_count": 8}
    return {
        "message": {"role": "assistant", "content": content},
        "done": True,
        "done_reason": "stop",
        **counts,
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({}, "whole"),
        ({"done_reason": "length"}, "cut"),
        ({"eval_count": 231}, "cut"),
        ({"done_reason": None}, "whole"),
        ({"done_reason": "content_filter"}, "filtered"),
    ],
)
async def test_an_answer_says_how_it_ended(fields: dict[str, Any], finish: str, ask: Ask) -> None:
    assert (await ask(chat(**fields))).finish == finish


@pytest.mark.parametrize(("status", "body"), [(500, {"error": REPEATED}), (200, {"error": REPEATED})])
async def test_a_text_that_repeats_itself_is_the_calls_own_failure_and_not_sent_again(
    status: int, body: object, ask: Ask
) -> None:
    # ollama/ollama#18374; before, a 200 with `done: false`
    with pytest.raises(BadReplyError, match=REPEATED) as caught:
        await ask(body, status)
    assert caught.value.kind == "not_done"


async def test_a_reply_in_lines_or_in_parts_is_read(ask: Ask) -> None:
    half = orjson.dumps({**chat("q3"), "done": False, "done_reason": None}).decode()
    assert (await ask(f"{half}\n{orjson.dumps(chat('g9')).decode()}\n")).text == "q3g9"
    assert (await ask(chat([{"type": "text", "text": "a"}, "b"]))).text == "ab"


async def test_a_reply_that_calls_a_tool_needs_no_text(ask: Ask) -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    reply = await ask(chat(message={"content": "", "tool_calls": [call]}))
    assert (reply.text, reply.finish, reply.extra["tool_calls"]) == ("", "whole", [call])


async def test_a_reply_that_broke_off_is_worth_sending_again(ask: Ask) -> None:
    with pytest.raises(RetryableError) as caught:
        await ask(chat("half", done_reason="error"))
    assert caught.value.kind == "broken"
    assert caught.value.partial["reply"]["text"] == "half"


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"error": "an error was encountered while running the model: unexpected EOF"}, "server_error"),
        (503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, "server_error"),
        (429, {"error": "too many requests"}, "server_error"),
        (409, "", "server_error"),
        (403, PAGE, "server_error"),
        (404, PAGE, "server_error"),
        (401, PAGE, "server_error"),
        (500, {"error": 'option "num_predict" must be of type integer'}, "bad_request"),
        (400, {"error": "m:1b does not support thinking"}, "bad_request"),
        (400, {"error": "time: invalid duration soon"}, "bad_request"),
        (403, {"error": "the moon is full"}, "refused"),
        (413, {"error": "too large"}, "too_large"),
        (500, {"error": '{"error":{"code":500,"type":"exceed_context_size_error","message":"x"}}'}, "context_overflow"),
        (403, "", "stop"),
        (404, {"error": 'model "m:1b" not found, try pulling it first'}, "stop"),
        (410, {"error": "retired"}, "stop"),
        (400, {"error": "invalid model name"}, "stop"),
        (401, {"error": "unauthorized", "signin_url": "https://x"}, "stop"),
        (429, {"error": "you have reached your weekly usage limit"}, "quota"),
    ],
)
async def test_a_refusal_is_read_for_what_it_means(status: int, body: object, outcome: str, ask: Ask) -> None:
    with pytest.raises(ProviderError) as caught:
        await ask(body, status)
    failure = caught.value
    expected = {"stop": ProviderRefusedError, "quota": QuotaError, "server_error": RetryableError}
    assert type(failure) is expected.get(outcome, CallError)
    assert isinstance(failure, ProviderRefusedError) or (isinstance(failure, CallError) and failure.kind == outcome)
