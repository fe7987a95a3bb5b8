"""What must hold of any formula and any text: equal rewrites are equal, changed ones are not, all within bounds."""

from __future__ import annotations

import resource
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import sympy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from eli5b_batch import grading
from eli5b_batch.grading import math
from eli5b_batch.grading.math import decide, grade

if TYPE_CHECKING:
    from fractions import Fraction

DECIDED = {"correct", "incorrect", "no_answer"}
LETTERS = sympy.symbols("n k x a b", positive=True)
POINTS = ((7, 3, 5, 2, 11), (13, 4, 9, 8, 6))

few = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def boxed(answer: str) -> str:
    return rf"Hence \[\boxed{{{answer}}}\]"


def right(answer: str, gold: str) -> bool:
    return grade(boxed(answer), gold).correct


# --- formulas built with sympy -------------------------------------------------------------------

integers = st.integers(-12, 40).filter(bool).map(sympy.Integer)
rationals = st.builds(sympy.Rational, st.integers(-20, 20).filter(bool), st.integers(2, 12))
radicals = st.sampled_from([2, 3, 5, 6, 7, 10, 21]).map(sympy.sqrt)
numbers = st.one_of(integers, rationals, radicals, st.just(sympy.pi))
letters = st.sampled_from(LETTERS)


def joined(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(lambda one, two: one + two, parts, parts),
        st.builds(lambda one, two: one - two, parts, parts),
        st.builds(lambda one, two: one * two, parts, parts),
        st.builds(lambda one, two: one / two if two != 0 else one, parts, parts),
        st.builds(lambda base, exponent: base**exponent, parts, st.integers(2, 3)),
    )


number_formulas = st.recursive(numbers, joined, max_leaves=5)
letter_formulas = st.recursive(st.one_of(letters, letters, integers), joined, max_leaves=5)
formulas = st.one_of(number_formulas, letter_formulas)

FORMS = {
    "expand": sympy.expand,
    "factor": sympy.factor,
    "together": sympy.together,
    "cancel": sympy.cancel,
    "radsimp": sympy.radsimp,
    "apart": lambda formula: sympy.apart(formula) if len(formula.free_symbols) == 1 else formula,
}


def value(formula: Any, point: tuple[int, ...]) -> Any:  # noqa: ANN401 - sympy has no types
    return formula.subs(dict(zip(LETTERS, point, strict=True))).evalf(40)


def sane(formula: Any) -> bool:  # noqa: ANN401 - sympy has no types
    """Whether it has a real value of some size at both points, and prints to a formula of some length."""
    values = [value(formula, point) for point in POINTS]
    return len(sympy.latex(formula)) < 200 and all(
        one.is_real and one.is_finite and 10**-9 < abs(one) < 10**15 for one in values
    )


def different(one: Any, two: Any) -> bool:  # noqa: ANN401 - sympy has no types
    return any(abs(value(one, point) - value(two, point)) > 10**-9 * abs(value(one, point)) for point in POINTS)


@few
@given(formulas, st.sampled_from(sorted(FORMS)))
def test_a_formula_equals_what_sympy_makes_of_it(formula: Any, form: str) -> None:  # noqa: ANN401
    assume(sane(formula))
    rewritten = FORMS[form](formula)
    assume(sane(rewritten))
    one, two = sympy.latex(formula), sympy.latex(rewritten)
    assert right(one, two), (one, two)
    assert right(two, one), (two, one)


@few
@given(formulas, st.data())
def test_a_formula_equals_none_that_has_another_value(formula: Any, data: st.DataObject) -> None:  # noqa: ANN401
    assume(sane(formula))
    whole = sorted(formula.atoms(sympy.Integer) - {sympy.Integer(-1)}, key=int)
    changes = [formula + 1, formula - 1, -formula, 2 * formula, formula / 10, formula**2, 1 / formula]
    changes += [formula.subs(letter, letter + 1) for letter in formula.free_symbols]
    changes += [formula.subs(number, number + 1) for number in whole]
    changed = data.draw(st.sampled_from(changes))
    assume(sane(changed) and different(formula, changed))
    one, two = sympy.latex(formula), sympy.latex(changed)
    assert not right(one, two), (one, two)
    assert not right(two, one), (two, one)


@few
@given(number_formulas, st.integers(2, 4))
def test_no_short_decimal_equals_an_irrational_number(formula: Any, digits: int) -> None:  # noqa: ANN401
    assume(sane(formula) and formula.is_irrational and abs(value(formula, POINTS[0])) < 10**6)
    exact = value(formula, POINTS[0])
    rounded = f"{float(exact):.{digits}f}"
    assume(abs(sympy.Rational(rounded) - exact) > abs(exact) / 10**5)  # 3.4641 is 2 sqrt(3) to seven digits by chance
    assert not right(rounded, sympy.latex(formula)), (rounded, formula)


@many
@given(st.integers(2, 3000), st.integers(2, 2000), st.integers(-3, 3).filter(bool))
def test_huge_powers_are_exact_to_the_last_digit(base: int, exponent: int, off: int) -> None:
    gold = f"{base}^{{{exponent}}}"
    assert right(f"{base} \\cdot {base}^{{{exponent - 1}}}", gold)
    assert not right(f"{base}^{{{exponent}}}{off:+}", gold)
    assert right(f"1 - {base}^{{-{exponent}}}", f"1-\\frac{{1}}{{{gold}}}")
    assert not right(f"1 - {base}^{{-{exponent + 1}}}", f"1-\\frac{{1}}{{{gold}}}")
    assert not right("0", f"\\frac{{1}}{{{gold}}}")


# --- symmetry ------------------------------------------------------------------------------------

parts = st.one_of(
    st.integers(-10**12, 10**12).map(str),
    st.fractions(-50, 50, max_denominator=40).map(lambda f: f"\\frac{{{f.numerator}}}{{{f.denominator}}}"),
    st.sampled_from([r"\sqrt{2}", r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", r"\pi", r"2\pi", "0.5", "n+1", "1+n"]),
    st.sampled_from(["2^{10}", "1024", "512"]),
)  # fmt: skip


def braced(*inside: str) -> str:
    return rf"\{{{', '.join(inside)}\}}"


@many
@given(parts, parts)
def test_of_two_values_the_one_equals_the_other_or_not_whichever_is_the_gold(one: str, two: str) -> None:
    assert right(one, two) is right(two, one), (one, two)


@few
@given(st.lists(parts, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_sets_are_sets_and_tuples_are_tuples_whichever_is_the_gold(inside: list[str], chooser: Any) -> None:  # noqa: ANN401
    shuffled = chooser.sample(inside, len(inside))
    assert right(braced(*shuffled), braced(*inside))
    one, two = f"({', '.join(inside)})", f"({', '.join(shuffled)})"
    assert right(one, one)
    same = all(right(left, other) for left, other in zip(inside, shuffled, strict=True))
    assert right(one, two) is right(two, one) is same, (one, two)


rational_ends = st.lists(st.fractions(-20, 20, max_denominator=9), min_size=2, max_size=2, unique=True).map(sorted)


@few
@given(rational_ends, st.sampled_from("(["), st.sampled_from(")]"), st.sampled_from("(["), st.sampled_from(")]"))
def test_intervals_are_equal_with_equal_ends_only(
    ends: list[Fraction], left: str, close: str, open_: str, end: str
) -> None:
    low, high = (f"\\frac{{{one.numerator}}}{{{one.denominator}}}" for one in ends)
    one, two = f"{left}{low}, {high}{close}", f"{open_}{low}, {high}{end}"
    same = (left, close) == (open_, end)
    assert right(one, two) is right(two, one) is same, (one, two)
    less, more = ("<" if left == "(" else r"\le"), ("<" if close == ")" else r"\le")
    assert right(f"{low} {less} x {more} {high}", two) is same


@few
@given(formulas)
def test_white_space_and_growing_brackets_change_nothing(formula: Any) -> None:  # noqa: ANN401
    assume(sane(formula))
    text = sympy.latex(formula)
    wide = text.replace("+", r" \, + \; ").replace("{", "{ ").replace("}", " }").replace(r"\frac", r"\dfrac ")
    assert right(wide, text), (wide, text)


# --- any text ------------------------------------------------------------------------------------

TOKENS = (
    r"\frac \sqrt \binom \left( \right) \left[ \right] \cdot \times \pi \infty \le \ge < > = + - * / ^ _ { } ( ) [ ] |"
    r" ! , . ; : $ $$ \boxed{ \fbox{ \text{ \mathrm{ \operatorname{ \sin \cos \ln \log_ \sum_{k=1}^{n} \int_0^1 \lim"
    r" \cup \cap \in \pm \% % \circ ^\circ \begin{pmatrix} \end{pmatrix} & \\ \{ \} \lfloor \rfloor \ldots \to"
    " 0 1 2 7 10 99 1000000 0.5 .5 1e99 x n e i or and the answer is #### ** <answer> 9^{9^{9^9}} 100000! \0 \ud800"
    " \u221a \u00b0 __import__('os')"
).split(" ")

token_texts = st.lists(st.sampled_from(TOKENS), max_size=40).map("".join)
spaced_texts = st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join)
long_texts = st.builds(
    lambda token, times: token * times,
    st.sampled_from([*TOKENS, "((", r"\frac{1}{", "2^{"]),
    st.sampled_from([500, 20_000]),
)
texts = st.one_of(token_texts, spaced_texts, long_texts)

CPU_S = 5.0
MEMORY_MB = 512


def spent() -> tuple[float, float]:
    """CPU seconds of this process so far, and the most MB it ever had in use."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


@pytest.fixture(scope="module")
def warm() -> None:
    grade(boxed(r"\sqrt{8}"), r"2\sqrt{2}")


@pytest.mark.usefixtures("warm")
@few
@given(texts, texts)
def test_any_text_against_any_gold_is_decided_or_left_within_bounds(text: str, gold: str) -> None:
    cpu_s, memory_mb = spent()
    for response in (text, boxed(text), f"The answer is ${text}$."):
        verdict = decide(response, gold)
        assert verdict is None or verdict.verdict in DECIDED
    after_s, after_mb = spent()
    assert after_s - cpu_s < CPU_S
    assert after_mb - memory_mb < MEMORY_MB


@few
@given(texts, texts)
def test_any_text_against_any_gold_is_decided_the_same_way_again(text: str, gold: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(math, "_AT_ONCE_S", inf)  # a busy machine leaves to a worker now what it settled before
        for response in (text, boxed(text), f"The answer is ${text}$."):
            verdict, again = decide(response, gold), decide(response, gold)
            assert (verdict and replace(verdict, seconds=0)) == (again and replace(again, seconds=0))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts, texts)
def test_any_text_against_any_gold_gets_a_verdict_from_the_public_function(text: str, gold: str) -> None:
    verdict = grading.grade(boxed(text), gold)
    assert verdict.verdict in DECIDED | {"timeout"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "grade", lambda *asked: {(boxed(text), gold): verdict}[asked])
        assert grading.is_correct(boxed(text), gold) is verdict.correct
