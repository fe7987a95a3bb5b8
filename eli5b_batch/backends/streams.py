"""Bodies that are streams although none was asked for: the pieces joined into the one object that should have come.

Must not know: how JSON is read (`bodies`), what the joined object means.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eli5b_batch.backends.values import as_list, as_object

_END: Final = "[DONE]"
_FIELDS: Final = ("event:", "id:", "retry:")
"""Fields of an event beside its data; what begins with a colon is a comment, such as `: OPENROUTER PROCESSING`."""

_GROWING: Final = frozenset({"content", "reasoning", "reasoning_content", "thinking", "refusal", "text", "arguments"})
"""Texts of which every piece holds the next part; any other value is told anew."""


class Pieces(NamedTuple):
    """The JSON texts of a stream, and whether it said that it was over."""

    texts: list[str]
    ended: bool


def pieces(text: str) -> Pieces | None:
    """What a stream of server-sent events, or of one JSON object per line, consists of; None if it is neither."""
    texts = []
    ended = marked = False
    for line in map(str.strip, text.split("\n")):
        marked = marked or line.startswith((":", "data:", *_FIELDS))
        if not line or line.startswith((":", *_FIELDS)):
            continue
        piece = line.removeprefix("data:").strip()
        if piece == _END:
            ended = True
        elif piece.startswith("{"):
            texts.append(piece)
        else:
            return None
    return Pieces(texts, ended) if texts and (marked or len(texts) > 1) else None


def joined(chunks: list[dict[str, Any]], *, ended: bool) -> dict[str, Any] | None:
    """The object that chunks of a chat come to; None if the stream broke off.

    The chunks of one list carry an `index`, and the last one a `finish_reason`; Ollama's say themselves whether they
    are `done`.
    """
    whole: dict[str, Any] = {}
    for chunk in chunks:
        whole = _merged(whole, chunk)
    broken = False
    for choice in map(as_object, as_list(whole.get("choices"))):
        if "delta" in choice:
            choice.setdefault("message", choice.pop("delta"))
            broken = not (ended or choice.get("finish_reason") or whole.get("error"))
    return None if broken else whole


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {name: _grown(name, old.get(name), new.get(name)) for name in {**old, **new}}


def _grown(name: str, old: object, new: object) -> object:
    """What a field has come to."""
    if new is None:
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        return _merged(old, new)
    if isinstance(old, list) and isinstance(new, list):
        return _by_index(old, new)
    if isinstance(old, str) and isinstance(new, str) and name in _GROWING:
        return old + new
    return new


def _by_index(old: list[Any], new: list[Any]) -> list[Any]:
    """Items with the same `index` are one item; others follow one another."""
    items = list(old)
    places = {item["index"]: place for place, item in enumerate(items) if _has_index(item)}
    for item in new:
        if _has_index(item) and item["index"] in places:
            place = places[item["index"]]
            items[place] = _merged(items[place], item)
        else:
            items.append(item)
    return items


def _has_index(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("index"), int)
