"""Reads the body of a refusal, whatever its shape: a sentence, names of the error, a status, fields.

Must not know: what the sentence or a name means. Bodies nest: lists of one object, errors in errors, JSON in a text.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from eli5b_batch.backends.values import as_list, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_INNER: Final = (
    "error errors innererror cause detail details message raw metadata violations quotaDimensions base_resp"
).split()
"""Fields that hold more of the complaint: `innererror` Azure; `details`, `violations`, `quotaDimensions` Google;
`metadata`, `raw` OpenRouter (OmniRoute#3044); `detail` FastAPI and NVIDIA; `message` with JSON in it: Foundry
(everruns#3740); `base_resp` MiniMax."""

_SENTENCES: Final = "message Message error detail raw msg error_msg status_msg".split()
_NAMES: Final = "type code status reason error error_type error_code quotaId limit_source".split()
_STATUSES: Final = "code status status_code statusCode http_code".split()
_TELLING: Final = frozenset({"reasons", "flagged_input"})
"""Fields whose presence is a name of the error: OpenRouter's moderation refused (openrouter.ai/docs, errors)."""

_PLACE: Final = "loc"
"""The key for the path of the wrong field in FastAPI's objects (langchain-azure#82); their sentence omits the field."""

_STATUS: Final = range(400, 600)
_DEEPEST: Final = 6
_MOST: Final = 40
_LONGEST: Final = 4000
_LONGEST_PLACE: Final = 100


class Complaint(NamedTuple):
    """The content of a refusal's body; a field is empty or None where the body does not have it.

    Attributes:
        sentence: the explanation for people.
        names: types and codes of the error, without case and signs, see `plain`.
        status: a status of HTTP that the body names.
        fields: every object of the body that tells of the error, the outermost first.
    """

    sentence: str = ""
    names: frozenset[str] = frozenset()
    status: int | None = None
    fields: tuple[dict[str, Any], ...] = ()


def plain(name: str) -> str:
    """Return a name without case and signs: `API_KEY_INVALID` and `ApiKeyInvalid` are the same name."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read(body: object) -> Complaint:
    """Return the content of a refusal's body, which is JSON or a text."""
    objects = tuple(fields for fields, _ in zip(_objects(body), range(_MOST), strict=False))
    sentences: list[str] = [body] if isinstance(body, str) else []
    for fields in objects:
        place = ".".join(map(str, as_list(fields.get(_PLACE))[:_DEEPEST]))[:_LONGEST_PLACE]
        texts = (as_text(fields.get(name))[:_LONGEST] for name in _SENTENCES)
        sentences += (f"{place}: {text}" if place else text for text in texts if text and _parsed(text) is None)
    statuses = (_status(fields.get(name)) for fields in objects for name in _STATUSES)
    return Complaint(
        _joined(sentences),
        frozenset(name for fields in objects for name in _names(fields)),
        next(filter(None, statuses), None),
        objects,
    )


def _objects(value: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield every object that tells of the error, the outermost first."""
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict):
        yield value
        if depth < _DEEPEST:
            for name in _INNER:
                yield from _objects(value.get(name), depth + 1)
    elif depth < _DEEPEST:
        for item in as_list(value)[:_MOST]:
            yield from _objects(item, depth + 1)


def _parsed(text: str) -> object:
    """Return the JSON value that a text holds; None if it is a text for people."""
    if text.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(orjson.JSONDecodeError):  # a sentence in brackets
            return orjson.loads(text)
    return None


def _joined(sentences: list[str]) -> str:
    """Return the first two sentences as one; a sentence that another one contains is left out."""
    distinct: list[str] = []
    for sentence in sentences:
        if not any(sentence in other for other in distinct):
            distinct = [other for other in distinct if other not in sentence] + [sentence]
    return ": ".join(distinct[:2])


def _names(fields: dict[str, Any]) -> Iterator[str]:
    for name in _NAMES:
        word = as_text(fields.get(name))
        if word and " " not in word:
            yield plain(word)
    yield from (plain(name) for name in _TELLING if fields.get(name))


def _status(value: object) -> int | None:
    """Return a value as a status of HTTP; None for any other, such as a host's own codes."""
    number = int(value) if isinstance(value, str) and re.fullmatch("[45][0-9]{2}", value) else value
    return number if type(number) is int and number in _STATUS else None
