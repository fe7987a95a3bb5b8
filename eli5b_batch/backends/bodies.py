"""Reads the bytes of a body as JSON, even if malformed: a stray byte must not make anybody pay for a reply twice.

Must not know: HTTP, what the JSON means. orjson reads a well-formed body. Only a body that orjson refuses is read in a
slower way: wrong bytes and lone surrogates become U+FFFD; NaN, infinities and values that are nested too deeply become
null; control characters are kept.
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
"""Escapes of JSON: a pair of surrogates, a lone surrogate (the group), any other escape."""

_MARKS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
"""Strings, whose content must not be taken for brackets, and brackets."""

_OPENING: Final = ("[", "{")
_CLOSING: Final = ("]", "}")
_DEEPEST: Final = 200
_RECORD: Final = 50
"""Most levels of nesting that a record may put around a value; orjson writes 254 levels in all."""
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_AROUND: Final = "\ufeff\x00 \t\r\n"
_HEAD: Final = 10_000
"""Characters at the beginning of a page that are searched for its title."""

_ESCAPE: Final = len(r"\uffff")
_MORE: Final = "Extra data"
_DIGITS: Final = 18
"""Most digits of a whole number that can be written again as one; a longer number is read as a float."""


class UnreadableBodyError(ValueError):
    """A body is no JSON; the message says what it is instead."""


def charset(content_type: str) -> str:
    """Return the charset that a content type declares; "" where it declares none."""
    declared = _CHARSET.search(content_type)
    return declared[1] if declared else ""


def text_of(body: bytes, declared: str = "") -> str:
    """Return the body's text, by its declared charset, else by the charset that its first bytes suggest.

    Surrogate pairs are joined; wrong bytes become U+FFFD.
    """
    guess = json.detect_encoding(body)
    for name, errors in ((declared or guess, "strict"), (guess, "surrogatepass"), (declared or guess, "replace")):
        with contextlib.suppress(LookupError, ValueError):  # an unknown charset, or not this one: the next is tried
            text = body.decode(name, errors)
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return body.decode("utf-8", "replace")


def is_page(text: str, content_type: str) -> bool:
    """True if a text that is no JSON is a page of HTML, such as proxies send."""
    return text.lstrip(_AROUND).startswith("<") or "html" in content_type.lower()


def read(body: bytes, declared: str = "") -> Any:  # noqa: ANN401 (JSON)
    """Return the JSON value that a body holds; of a stream of chunks, the object that they make up.

    Raises:
        UnreadableBodyError: the body is no JSON.
    """
    with contextlib.suppress(orjson.JSONDecodeError):  # read in the slower way below
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
            raise UnreadableBodyError(_description(text, error)) from None
        return whole


def _value(text: str) -> Any:  # noqa: ANN401 (JSON)
    """Return the value of a text; values that are nested too deeply to be read or written are null in it."""
    with contextlib.suppress(RecursionError):  # the depth at which Python raises it differs by version
        value = _first_value(text)
        if _can_be_written(value):
            return value
    return _first_value(_shallow(text))


def _can_be_written(value: Any) -> bool:  # noqa: ANN401 (JSON)
    """True if orjson, which reads deeper than it writes, can write a value into a record of calls.jsonl."""
    for _ in range(_RECORD):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True


def _shallow(text: str) -> str:
    """Return a JSON text with null in the place of every value that is nested too deeply."""
    pieces: list[str] = []
    depth = done = 0
    for mark in _MARKS.finditer(text):
        if mark[0] in _OPENING:
            depth += 1
            if depth == _DEEPEST:
                pieces.append(text[done : mark.start()])
                done = mark.start()
        elif mark[0] in _CLOSING:
            if depth == _DEEPEST:
                pieces.append("null")
                done = mark.end()
            depth -= 1
    return "".join([*pieces, text[done:]])


def _first_value(text: str) -> Any:  # noqa: ANN401 (JSON)
    """Return the JSON value at the beginning of a text; any text but JSON may follow an object."""
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


def _description(text: str, error: json.JSONDecodeError) -> str:
    """Return what a text that is no JSON is, in words for a message."""
    if not text:
        return "an empty body"
    if is_page(text, ""):
        title = _TITLE.search(text[:_HEAD])
        return f"a page of HTML titled {' '.join(title[1].split())!r}" if title else "a page of HTML"
    if streams.pieces(text) is not None:
        return "a stream of events that breaks off"
    is_cut = error.pos >= len(text) - _ESCAPE or error.msg.startswith("Unterminated string")
    if text[0] in "{[" and is_cut and error.msg != _MORE:
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
