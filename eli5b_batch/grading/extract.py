r"""Which part of a text is its final answer: the last box, else the last plain final statement.

Must not know: the gold answer, sympy.

Every function here is linear in the length of the text, whatever it holds: repeats in patterns are
bounded, and braces are counted, never matched by a pattern. Sentences without any label are `sentences`' business.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Final, NamedTuple

from eli5b_batch.grading.sentences import conclusion, is_mathematics, stated
from eli5b_batch.thoughts import words_of

_BOX: Final = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])")
_TOKEN: Final = re.compile(r"(\\{1,2}(?:boxed|fbox|framebox)\s{0,9}\{)|\\.|(\{)|(\})", re.DOTALL)
_BOX_OPENS, _OPENS, _CLOSES = 1, 2, 3  # groups of _TOKEN; an escape is none of them
_BARE_BOX: Final = re.compile(r"\\(?:boxed|fbox|framebox)\s{0,3}(-?[0-9][0-9.,]{0,30}(?<![.,])|[A-Za-z](?![A-Za-z]))")
_UNCLOSED: Final = re.compile(r"\\(?:boxed|fbox|framebox)\s{0,3}\{([^\n]{1,500}\})[\s$.\\)\]]{0,6}$")
"""A box that ends with the text and lacks nothing but its own last brace."""
_BETWEEN_BOXES: Final = re.compile(
    r"[\s$.\\()\[\]]{0,12}"
    r"(?:\\q?quad|,|;|\band\b|(?P<or>\bor\b)|\b(?:maybe|perhaps|possibly)\b|"
    r"\\text\s?\{ ?(?:(?P<text_or>or)|and|,) ?\}|[\s$\\()\[\]]){1,12}"
    r"(?P<name>[A-Za-z](?:_\{?\w{1,5}\}?)?\s{0,2}=\s{0,2})?[\s$\\(\[]{0,6}",
    re.IGNORECASE,
)
_NAME_BEFORE: Final = re.compile(r"([A-Za-z](?:_\{?\w{1,5}\}?)?)\s{0,2}=\s{0,2}[$\\(\s]{0,4}$")
_ANCHOR: Final = re.compile(
    r"(?P<hash>\#{4})"
    r"|(?P<tag><(?:final_?)?answer>|<final>)"
    r"|(?P<json>[\"'](?:final[ _]?)?answer[\"'][ \t]{0,3}:)"
    r"|(?P<line>^[ \t]{0,3}A[:.])(?=[ \t]{0,3}[^\s])"
    r"|(?P<heading>^[#*_ \t]{0,8}(?:the[ \t]{1,3})?(?:(?:final|correct)[ \t]{1,3})?(?:answer|result)s?[*_: \t]{0,6}$)"
    r"|\b(?:(?:final|correct)[ \t]{1,3})?answers?\b[*_]{0,3}[ \t]{0,3}(?:\([^()\n]{0,40}\)[ \t]{0,3})?"
    r"(?:(?:[a-z]{1,15}[ \t]{1,3}){0,8}?(?:is|are|was|be|becomes|equals|of(?= ?[$\\0-9-]))\b"
    r"(?:[ \t]{1,3}(?:given by|simply|just|thus|therefore))?(?:[ \t]{0,3}:[*_]{0,3})?"
    r"|(?<![*_])[:=][*_]{0,3}|(?<=[*_])[:=]|\.[*_]{2}(?=[ \t\n]))"
    r"|\b(?:correct|right)[ \t]{1,3}(?:option|choice)[ \t]{1,3}is\b[ \t]{0,3}:?"
    r"|^[ \t*_#>]{0,6}results?[*_]{0,3}:[*_]{0,3}",
    re.IGNORECASE | re.ASCII | re.MULTILINE,
)
_BOLD: Final = re.compile(r"(?:\*\*|__)([^*\n]{1,200}?)(?:\*\*|__)")
_HEADING: Final = re.compile(
    r"(?:step|case|part|claim|lemma|proof|note|check|answer|final answer|solution|conclusion|result|verification|"
    r"remark|method|approach|summary|setup|counting|simplif\w{1,10}|therefore|so|thus|hence)\b[\s\d.]{0,4}",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(r"[0-9$]|\\[A-Za-z(]|^[A-Za-z]$")
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|\*\*|$)|\n")
_COMMAND: Final = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathtt|texttt|mbox|bm|boldsymbol|boxed|fbox)\s?\{"
)
_HTML: Final = re.compile(r"</?(?:b|i|u|em|strong|br|p|span|div)[ /]{0,2}>", re.IGNORECASE)
_ESCAPES: Final = {"\f": r"\f", "\b": r"\b", "\t": r"\t", "\r": r"\r", "\n": r"\n", "\v": r"\v", "\a": r"\a"}
_EATEN: Final = re.compile(
    r"\f(?=rac\b|box\b|loor\b)|[\x08](?=inom\b|oxed\b|egin\b|ar\b|eta\b|ig\b)"
    r"|\t(?=imes\b|ext\b|frac\b|an\b|heta\b|binom\b|au\b)"
    r"|\r(?=ight\b|floor\b|ceil\b|angle\b|ho\b)|\n(?=eq\b)|\v(?=ec\b|ert\b)|\a(?=lpha\b|rctan\b|rcsin\b)"
)
_GOES_ON: Final = re.compile(r"\s{0,3}(?:,|;|,?\s{0,3}\b(?:or|and|maybe|perhaps)\b)\s{0,3}(?:\w{1,12}\s)?(?=[$\\\d-])")
_CORRECTION: Final = re.compile(
    r"\b(?:wait|actually|correction|sorry|oops|hold on|scratch that|let me (?:re-?check|redo|correct)|i made (?:a|an)|"
    r"(?:above|that) (?:is|was) (?:wrong|incorrect|not right|a mistake))\b",
    re.IGNORECASE,
)
_OR_BEHIND: Final = re.compile(
    r"\}[\s$\\)\].,]{0,6}\b(?:or|perhaps|maybe|possibly)\b(?: perhaps| maybe| possibly)?\s{0,3}[$\\(]{0,2}"
    r"(-?[0-9][0-9.,/]{0,40}(?<![.,]))",
    re.IGNORECASE,
)
_NOT: Final = re.compile(r"^[\s$.)\\,]{0,8}(?:and )?not [$\\(]{0,3}\Z")
_DENIED: Final = re.compile(r"\b(?:not|cannot|can't|isn't|never|wrong|incorrect|mistaken)\b", re.IGNORECASE)
_SUPPOSED: Final = re.compile(r"\b(?:if|claims?|suppose|assume|whether|could|would)\b[^.\n]{0,20}\Z", re.IGNORECASE)
_WORD: Final = re.compile(r"[A-Za-z]{2,}")
_RATHER: Final = re.compile(r"(?<=[0-9$}]),? (?:not|rather than|instead of) ")
_BEGINS_IN_WORDS: Final = re.compile(r"[A-Z][a-z']{0,15} [A-Za-z']{2,15},?(?: |$)")

LONGEST: Final = 6_000
"""Characters of an answer at most; nobody's formula is longer."""
_WINDOW: Final = 2_000
"""Characters behind a label that are looked at."""
_ANCHORS_TRIED: Final = 3
"""From the end; more than one, as the last can be an empty `Answer:`."""
_ANCHORS_KEPT: Final = 20
_PEELS: Final = 8
"""Layers of wrapping taken off at most; real answers have two or three."""

_SETS: Final = frozenset("RZNQC")
_PAIRS: Final = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"), ("**", "**"), ("`", "`"))
_EDGES: Final = " \t\r\n\f\v\u00a0\u200b\u200e\u200f\ufeff"


class Answer(NamedTuple):
    """The final answer as written, stripped of wrapping, and the rule that found it."""

    text: str
    rule: str


def extract(text: str) -> Answer | None:
    r"""The final answer of `text`, None where there is none.

    A box (`\boxed{}`, `\fbox{}`; rule `boxed`) wins over a labelled statement (`####`, `A:`, `the answer is`,
    `<answer>`, `"answer":`; rule `statement`), a statement over bold (rule `bold`), bold over a concluding sentence
    (rule `conclusion`); among equals the last one counts. Only a statement that corrects a box in so many words wins
    over it. What a model thinks aloud, in whatever marks, is no answer (`thoughts`). A box never closed is a reply cut
    short and not an answer; of nested boxes the innermost counts. An answer longer than `LONGEST` is cut to one
    character more.
    """
    text = _HTML.sub(" ", mended(words_of(text).words))
    boxed = _box(text)
    if boxed is None and _BOX.search(text):
        return None
    for find, rule in ((lambda _: boxed, "boxed"), *_OTHER_WAYS):
        found = (find(text) or "").strip(_EDGES)
        answer = clean(found) if len(found) <= LONGEST else found[: LONGEST + 1]
        if answer:
            return Answer(answer, rule)
    return None


def mended(text: str) -> str:
    r"""`text` with the backslashes back that some JSON took for escapes: a form feed where `\f` of `\frac` was."""
    return _EATEN.sub(lambda found: _ESCAPES[found[0]], text)


def clean(text: str) -> str:
    r"""`text` without the wrapping round it: `$`, `\( \)`, `**`, `\text{}`, outer braces, a full stop."""
    for _ in range(_PEELS):
        peeled = _peel(text)
        if peeled == text:
            break
        text = peeled
    dollars = text.count("$")
    if dollars == 1 and "\\$" not in text:  # money, not mathematics
        text = text.replace("$", "").strip(_EDGES)
    elif dollars and "\\$" not in text and is_mathematics(text):  # formulas among words
        text = text.replace("$", " ").strip(_EDGES)
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
    r"""The content of the last closed, non-empty `\boxed{}` or `\fbox{}`; of nested ones the innermost.

    Boxes with nothing but `and`, `or` or a comma between them are one answer of several parts.
    """
    return _last_of(text, _boxes(text))


def _last_of(text: str, found: list[tuple[int, int]]) -> str | None:
    if not found:
        return None
    start, end = found[-1]
    parts, names, either = [text[start:end]], [_name_before(text, start)], False
    for before, after in zip(reversed(found[:-1]), reversed(found), strict=False):
        if _NOT.search(text[before[1] + 1 : _box_start(text, after[0])]):
            parts, names = [text[before[0] : before[1]]], [_name_before(text, before[0])]
            continue
        between = _BETWEEN_BOXES.fullmatch(text[before[1] + 1 : _box_start(text, after[0])])
        if between is None or not (joint := _JOINT.search(between[0])):
            break
        either |= joint[0].lower() not in (",", ";", "and")
        parts.insert(0, text[before[0] : before[1]])
        names.insert(0, _name_before(text, before[0]))
    if len(parts) > 1 and all(names):
        parts = [f"{name} = {part}" for name, part in zip(names, parts, strict=True)]
    return (" or " if either else ", ").join(parts)


_JOINT: Final = re.compile(r",|;|\band\b|\bor\b|\b(?:maybe|perhaps|possibly)\b", re.IGNORECASE)


def _name_before(text: str, content: int) -> str:
    at = _box_start(text, content)
    found = _NAME_BEFORE.search(text[max(0, at - 20) : at])
    return found[1] if found else ""


def _box_start(text: str, content: int) -> int:
    return text.rfind("\\", 0, text.rfind("{", 0, content))


def _boxes(text: str) -> list[tuple[int, int]]:
    """Where the last few closed boxes' contents start and end, in order; of nested ones the innermost."""
    first = _BOX.search(text)
    if first is None:
        return []
    open_boxes: list[tuple[int, int]] = []  # depth outside the box, where its content starts
    closed: list[tuple[int, int]] = []
    depth = 0
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
                inner = closed and closed[-1][0] > start
                if not inner and text[start : token.start()].strip(_EDGES):
                    closed.append((start, token.start()))
                    del closed[:-8]
    return closed


def _box(text: str) -> str | None:
    boxes = _boxes(text)
    if not boxes and (unclosed := _UNCLOSED.search(text[-540:])) and unclosed_braces(unclosed[1]) == 0:
        return unclosed[1]
    if not boxes:
        bare = list(_BARE_BOX.finditer(text))[-1:] if "\\boxed" in text or "\\fbox" in text else []
        return bare[0][1] if bare else None
    after = text[boxes[-1][1] :]
    if _CORRECTION.search(after) and (corrected := _last_statement(after) or conclusion(after)):
        return corrected
    answer = _last_of(text, boxes)
    other = _OR_BEHIND.match(after)
    return f"{answer} or {other[1]}" if other else answer


def _last_statement(text: str) -> str | None:
    tried = 0
    for anchor in reversed(deque(_ANCHOR.finditer(text), maxlen=_ANCHORS_KEPT)):
        if _DENIED.search(anchor[0]) or _SUPPOSED.search(text, max(0, anchor.start() - 30), anchor.start()):
            continue
        tried += 1
        if tried > _ANCHORS_TRIED:
            break
        window = text[anchor.end() : anchor.end() + _WINDOW].lstrip(_EDGES + "}")
        if anchor["tag"]:
            said = window.partition("</")[0]
        elif anchor["json"]:
            said = _json_value(window)
        elif anchor["hash"]:
            said = window.partition("\n")[0]
        elif anchor[0].endswith(":") and "\n" in text[anchor.end() : anchor.end() + 2] and _is_prose(window):
            said = conclusion(window) or _first_statement(window)  # lines of working follow the label
        else:
            said = _first_statement(window.removeprefix("$") if window.startswith("$\\[") else window.lstrip(":"))
        if clean(said):
            return said
    return None


def _is_prose(window: str) -> bool:
    lines = [line for line in window.splitlines() if line.strip()]
    return len(lines) > 1 and bool(_BEGINS_IN_WORDS.match(lines[0]))


def _json_value(window: str) -> str:
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(window)
    except (ValueError, RecursionError):
        return window.partition("\n")[0].strip(" \t\"',}")
    return value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _first_statement(window: str) -> str:
    """The formula `window` starts with, and what it is joined to by `or`; else its first sentence or line."""
    for left, right in _PAIRS:
        if window.startswith(left):
            end = window.find(right, len(left))
            if end > 0 and (left != "$" or "\n" not in window[:end]):
                rest = window[end + len(right) :]
                if _GOES_ON.match(rest):
                    break
                return window[len(left) : end]
    end_of_sentence = _SENTENCE_END.search(window)
    sentence = window[: end_of_sentence.start()] if end_of_sentence else window
    sentence = _RATHER.split(sentence)[0]
    if sentence.count("**") == 1:  # **Final answer: 7** (with x = 2)
        sentence = sentence.replace("**", " ")
    if _BEGINS_IN_WORDS.match(sentence):
        sentence = sentence.replace("**", "")
    return (stated(sentence) if _BEGINS_IN_WORDS.match(sentence) else None) or sentence


def _last_bold(text: str, *, within: int = 1 << 30) -> str | None:
    """The last bold text that is a value, or words at the very end; of a bold sentence what it states."""
    last = None
    length = len(text.rstrip())
    for bold in _BOLD.finditer(text):
        inside = bold[1].strip()
        if inside.endswith(":") or _HEADING.fullmatch(inside.rstrip(".")) or bold.end() < length - within:
            continue
        if _VALUE.search(inside) or bold.end() > length - 3:
            last = inside
    if last and len(_WORD.findall(last)) > 3:  # noqa: PLR2004 (a sentence)
        return stated(last)
    return last


def _closing_bold(text: str) -> str | None:
    """Bold in the last lines; further up it is a heading more often than an answer."""
    start = max(0, len(text) - 300)
    bold = _last_bold(text, within=250)
    behind = text[text.rfind("**", start) + 2 :] if bold and "**" in text[start:] else ""
    return None if "=" in behind or conclusion(behind) else bold


_OTHER_WAYS: Final = (
    (_last_statement, "statement"),
    (_closing_bold, "bold"),
    (conclusion, "conclusion"),
    (_last_bold, "bold"),
)


def _peel(text: str) -> str:
    text = text.strip(_EDGES)
    if text.endswith("**") and text.count("**") == 1:
        return text[:-2]
    if text.endswith((".", ",", ";")) and not text.endswith(("\\,", "\\;")):
        text = text[:-1].rstrip(_EDGES)
    for left, right in _PAIRS:
        inside = text[len(left) : -len(right)]
        wrapped = inside and text.startswith(left) and text.endswith(right)
        if wrapped and left not in inside and right not in inside:
            return inside
    command = _COMMAND.match(text)
    if command and matching_brace(text, command.end() - 1) == len(text) - 1:
        inside = text[command.end() : -1]
        return text if inside in _SETS and command[0] != "\\text{" else inside
    if text.startswith("{") and matching_brace(text, 0) == len(text) - 1:
        return text[1:-1]
    return text
