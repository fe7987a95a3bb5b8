r"""Whether two formulas are equal, by sympy and math-verify; the only module that imports them.

Must not know: texts, golds as data sets write them, pools.

Formulas become expressions through latex2sympy's grammar, with numbers read by `_TreeWalker`: math-verify's
reader of plain expressions and latex2sympy's of numbers both end in sympy's `parse_expr`, which is `eval`.
Expressions are built unevaluated, so that reading is cheap; evaluating is what can hang.

Two numbers are compared here: as fractions where both are rational, else by their difference to 1,000
digits.  math-verify evaluates the difference to 15 digits and calls anything below 1e-15 zero, and so
takes 2^{-1007} for 2^{-2012}.  All else (letters, sets, tuples, intervals, relations) is math-verify's.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from math import ceil, comb, factorial, floor, prod
from typing import TYPE_CHECKING, Any, Final

import sympy
from latex2sympy2_extended import NormalizationConfig, normalize_latex
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy.core.evalf import PrecisionExhausted

from eli5b_batch.grading.notation import plain_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.grading.verdict import Outcome

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time-outs are off; ours kill

_MAX_BITS: Final = 1 << 20
"""Size of exact numbers: 2^20 bits take milliseconds to multiply."""
_MAX_FACTORIAL: Final = 50_000
_DIGITS: Final = 1_000
_TOLERANCE: Final = Fraction(1, 10**6)
"""Relative, for decimals against irrational golds only."""

# Units are ours to take off (`notation`): the library would read the d of `3 d` as days.
_NORMALIZATION: Final = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)
_ANALYSIS: Final = (sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit, sympy.Derivative)
_COMMAND: Final = re.compile(r"\\[A-Za-z]+")
_SPELLINGS: Final = (  # what the grammar does not read as it is written
    (re.compile(r"(?<![A-Za-z\\])sqrt ?(?:\(([^()]{1,200})\)|([0-9]+))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![A-Za-z\\])(pi|sin|cos|tan|log|ln|exp)(?![A-Za-z])"), r"\\\1 "),
    (re.compile(r"\\log(?! ?_)(?![A-Za-z])"), r"\\ln "),  # it would take base 10
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"([0-9]+!) ?\^"), r"(\1)^"),
    (re.compile(r"\\frac ([A-Za-z0-9]) ([A-Za-z0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"(\\frac ?\{[^{}]{1,200}\}) ([A-Za-z0-9])"), r"\1{\2}"),
)


class _TooBigError(Exception):
    """An exact value would need more than `_MAX_BITS`."""


class _TreeWalker(_Latex2Sympy):  # type: ignore[misc]  # sympy and its kin have no types
    """latex2sympy's tree walker, except that no text of a number is handed to `sympify`."""

    def parse_number(self, text: str) -> Any:  # noqa: ANN401 - sympy has no types
        digits = text.replace(",", "")
        return sympy.Integer(int(digits)) if digits.isdecimal() else sympy.Float(digits)


def compare(answer: str, gold: str) -> tuple[Outcome, str]:
    """Outcome and rule for two formulas; can hang, eat memory and raise whatever the libraries raise."""
    real = not (should_treat_as_complex(answer) or should_treat_as_complex(gold))
    lowercase = not _mixes_cases(gold)
    theirs = _read(gold, real=real, lowercase=lowercase)
    if theirs is None:
        return "incorrect", "gold_unparsed"
    ours = _read(answer, real=real, lowercase=lowercase)
    if ours is None:
        return "incorrect", "unparsed"
    if _is_number(ours) and _is_number(theirs):
        try:
            return _outcome(equal=_same_number(ours, theirs)), "number"
        except _TooBigError:
            return "incorrect", "guard"
    equal = verify(theirs, ours, timeout_seconds=None, raise_on_error=True) and not _differ_somewhere(ours, theirs)
    return _outcome(equal=equal), "symbolic"


def _outcome(*, equal: bool) -> Outcome:
    return "correct" if equal else "incorrect"


def _mixes_cases(gold: str) -> bool:
    """Whether `gold` uses one letter in both cases (R and r): then an answer's case matters."""
    letters = set(_COMMAND.sub(" ", gold))
    return any(letter.islower() and letter.upper() in letters for letter in letters)


def _read(text: str, *, real: bool, lowercase: bool) -> Any:  # noqa: ANN401 - sympy has no types
    """The expression `text` stands for, unevaluated; None where it is no formula."""
    number = plain_number(text)
    if number is not None and not number.percent and "." not in text:  # a decimal may be an approximation
        return sympy.Rational(number.value.numerator, number.value.denominator)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    latex = normalize_latex(text, _NORMALIZATION)
    try:
        return _TreeWalker(is_real=real, config=ConversionConfig(lowercase_symbols=lowercase)).parse(latex)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - the grammar's way of saying no is a bare Exception
        return None


def _is_number(expression: Any) -> bool:  # noqa: ANN401 - sympy has no types
    return isinstance(expression, sympy.Expr) and bool(expression.is_number)


def _same_number(ours: Any, theirs: Any) -> bool:  # noqa: ANN401 - sympy has no types
    try:
        gold, gold_is_big = _exact(theirs), False
    except _TooBigError:
        gold, gold_is_big = None, True
    try:
        said = _exact(ours)
    except _TooBigError:
        if not gold_is_big:  # nobody writes a small number that way
            raise
        said = None
    if said is not None and gold is not None:
        return said == gold
    ours, theirs = (side.doit() if side.has(*_ANALYSIS) else side for side in (ours, theirs))
    near, far = (side.evalf(30, maxn=_DIGITS) for side in (ours, theirs))
    if not (near.is_finite and far.is_finite):
        return bool(near == far)
    decimal = ours.has(sympy.Float) or theirs.has(sympy.Float)
    if abs(near - far) > (_TOLERANCE if decimal else sympy.Rational(1, 10**20)) * abs(far):
        return False
    if decimal:
        return True
    try:
        return bool((ours - theirs).evalf(5, maxn=_DIGITS, strict=True) == 0)
    except PrecisionExhausted:
        return True  # no difference in 1,000 digits


def _differ_somewhere(ours: Any, theirs: Any) -> bool:  # noqa: ANN401 - sympy has no types
    """Whether two expressions in letters have different numbers at a point: math-verify compares with floats, too."""
    if not (isinstance(ours, sympy.Expr) and isinstance(theirs, sympy.Expr)):
        return False
    letters = sorted(ours.free_symbols | theirs.free_symbols, key=str)
    point = {letter: sympy.Rational(7 + 4 * n, 5) for n, letter in enumerate(letters)}
    one, two = (side.subs(point).doit().evalf(30) for side in (ours, theirs))
    if not (one.is_number and two.is_number and one.is_finite and two.is_finite):
        return False
    return bool(abs(one - two) > sympy.Rational(1, 10**20) * (abs(one) + abs(two)))


def _exact(expression: Any) -> Fraction | None:  # noqa: ANN401 - sympy has no types
    """The rational value of `expression`, None where it has none or an operation is not one of ours.

    Raises:
        _TooBigError: the value, or one on the way to it, is too big to be exact.
    """
    if expression.is_Rational:
        return Fraction(int(expression.p), int(expression.q))
    if expression.is_Float:
        return Fraction(str(expression)) if expression.is_finite else None
    operation = _OPERATIONS.get(expression.func)
    if operation is None:
        return None
    values = [_exact(argument) for argument in expression.args]
    return None if None in values else operation(*values)


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _add(*values: Fraction) -> Fraction:
    return sum(values, Fraction(0))


def _multiply(*values: Fraction) -> Fraction:
    if sum(map(_bits, values)) > _MAX_BITS:
        raise _TooBigError
    return prod(values, start=Fraction(1))


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1 or (base == 0 and exponent < 0):
        return None
    if _bits(base) * abs(exponent) > _MAX_BITS:
        raise _TooBigError
    return base**exponent.numerator


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        return None
    if value > _MAX_FACTORIAL:
        raise _TooBigError
    return Fraction(factorial(value.numerator))


def _binomial(above: Fraction, below: Fraction) -> Fraction | None:
    if above.denominator != 1 or below.denominator != 1 or above < 0 or below < 0:
        return None
    if above > _MAX_FACTORIAL:
        raise _TooBigError
    return Fraction(comb(above.numerator, below.numerator))


_OPERATIONS: Final[dict[Any, Callable[..., Fraction | None]]] = {
    sympy.Add: _add,
    sympy.Mul: _multiply,
    sympy.Pow: _power,
    sympy.factorial: _factorial,
    sympy.binomial: _binomial,
    sympy.floor: lambda value: Fraction(floor(value)),
    sympy.ceiling: lambda value: Fraction(ceil(value)),
    sympy.Abs: abs,
    sympy.UnevaluatedExpr: lambda value: value,
}
