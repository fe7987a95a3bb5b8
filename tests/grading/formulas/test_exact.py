from __future__ import annotations

from fractions import Fraction
from math import comb, factorial

import pytest

from eli5b_batch.grading.formulas.exact import (
    IrrationalError,
    Rationals,
    Residues,
    equal,
    exactly,
)
from eli5b_batch.grading.formulas.reader import read
from eli5b_batch.grading.formulas.work import TooBigError, UndefinedError, WorkBudget


def value(text: str) -> Fraction | Residues | None:
    return exactly(read(text), WorkBudget())


def spent(text: str, budget: int = 10**9) -> int:
    work = WorkBudget(budget)
    exactly(read(text), work)
    return budget - work._left


FRACTIONS = [
    ("1/3+1/6", "1/2"),
    ("2-5", "-3"),
    ("-(2/3)", "-2/3"),
    (r"\frac{2}{3} \cdot 6", "4"),
    ("2^{-3}", "1/8"),
    ("(-8)^{1/3}", "-2"),
    ("8^{2/3}", "4"),
    ("(4/9)^{1/2}", "2/3"),
    ("4^{-1/2}", "1/2"),
    ("0^5", "0"),
    ("(-1)^{1000000007}", "-1"),
    (r"\sqrt{16}", "4"),
    (r"\sqrt{\frac{9}{4}}", "3/2"),
    (r"\sqrt[3]{-27}", "-3"),
    (r"\sqrt[5]{0}", "0"),
    (r"\sqrt[100]{1}", "1"),
    ("5!", "120"),
    ("0!", "1"),
    (r"\binom{10}{3}", "120"),
    (r"\binom{3}{10}", "0"),
    (r"\binom{10^9}{2}", "499999999500000000"),
    (r"\lfloor -7/2 \rfloor", "-4"),
    (r"\lceil -7/2 \rceil", "-3"),
    ("|-5/2|", "5/2"),
    (r"7 \bmod 3", "1"),
    (r"-7 \bmod 3", "-1"),  # the sign stands in front of the product
    (r"(-7) \bmod 3", "2"),
    (r"50\%", "1/2"),
    (r"0.\overline{9}", "1"),
]
NOTHING_RATIONAL = [
    (r"\sqrt{2}", "irrational"),
    (r"\sqrt{-4}", "imaginary"),
    (r"\sqrt[3]{4}", "irrational"),
    ("2^{1/2}", "irrational"),
    (r"\pi", "no fraction"),
    (r"\sin 0", "functions are not worked out"),
    ("1/0", "undefined"),
    ("0^0", "undefined"),
    ("0^{-1}", "undefined"),
    (r"\binom{1/2}{2}", "not counted"),
    ("(1/2)!", "not counted"),
    ("(-1)!", "undefined"),
    (r"7 \bmod 0", "undefined"),
    (r"\sqrt[0]{2}", "no degree"),
    (r"(2^{1000000})^{1/2}", "a root of residues"),
]
EQUAL = [
    ("2^{1000000}", "4^{500000}"),
    ("2^{1000000}+1", "1+2^{1000000}"),
    (r"2 \cdot 2^{999999}", "2^{1000000}"),
    (r"\frac{3^{200000}}{3^{199999}}", "3"),
    ("(2^{1000000}-1)(2^{1000000}+1)", "2^{2000000}-1"),
    ("2^{-1000000}", r"\frac{1}{2^{1000000}}"),
    ("30001!", r"30001 \cdot 30000!"),
    (r"\binom{30000}{15000}", r"\frac{30000!}{15000!15000!}"),
    ("(-2)^{999999}", "-2^{999999}"),
    ("2^{100000}", "4^{50000}"),
]
UNEQUAL = [
    ("2^{100000}+1", "2^{100000}"),
    ("2^{1000000}+1", "2^{1000000}"),
    ("2^{1000000}", "-2^{1000000}"),
    ("2^{10^{15}}+1", "2^{10^{15}}"),
    ("1-2^{-1000000}", "1"),
    ("2^{-1000000}", "0"),
    ("30001!", "30001!+1"),
    (r"\binom{30000}{15000}", r"\binom{30000}{14999}"),
]
TOO_BIG = [
    ("2^{10^{19}}", "an exponent"),
    ("2^{2^{1000000}}", "an exponent that is not even written out"),
    ("(10^9)!", "a factorial"),
    ("200001!", "the first factorial that is too big"),
    (r"(2^{1000000})!", "likewise"),
    (r"\binom{10^9}{5 \cdot 10^8}", "a binomial"),
    (r"\lfloor 2^{1000000}/3 \rfloor", "a residue has no floor"),
    (r"|2^{1000000}|", "nor a size"),
    (r"2^{1000000} \bmod 7", "nor a remainder"),
    ("200000!+199999!+199998!+199997!+199996!+199995!", "the work of many"),
]


@pytest.mark.parametrize(("text", "expected"), FRACTIONS)
def test_rational_values_are_fractions(text: str, expected: str) -> None:
    assert value(text) == Fraction(expected)


@pytest.mark.parametrize(("text", "why"), NOTHING_RATIONAL)
def test_what_has_no_rational_value_has_none(text: str, why: str) -> None:
    assert value(text) is None, why


def same(one: str, two: str) -> bool:
    ours, theirs = value(one), value(two)
    assert ours is not None
    assert theirs is not None
    return equal(ours, theirs)


@pytest.mark.parametrize(("one", "two"), EQUAL)
def test_long_numbers_are_equal(one: str, two: str) -> None:
    assert same(one, two)
    assert same(two, one)


@pytest.mark.parametrize(("one", "two"), UNEQUAL)
def test_long_numbers_are_unequal_to_the_last_digit(one: str, two: str) -> None:
    assert not same(one, two)
    assert not same(two, one)


def test_a_fraction_and_residues_are_compared_as_residues() -> None:
    long = value("2^{1000000}-2^{1000000}+5")
    assert isinstance(long, Residues)
    assert equal(long, Fraction(5))
    assert not equal(Fraction(6), long)


def test_what_can_be_written_out_is() -> None:
    assert value("2^{100000}") == 2**100_000
    assert value("20000!") == factorial(20_000)
    assert value(r"\binom{20000}{10000}") == comb(20_000, 10_000)
    assert isinstance(value("2^{1000000}"), Residues)
    assert isinstance(value("20001!"), Residues)


@pytest.mark.parametrize(("text", "why"), TOO_BIG)
def test_limits(text: str, why: str) -> None:
    with pytest.raises(TooBigError):
        pytest.fail(f"{why}: {value(text)}")


@pytest.mark.parametrize("text", ["2^{1000000}+1", "2^{10^{15}}+1", "3^{-1000000}", r"\frac{2^{10^6}}{3^{10^6}}"])
def test_residues_cost_next_to_nothing_however_long_the_number(text: str) -> None:
    assert spent(text) < 1_000


def test_work_grows_with_the_length_of_what_is_written_out() -> None:
    assert spent("5+1") < 10
    assert spent("2^{100000}+1") > 10_000
    assert spent("20000!") > 20_000


@pytest.mark.parametrize(
    "text",
    [
        r"\sqrt[1000]{2^{40000}}",  # hundreds of steps of Newton's method
        r"\sqrt[3]{8^{20000}}+\sqrt[3]{8^{20001}}+\sqrt[3]{8^{20002}}+\sqrt[3]{8^{20003}}",
    ],
)
def test_roots_of_long_numbers_are_work(text: str) -> None:
    with pytest.raises(TooBigError):
        exactly(read(text), WorkBudget(40_000))


def test_binomials_of_long_numbers_are_work() -> None:
    assert spent(r"\binom{2^{9000}}{90}") > 50 * spent(r"\binom{2^{90}}{90}")


SERIES = [
    (r"\sum_{k=1}^{100} k", "5050"),
    (r"\sum_{k=1}^{3} \frac{1}{k}", "11/6"),
    (r"\prod_{k=1}^{5} k", "120"),
    (r"\sum_{k=1}^{0} k", "0"),
    (r"\prod_{k=1}^{0} k", "1"),
    (r"\sum_{n=1}^{3} \sum_{k=1}^{n} k", "10"),
]


@pytest.mark.parametrize(("text", "expected"), SERIES)
def test_series_are_written_out(text: str, expected: str) -> None:
    assert value(text) == Fraction(expected)


def test_series_are_work() -> None:
    assert spent(r"\sum_{k=1}^{1000} k") > 9 * spent(r"\sum_{k=1}^{100} k")
    with pytest.raises(TooBigError):
        value(r"\sum_{k=1}^{10^9} k")
    with pytest.raises(TooBigError):
        exactly(read(r"\sum_{m=1}^{900} \sum_{k=1}^{900} k"), WorkBudget(50_000))
    assert value(r"\sum_{k=1}^{5/2} k") is None


def test_at_points_letters_have_values() -> None:
    rationals = Rationals({"x": Fraction(1, 2), "n": Fraction(10)}, WorkBudget())
    assert rationals.value(read("x^n + 1")) == Fraction(1025, 1024)
    assert rationals.value(read(r"\binom{n}{2}")) == 45


def test_at_points_numbers_become_residues_sooner() -> None:
    assert isinstance(value("2^{10000}"), Fraction)
    assert isinstance(Rationals({"x": Fraction(2)}, WorkBudget()).value(read("x^{10000}")), Residues)


def test_why_there_is_no_value_is_said() -> None:
    rationals = Rationals({}, WorkBudget())
    with pytest.raises(IrrationalError):
        rationals.value(read(r"\sqrt{2}"))
    with pytest.raises(UndefinedError):
        rationals.value(read("1/0"))
