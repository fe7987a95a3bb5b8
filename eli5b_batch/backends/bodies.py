"""From the bytes of a body to JSON, however badly they are written: nobody pays twice for a stray byte.

Must not know: HTTP, what the JSON means. What is well written is read by orjson; only what that refuses goes the long
way: wrong bytes and lone surrogates become U+FFFD, NaN, infinities and what is nested too deeply null, and control
characters are kept.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any, Final

import orjson

from eli5b_batch.backends import streams

_CHARSET: Final = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)
_ESCAPES: Final = re.compile(
    r"\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|u(d[89a-f][0-9a-f]{2})|.)", re.IGNORECASE | re.DOTALL
)
"""Escapes of JSON: a pair of surrogates, a lone one (kept apart), any other."""

_MARKS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
"""Strings, which are to be passed over, and brackets."""

_OPENING: Final = ("[", "{")
_CLOSING: Final = ("]", "}")
_DEEPEST: Final = 200
_RECORD: Final = 50
"""Levels that a record, and whatever holds that, may have around a value; orjson writes 254 in all."""
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_AROUND: Final = "\ufeff\x00 \t\r\n"
_HEAD: Final = 10_000
"""Characters of a page in which its title is looked for."""

_ESCAPE: Final = len(r"\uffff")
_MORE: Final = "Extra data"
_DIGITS: Final = 18
"""Digits of a whole number that JSON can carry on; a longer one is read as a float."""


class UnreadableBodyError(ValueError):
    """A body that is no JSON; the message says what it is instead."""


def charset(content_type: str) -> str:
    """The charset that a content type declares, "" for none."""
    declared = _CHARSET.search(content_type)
    return declared[1] if declared else ""


def text_of(body: bytes, declared: str = "") -> str:
    """The body's text, by its declared charset, else by how it looks; surrogate pairs joined, wrong bytes replaced."""
    looks = json.detect_encoding(body)
    for name, errors in ((declared or looks, "strict"), (looks, "surrogatepass"), (declared or looks, "replace")):
        with contextlib.suppress(LookupError, ValueError):  # an unknown charset, or not this one: the next is tried
            text = body.decode(name, errors)
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return body.decode("utf-8", "replace")


def is_page(text: str, content_type: str) -> bool:
    """Whether a text that is no JSON is a page for people, as proxies send."""
    return text.lstrip(_AROUND).startswith("<") or "html" in content_type.lower()


def read(body: bytes, declared: str = "") -> Any:  # noqa: ANN401 (JSON)
    """The JSON value that a body holds; of a stream of chunks, what they come to.

    Raises:
        UnreadableError: it holds none.
    """
    with contextlib.suppress(orjson.JSONDecodeError):  # read the long way below
        value = orjson.loads(body)
        if _can_be_written(value):
            return value
    text = text_of(body, declared).strip(_AROUND)
    try:
        return _value(text)
    except RecursionError:
        raise UnreadableBodyError("JSON nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        whole = _joined(text)
        if whole is None:
            raise UnreadableBodyError(_what(text, error)) from None
        return whole


def _value(text: str) -> Any:  # noqa: ANN401 (JSON)
    """The value of a text, without what is nested so deeply in it that it could be neither read nor written."""
    with contextlib.suppress(RecursionError):  # how deep Python goes before it raises one is another in each version
        value = _first_value(text)
        if _can_be_written(value):
            return value
    return _first_value(_shallow(text))


def _can_be_written(value: Any) -> bool:  # noqa: ANN401 (JSON)
    """Whether orjson, which reads deeper than it writes, can write a value into a record of calls.jsonl."""
    for _ in range(_RECORD):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True


def _shallow(text: str) -> str:
    """The text with null in the place of everything that is nested too deeply."""
    kept: list[str] = []
    depth = done = 0
    for mark in _MARKS.finditer(text):
        if mark[0] in _OPENING:
            depth += 1
            if depth == _DEEPEST:
                kept.append(text[done : mark.start()])
                done = mark.start()
        elif mark[0] in _CLOSING:
            if depth == _DEEPEST:
                kept.append("null")
                done = mark.end()
            depth -= 1
    return "".join([*kept, text[done:]])


def _first_value(text: str) -> Any:  # noqa: ANN401 (JSON)
    """The value a text begins with; what follows an object does not matter, unless it goes on in JSON."""
    value, end = _DECODER.raw_decode(_ESCAPES.sub(_whole_character, text))
    rest = text[end:].strip(_AROUND)
    if rest and (rest[0] in "{[" or not isinstance(value, dict)):
        raise json.JSONDecodeError(_MORE, text, end)
    return value


def _whole_character(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape[1] else escape[0]


def _joined(text: str) -> dict[str, Any] | None:
    stream = streams.pieces(text)
    if stream is None:
        return None
    try:
        chunks = [_value(piece) for piece in stream.texts]
        return streams.joined(chunks, ended=stream.ended)
    except (json.JSONDecodeError, RecursionError):
        return None


def _what(text: str, error: json.JSONDecodeError) -> str:
    """What a text that is no JSON is."""
    if not text:
        return "an empty body"
    if is_page(text, ""):
        title = _TITLE.search(text[:_HEAD])
        return f"a page of HTML titled {' '.join(title[1].split())!r}" if title else "a page of HTML"
    if streams.pieces(text) is not None:
        return "a stream of events that breaks off"
    cut = error.pos >= len(text) - _ESCAPE or error.msg.startswith("Unterminated string")
    if text[0] in "{[" and cut and error.msg != _MORE:
        return f"JSON that breaks off after {len(text)} characters"
    return "something that is not JSON"


def _whole_number(digits: str) -> float | int | None:
    return int(digits) if len(digits) <= _DIGITS else _fraction(digits)


def _fraction(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


_DECODER: Final = json.JSONDecoder(
    strict=False, parse_int=_whole_number, parse_float=_fraction, parse_constant=lambda _name: None
)
