from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas import equations
from eli5b_batch.grading.formulas.reader import read
from eli5b_batch.grading.formulas.structure import equal
from eli5b_batch.grading.formulas.work import WorkBudget

NAMES = [
    ("x = 5", "5", True, "a name in front"),
    ("5 = x", "5", True, "or behind"),
    ("5", "x = 5", True, "the gold's name left out"),
    ("n = 5", "x = 5", True, "the name is the problem's affair"),
    ("y = 5", "x = 5", False, "but x and y are two things"),
    ("x = 6", "x = 5", False, "another value"),
    ("f(2) = 5", "5", True, "a function's value"),
    ("x = 5", "x = 2 + 3 = 5", True, "a chain"),
    ("2 + 3 = 5", "5", True, "the last side"),
    ("2 + 3 = 5", "6", False, "the last side is not it"),
    (r"x = \sqrt{2} \approx 1.41", r"\sqrt{2}", True, "a rounding behind"),
    (r"\sqrt{2} \approx 1.41", r"\sqrt{2}", True, "of the value alone"),
    ("1/3 = 0.33", "1/3", True, "a rounding said to be equal"),
    ("1/3 = 0.35", "1/3", False, "no rounding"),
    ("x^2 - 1 = (x-1)(x+1)", "(x-1)(x+1)", True, "an identity"),
    ("2x = x + 1", "x + 1", False, "an equation to be solved is no value"),
    ("f(n) = n^2", "f(x) = x^2", True, "another bound letter"),
    ("f'(x) = 2x", "f(x) = 2x", False, "a derivative is another thing"),
    ("f^{-1}(x) = 2x", "f(x) = 2x", False, "so is the inverse"),
    ("a_{n+1} = 2", "a_n = 2", False, "and the next of a sequence"),
    ("(x, y) = (1, 2)", "(1, 2)", True, "names of a pair"),
    ("(y, x) = (2, 1)", "(x, y) = (1, 2)", True, "in another order"),
    ("(y, x) = (1, 2)", "(x, y) = (1, 2)", False, "in another order, the values not"),
]  # fmt: skip
CURVES = [
    ("x + y = 1", "2x + 2y = 2", True, "up to a factor"),
    ("y = 1 - x", "x + y = 1", True, "terms brought over"),
    ("y = x", "x = y", True, "changed over"),
    ("x + y = 1", "x + 2y = 1", False, "another line"),
    ("x^2 + y^2 = 1", r"\frac{x^2}{4} + \frac{y^2}{4} = \frac{1}{4}", True, "a circle"),
    ("x^2 + y^2 = 1", "x^2 + y^2 = 2", False, "a larger one"),
    ("y = 1/x", "xy = 1", True, "over one denominator"),
    ("x + y = 1", "a + b = 1", False, "other letters"),
]
CONGRUENCES = [
    (r"672 \pmod{1000}", "672", True, "the residue alone"),
    ("672", r"672 \pmod{1000}", True, "the modulus left out"),
    (r"1672 \pmod{1000}", r"672 \pmod{1000}", True, "another residue of the class"),
    (r"n \equiv 3 \pmod 5", r"n \equiv -2 \pmod 5", True, "a negative one"),
    (r"n \equiv 3 \pmod 5", r"n \equiv 3 \pmod 7", False, "another modulus"),
    (r"n \equiv 3 \pmod 5", r"n \equiv 2 \pmod 5", False, "another class"),
    (r"k \equiv a \pmod n", r"k \equiv a \pmod n", True, "letters"),
]
INEQUALITIES = [
    ("a < b", "b > a", True, "changed over"),
    ("a < b", "a < b", True, "side by side"),
    ("a < b", "a > b", False, "the other way"),
    ("a < b", r"a \leq b", False, "or equal"),
    ("a < 2b", "a < b + b", True, "equal sides"),
]


@pytest.mark.parametrize(("ours", "gold", "right", "why"), [*NAMES, *CURVES, *CONGRUENCES, *INEQUALITIES])
def test_equations(ours: str, gold: str, right: bool, why: str) -> None:  # noqa: FBT001
    assert equal(read(ours), read(gold), WorkBudget()) is right, why


@pytest.mark.parametrize(
    ("ours", "gold", "right"),
    [
        ("f(n) = x^2", "f(x) = x^2", False),
        ("f(x, y) = x - y", "f(a, b) = a - b", True),
        ("f(y, x) = x - y", "f(x, y) = x - y", False),
    ],
)
def test_bound_letters(ours: str, gold: str, right: bool) -> None:  # noqa: FBT001
    assert equal(read(ours), read(gold), WorkBudget()) is right


def test_a_decimal_rounded_the_wrong_way_is_no_rounding() -> None:
    assert equal(read("1/3 = 0.34"), read("1/3"), WorkBudget()) is False


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("x = 5", True), (r"\pi \approx 3", True), ("1 < x", False), ("a = b < c", False), ("5", False)],
)
def test_what_is_an_equation(text: str, is_one: bool) -> None:  # noqa: FBT001
    assert equations.is_equation(read(text)) is is_one


def test_named_values() -> None:
    assert equations.named_values(read("x = 1, y = 2")) == {"x": read("1"), "y": read("2")}
    for text in ("x = 1, x = 2", "x = 1, 2", "x < 1, y < 2", "x = 1", "(x, y)"):
        assert equations.named_values(read(text)) == {}


def test_names_that_say_nothing() -> None:
    assert equations.without_name(read("x = 5")) == read("5")
    for text in ("y = x", "2x = 5", "x < 5", r"x \approx 5", "5"):
        assert equations.without_name(read(text)) == read(text)
