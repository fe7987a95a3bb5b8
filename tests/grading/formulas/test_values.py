from __future__ import annotations

from fractions import Fraction

import pytest

from eli5b_batch.grading.formulas import values
from eli5b_batch.grading.formulas.reader import read
from eli5b_batch.grading.formulas.work import TooBigError, WorkBudget


def same(ours: str, gold: str) -> bool | None:
    return values.same(read(ours), read(gold), WorkBudget())


NUMBERS = [
    ("1/2", "0.5", True, "exact"),
    ("0.333333", "1/3", False, "a rounded fraction is another number"),
    ("2^{100000}+1", "2^{100000}", False, "the last of 30,000 digits"),
    (r"\sqrt{8}", r"2\sqrt{2}", True, "roots"),
    (r"2\sqrt{2}", r"2\sqrt{3}", False, "another root"),
    (r"\sqrt{2}\sqrt{3}-\sqrt{6}", "0", True, "zero to 1,000 digits"),
    (r"\sqrt{2}\sqrt{3}-\sqrt{6}+10^{-900}", "0", False, "zero to 900 digits"),
    (r"2^{2000}+\sqrt{2}", r"2^{2000}+\sqrt{3}", False, "600 digits alike"),
    (r"\sqrt{2}+10^{-60}", r"\sqrt{2}", False, "60 digits alike"),
    (r"\sqrt{2}+10^{-500}", r"\sqrt{2}", False, "500 digits alike"),
    (r"\sqrt{2+\sqrt{3}}", r"\frac{\sqrt{6}+\sqrt{2}}{2}", True, "nested roots"),
    (r"\cos 36\degree", r"\frac{1+\sqrt{5}}{4}", True, "an angle"),
    (r"\arctan 1", r"\frac{\pi}{4}", True, "an inverse function"),
    (r"\ln 8", r"3 \ln 2", True, "logarithms"),
    (r"e^{i\pi}", "-1", True, "complex on the way"),
    ("(1+i)^2", "2i", True, "complex"),
    (r"\frac{1}{1+i}", r"\frac{1-i}{2}", True, "complex below the line"),
    ("i", "-i", False, "of the same size"),
    (r"\sqrt[3]{-8}", "-2", True, "the real root"),
    ("1/0", "5", None, "no value"),
    (r"\sqrt{2}+\frac{1}{0}", r"\sqrt{3}", None, "no value in part"),
    (r"\infty", "5", None, "no number"),
]
DECIMALS = [
    ("2.828427", r"2\sqrt{2}", True, "a millionth"),
    ("2.8284272", r"2\sqrt{2}", False, "the last digit is wrong"),
    ("2.8284271", r"2\sqrt{2}", True, "the last digit is right"),
    ("2.8284", r"2\sqrt{2}", False, "too few digits"),
    ("3.141592", r"\pi", True, "cut off"),
    ("3.141593", r"\pi", True, "rounded"),
    ("3.141594", r"\pi", False, "neither"),
    ("-3.141593", r"-\pi", True, "negative"),
    (r"2 \cdot 1.414214", r"2\sqrt{2}", True, "seven digits within a formula"),
    (r"2 \cdot 1.41421", r"2\sqrt{2}", False, "six"),
    (r"\pi", "3.141593", True, "the gold is the decimal"),
    (r"1.5\pi", r"\frac{3\pi}{2}", True, "an exact decimal in a formula"),
    (r"0.3333333\pi", r"\frac{\pi}{3}", False, "a rounded one"),
]
LETTERS = [
    ("(x+1)^2", "x^2+2x+1", True, "a polynomial"),
    ("(x+1)^2", "x^2+2x+2", False, "another"),
    ("x", "y", False, "another letter"),
    ("x+y", "y+x", True, "two letters"),
    ("xy", "x+y", False, "two letters, different"),
    (r"\frac{x^2-1}{x-1}", "x+1", True, "where both have a value"),
    ("x^{100}", "x^{101}", False, "powers"),
    (r"\frac{n(n+1)}{2}", r"\binom{n+1}{2}", True, "counted"),
    (r"\binom{n}{k}", r"\binom{n}{n-k}", True, "counted twice"),
    (r"\binom{n}{k}", r"\binom{n}{k+1}", False, "a neighbour"),
    ("n!", "n(n-1)!", True, "factorials"),
    ("(n+1)!", "(n+1)n", False, "no factorial"),
    ("2^{n+1}", r"2 \cdot 2^n", True, "a letter in the exponent"),
    ("2^n", "2^{n+1}", False, "another exponent"),
    ("4^n-2^n", "2^n(2^n-1)", True, "exponents multiplied out"),
    ("(-1)^n", "1", False, "odd and even numbers"),
    ("(-1)^{n+1}", "(-1)^{n-1}", True, "a sign that alternates"),
    (r"(-1)^n", r"\cos(n\pi)", True, "a whole number beside pi"),
    (r"\lfloor n/2 \rfloor", r"\frac{n}{2}", False, "odd numbers"),
    (r"\lfloor n/2 \rfloor", r"\lceil (n-1)/2 \rceil", True, "rounded whole numbers"),
    (r"\lfloor x \rfloor", "x", False, "a rounded real number"),
    ("|x|", "x", False, "negative numbers, too"),
    ("|-x|", "|x|", True, "a size"),
    (r"\sqrt{x^2}", "|x|", True, "a root of a square"),
    (r"\sqrt{x}\sqrt{y}", r"\sqrt{xy}", True, "where both are real"),
    (r"\sqrt{1-x}", r"\sqrt{x-1}", False, "never both are real"),
    (r"\ln(xy)", r"\ln x + \ln y", True, "where both are real"),
    (r"\sin^2 x + \cos^2 x", "1", True, "an identity"),
    (r"\sin 2x", r"2 \sin x \cos x", True, "another"),
    (r"\sin x", r"\cos x", False, "none"),
    (r"x\sqrt{2}", r"\frac{2x}{\sqrt{2}}", True, "an irrational factor"),
    (r"\frac{x}{0}", "x", None, "no value anywhere"),
    (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}", True, "a sum"),
    (r"\sum_{k=1}^{n} k", r"\frac{n(n-1)}{2}", False, "another"),
    (r"\sum_{k=0}^{n} \binom{n}{k}", "2^n", True, "a sum of binomials"),
]


@pytest.mark.parametrize(("ours", "gold", "equal", "why"), [*NUMBERS, *DECIMALS, *LETTERS])
def test_same(ours: str, gold: str, equal: bool | None, why: str) -> None:  # noqa: FBT001
    assert same(ours, gold) is equal, why


@pytest.mark.parametrize("text", ["(10^9)!", "2^{10^{19}}", r"\sqrt{2}^{10^{13}}"])
def test_what_is_too_big_is_refused(text: str) -> None:
    with pytest.raises(TooBigError):
        same(text, "5")


def test_the_budget_is_shared_by_all_that_is_asked() -> None:
    one, two = read(r"\sqrt{2+\sqrt{3}}"), read(r"\frac{\sqrt{6}+\sqrt{2}}{2}")
    work = WorkBudget(6_000)
    assert values.same(one, two, work)
    with pytest.raises(TooBigError):
        values.same(one, two, work)


def test_rational_values() -> None:
    assert values.rational(read("2/4"), WorkBudget()) == Fraction(1, 2)
    for text in (r"\sqrt{2}", "x", "2^{1000000}", "1/0"):
        assert values.rational(read(text), WorkBudget()) is None


def test_real_values() -> None:
    assert str(values.real(read(r"\sqrt{2}"), WorkBudget()))[:12] == "1.4142135623"
    for text in ("i", "x", "1/0", r"\sin(2^{3000})"):
        assert values.real(read(text), WorkBudget()) is None


@pytest.mark.parametrize(
    ("ours", "gold", "equal"),
    [
        ("2x+2y", "x+y", True),
        ("-x", "x", True),
        (r"\sqrt{2}x", "x", True),
        ("x+y", "x+2y", False),
        ("x^2", "x", False),
        ("x", r"\frac{x}{0}", None),
    ],
)
def test_proportional(ours: str, gold: str, equal: bool | None) -> None:  # noqa: FBT001
    assert values.proportional(read(ours), read(gold), WorkBudget()) is equal
