from __future__ import annotations

from fractions import Fraction

import pytest

from eli5b_batch.grading.formulas.lexer import UnreadableFormulaError
from eli5b_batch.grading.formulas.numerals import (
    DOTS,
    base_in_words,
    filled,
    in_base,
    is_proper,
    number,
    repeating,
)
from eli5b_batch.grading.formulas.tree import Node


def whole(n: int) -> Node:
    return Node("num", value=Fraction(n))


def part(above: int, below: int) -> Node:
    return Node("div", (whole(above), whole(below)))


@pytest.mark.parametrize(
    ("digits", "value", "name"),
    [("12", "12", ""), ("0.50", "1/2", "0.50"), (".5", "1/2", ".5"), ("5.", "5", ""), ("007", "7", "")],
)
def test_a_number_keeps_its_digits_where_they_may_be_a_rounding(digits: str, value: str, name: str) -> None:
    assert number(digits) == Node("num", value=Fraction(value), name=name)


def test_numbers_longer_than_python_reads_at_once_are_read() -> None:
    assert number("7" * 4_000).value == int("7" * 4_000)
    assert number("9" * 5_000).value == 10**5_000 - 1
    assert number("1." + "0" * 4_999 + "1").value == 1 + Fraction(1, 10**5_000)


@pytest.mark.parametrize(
    ("written", "value"), [("0.(3)", "1/3"), ("0.1(6)", "1/6"), (".(9)", "1"), ("12.(45)", "137/11"), ("1.(0)", "1")]
)
def test_repeating_decimals_are_exact(written: str, value: str) -> None:
    assert repeating(written).value == Fraction(value)


@pytest.mark.parametrize(
    ("fraction", "proper"),
    [
        (part(1, 2), True),
        (part(3, 2), False),
        (part(2, 2), False),
        (part(0, 2), False),
        (part(-1, 2), False),
        (whole(1), False),
        (Node("div", (number("0.5"), whole(2))), False),
        (Node("div", (whole(1), Node("letter", name="x"))), False),
    ],
)
def test_proper_fractions(fraction: Node, proper: bool) -> None:  # noqa: FBT001
    assert is_proper(fraction) is proper


@pytest.mark.parametrize(
    ("before", "after", "all_"),
    [
        ([1], [4], [1, 2, 3, 4]),
        ([1, 3], [9], [1, 3, 5, 7, 9]),
        ([9, 7], [1], [9, 7, 5, 3, 1]),
        ([1], [3, 10], [1, 2, 3, 10]),
    ],
)
def test_dots_are_filled_in_equal_steps(before: list[int], after: list[int], all_: list[int]) -> None:
    row = [*map(whole, before), DOTS, *map(whole, after)]
    assert [item.value for item in filled(row)] == all_


def test_dots_are_filled_between_reciprocals() -> None:
    between = filled([part(1, 2), DOTS, part(1, 5)])[1:-1]
    assert [item.value for item in between] == [Fraction(1, 3), Fraction(1, 4)]


def test_a_row_without_dots_is_as_it_was() -> None:
    assert filled([whole(1), whole(5)]) == (whole(1), whole(5))


@pytest.mark.parametrize(
    "row",
    [
        [DOTS, whole(3)],
        [whole(1), DOTS],
        [whole(1), DOTS, whole(3), DOTS, whole(5)],
        [whole(1), whole(3), DOTS, whole(8)],  # 3, 5, 7, not 8
        [whole(1), DOTS, Node("letter", name="n")],
        [whole(5), DOTS, whole(1)],  # by steps of one, upwards
        [whole(1), DOTS, whole(1_002)],  # more than 1,000
        [whole(2), whole(2), DOTS, whole(2)],
    ],
)
def test_dots_that_no_one_can_fill_are_refused(row: list[Node]) -> None:
    with pytest.raises(UnreadableFormulaError):
        filled(row)


@pytest.mark.parametrize(("words", "base"), [("five", 5), ("base five", 5), ("base 12", 12), ("sixteen", 16)])
def test_bases(words: str, base: int) -> None:
    assert base_in_words(words).value == base


def test_digits_in_a_base_are_kept_as_digits() -> None:
    assert in_base(number("101"), number("2")) == Node("based", (number("2"),), "101")


@pytest.mark.parametrize("digits", [number("1.5"), Node("letter", name="x"), whole(-3)])
def test_only_rows_of_digits_have_a_base(digits: Node) -> None:
    with pytest.raises(UnreadableFormulaError):
        in_base(digits, number("2"))
    with pytest.raises(UnreadableFormulaError):
        base_in_words("camp")
