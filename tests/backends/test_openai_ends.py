"""The ends of an OpenAI-compatible host's replies, in every shape: which are answers, and what is recorded of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import BadReplyError, CallError, ProviderRefusedError, RateLimitedError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]
    Ask = Callable[..., Awaitable[ChatReply]]

USAGE = {"prompt_tokens": 25, "completion_tokens": 8}
COUNTED = {"input_tokens": 25, "output_tokens": 8}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
GONE = {"code": 502, "message": "Upstream error"}


def completion(message: object, reason: object = "stop", **fields: object) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": reason, **fields}], "usage": USAGE}


def content(value: object, reason: object = "stop", **fields: object) -> dict[str, Any]:
    return completion({"role": "assistant", "content": value}, reason, **fields)


@pytest.fixture
def ask(host: Host, connect: Connect) -> Ask:
    """A function that sends one call to a host with a given answer: bytes as they are, anything else as JSON."""

    async def send(
        body: object, status: int = 200, content_type: str = "application/json", **secrets: str
    ) -> ChatReply:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)

        async def handler(_request: web.BaseRequest) -> web.Response:
            return web.Response(body=raw, status=status, headers={"Content-Type": content_type})

        url = await host(handler)
        client = OpenAIBackend("prov", url, secrets=list(secrets.values()), key_env="KEY", transport=connect())
        return await client.chat(ChatRequest("k", "m", [{"role": "user", "content": "?"}], {"max_tokens": 8}, 7), url)

    return send


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "whole"),
        (None, "whole"),
        ("moon", "whole"),
        ("length", "cut"),
        ("MAX_TOKENS", "cut"),
        ("model_length", "cut"),
        ("max_output_tokens", "cut"),
        ({"type": "length"}, "cut"),
        ("content_filter", "filtered"),
        ("SAFETY", "filtered"),
        ("refusal", "filtered"),
    ],
)
async def test_an_answer_says_how_it_ended_and_keeps_the_hosts_word(reason: object, finish: str, ask: Ask) -> None:
    reply = await ask(content("half a te", reason))
    assert (reply.text, reply.finish) == ("half a te", finish)
    assert reply.finish_reason == (reason if isinstance(reason, str) else "length" if reason else "")
    assert reply.usage == COUNTED


async def test_the_native_finish_reason_counts_where_there_is_no_other(ask: Ask) -> None:
    reply = await ask(content("half", None, native_finish_reason="MAX_TOKENS"))
    assert (reply.finish, reply.finish_reason) == ("cut", "MAX_TOKENS")


@pytest.mark.parametrize(
    ("body", "text", "refusal"),
    [
        (completion({"content": None, "refusal": "I can't help with that."}), "", "I can't help with that."),
        (completion({"content": "Well, ", "refusal": "no."}), "Well, ", "no."),
        (content([{"type": "refusal", "refusal": "no."}]), "", "no."),
        (content("", "content_filter"), "", ""),
        (completion(None, "content_filter"), "", ""),
        (completion({"role": "assistant"}, "PROHIBITED_CONTENT"), "", ""),
        (content("I will not", stop_reason="refusal"), "I will not", ""),
    ],
)
async def test_a_filtered_reply_and_one_in_which_the_model_declines_are_answers(
    body: object, text: str, refusal: str, ask: Ask
) -> None:
    reply = await ask(body)
    assert (reply.text, reply.refusal, reply.finish) == (text, refusal, "filtered")


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [CALL]},
        {"content": "", "tool_calls": [CALL]},
        {"tool_calls": [CALL]},
        {"content": None, "function_call": CALL["function"]},
    ],
)
async def test_a_reply_that_calls_a_tool_is_whole_without_a_text(message: dict[str, Any], ask: Ask) -> None:
    reply = await ask(completion(message, "tool_calls"))
    assert (reply.text, reply.finish) == ("", "whole")
    assert reply.extra == {name: value for name, value in message.items() if name != "content"}


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource", "network_error"])
async def test_a_reply_that_broke_off_is_worth_sending_again_and_what_came_is_kept(reason: str, ask: Ask) -> None:
    with pytest.raises(RetryableError) as caught:
        await ask(content("half a te", reason))
    assert (caught.value.kind, caught.value.status) == ("broken", 200)
    assert str(caught.value) == f"the reply broke off in the middle (finish_reason {reason})"
    assert caught.value.partial == {
        "usage": COUNTED,
        "reply": {"text": "half a te", "finish_reason": reason, "finish": "broken"},
    }


@pytest.mark.parametrize(
    "body",
    [
        content("half", "error", error=GONE),
        {**content("half", "error"), "error": GONE},
        content("half", None, error={"code": 503, "message": "Upstream error"}),
    ],
)
async def test_an_error_beside_half_a_text_is_told_with_it(body: object, ask: Ask) -> None:
    with pytest.raises(
        RetryableError, match=r"broke off in the middle: prov answered 200 .*: Upstream error"
    ) as caught:
        await ask(body)
    assert caught.value.kind == "broken"
    assert caught.value.partial["reply"]["text"] == "half"


async def test_an_error_in_the_place_of_a_message_means_what_it_says(ask: Ask) -> None:
    with pytest.raises(RateLimitedError, match="200 with error 429: slow down"):
        await ask({"choices": [{"error": {"code": 429, "message": "slow down"}, "finish_reason": "error"}]})
    with pytest.raises(ProviderRefusedError, match="the key was refused"):
        await ask(content("", "error", error={"code": 401, "message": "no"}))
    with pytest.raises(CallError) as caught:
        await ask(content("half", "error", error={"code": 400, "message": "Content Exists Risk"}))
    assert caught.value.kind == "filtered"
    assert caught.value.partial["reply"]["text"] == "half"


HIDDEN = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 8}}
ELSEWHERE = {**USAGE, "completion_tokens": 0, "total_tokens": 33}
THOUGHT = "so the answer is 5"


@pytest.mark.parametrize("word", ["stop", "length"])
@pytest.mark.parametrize(
    ("message", "usage"),
    [
        ({"content": "", "reasoning_content": THOUGHT}, USAGE),
        ({"content": None, "reasoning": THOUGHT}, USAGE),
        ({"content": f"<think>{THOUGHT}"}, USAGE),
        ({"content": f"<think>{THOUGHT}</think>\n"}, USAGE),
        ({"content": [{"type": "thinking", "thinking": THOUGHT}]}, USAGE),
        ({"content": ""}, HIDDEN),
        ({"content": ""}, ELSEWHERE),
    ],
)
async def test_a_model_that_only_thought_has_answered_without_a_text(
    message: dict[str, Any], usage: dict[str, Any], word: str, ask: Ask
) -> None:
    reply = await ask({**completion(message, word), "usage": usage})
    assert (reply.text, reply.finish) == ("", "cut" if word == "length" else "whole")
    assert reply.thinking == ("" if usage is not USAGE else THOUGHT)
    assert reply.usage["output_tokens"] == 8


async def test_a_reply_that_was_cut_before_its_first_word_is_an_answer_if_tokens_were_spent_on_it(ask: Ask) -> None:
    reply = await ask(completion({"content": ""}, "length"))
    assert (reply.text, reply.finish) == ("", "cut")
    with pytest.raises(BadReplyError):
        await ask({**completion({"content": ""}, "length"), "usage": {"prompt_tokens": 25, "completion_tokens": 0}})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (content([{"type": "text", "text": "the sum "}, {"type": "text", "text": "is 2"}]), "the sum is 2"),
        ({"choices": [{"text": "2", "finish_reason": "stop"}]}, "2"),
        (b'\xef\xbb\xbf{"choices": [{"message": {"content": "2"}}]}', "2"),
        (b'{"choices": [{"message": {"content": "2\\ud83d"}, "logprobs": {"x": [NaN, -Infinity]}}]}', "2\ufffd"),
        (b'{"choices": [{"message": {"content": "caf\xe9"}}]}', "caf\ufffd"),
        (b'{"choices": [{"message": {"content": "2\n3"}}]}', "2\n3"),
        (b'\n\n\n  {"choices": [{"message": {"content": "2"}}]}', "2"),
        (b'data: {"choices": [{"delta": {"content": "2"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n', "2"),
    ],
)
async def test_anything_readable_is_read(body: object, text: str, ask: Ask) -> None:
    assert (await ask(body)).text == text


async def test_a_declared_charset_and_any_2xx_are_honoured(ask: Ask) -> None:
    body = '{"choices": [{"message": {"content": "café"}}]}'.encode("latin-1")
    assert (await ask(body, 201, "application/json; charset=iso-8859-1")).text == "café"


DETAILS = [{"type": "reasoning.text", "text": THOUGHT}]
SEALED = [{"type": "reasoning.encrypted", "data": "gAAA"}]


@pytest.mark.parametrize(
    ("message", "thinking", "raw", "extra"),
    [
        ({"content": "2", "reasoning_content": THOUGHT}, THOUGHT, "", {}),
        ({"content": "2", "reasoning": THOUGHT, "reasoning_content": f" {THOUGHT}\n"}, THOUGHT, "", {}),
        ({"content": "2", "reasoning": THOUGHT, "reasoning_details": DETAILS}, THOUGHT, "", {}),
        ({"content": "2", "reasoning": None, "reasoning_details": DETAILS}, THOUGHT, "", {}),
        ({"content": "2", "reasoning_details": SEALED}, "", "", {"reasoning_details": SEALED}),
        ({"content": [{"type": "thinking", "thinking": DETAILS}, {"text": "2"}]}, THOUGHT, "", {}),
        ({"content": f"<think>{THOUGHT}</think>2"}, THOUGHT, f"<think>{THOUGHT}</think>2", {}),
        ({"content": "<think>b</think>2", "reasoning": "a"}, "a\n\nb", "<think>b</think>2", {}),
        ({"content": "2<|eot_id|>user: 3"}, "", "2<|eot_id|>user: 3", {}),
    ],
)
async def test_thoughts_and_words_are_apart_and_the_content_is_kept_where_it_is_not_the_text(
    message: dict[str, Any], thinking: str, raw: str, extra: dict[str, Any], ask: Ask
) -> None:
    reply = await ask(completion(message))
    assert (reply.text, reply.thinking, reply.raw, reply.extra) == ("2", thinking, raw, extra)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html><title>Log in</title></html>", "a page of HTML titled 'Log in'"),
        (b'{"choices": [{"message": {"content": "half', "JSON that breaks off after 42 characters"),
        (b"", "an empty body"),
        (b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n', "a stream of events that breaks off"),
    ],
)
async def test_what_is_unreadable_is_kept_with_the_reason(body: bytes, reason: str, ask: Ask) -> None:
    with pytest.raises(RetryableError) as caught:
        await ask(body)
    assert caught.value.kind == ("server_error" if "page" in reason else "bad_reply")
    assert str(caught.value).startswith(f"the server answered 200 with {reason}: ")
    assert caught.value.partial == {"reply": {"text": "", "body": body.decode()}}


async def test_of_an_unreadable_body_64_kib_are_kept_and_no_secret(ask: Ask) -> None:
    key = "sk-proj-Ab3dEf6hIj9l"
    with pytest.raises(RetryableError) as caught:
        await ask(b"x " + key.encode() + b" y" * 100_000, key=key)
    kept = caught.value.partial["reply"]["body"]
    assert kept.startswith("x *** y y")
    assert len(kept) < 65_536 + len("***")


@pytest.mark.parametrize(
    "words", ["sk-proj-****Ij9l", "sk***9l", "sk-proj-Ab3...Ij9l", "3dEf6hIj", "Bearer org-87654321"]
)
async def test_parts_of_a_key_and_of_other_headers_are_masked_in_the_hosts_words(words: str, ask: Ask) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {words}. Sorry."}}
    with pytest.raises(ProviderRefusedError, match=r"Incorrect API key provided: (Bearer )?\*\*\* ?\.? ?Sorry"):
        await ask(json.loads(json.dumps(body)), 401, key="sk-proj-Ab3dEf6hIj9l", header="org-87654321")
