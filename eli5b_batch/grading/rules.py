r"""The rules by which an answer is compared with one reading of the gold answer, in the order in which they are asked.

Must not know: replies, pools, sympy, models.

A rule gives correct or incorrect, or None where it has nothing to say: then the next one is asked. All are bounded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import mpmath  # type: ignore[import-untyped]

from eli5b_batch.grading.formulas import structure, values
from eli5b_batch.grading.formulas.reader import UnreadableFormulaError, read
from eli5b_batch.grading.formulas.words import plain
from eli5b_batch.grading.formulas.work import TooBigError, WorkBudget
from eli5b_batch.grading.notation import plain_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.grading.formulas.tree import Node
    from eli5b_batch.grading.verdict import Outcome

_UPRIGHT: Final = r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox) ?\{ ?"
_CHOICE: Final = re.compile(r"\(?([A-H])\)?")
_CHOSEN: Final = re.compile(
    rf"(?:{_UPRIGHT})?(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer) )?\(?([A-H])\)?(?:[.)]?\}}\)?)?"
    r"(?:[.):, }](?!\W{0,4}(?:and|or|&)?\W{0,4}[A-H]\b).{0,200})?"
)
_OPTION: Final = re.compile(rf"(?:{_UPRIGHT})?(?:\((?:{_UPRIGHT})?[A-H]\}}?\)|[A-H][.)])[.:]? ?\}}? ?(?=.)")
"""`(C) 12`: the letter is the option's, the value the answer."""
_OPTION_BEHIND: Final = re.compile(rf"(?<=.) ?(?:{_UPRIGHT})?\([A-H]\) ?\}}?$")
_DECIMAL_BEHIND: Final = re.compile(
    r"(-?(?:\\frac ?\{[0-9]+\} ?\{[0-9]+\}|[0-9./]+)) \((?:\\approx ?|= ?|or )?(?:[0-9]*\.[0-9]+|[0-9.]+ ?\\?%)\)"
)
"""`3/8 (0.375)`"""
_CAPITALS: Final = re.compile(r"(?:\\(?:angle|triangle) ?)?[A-Z]{2,8}")
_COMMAND: Final = re.compile(r"\\[a-z]+")
_EQUALS: Final = re.compile(r"=|[a-z]")
_DATED: Final = re.compile(
    rf"(?:{_UPRIGHT})?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{{0,6}}\.?"
    r" [0-9]{1,2}[^{}]{0,20}\}?"
)
_ANSWER_WORD: Final = re.compile(
    rf"(?:{_UPRIGHT})?(yes|no|true|false)\b(?! more| less| other| one| such| and| or)", re.IGNORECASE
)
_LAST_SIDE: Final = re.compile(r"(?<![<>!:\\])=")


def by_number(said: str, gold: str, _: WorkBudget) -> Outcome | None:
    """Both are nothing but numbers: exact fractions."""
    ours, theirs = plain_number(said), plain_number(gold)
    return _outcome(equal=ours.same(theirs)) if ours and theirs else None


def by_choice(said: str, gold: str, _: WorkBudget) -> Outcome | None:
    """The gold is the letter of an option."""
    choice = _CHOICE.fullmatch(gold)
    if choice is None:
        return None
    chosen = _CHOSEN.fullmatch(said)
    return _outcome(equal=bool(chosen and chosen[1] == choice[1]))


def by_letters(said: str, gold: str, _: WorkBudget) -> Outcome | None:
    """The gold is a row of capitals, such as a segment or a code: their order matters."""
    return "incorrect" if _CAPITALS.fullmatch(gold) and not _EQUALS.search(_COMMAND.sub("", said)) else None


def by_word(said: str, gold: str, _: WorkBudget) -> Outcome | None:
    """The gold is yes, no, true or false; what else an answer says is its reason."""
    meant, answered = _ANSWER_WORD.match(gold), _ANSWER_WORD.match(said)
    if not (meant and answered and gold[meant.end() :][:1] in ("", "}", ".", ",")):
        return None
    return _outcome(equal=answered[1].casefold() == meant[1].casefold())


def by_date(said: str, gold: str, _: WorkBudget) -> Outcome | None:
    """The gold is a day of a month: words, not the number in them."""
    if not _DATED.fullmatch(gold):
        return None
    return _outcome(equal=plain(re.sub(_UPRIGHT, "", said)) == plain(re.sub(_UPRIGHT, "", gold)))


def by_value(said: str, gold: str, work: WorkBudget) -> Outcome | None:
    """What both say as formulas: commas between digits are thousands marks on both sides, then they are commas.

    Raises:
        TooBigError: it takes more work than an answer is worth.
    """
    said = answer_alone(said)
    first: Outcome | None = None
    for thousands in (True, False):
        try:
            equal = structure.equal(readable(said, thousands=thousands), read(gold, thousands=thousands), work)
        except UnreadableFormulaError:
            equal = None
        except RecursionError:  # the caller has left few frames
            raise TooBigError from None
        outcome = None if equal is None else _outcome(equal=equal)
        if outcome == "correct":
            return outcome
        first = outcome if thousands else first
        if "," not in said and "," not in gold:
            break
    return first


RULES: Final[tuple[tuple[str, Callable[[str, str, WorkBudget], Outcome | None]], ...]] = (
    ("rational", by_number),
    ("choice", by_choice),
    ("letters", by_letters),
    ("word", by_word),
    ("date", by_date),
    ("value", by_value),
)
"""By the name that a verdict's `rule` gives them."""


def answer_alone(said: str) -> str:
    """`(C) 12` and `3/8 (0.375)` without the option and the rounding."""
    if option := _OPTION.match(said):
        said = said[option.end() :]
    said = _OPTION_BEHIND.sub("", said)
    rounded = _DECIMAL_BEHIND.fullmatch(said)
    return rounded[1] if rounded else said


def readable(said: str, *, thousands: bool) -> Node:
    """An answer as a tree; of an equation of which not all can be read, its last side.

    Raises:
        UnreadableFormulaError: not even that can be read.
    """
    try:
        return read(said, thousands=thousands)
    except UnreadableFormulaError:
        *before, last = _LAST_SIDE.split(said)
        if not before:
            raise
        return read(last, thousands=thousands)


def readings(said: str, gold: str) -> list[str]:
    """What `by_value` reads on both sides, as trees, and their values to twenty digits: for people."""
    lines = []
    for who, text, reader in (("answer", answer_alone(said), readable), ("gold", gold, read)):
        try:
            tree = reader(text, thousands=True)
        except UnreadableFormulaError:
            lines.append(f"{who}: not read as a formula")
            continue
        number = values.real(tree, WorkBudget())
        lines.append(f"{who}: {tree}" + (f" = {mpmath.nstr(number, 20)}" if number is not None else ""))
    return lines


def _outcome(*, equal: bool) -> Outcome:
    return "correct" if equal else "incorrect"
