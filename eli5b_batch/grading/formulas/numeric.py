r"""Values of formulas as numbers of any precision, by mpmath; no float is used.

Must not know: LaTeX, which formulas are compared.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from math import comb, factorial
from typing import TYPE_CHECKING, Any, Final

from mpmath import MPContext  # type: ignore[import-untyped]

from eli5b_batch.grading.formulas.exact import MOST_FACTORIAL, IrrationalError, Rationals, terms
from eli5b_batch.grading.formulas.work import TooBigError, UndefinedError, WorkBudget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eli5b_batch.grading.formulas.tree import Node

_MOST_MAGNITUDE: Final = 1 << 40
"""Powers of two up to which a number is computed at all."""
_MOST_ANGLE: Final = 2_000
"""Powers of two; pi is needed to as many bits."""
_MOST_GAMMA: Final = 10**15
_MANY_DIGITS: Final = 200

_LOCAL: Final = threading.local()


def context() -> Any:  # noqa: ANN401 - mpmath has no types
    """This thread's own mpmath context: the global one's precision is shared."""
    own = getattr(_LOCAL, "context", None)
    if own is None:
        own = _LOCAL.context = MPContext()
    return own


def _warm_up() -> None:
    """Compute mpmath's constants once: its caches of them are not safe to extend from two threads."""
    ctx = context()
    ctx.dps = 1_100
    for constant in (ctx.pi, ctx.e, ctx.ln2, ctx.ln10):
        _ = +constant
    for function in (ctx.log, ctx.exp, ctx.sin, ctx.atan):
        function(3)


_warm_up()

_FUNCTIONS: Final[dict[str, str]] = {
    name: name
    for name in (
        "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth",
        "asin", "acos", "atan", "acot", "asinh", "acosh", "atanh", "exp",
    )
} | {"ln": "log", "sgn": "sign"}  # fmt: skip


class Numbers:
    """Values of a tree as mpmath numbers; `real` refuses whatever leaves the real line."""

    def __init__(self, digits: int, point: Mapping[str, Fraction], work: WorkBudget, *, real: bool) -> None:
        self._ctx = context()
        self._ctx.dps = digits
        self._cost = 2 + digits // 4
        self._point = point
        self._work = work
        self._real = real

    def value(self, node: Node) -> Any:  # noqa: ANN401 - mpmath has no types
        """Raises `UndefinedError` or `TooBigError` where there is none."""
        self._work.charge(1)
        if node.op == "num":
            assert node.value is not None
            return self._fraction(node.value)
        if node.op == "letter":
            return self._fraction(self._point[node.name])
        if node.op == "const":
            return self._constant(node.name)
        if node.op in ("sum", "prod"):
            return self._series(node)
        self._work.charge(self._cost * len(node.args))
        values = [self.value(argument) for argument in node.args]
        operation = getattr(self, f"_{node.op}", None)
        if operation is None:
            raise UndefinedError
        try:
            result = operation(*values) if node.op != "call" else self._call(node.name, *values)
        except (ZeroDivisionError, ValueError, OverflowError):
            raise UndefinedError from None
        return self._checked(result)

    def _series(self, node: Node) -> Any:  # noqa: ANN401
        try:
            low, high = (Rationals(self._point, self._work).value(bound) for bound in node.args[:2])
        except IrrationalError:
            raise UndefinedError from None
        outer, parts = self._point, []
        for k in terms(low, high, self._work):
            self._point = {**outer, node.name: Fraction(k)}
            parts.append(self.value(node.args[2]))
        self._point = outer
        return self._checked(self._ctx.fsum(parts) if node.op == "sum" else self._ctx.fprod(parts))

    def _checked(self, value: Any) -> Any:  # noqa: ANN401
        ctx = self._ctx
        if isinstance(value, ctx.mpc):
            if value.imag == 0:
                value = value.real
            elif self._real:
                raise UndefinedError
        if not ctx.isfinite(value):
            raise UndefinedError
        if value and abs(ctx.mag(value)) > _MOST_MAGNITUDE:
            raise TooBigError
        return value

    def _fraction(self, value: Fraction) -> Any:  # noqa: ANN401
        return self._ctx.mpf(value.numerator) / value.denominator

    def _constant(self, name: str) -> Any:  # noqa: ANN401
        if name == "i":
            if self._real:
                raise UndefinedError
            return self._ctx.mpc(0, 1)
        if name == "inf":
            raise UndefinedError
        return +(self._ctx.pi if name == "pi" else self._ctx.e)

    def _add(self, *values: Any) -> Any:  # noqa: ANN401
        return self._ctx.fsum(values)

    def _mul(self, *values: Any) -> Any:  # noqa: ANN401
        return self._ctx.fprod(values)

    def _neg(self, value: Any) -> Any:  # noqa: ANN401
        return -value

    def _div(self, above: Any, below: Any) -> Any:  # noqa: ANN401
        return above / below

    def _percent(self, value: Any) -> Any:  # noqa: ANN401
        return value / 100

    def _deg(self, value: Any) -> Any:  # noqa: ANN401
        return value * self._ctx.pi / 180

    def _pow(self, base: Any, exponent: Any) -> Any:  # noqa: ANN401
        ctx = self._ctx
        if base == 0 and (exponent == 0 or ctx.re(exponent) <= 0):
            raise UndefinedError
        if base != 0 and abs(exponent) * (1 + abs(ctx.mag(base))) > _MOST_MAGNITUDE:
            raise TooBigError
        return base**exponent

    def _root(self, degree: Any, radicand: Any) -> Any:  # noqa: ANN401
        ctx = self._ctx
        if ctx.isint(degree) and degree % 2 == 1 and isinstance(radicand, ctx.mpf) and radicand < 0:
            return -self._root(degree, -radicand)
        return ctx.sqrt(radicand) if degree == 2 else radicand ** (1 / degree)  # noqa: PLR2004 (a square root)

    def _factorial(self, value: Any) -> Any:  # noqa: ANN401
        if abs(value) > 10**15:
            raise TooBigError
        self._work.charge(self._cost * 20)
        if self._counts(value):
            return self._ctx.mpf(factorial(int(value)))
        if self._ctx.dps > _MANY_DIGITS:  # the gamma function takes seconds there
            raise UndefinedError
        return self._ctx.factorial(value)

    def _counts(self, value: Any) -> bool:  # noqa: ANN401
        """Whether this is a whole number of no great size, and not negative."""
        return isinstance(value, self._ctx.mpf) and self._ctx.isint(value) and 0 <= value < MOST_FACTORIAL

    def _binom(self, above: Any, below: Any) -> Any:  # noqa: ANN401
        if self._counts(above) and self._counts(below):
            self._work.charge(above)
            return self._ctx.mpf(comb(int(above), int(below)))
        whole, part, rest = (self._factorial(value) for value in (above, below, above - below))
        return whole / (part * rest)

    def _floor(self, value: Any) -> Any:  # noqa: ANN401
        return self._ctx.floor(self._near_integer(value))

    def _ceil(self, value: Any) -> Any:  # noqa: ANN401
        return self._ctx.ceil(self._near_integer(value))

    def _near_integer(self, value: Any) -> Any:  # noqa: ANN401
        """The integer itself where only rounding keeps a value from being one."""
        if not isinstance(value, self._ctx.mpf):
            raise UndefinedError
        if value and self._ctx.mag(value) > self._ctx.prec:  # its units are not known
            raise UndefinedError
        nearest = self._ctx.nint(value)
        return nearest if abs(value - nearest) < self._ctx.mpf(10) ** (10 - self._ctx.dps) else value

    def _abs(self, value: Any) -> Any:  # noqa: ANN401
        return abs(value)

    def _call(self, name: str, *values: Any) -> Any:  # noqa: ANN401
        ctx = self._ctx
        self._work.charge(self._cost * 4)
        if name == "log":
            base, value = values
            return self._log(value) / self._log(base)
        if name == "ln":
            return self._log(values[0])
        (value,) = values
        if value and ctx.mag(value) > _MOST_ANGLE:
            raise TooBigError
        if name == "cis":
            if self._real:
                raise UndefinedError
            return ctx.expj(value)
        if name == "exp":
            return self._pow(+ctx.e, value)
        if name not in _FUNCTIONS:
            raise UndefinedError
        return getattr(ctx, _FUNCTIONS[name])(value)

    def _log(self, value: Any) -> Any:  # noqa: ANN401
        if value == 0:
            raise UndefinedError
        return self._ctx.log(value)
