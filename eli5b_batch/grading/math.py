r"""Whether an answer equals the gold answer: exact cheap rules first, sympy only where they can't say.

Must not know: processes, models.

`decide` is bounded in time and memory whatever it is given, and safe in any thread: text, own reader, own arithmetic.
`grade` goes on to `symbolic` (math-verify and sympy) for the few formulas `decide` can't read, such as sums and limits;
that may hang or eat memory: inside a process that can be killed only.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.extract import LONGEST, Answer, extract
from eli5b_batch.grading.formulas.work import OutOfTimeError, TooBigError, WorkBudget
from eli5b_batch.grading.notation import canonical, formula, gold_readings
from eli5b_batch.grading.rules import RULES, by_value, readings
from eli5b_batch.grading.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

_Result = tuple[Outcome, str]

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_ANALYSIS: Final = re.compile(r"\\(?:sum|prod|lim|int|i?iint|oint)(?![A-Za-z])")
"""What only math-verify reads."""

_AT_ONCE_S: Final = 0.25
"""Wall time in the process that asks; nearly every answer takes a thousandth of it."""
_LONGEST_GOLD: Final = 20_000
"""Characters; longer ones are compared as text only."""
_MOST_NESTED: Final = 5
"""Sums, integrals and limits in one formula."""
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
    return _verdict(_settle(answer, gold, WorkBudget()) or _by_libraries(answer, gold), answer, started)


def decide(text: str, gold: str) -> Verdict | None:
    """The verdict where own reading and arithmetic settle it, None where sympy is needed; bounded."""
    started = time.perf_counter()
    answer = extract(text)
    try:
        settled = _settle(answer, gold, WorkBudget(seconds=_AT_ONCE_S))
    except OutOfTimeError:  # a worker has more
        return None
    return None if settled is None else _verdict(settled, answer, started)


def explain(text: str, gold: str) -> list[str]:
    """How the verdict on `text` comes about, line by line; bounded as `decide` is."""
    answer = extract(text)
    if answer is None:
        return ["no final answer: no closed box, no labelled statement, no bold value, no concluding sentence"]
    said = formula(answer.text)
    lines = [f"final answer, by the rule `{answer.rule}`: {answer.text}", f"in one spelling: {said}"]
    if len(answer.text) > LONGEST:
        return [*lines, f"longer than {LONGEST} characters: not compared"]
    if len(gold) > _LONGEST_GOLD:
        return [*lines, f"a gold longer than {_LONGEST_GOLD} characters is compared as text only"]
    for reading in gold_readings(gold):
        lines.append(f"gold read as: {reading}")
        if canonical(said) == canonical(reading):
            lines.append("  text: the same but for spaces: correct")
            continue
        lines += [f"  {line}" for line in _asked(said, reading)]
    settled = _settle(answer, gold, WorkBudget())
    return [*lines, f"verdict: {settled[0]}, by {settled[1]}" if settled else "verdict: left to sympy and math-verify"]


def _asked(said: str, gold: str) -> Iterator[str]:
    for name, rule in RULES:
        if rule is by_value:
            yield from readings(said, gold)
        try:
            outcome = rule(said, gold, WorkBudget())
        except TooBigError:
            yield f"{name}: more work than an answer is worth: incorrect"
            return
        yield f"{name}: {outcome or 'nothing to say'}"
        if outcome:
            return


def too_big(answer: str) -> bool:
    """Whether a `formula` is kept from the libraries; the deadline catches the rest."""
    if _HUGE.search(answer) or len(_ANALYSIS.findall(answer)) > _MOST_NESTED:
        return True
    depth = deepest = 0
    for character in answer:
        if character in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "})]":
            depth -= 1
    return deepest > _MAX_NESTING


def _settle(answer: Answer | None, gold: str, work: WorkBudget) -> _Result | None:
    if answer is None:
        return "no_answer", "none"
    if len(answer.text) > LONGEST:
        return "incorrect", "guard"
    return _settle_integers(answer.text, gold) or _settle_formulas(answer.text, gold, work)


def _settle_integers(said: str, gold: str) -> _Result | None:
    """Most answers are whole numbers on both sides, of which there is one spelling."""
    if not (_INTEGER.fullmatch(said) and _INTEGER.fullmatch(gold)):
        return None
    return ("correct", "text") if said == gold else ("incorrect", "rational")


def _settle_formulas(text: str, gold: str, work: WorkBudget) -> _Result | None:
    if len(gold) > _LONGEST_GOLD:
        return ("correct", "text") if text == gold.strip() else ("incorrect", "guard")
    said, meant = formula(text), gold_readings(gold)
    bare = canonical(said)
    if bare and any(bare == canonical(reading) for reading in (formula(gold), *meant)):
        return "correct", "text"
    results = [_settle_reading(said, reading, work) for reading in meant]
    for result in results:
        if result and result[0] == "correct":
            return result
    return None if None in results else results[0]


def _settle_reading(said: str, gold: str, work: WorkBudget) -> _Result | None:
    """One reading of the gold answer; None where the libraries may know more."""
    for name, rule in RULES:
        try:
            outcome = rule(said, gold, work)
        except TooBigError:
            return "incorrect", "guard"
        if outcome is not None:
            return outcome, name
    if _ANALYSIS.search(said) or _ANALYSIS.search(gold):
        return ("incorrect", "guard") if too_big(said) or too_big(gold) else None
    return "incorrect", "unread"


def _by_libraries(answer: Answer | None, gold: str) -> _Result:
    assert answer is not None  # `_settle` has dealt with it
    from eli5b_batch.grading import symbolic  # noqa: PLC0415 - who only schedules never pays for sympy

    said = formula(answer.text)
    results: list[_Result] = []
    for reading in gold_readings(gold):
        try:
            results.append(symbolic.compare(said, reading))
        except RecursionError:  # nested deeper than the libraries go
            results.append(("incorrect", "guard"))
        except Exception as error:  # noqa: BLE001 (whatever the libraries raise on a text is a verdict that names it)
            results.append(("error", type(error).__name__))
    return min(results, key=lambda result: result[0] != "correct")


def _verdict(result: _Result, answer: Answer | None, started: float) -> Verdict:
    outcome, rule = result
    text, rule = (answer.text, f"{answer.rule}/{rule}") if answer else (None, rule)
    return Verdict(outcome, text, rule, time.perf_counter() - started)
