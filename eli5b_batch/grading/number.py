r"""Whether the number an answer ends with is the gold one, as GSM8K asks: exact rationals, never floats, never sympy.

Must not know: formulas, pools, models.

The final number is the one in the last box or statement (`extract`), or in bold on the last line; where there is none,
it is the last number of the text (rule `last_number`), which is GSM8K's own convention.  That holds for a reply cut
short, too, whose last number may be a step on the way: `truncated` of the results tells which replies those are.

Left out of a number are thousands marks, currency, units, a percent sign, trailing zeros.  Two different numbers where
one is asked for (`12 or 13`, `12-13`, `3 and 20`) are wrong.  Every step is linear in the text.
"""

from __future__ import annotations

import re
import time
import unicodedata
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.grading.extract import LONGEST, Answer, extract
from eli5b_batch.grading.verdict import Outcome, Verdict
from eli5b_batch.thoughts import words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAID_TO_BE_FINAL: Final = ("boxed", "statement")
"""Rules of `extract` that hold here as they are. What it takes from a concluding sentence may be the beginning of a
formula whose last number is the result: of GSM8K's own solutions without their last line, 83% against 97% are right."""
_LAST_NUMBER: Final = "last_number"
_BEFORE: Final = 600
"""Characters looked at before the last digit of a text without a final statement: it and its sentence."""
_AFTER: Final = 40
"""And behind it: what may turn it into another number, such as `million`, or into none, such as `^`."""
_DIGITS: Final = "0123456789" + "".join(c for c in map(chr, range(0x80, 0x2190)) if unicodedata.category(c) == "No")
"""With the fractions that are one character."""

_SPELLINGS: Final = (
    (re.compile("[\u00bc-\u00be\u2150-\u215e]"), lambda m: f" {unicodedata.normalize('NFKC', m[0])} "),
    (re.compile("[\u2044\u2215]"), "/"),
    (re.compile("[\u2010-\u2012\u2212]"), "-"),
    (re.compile(r"\{,\}|(?<=[0-9])(?:\\[,!]|[\u00a0\u2009\u202f])(?=[0-9]{3})"), ","),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|bf|rm)\s?\{|\\[,;:! ()\[\]]|\\(?:q?quad|left|right)\b|~"), " "),
    (re.compile(r"[*_`]{2}|`"), ""),
    (re.compile(r"\\times\b|\\cdot\b|[\u00d7\u00b7]"), "*"),
    (re.compile(r"\\approx\b|\u2248"), "="),
    (re.compile(r"\\(?=[%$])"), ""),
    (re.compile(r"(?<=[A-Za-z])[$\u20ac\u00a3\u00a5\u20b9]"), " "),
    (re.compile(r"[$\u20ac\u00a3\u00a5\u20b9]\s?"), ""),
    (re.compile(r"\\[dtc]?frac\s?(?:\{\s?([0-9.]{1,400})\s?\}|([0-9]))\s?(?:\{\s?([0-9.]{1,400})\s?\}|([0-9]))"),
     lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} "),
    (re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}(?![0-9])"), lambda m: m[0].replace(",", "")),
    (re.compile(r"[ \t\u00a0]+"), " "),
)  # fmt: skip
"""What is written in many ways, and how `_NUMBER` reads it; in this order."""

_SPACED: Final = re.compile(r"(?:- ?)?[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?")
"""Spaces as thousands marks, where nothing else is said: `1 234`; in a sentence it may be two numbers."""

_PLAIN: Final = r"(?:[0-9]{1,400}(?![0-9])(?:\.[0-9]{1,400}(?![0-9]))?|\.[0-9]{1,400}(?![0-9]))"
_NUMBER: Final = re.compile(
    r"(?P<minus>(?<![\w)\]}%])- ?)?(?<![\w^.])(?<!\^\{)(?:(?P<whole>[0-9]{1,400}) (?=[0-9]{1,400} ?/))?"
    rf"(?P<over>{_PLAIN})(?: ?/ ?(?P<under>{_PLAIN}))?(?P<sup>st|nd|rd|th)?"
    r"(?:[eE](?P<e>[+-]?[0-9]{1,3})\b| ?\* ?10 ?\^ ?\{? ?(?P<ten>-?[0-9]{1,3})\b ?\}?)?"
    r"(?: ?(?P<scale>thousand|million|billion|trillion)\b)?(?P<percent> ?(?:%|per ?cent\b))?",
    re.IGNORECASE,
)
_SCALES: Final = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_RAISED: Final = re.compile(r" ?[})]? ?\^| ?\\(?:sqrt|pi)\b| ?[\u221a\u03c0]|[xyznk]\b")
"""Behind a number: it is part of a formula."""
_APPLIED: Final = re.compile(
    r"(?:\\(?:sqrt|[dtc]?frac|d?binom|log|ln|sin|cos|tan|exp|gcd|pi|pm|lfloor|lceil)\b|[\u221a\u03c0\u00b1])[^A-Za-z]{0,9}\Z"
)
"""Before a number: likewise."""
_JOINS: Final = re.compile(
    r"[^=]{0,40}?\b(?:or|and|to|through)\b[^=A-Za-z]{0,9}| ?[-+*/^,;&\u2013\u2014][^=A-Za-z]{0,9}", re.IGNORECASE
)
"""Between two numbers: both are given, or both are reckoned with."""
_ANOTHER: Final = re.compile(r"(?:[,;]|\band|\bor) ?\\?[A-Za-z] ?\Z")
"""Before the last `=`: it gives the value of a second letter."""
_ABOUT: Final = re.compile(r"\b(?:about|approximately|around|roughly|nearly|exactly|only|a|total|of)\b", re.IGNORECASE)


class _Number(NamedTuple):
    """A number as it stands in a text from `start` to `end`; `value` is None where it is part of a formula."""

    value: Fraction | None
    percent: bool
    start: int
    end: int


class _Final(NamedTuple):
    """What a piece of text gives as its number, or in one word why there is none."""

    text: str | None
    number: _Number | None
    why: str = ""


def decide(text: str, gold: str) -> Verdict:
    """The verdict on the number that `text` ends with.

    Args:
        text: a model's whole reply.
        gold: the number, or a worked solution that ends in `#### NUMBER`.

    Returns:
        `error` with the rule `gold` where the gold answer holds no number, or more than one.
    """
    started = time.perf_counter()
    outcome, said, rule = _decide(text, gold)
    return Verdict(outcome, said, rule, time.perf_counter() - started)


def _decide(text: str, gold: str) -> tuple[Outcome, str | None, str]:
    right = _final(_spelled(gold.rpartition("####")[2].strip()[:LONGEST]), boxed=True).number
    if right is None:
        return "error", None, "gold"
    found, rule = _find(text)
    if found is None:
        return "no_answer", None, "none"
    if found.number is None:
        return "incorrect", found.text, f"{rule}/{found.why}"
    return "correct" if _same(found.number, right) else "incorrect", found.text, f"{rule}/rational"


def _same(said: _Number, gold: _Number) -> bool:
    """Whether two numbers are equal. A percent sign counts, but golds are seldom given one: 25% is 1/4 and 25."""
    if said.value is None or gold.value is None:
        return False
    scales = {1, 100} if said.percent != gold.percent else {1}
    big, small = (said.value, gold.value) if said.percent else (gold.value, said.value)
    return any(big == small * scale for scale in scales)


def _find(text: str) -> tuple[_Final | None, str]:
    """The number that a text ends with, and the rule that found it."""
    text = words_of(text).words
    answer = extract(text)
    if answer is not None and (answer.rule in _SAID_TO_BE_FINAL or _is_bold_at_the_end(answer, text)):
        boxed = answer.rule == "boxed"
        final = _final(_spelled(answer.text), boxed=boxed)
        if boxed or final.why != "no_number":
            return final._replace(text=final.text or answer.text), answer.rule
    at = max(text.rfind(digit) for digit in _DIGITS)
    if at < 0:
        return None, _LAST_NUMBER
    window = _spelled(text[max(0, at - _BEFORE) : at + _AFTER])
    numbers = _numbers(window, boxed=False)
    return (_last(window, numbers) if numbers else _Final(None, None, "not_a_number")), _LAST_NUMBER


def _is_bold_at_the_end(answer: Answer, text: str) -> bool:
    """Bold print earlier on marks the steps."""
    return answer.rule == "bold" and answer.text in text.rstrip().rpartition("\n")[2]


def _spelled(text: str) -> str:
    """`text` with its numbers in one spelling."""
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    text = text.strip()
    return text.replace(" ", "") if _SPACED.fullmatch(text) else text


def _final(text: str, *, boxed: bool) -> _Final:
    """The number of a final answer: the one it begins with, else the one behind its last `=`, else its last."""
    numbers = _numbers(text, boxed=boxed)
    if not numbers:
        return _Final(None, None, "no_number")
    first, others = numbers[0], [n for n in numbers if n.value != numbers[0].value or n.value is None]
    if not others:
        return _as_said(text, first)
    begins = not re.search("[A-Za-z]", _ABOUT.sub("", text[: first.start]))
    gap = text[first.end : others[0].start]
    if begins and "=" not in gap and not _JOINS.match(gap) and gap.strip():
        return _as_said(text, first)
    head, _, tail = text.rpartition("=")
    if head and _numbers(tail, boxed=boxed):
        several = _ANOTHER.search(head, max(0, len(head) - 9))
        return _Final(None, None, "several") if several else _final(tail, boxed=boxed)
    return _Final(None, None, "several") if begins else _last(text, numbers)


def _last(text: str, numbers: Sequence[_Number]) -> _Final:
    """The last number, unless another one is joined to it."""
    last = numbers[-1]
    for other in numbers[-2:-1]:
        gap = text[other.end : last.start]
        if other.value != last.value and (not gap.strip() or _JOINS.fullmatch(gap)):
            return _Final(text[other.start : last.end], None, "several")
    return _as_said(text, last)


def _as_said(text: str, number: _Number) -> _Final:
    said = text[number.start : number.end].strip()
    return _Final(said, number) if number.value is not None else _Final(said, None, "not_a_number")


def _numbers(text: str, *, boxed: bool) -> list[_Number]:
    """Every number of a text in one spelling; `3rd` is none."""
    found = []
    for match in _NUMBER.finditer(text):
        if match["sup"]:
            continue
        part_of_formula = (
            _RAISED.match(text, match.end())
            or _APPLIED.search(text, max(0, match.start() - 20), match.start())
            or (boxed and text.startswith("!", match.end()))
        )
        value = None if part_of_formula else _value(match)
        found.append(_Number(value, bool(match["percent"]), match.start(), match.end()))
    return found


def _value(match: re.Match[str]) -> Fraction | None:
    under = Fraction(match["under"] or 1)
    if not under:
        return None
    power = int(match["e"] or match["ten"] or 0) + _SCALES.get((match["scale"] or "").lower(), 0)
    size = (int(match["whole"] or 0) + Fraction(match["over"]) / under) * Fraction(10) ** power
    return -size if match["minus"] else size
