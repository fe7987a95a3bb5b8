"""The content of a message: a text, or a list of parts whose texts are joined and whose other parts are recorded.

Must not know: which protocol a message came by.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eli5b_batch.backends.values import as_list, as_object, as_text

_TEXTS: Final = ("text", "output_text")
_THOUGHTS: Final = ("thinking", "reasoning")
"""Types of parts: Mistral's `thinking` holds a list of parts again (req_llm#742, inspect_ai#2389)."""


class Content(NamedTuple):
    """The text of a message, the words in which the model declined, its thoughts, and the content's other parts."""

    text: str
    refusal: str
    thoughts: list[str]
    extra: dict[str, Any]


def read(content: object) -> Content:
    """Return a message's content; a single part is read like a list of one part."""
    if (only_text := _text_of(content)) and not isinstance(content, dict):
        return Content(only_text, "", [], {})
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    others: list[object] = []
    for part in as_list(content) or ([content] if isinstance(content, dict) else []):
        fields = as_object(part)
        kind = as_text(fields.get("type"))
        if isinstance(part, str):
            texts.append(part)
        elif (kind in _TEXTS or not kind) and (text := _text_of(fields)):
            (thoughts if fields.get("thought") is True else texts).append(text)  # Google marks thoughts so
        elif kind in _TEXTS and not fields.get("text") and fields.keys() <= {"type", "text"}:
            continue  # a part without a text
        elif kind in _THOUGHTS:
            thoughts.append(plain(fields.get(kind) or fields.get("text")))
        elif kind == "refusal":
            refusals.append(as_text(fields.get("refusal")))
        else:
            others.append(part)
    return Content("".join(texts), "".join(refusals), list(filter(None, thoughts)), {"parts": others} if others else {})


def _text_of(value: object) -> str:
    """Return a text, a number as a text, or the text that an object holds under one of the usual names; else ""."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    fields = as_object(value)
    inner = (fields.get("text"), fields.get("content"), fields.get("value"), as_object(fields.get("text")).get("value"))
    return as_text(value) or next(filter(None, map(as_text, inner)), "")


def plain(thoughts: object) -> str:
    """Return thoughts as one text; they come as a text, or a list of texts and of objects with `text` or `summary`."""
    parts = [(part, as_object(part)) for part in as_list(thoughts)]
    texts = (as_text(part) or as_text(fields.get("text")) or as_text(fields.get("summary")) for part, fields in parts)
    return as_text(thoughts) or as_text(as_object(thoughts).get("text")) or "".join(texts)
