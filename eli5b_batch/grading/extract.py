r"""Which part of a text is its final answer: the last box, else the last plain final statement.

Must not know: the gold answer, sympy.

Every function here is linear in the length of the text, whatever it holds: repeats in patterns are
bounded, and braces are counted, never matched by a pattern.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_BOX: Final = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_TOKEN: Final = re.compile(r"(\\{1,2}(?:boxed|fbox)\s{0,9}\{)|\\.|(\{)|(\})", re.DOTALL)
_BOX_OPENS, _OPENS, _CLOSES = 1, 2, 3  # groups of _TOKEN; an escape is none of them
_ANCHOR: Final = re.compile(
    r"\#{4}"
    r"|<answer>"
    r"|\b(?:final[ \t]{1,3})?answer\b[*_]{0,3}[ \t]{0,3}"
    r"(?:(?:[a-z]{1,15}[ \t]{1,3}){0,6}is\b(?:[ \t]{0,3}:[*_]{0,3})?|[:=][*_]{0,3})",
    re.IGNORECASE | re.ASCII,
)
_BOLD: Final = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s)|\n")
_COMMAND: Final = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|bm|boldsymbol|boxed|fbox)\s?\{")

LONGEST: Final = 2_000
"""Characters of an answer at most; nobody's formula is longer."""
_ANCHORS_TRIED: Final = 3
"""From the end; more than one, as the last can be an empty `Answer:`."""
_PEELS: Final = 8
"""Layers of wrapping taken off at most; real answers have two or three."""

_PAIRS: Final = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"), ("**", "**"), ("`", "`"))
_EDGES: Final = " \t\r\n\f\v\u00a0"


class Answer(NamedTuple):
    """The final answer as written, stripped of wrapping, and the rule that found it."""

    text: str
    rule: str


def extract(text: str) -> Answer | None:
    r"""The final answer of `text`, None where there is none.

    A box (`\boxed{}`, `\fbox{}`; rule `boxed`) wins over a statement (`####`, `the answer is`, `Answer:`,
    `<answer>`; rule `statement`), a statement over bold (rule `bold`); among equals the last one counts.
    A box never closed is a reply cut short and not an answer; of nested boxes the innermost counts.
    An answer longer than `LONGEST` is cut to one character more.
    """
    for find, rule in ((last_box, "boxed"), (_last_statement, "statement"), (_last_bold, "bold")):
        found = (find(text) or "").strip(_EDGES)
        answer = clean(found) if len(found) <= LONGEST else found[: LONGEST + 1]
        if answer:
            return Answer(answer, rule)
    return None


def clean(text: str) -> str:
    r"""`text` without the wrapping round it: `$`, `\( \)`, `**`, `\text{}`, outer braces, a full stop."""
    for _ in range(_PEELS):
        peeled = _peel(text)
        if peeled == text:
            break
        text = peeled
    if text.count("$") == 1:  # money, not mathematics
        text = text.replace("\\$", "").replace("$", "").strip(_EDGES)
    return text


def matching_brace(text: str, opening: int) -> int:
    r"""Where the `{` at index `opening` closes, -1 where it never does; `\{` and `\}` don't count."""
    depth = 0
    for token in _TOKEN.finditer(text, opening):
        if token.lastindex == _CLOSES:
            depth -= 1
            if depth == 0:
                return token.start()
        elif token.lastindex is not None:
            depth += 1
    return -1


def unclosed_braces(text: str) -> int:
    r"""How many `{` of `text` never close; escaped braces don't count."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token.lastindex == _CLOSES:
            depth = max(0, depth - 1)
        elif token.lastindex is not None:
            depth += 1
    return depth


def last_box(text: str) -> str | None:
    r"""The content of the last closed, non-empty `\boxed{}` or `\fbox{}`; of nested ones the innermost."""
    first = _BOX.search(text)
    if first is None:
        return None
    open_boxes: list[tuple[int, int]] = []  # depth outside the box, where its content starts
    depth, best_start, best_end = 0, -1, -1
    for token in _TOKEN.finditer(text, max(0, first.start() - 1)):
        if token.lastindex == _OPENS:
            depth += 1
        elif token.lastindex == _BOX_OPENS:
            open_boxes.append((depth, token.end()))
            depth += 1
        elif token.lastindex == _CLOSES:
            depth = max(0, depth - 1)
            if open_boxes and open_boxes[-1][0] == depth:
                start = open_boxes.pop()[1]
                if start > best_start and text[start : token.start()].strip(_EDGES):
                    best_start, best_end = start, token.start()
    return text[best_start:best_end] if best_start >= 0 else None


def _last_statement(text: str) -> str | None:
    last: list[re.Match[str]] = []
    for anchor in _ANCHOR.finditer(text):
        last.append(anchor)
        del last[:-_ANCHORS_TRIED]
    for anchor in reversed(last):
        window = text[anchor.end() : anchor.end() + LONGEST].lstrip(_EDGES)
        tagged = anchor[0].lower() == "<answer>"
        said = window.partition("</")[0] if tagged else _first_statement(window)
        if clean(said):
            return said
    return None


def _first_statement(window: str) -> str:
    """The formula `window` starts with, else its first sentence or line."""
    for left, right in _PAIRS:
        if window.startswith(left):
            end = window.find(right, len(left))
            if end > 0 and (left != "$" or "\n" not in window[:end]):
                return window[len(left) : end]
    end_of_sentence = _SENTENCE_END.search(window)
    return window[: end_of_sentence.start()] if end_of_sentence else window


def _last_bold(text: str) -> str | None:
    last = None
    for bold in _BOLD.finditer(text):
        if not bold[1].rstrip().endswith(":"):  # a heading
            last = bold[1]
    return last


def _peel(text: str) -> str:
    text = text.strip(_EDGES)
    if text.endswith((".", ",", ";")) and not text.endswith(("\\,", "\\;")):
        text = text[:-1].rstrip(_EDGES)
    for left, right in _PAIRS:
        inside = text[len(left) : -len(right)]
        wrapped = inside and text.startswith(left) and text.endswith(right)
        if wrapped and left not in inside and right not in inside:
            return inside
    command = _COMMAND.match(text)
    if command and matching_brace(text, command.end() - 1) == len(text) - 1:
        return text[command.end() : -1]
    if text.startswith("{") and matching_brace(text, 0) == len(text) - 1:
        return text[1:-1]
    return text
