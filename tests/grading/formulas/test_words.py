from __future__ import annotations

from fractions import Fraction

import pytest

from eli5b_batch.grading.formulas.words import change_before, change_behind, condition, counted, plain

BEFORE = [  # words in front, what they change
    ("at most", "at most"),
    ("the answer is at least:", "at least"),
    ("More than", "more than"),
    ("not", "not"),
    ("multiples of", "multiples of"),
    ("negative", "negative"),
    ("the total is", ""),
    ("at most half the people, that is", ""),
    ("", ""),
    ("knot", ""),
]
BEHIND = [  # words behind, what they change
    ("or more", "or more"),
    (", or less", "or less"),
    ("and above", "and above"),
    ("squared", "squared"),
    ("minus a little", "minus"),
    ("mod 7", "mod"),
    ("is not the answer", "is not"),
    ("or maybe 7", "or maybe 7"),
    ("apples and 3", "apples and 3"),
    ("if n is even and 2 if n is odd", "if n is even and 2 if"),
    ("apples", ""),
    ("ways in all", ""),
    ("more apples", ""),
    ("for all n", ""),
    ("", ""),
]


@pytest.mark.parametrize(("words", "change"), BEFORE)
def test_words_in_front_that_change_a_value(words: str, change: str) -> None:
    assert change_before(words) == change


@pytest.mark.parametrize(("words", "change"), BEHIND)
def test_words_behind_that_change_a_value(words: str, change: str) -> None:
    assert change_behind(words) == change


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("The Cat", "cat."),
        ("an equilateral triangle", "Equilateral triangle"),
        ("No solutions", "none"),
        ("there is no solution", "does not exist"),
        ("DNE", "the empty set"),
    ],
)
def test_wordings_that_are_the_same(one: str, two: str) -> None:
    assert plain(one) == plain(two)


@pytest.mark.parametrize(("one", "two"), [("cat", "cats"), ("no", "none"), ("Alice", "Bob"), ("even", "not even")])
def test_wordings_that_differ(one: str, two: str) -> None:
    assert plain(one) != plain(two)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("if n is even", "neven"),
        ("for all n", "n"),
        ("when n is odd", "nodd"),
        ("otherwise", ""),
        ("apples", ""),
        ("", ""),
    ],
)
def test_conditions(words: str, said: str) -> None:
    assert condition(words) == said


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("zero", 0),
        ("Nineteen", 19),
        ("forty", 40),
        ("twenty-one", 21),
        ("ninety nine", 99),
        ("twenty eleven", None),
        ("twenty zero", None),
        ("one hundred", None),
        ("cats", None),
        ("", None),
    ],
)
def test_numbers_in_words(words: str, value: int | None) -> None:
    assert counted(words) == (None if value is None else Fraction(value))
