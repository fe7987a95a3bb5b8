from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.grading import rules
from eli5b_batch.grading.formulas.reader import UnreadableFormulaError, read
from eli5b_batch.grading.formulas.work import TooBigError, WorkBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.grading.verdict import Outcome

RIGHT, WRONG, NOTHING = "correct", "incorrect", None

NUMBER = [  # answer, gold, outcome, why
    ("1,000", "1000", RIGHT, "a thousands mark"),
    ("0.5", r"\frac{1}{2}", RIGHT, "exact"),
    ("0.333333", "1/3", WRONG, "exact"),
    (r"50\%", "0.5", RIGHT, "a share"),
    ("5 cm", "5", NOTHING, "more than a number"),
    ("5", "x", NOTHING, "the gold is none"),
]
CHOICE = [
    ("B", "B", RIGHT, "the letter"),
    ("(B)", "B", RIGHT, "in brackets"),
    (r"\text{(B)}", "B", RIGHT, "set as text"),
    ("B) 12", "B", RIGHT, "with the option's value"),
    ("option B", "B", RIGHT, "with its name"),
    ("C", "B", WRONG, "another"),
    ("B or C", "B", WRONG, "never one of two"),
    ("B, C", "B", WRONG, "in a list"),
    ("12", "B", WRONG, "a value"),
    ("b", "B", WRONG, "a variable"),
    ("B", "12", NOTHING, "the gold is no letter"),
    ("x", "x", NOTHING, "nor is a variable"),
]
WORD = [
    ("Yes", "yes", RIGHT, "case"),
    ("yes, as 7 is prime", "Yes", RIGHT, "with its reason"),
    ("no", "yes", WRONG, "the other"),
    (r"\text{True}", "true", RIGHT, "set as text"),
    ("yes and no", "yes", NOTHING, "both"),
    ("no more than 5", "no", NOTHING, "a bound"),
    ("5", "yes", NOTHING, "no word"),
    ("no", "no solution", NOTHING, "the gold says more"),
]
LETTERS = [
    ("BA", "AB", WRONG, "another order"),
    ("ABC", "x", NOTHING, "the gold is no row of capitals"),
    ("5", "15", NOTHING, "nor is a number"),
]
DATE = [
    ("May 5", "May 5", RIGHT, "the same"),
    (r"\text{May 5}", "May 5", RIGHT, "set as text"),
    ("May 6", "May 5", WRONG, "another day"),
    ("June 5", "May 5", WRONG, "another month"),
    ("5", "May 5", WRONG, "the number in it"),
    ("May 5", "5", NOTHING, "the gold is none"),
]
VALUE = [
    (r"\sqrt{8}", r"2\sqrt{2}", RIGHT, "by value"),
    (r"\sqrt{8}", r"2\sqrt{3}", WRONG, "by value"),
    ("(C) 12", "12", RIGHT, "an option's value"),
    ("3/8 (0.375)", "3/8", RIGHT, "a decimal beside it"),
    ("1,234", "1234", RIGHT, "thousands"),
    ("100,200", "100, 200", RIGHT, "the same two numbers"),
    ("1,234", "1, 234", RIGHT, "or the comma of a list"),
    ("1,234", "1235", WRONG, "neither way"),
    (r"\operatorname{foo} \weird = 5", "5", RIGHT, "the last side can be read"),
    (r"\weird", "5", NOTHING, "nothing can"),
    ("5", r"\weird", NOTHING, "nor the gold"),
    ("1/0", "5", NOTHING, "no value"),
]


@pytest.mark.parametrize(
    ("rule", "said", "gold", "outcome", "why"),
    [
        *((rules.by_number, *case) for case in NUMBER),
        *((rules.by_choice, *case) for case in CHOICE),
        *((rules.by_letters, *case) for case in LETTERS),
        *((rules.by_word, *case) for case in WORD),
        *((rules.by_date, *case) for case in DATE),
        *((rules.by_value, *case) for case in VALUE),
    ],
)
def test_rules(
    rule: Callable[[str, str, WorkBudget], Outcome | None], said: str, gold: str, outcome: Outcome | None, why: str
) -> None:
    assert rule(said, gold, WorkBudget()) == outcome, why


def test_every_rule_has_a_name_of_its_own_and_values_come_last() -> None:
    names = [name for name, _ in rules.RULES]
    assert len(set(names)) == len(names)
    assert names[0] == "rational"
    assert rules.RULES[-1] == ("value", rules.by_value)


@pytest.mark.parametrize(
    ("said", "alone"),
    [
        ("(C) 12", "12"),
        ("C. 12", "12"),
        (r"\text{(C)} 12", "12"),
        ("12 (C)", "12"),
        ("3/8 (0.375)", "3/8"),
        (r"\frac{3}{8} (\approx 0.375)", r"\frac{3}{8}"),
        ("3/8 (5)", "3/8 (5)"),
        ("(C)", "(C)"),
        ("12", "12"),
    ],
)
def test_the_answer_alone(said: str, alone: str) -> None:
    assert rules.answer_alone(said) == alone


def test_of_an_equation_that_cannot_be_read_whole_the_last_side_is_read() -> None:
    assert rules.readable(r"\weird = 5", thousands=True) == read("5")
    assert rules.readable("x = 5", thousands=True) == read("x = 5")
    for text in (r"5 = \weird", r"\weird", r"\weird := 5"):
        with pytest.raises(UnreadableFormulaError):
            rules.readable(text, thousands=True)


def test_readings_are_for_people() -> None:
    assert rules.readings(r"\sqrt{2}", "x+1") == [
        "answer: root(num 2, num 2) = 1.4142135623730950488",
        "gold: add(letter x, num 1)",
    ]
    assert rules.readings(r"\weird", "5")[0] == "answer: not read as a formula"


def test_readings_keep_the_size_of_a_number() -> None:
    assert rules.readings(r"10^{30}\sqrt{2}", "5")[0].endswith("e+30")


def test_what_is_too_big_is_refused() -> None:
    with pytest.raises(TooBigError):
        rules.by_value("(10^9)!", "5", WorkBudget())


def test_a_caller_that_has_left_few_frames_gets_the_same_refusal() -> None:
    def deep(frames: int) -> Outcome | None:
        return deep(frames - 1) if frames else rules.by_value("1" + "/2" * 80, "2", WorkBudget())

    depth, frame = 0, sys._getframe()
    while frame.f_back:
        depth, frame = depth + 1, frame.f_back
    with pytest.raises(TooBigError):
        deep(sys.getrecursionlimit() - depth - 100)
