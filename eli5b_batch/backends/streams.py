"""Streams in reply to requests that asked for none: their chunks are joined into the one object of a plain reply.

Must not know: how JSON is read (`bodies`), what the joined object means.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eli5b_batch.backends.values import as_list, as_object

_END: Final = "[DONE]"
_FIELDS: Final = ("event:", "id:", "retry:")
"""Fields of an event beside its data. A line that begins with a colon is a comment: `: OPENROUTER PROCESSING`."""

_GROWING: Final = frozenset({"content", "reasoning", "reasoning_content", "thinking", "refusal", "text", "arguments"})
"""Fields whose texts are joined, as each chunk holds the next part; in any other field the newest value counts."""


class Pieces(NamedTuple):
    """The JSON texts of a stream, one per chunk, and whether the stream ended with `[DONE]`."""

    texts: list[str]
    ended: bool


def pieces(text: str) -> Pieces | None:
    """Return the pieces of a stream of server-sent events, or of one JSON object per line; None if it is neither."""
    texts = []
    ended = has_events = False
    for line in map(str.strip, text.split("\n")):
        has_events = has_events or line.startswith((":", "data:", *_FIELDS))
        if not line or line.startswith((":", *_FIELDS)):
            continue
        piece = line.removeprefix("data:").strip()
        if piece == _END:
            ended = True
        elif piece.startswith("{"):
            texts.append(piece)
        else:
            return None
    return Pieces(texts, ended) if texts and (has_events or len(texts) > 1) else None


def joined(chunks: list[dict[str, Any]], *, ended: bool) -> dict[str, Any] | None:
    """Return the object that the chunks of a chat make up; None if the stream broke off.

    The choices of OpenAI's chunks carry an `index`, and that of the last chunk a `finish_reason`; Ollama's chunks say
    whether they are `done`.
    """
    whole: dict[str, Any] = {}
    for chunk in chunks:
        whole = _merged(whole, chunk)
    is_broken = False
    for choice in map(as_object, as_list(whole.get("choices"))):
        if "delta" in choice:
            choice.setdefault("message", choice.pop("delta"))
            is_broken = not (ended or choice.get("finish_reason") or whole.get("error"))
    return None if is_broken else whole


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {name: _grown(name, old.get(name), new.get(name)) for name in {**old, **new}}


def _grown(name: str, old: object, new: object) -> object:
    """Return the value of a field after one more chunk."""
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
    """Return two lists joined: items with the same `index` are merged into one, any other item is appended."""
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
