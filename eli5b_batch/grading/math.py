"""Whether an answer equals the gold answer: exact cheap rules first, sympy only where they can't say.

Must not know: pools, deadlines, models.

`decide` uses text and `fractions.Fraction` only: linear in the text, no sympy, safe in any thread.
`grade` goes on to `symbolic` where `decide` can't say; it may hang or eat memory: inside a pool only.
"""

from __future__ import annotations

import re
import time
from typing import Final

from eli5b_batch.grading.extract import LONGEST, Answer, extract
from eli5b_batch.grading.notation import align, canonical, formula, gold_readings, plain_number
from eli5b_batch.grading.verdict import Outcome, Verdict

_Result = tuple[Outcome, str]

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")

_MAX_NESTING: Final = 40
_HUGE: Final = re.compile(
    r"\^ ?[{(]? ?-?[0-9]{7}"  # exponents from a million
    r"|\^ ?[{(]?[^{}()^]{0,40}\^ ?[{(]?[^{}()^]{0,40}\^"  # towers of three exponents
    r"|[0-9]{6}[})]? ?!"  # factorials from 100,000
    r"|\\binom ?\{[^{}]{0,40}(?:[0-9]{6}|[\^!])"  # binomials likewise
    r"|__"  # no formula has it; Python's inner names do
)


def grade(text: str, gold: str) -> Verdict:
    """The verdict on the final answer of `text`; never raises, but may hang: call it in a pool.

    Args:
        text: a model's whole reply.
        gold: the data set's answer: a number, a LaTeX formula, or a sentence holding one.
    """
    started = time.perf_counter()
    answer = extract(text)
    return _verdict(_settle(answer, gold) or _compare(answer, gold), answer, started)


def decide(text: str, gold: str) -> Verdict | None:
    """The verdict where text and exact rational arithmetic settle it, None where sympy is needed."""
    started = time.perf_counter()
    answer = extract(text)
    settled = _settle(answer, gold)
    return None if settled is None else _verdict(settled, answer, started)


def too_big(answer: str) -> bool:
    """Whether `answer` (a `formula`) is refused before any parser sees it; the deadline catches the rest."""
    if _HUGE.search(answer):
        return True
    depth = deepest = 0
    for character in answer:
        if character in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "})]":
            depth -= 1
    return deepest > _MAX_NESTING


def _settle(answer: Answer | None, gold: str) -> _Result | None:
    if answer is None:
        return "no_answer", "none"
    if len(answer.text) > LONGEST:
        return "incorrect", "guard"
    return _settle_integers(answer.text, gold) or _settle_formulas(answer, gold)


def _settle_integers(said: str, gold: str) -> _Result | None:
    """Most answers are whole numbers on both sides, of which there is one spelling."""
    if not (_INTEGER.fullmatch(said) and _INTEGER.fullmatch(gold)):
        return None
    return ("correct", "text") if said == gold else ("incorrect", "rational")


def _settle_formulas(answer: Answer, gold: str) -> _Result | None:
    said, pairs = _pairs(answer, gold)
    same_text = [(said, gold), *((said, theirs) for _, theirs in pairs), *pairs]
    if any(canonical(ours) == canonical(theirs) != "" for ours, theirs in same_text):
        return "correct", "text"
    if too_big(said):
        return "incorrect", "guard"
    numbers = [(plain_number(ours), plain_number(theirs)) for ours, theirs in pairs]
    if all(ours and theirs for ours, theirs in numbers):
        equal = any(ours.same(theirs) for ours, theirs in numbers if ours and theirs)
        return "correct" if equal else "incorrect", "rational"
    return None


def _compare(answer: Answer | None, gold: str) -> _Result:
    assert answer is not None  # `_settle` has dealt with it
    from eli5b_batch.grading import symbolic  # noqa: PLC0415 - who only schedules never pays for sympy

    try:
        results = [symbolic.compare(ours, theirs) for ours, theirs in _pairs(answer, gold)[1]]
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise on a model's text is a verdict
        return "error", type(error).__name__
    return min(results, key=lambda result: result[0] != "correct")


def _pairs(answer: Answer, gold: str) -> tuple[str, list[tuple[str, str]]]:
    """The answer as a formula, and beside each reading of the gold what is to be compared with it."""
    said = formula(answer.text)
    return said, [align(said, reading) for reading in gold_readings(gold)]


def _verdict(result: _Result, answer: Answer | None, started: float) -> Verdict:
    outcome, rule = result
    text, rule = (answer.text, f"{answer.rule}/{rule}") if answer else (None, rule)
    return Verdict(outcome, text, rule, time.perf_counter() - started)
