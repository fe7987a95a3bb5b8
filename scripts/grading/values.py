"""What formulas are worth: exactly where they are rational, else to 1,500 digits; and whether two are worth the same.

It checks the labels that graders are measured by, so it shares nothing with any of them.
Must not know: cases, graders.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, comb, factorial, floor, isqrt
from typing import TYPE_CHECKING, Any, Final

import mpmath  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from formula import CONSTANTS, Node, UnknownFormulaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DIGITS: Final = 1_500
EXACT_BITS: Final = 400_000
Value = Any
"""A Fraction where the value is rational and not too big, else an mpmath number."""

_CONSTANTS: Final[dict[str, Callable[[], Value]]] = {
    r"\pi": lambda: +mpmath.pi,
    "e": lambda: +mpmath.e,
    "i": lambda: mpmath.mpc(0, 1),
}
_CALLS: Final[dict[str, Callable[[Value], Value]]] = {
    "arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan, "sin": mpmath.sin, "cos": mpmath.cos,
    "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec, "csc": mpmath.csc, "ln": mpmath.log, "log": mpmath.log,
    "exp": mpmath.exp,
}  # fmt: skip


def _real(value: Value) -> Value:
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _whole(value: Value) -> int:
    if isinstance(value, Fraction) and value.denominator == 1 and 0 <= value <= 20_000:  # noqa: PLR2004
        return value.numerator
    raise UnknownFormulaError("a factorial or binomial of what is no small integer")


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent) <= EXACT_BITS and (base or exponent >= 0):
            return base**exponent.numerator
    if _real(base) == 0:
        raise UnknownFormulaError("a power of zero")
    return mpmath.power(_real(base), _real(exponent))


def _root(radicand: Value, index: Value) -> Value:
    if isinstance(radicand, Fraction) and index == 2 and radicand >= 0:  # noqa: PLR2004
        above, below = isqrt(radicand.numerator), isqrt(radicand.denominator)
        if above**2 == radicand.numerator and below**2 == radicand.denominator:
            return Fraction(above, below)
    if isinstance(index, Fraction) and index % 2 == 1 and not isinstance(radicand, mpmath.mpc) and radicand < 0:
        return -mpmath.root(-_real(radicand), int(index))  # the real one, as school has it
    return mpmath.power(_real(radicand), 1 / _real(index))


def _round(rounding: Callable[[Value], int], value: Value) -> Fraction:
    if isinstance(value, Fraction):
        return Fraction(rounding(value))
    nearest = int(mpmath.nint(value))
    if abs(value - nearest) < mpmath.mpf(10) ** -(DIGITS // 2):
        return Fraction(nearest)
    return Fraction(int(mpmath.floor(value) if rounding is floor else mpmath.ceil(value)))


def _divide(above: Value, below: Value) -> Value:
    if below == 0:
        raise UnknownFormulaError("a division by zero")
    return above / below if isinstance(above, Fraction) and isinstance(below, Fraction) else _real(above) / _real(below)


def _add(one: Value, two: Value) -> Value:
    return one + two if isinstance(one, Fraction) and isinstance(two, Fraction) else _real(one) + _real(two)


def _multiply(one: Value, two: Value) -> Value:
    return one * two if isinstance(one, Fraction) and isinstance(two, Fraction) else _real(one) * _real(two)


def value_at(node: Node, point: Mapping[str, Fraction]) -> Value:  # noqa: C901, PLR0911, PLR0912 - one case a kind
    """The value of a formula where its letters have these values; degrees are angles.

    Raises:
        UnknownFormulaError: it has none.
    """
    if node.kind == "num":
        return Fraction(node.text)
    if node.kind == "sym":
        return _CONSTANTS[node.text]() if node.text in CONSTANTS else point[node.text]
    values = [value_at(argument, point) for argument in node.args]
    match node.kind:
        case "add" | "mixed":
            total = values[0]
            for value in values[1:]:
                total = _add(total, value)
            return total
        case "mul":
            total = values[0]
            for value in values[1:]:
                total = _multiply(total, value)
            return total
        case "neg":
            return -values[0]
        case "div":
            return _divide(*values)
        case "pow":
            return _power(*values)
        case "root":
            return _root(values[0], values[1] if len(values) > 1 else Fraction(2))
        case "fact":
            return Fraction(factorial(_whole(values[0])))
        case "binom":
            return Fraction(comb(_whole(values[0]), _whole(values[1])))
        case "floor" | "ceil":
            return _round(floor if node.kind == "floor" else ceil, values[0])
        case "abs":
            return abs(values[0])
        case "deg":
            return _real(values[0]) * mpmath.pi / 180
        case "log":
            return _divide(mpmath.log(_real(values[1])), mpmath.log(_real(values[0])))
        case "call":
            return _CALLS[node.text](_real(values[0]))
    raise UnknownFormulaError(node.kind)


POINTS: Final = (
    (11, 4, 3, 7, 2, 5, 13, 6),
    (7, 3, 2, 5, 4, 9, 10, 8),
    (13, 5, 4, 8, 3, 7, 6, 11),
    (12, 2, 5, 3, 7, 4, 9, 10),
)
"""What letters are given, in turn: whole numbers, as many formulas count something."""


def compare(one: Node, two: Node) -> bool | None:
    """Whether two formulas are equal wherever both have values; None where that can't be said."""
    letters = sorted({*one.letters, *two.letters}, key=lambda letter: (letter.lower() not in "nmp", letter))
    compared = False
    with mpmath.workdps(DIGITS):
        for numbers in POINTS if letters else POINTS[:1]:
            point = {letter: Fraction(numbers[n % len(numbers)]) for n, letter in enumerate(letters)}
            try:
                ours, theirs = value_at(one, point), value_at(two, point)
            except (UnknownFormulaError, ZeroDivisionError, ValueError, OverflowError, TypeError):
                continue
            if not (mpmath.isfinite(_real(ours)) and mpmath.isfinite(_real(theirs))):
                continue
            compared = True
            if isinstance(ours, Fraction) and isinstance(theirs, Fraction):
                equal = ours == theirs
            else:
                ours, theirs = _real(ours), _real(theirs)
                size = max(abs(ours), abs(theirs))
                equal = abs(ours - theirs) <= mpmath.mpf(10) ** -(DIGITS * 3 // 4) * size
                if size < mpmath.mpf(10) ** -(DIGITS // 2):
                    return None  # zero, or next to it
                if equal and size and not -DIGITS // 2 < mpmath.log10(size) < DIGITS // 2:
                    return None  # a term of common size would be lost in it
            if not equal:
                return False
    return True if compared else None
