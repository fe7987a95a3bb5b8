"""Secrets kept out of messages: whole, in parts, and as hosts show them, head and tail around some stars.

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
"""Characters of a secret in a row that may not be shown; a secret that is shorter is looked for as a whole word."""

_SHOWN: Final = 2
"""Characters of a secret's head or tail beside a mark of omission that give it away."""

_WORD: Final = re.compile(r"[^\s\"'`<>()\[\]{},;]+")
_OMISSION: Final = re.compile(r"\*+|\.{3,}|…")
"""What a shortened key has in its middle: `sk-proj-****abcd` (OpenAI), `sk***gA` (openai/codex#1352)."""


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, and without any part of them that says something.

    Time is linear in the text for each secret.
    """
    for secret in secrets:
        if secret:
            text = _without_runs(_WORD.sub(partial(_unless_shortened, secret), text), secret)
    return text


def _unless_shortened(secret: str, word: re.Match[str]) -> str:
    """A word as it is, or the mask if it shows how the secret begins or ends beside a mark of omission."""
    head, *rest = _OMISSION.split(word[0])
    if not rest:
        return word[0]
    tail = rest[-1]
    begins = any(_shows_head(head, secret[:size]) for size in range(_SHOWN, min(len(head), len(secret)) + 1))
    ends = any(tail.startswith(secret[-size:]) for size in range(_SHOWN, min(len(tail), len(secret)) + 1))
    return MASK if begins or ends else word[0]


def _shows_head(shown: str, head: str) -> bool:
    """Whether what is shown ends with a secret's head, at the start of a word: `key=sk-` does, `disk` does not."""
    return shown.endswith(head) and not shown[: -len(head)][-1:].isalnum()


def _without_runs(text: str, secret: str) -> str:
    size = len(secret)
    if size < _SHORTEST:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    grams = {secret[n : n + _SHORTEST] for n in range(size - _SHORTEST + 1)}
    kept: list[str] = []
    done = n = 0
    while n <= len(text) - _SHORTEST:
        if text[n : n + _SHORTEST] not in grams:
            n += 1
            continue
        end = n + _SHORTEST
        while text[end - _SHORTEST + 1 : end + 1] in grams and end < len(text):
            end += 1
        kept += (text[done:n], MASK)
        done = n = end
    return "".join([*kept, text[done:]])
