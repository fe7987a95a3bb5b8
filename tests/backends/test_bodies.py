from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.backends import bodies

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


NESTED: Any = None
IN_OBJECTS: Any = None
for _ in range(198):
    NESTED = [NESTED]
for _ in range(197):
    IN_OBJECTS = {"]}": IN_OBJECTS}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\xe2\x82\xac"}', {"a": "€"}),
        (b' \n\t{"a": 1}\r\n', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": NaN, "b": [-Infinity, Infinity, 1e999]}', {"a": None, "b": [None, None, None]}),
        (b'{"a": "x\\ud83d"}', {"a": "x\ufffd"}),
        (b'{"a": "\\ude00x"}', {"a": "\ufffdx"}),
        (b'{"a": "\\uD83D\\uDE00", "b": "\\ud83d"}', {"a": "\U0001f600", "b": "\ufffd"}),
        (b'{"a": "\\ud83d\\ud83d\\ude00"}', {"a": "\ufffd\U0001f600"}),
        (b'{"a": "\\\\ud83d", "b": NaN}', {"a": "\\ud83d", "b": None}),
        (b'{"a": "\xed\xa0\xbd\xed\xb8\x80 \xed\xa0\xbd"}', {"a": "\U0001f600 \ufffd"}),
        (b'{"a": "caf\xe9"}', {"a": "caf\ufffd"}),
        (b'{"a": "two\nlines\tand\x00"}', {"a": "two\nlines\tand\x00"}),
        (b'{"a": ' + b"9" * 5000 + b', "b": NaN}', {"a": None, "b": None}),
        (b'{"a": 12345678901234567890123, "b": NaN}', {"a": 1.2345678901234568e22, "b": None}),
        ('{"a": "é"}'.encode("utf-16"), {"a": "é"}),
        (b'{"a": 1, "deep": ' + b"[" * 3000 + b"]" * 3000 + b', "b": 2}', {"a": 1, "deep": NESTED, "b": 2}),
        (b'{"a": 1, "deep": ' + b"[" * 240 + b"]" * 240 + b', "b": 2}', {"a": 1, "deep": NESTED, "b": 2}),
        (b'{"a": 1, "deep": ' + b"[" * 240 + b"]" * 240 + b', "b": NaN}', {"a": 1, "deep": NESTED, "b": None}),
        (b'{"a": "[[[", "b": [' + b'{"]}": ' * 2000 + b"1" + b"}" * 2000 + b"]}", {"a": "[[[", "b": [IN_OBJECTS]}),
        (b'{"a": 1}\x00\x00', {"a": 1}),
        (b'{"a": 1}\n<!-- served by proxy -->', {"a": 1}),
        (b': OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n{"a": 1}', {"a": 1}),
    ],
)
def test_what_can_be_read_is_read(body: bytes, value: object) -> None:
    read = bodies.read(body)
    assert read == value
    orjson.dumps({"call": {"reply": read}})


@pytest.mark.parametrize(
    ("raw", "content_type", "text"),
    [
        ("é".encode("latin-1"), "application/json; charset=ISO-8859-1", "é"),
        ("é".encode("latin-1"), 'application/json;charset="latin1"', "é"),
        ("日本".encode("shift_jis"), "application/json; charset=Shift_JIS", "日本"),
        ("é".encode(), "application/json; charset=iso-8859-1", "é"),
        ("é".encode("latin-1"), "application/json; charset=utf-8", "\ufffd"),
        ("é".encode("latin-1"), "application/json; charset=no-such", "\ufffd"),
        ("é".encode("latin-1"), "application/json; charset=rot13", "\ufffd"),
        ("é".encode("latin-1"), "application/json", "\ufffd"),
    ],
)
def test_a_declared_charset_is_honoured_where_the_body_is_no_utf_8(raw: bytes, content_type: str, text: str) -> None:
    assert bodies.read(b'{"a": "' + raw + b'"}', bodies.charset(content_type)) == {"a": text}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "an empty body"),
        (b" \r\n", "an empty body"),
        (b"<html><title> Just a\n moment... </title>", "a page of HTML titled 'Just a moment...'"),
        (b"<!DOCTYPE html><p>", "a page of HTML"),
        (b'{"choices": [{"message": {"content": "cut her', "JSON that breaks off after 45 characters"),
        (b'{"a": 1,', "JSON that breaks off after 8 characters"),
        (b'{"a": "x\\u12', "JSON that breaks off after 12 characters"),
        (b'{"a" 1, "b": 2, "c": 3}', "something that is not JSON"),
        (b"Service Unavailable", "something that is not JSON"),
        (b"[1] 2", "something that is not JSON"),
        (b"[" * 100_000, "JSON nested too deeply to be read"),
        (b'data: {"choices": [{"delta": {"content": "half"}}]}\n', "a stream of events that breaks off"),
        (b'data: {"choices": [{"delta"\n', "a stream of events that breaks off"),
    ],
)
def test_an_unreadable_body_is_described_in_the_message(body: bytes, reason: str) -> None:
    with pytest.raises(bodies.UnreadableBodyError) as caught:
        bodies.read(body)
    assert str(caught.value) == reason


@given(JSON)
def test_what_the_standard_library_writes_is_read(value: Any) -> None:  # noqa: ANN401 (JSON)
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        orjson.dumps(bodies.read(text.encode("utf-8", "surrogatepass")))


@given(
    st.binary(max_size=60) | st.text('{}[]",:\\u\tdef0189NaIn-.e ', max_size=60).map(str.encode), st.text(max_size=8)
)
def test_whatever_a_body_holds_it_is_json_or_unreadable(body: bytes, declared: str) -> None:
    try:
        value = bodies.read(body, declared)
    except bodies.UnreadableBodyError:
        return
    orjson.dumps(value)


@given(st.binary(max_size=60), st.text(max_size=8))
def test_whatever_a_body_holds_it_has_a_text_that_can_be_written_down(body: bytes, declared: str) -> None:
    orjson.dumps(bodies.text_of(body, declared))


def chunk(**delta: object) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}


def events(*chunks: object, end: str = "data: [DONE]") -> bytes:
    lines = [f"data: {json.dumps(each)}" for each in chunks]
    return ("\r\n\r\n".join([": keep alive", *lines, end]) + "\r\n\r\n").encode()


def test_a_stream_of_events_is_read_as_the_reply_it_is() -> None:
    calls = [{"index": 0, "id": "t", "function": {"name": "f", "arguments": part}} for part in ('{"x"', ": 1}")]
    body = events(
        chunk(role="assistant", content=""),
        chunk(reasoning="1 and"),
        chunk(reasoning=" 1"),
        chunk(content="the sum\u2028is "),
        chunk(content="2"),
        chunk(tool_calls=calls[:1]),
        chunk(tool_calls=calls[1:]),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    )
    whole = bodies.read(body)
    (choice,) = whole["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "the sum\u2028is 2",
        "reasoning": "1 and 1",
        "tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    }
    assert choice["finish_reason"] == "stop"
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 4}


def test_an_error_in_a_stream_is_kept_with_what_came_before_it() -> None:
    whole = bodies.read(events(chunk(content="half"), {"error": {"code": 502, "message": "gone"}}, end=""))
    assert whole["choices"][0]["message"]["content"] == "half"
    assert whole["error"] == {"code": 502, "message": "gone"}


def test_lines_of_json_are_joined_as_ollama_sends_them() -> None:
    lines = [{"message": {"role": "assistant", "content": part}, "done": False} for part in ("q3", "g9")]
    last = {"message": {"role": "assistant", "content": ""}, "done_reason": "stop", "done": True, "eval_count": 2}
    whole = bodies.read("\n".join(json.dumps(line) for line in [*lines, last]).encode())
    assert whole == {**last, "message": {"role": "assistant", "content": "q3g9"}}
