"""Replaces secrets in messages: whole, in parts, and shortened as hosts show them, with a head and a tail around stars.

Must not know: where a text comes from, or what the secrets are for.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK: Final = "***"

_SHORTEST: Final = 6
"""Characters of the shortest part of a secret that is replaced; a shorter secret is replaced only as a whole word."""

_SHOWN: Final = 2
"""Characters of the shortest head or tail of a secret that is replaced beside a mark of omission."""

_WORD: Final = re.compile(r"[^\s\"'`<>()\[\]{},;]+")
_OMISSION: Final = re.compile(r"\*+|\.{3,}|…")
"""Marks of omission in the middle of a shortened key: `sk-proj-****abcd` (OpenAI), `sk***gA` (openai/codex#1352)."""


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return the text with the secrets, and parts of them that would help to guess them, replaced by `***`.

    The time for each secret is linear in the length of the text.
    """
    for secret in secrets:
        if secret:
            text = _without_runs(_WORD.sub(partial(_unless_shortened, secret), text), secret)
    return text


def _unless_shortened(secret: str, word: re.Match[str]) -> str:
    """Return the mask if a word shows the head or the tail of the secret beside a mark of omission, else the word."""
    head, *rest = _OMISSION.split(word[0])
    if not rest:
        return word[0]
    tail = rest[-1]
    begins = any(_shows_head(head, secret[:size]) for size in range(_SHOWN, min(len(head), len(secret)) + 1))
    ends = any(tail.startswith(secret[-size:]) for size in range(_SHOWN, min(len(tail), len(secret)) + 1))
    return MASK if begins or ends else word[0]


def _shows_head(text: str, head: str) -> bool:
    """True if the shown text ends with a secret's head at the start of a word: with `sk-`, `key=sk-` does.

    `disk-` does not: its `sk-` follows a letter.
    """
    return text.endswith(head) and not text[: -len(head)][-1:].isalnum()


def _without_runs(text: str, secret: str) -> str:
    """Return the text with every run of characters that is a part of the secret, `_SHORTEST` or longer, replaced."""
    size = len(secret)
    if size < _SHORTEST:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    grams = {secret[n : n + _SHORTEST] for n in range(size - _SHORTEST + 1)}
    pieces: list[str] = []
    done = n = 0
    while n <= len(text) - _SHORTEST:
        if text[n : n + _SHORTEST] not in grams:
            n += 1
            continue
        end = n + _SHORTEST
        while text[end - _SHORTEST + 1 : end + 1] in grams and end < len(text):
            end += 1
        pieces += (text[done:n], MASK)
        done = n = end
    return "".join([*pieces, text[done:]])
