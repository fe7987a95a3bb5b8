from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas import forms
from eli5b_batch.grading.formulas.reader import read
from eli5b_batch.grading.formulas.tree import Node
from eli5b_batch.grading.formulas.values import same
from eli5b_batch.grading.formulas.work import WorkBudget

EXPANDED = [  # formula, the form it is compared in, why
    ("101_2", "num 5", "digits as their value"),
    (r"1F_{16}", "num 31", "hexadecimal ones"),
    ("12_{-3}", "num -1", "a negative base"),
    ("129_2", "text 129 in base 2", "9 is no binary digit"),
    ("12_1", "text 12 in base 1", "no base"),
    (r"\pm 5", "list pm(num 5, neg(num 5))", "both signs"),
    (r"1 \pm x", "list pm(add(num 1, letter x), add(num 1, neg(letter x)))", "within a sum"),
    (r"\pm 1 \mp 2", "list pm(add(num 1, neg(num 2)), add(neg(num 1), num 2))", "one up, the other down"),
    (r"x = \pm 5", "list pm(rel =(letter x, num 5), rel =(letter x, neg(num 5)))", "of a name"),
    (r"\{\pm 1, 3\}", "set(num 1, neg(num 1), num 3)", "within a set"),
    (r"x \in \{1, 2\}", "set(num 1, num 2)", "a member of a finite set"),
    ("no solution", "letter empty", "in words"),
    ("all real numbers", "letter set:R", "likewise"),
    ("1 hour and 30 minutes", "unit hour(add(mul(num 1, num 1), mul(num 1/60, num 30)))", "one measure"),
    (r"2\begin{pmatrix} x \end{pmatrix}", "matrix pmatrix(row(mul(num 2, letter x)))", "entry by entry"),
    (r"-\begin{pmatrix} 1 \end{pmatrix}", "matrix pmatrix(row(neg(num 1)))", "a sign"),
]  # fmt: skip
AS_IT_IS = [
    "5",
    "x+1",
    "1 and 2",
    "5 minutes and 1 hour",
    "1 hour and 3 apples",
    "3 cm and 2 cm",
    r"\{1, 2\}",
    "x < 5",
    "cats",
]
NAMES = ["x", "a_1", "f(x)", "f(2)", "f^{-1}(x)", "AB", "|AB|", "(x, y)", r"\frac{a}{b}", r"\sin x", r"f'(x)"]
NO_NAMES = ["5", "2x", "x+1", "x^2", r"\{x\}", "x < 1", "(x, 1)"]


@pytest.mark.parametrize(("text", "form", "why"), EXPANDED)
def test_forms(text: str, form: str, why: str) -> None:
    assert str(forms.expanded(read(text))) == form, why


@pytest.mark.parametrize("text", AS_IT_IS)
def test_all_else_is_as_it_was(text: str) -> None:
    assert forms.expanded(read(text)) == read(text)


@pytest.mark.parametrize("text", NAMES)
def test_names(text: str) -> None:
    assert forms.is_name(read(text))


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name(text: str) -> None:
    assert not forms.is_name(read(text))


@pytest.mark.parametrize(
    ("text", "turned"),
    [("5 = x", "x = 5"), ("x = 5", "x = 5"), ("x = y", "x = y"), ("5 < x", "5 < x"), ("2 = 2", "2 = 2")],
)
def test_names_stand_first(text: str, turned: str) -> None:
    assert forms.name_first(read(text)) == read(turned)


def test_other_letters() -> None:
    assert forms.renamed(read("x^2+xy"), {"x": "y", "y": "x"}) == read("y^2+yx")


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (r"40\degree", "40"),
        (r"-40\degree", "-40"),
        (r"2 \cdot 40\degree", r"2 \cdot 40"),
        (r"180\degree - x", "180 - x"),
    ],
)
def test_angles_without_their_degrees(text: str, bare: str) -> None:
    assert forms.has_degrees(read(text))
    assert str(forms.without_degrees(read(text))).replace("neg(num 40)", "num -40") == str(read(bare))


@pytest.mark.parametrize("text", ["40", r"\sin 40\degree", r"\sqrt{x}"])
def test_degrees_within_a_function_are_not_the_value_s(text: str) -> None:
    assert not forms.has_degrees(read(text))


@pytest.mark.parametrize(
    "text", ["x", "1/x", "1/x + 1/y", "-(1/x)", r"2 \cdot (x/y) \cdot 3", "(1/x)/(1/y)", "1/(1+1/x)"]
)
def test_over_one_denominator(text: str) -> None:
    above, below = forms.over_one_denominator(read(text), WorkBudget())
    assert not above.has("div")
    assert not below.has("div")
    assert same(Node("div", (above, below)), read(text), WorkBudget())
