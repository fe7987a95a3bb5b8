r"""Values of formulas as fractions, or as residues of fractions too long to be written down.

Must not know: LaTeX, irrational numbers.

What outgrows fractions goes on as residues modulo two primes of 255 and 448 bits: two numbers with the same residues
are equal but for a chance of 2^-700, and 2^{1000000} + 1 costs no more than 5 + 1.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, comb, factorial, floor, isqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.grading.formulas.work import TooBigError, UndefinedError, WorkBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eli5b_batch.grading.formulas.tree import Node

_PRIMES: Final = (2**255 - 19, 2**448 - 2**224 - 1)
_FRACTION_BITS: Final = 1 << 15
_INTEGER_BITS: Final = 1 << 18
_POINT_BITS: Final = 1 << 12
"""At a point of letters: residues serve as well."""
MOST_FACTORIAL: Final = 20_000
_MOST_MODULAR: Final = 200_000
_HIGH_DEGREE: Final = 64
_LONG: Final = 10_000
"""Bits."""
_MOST_TERMS: Final = 20_000
_MOST_EXPONENT: Final = 10**18


class IrrationalError(Exception):
    """Not rational, or not seen to be."""


class Residues(NamedTuple):
    """A rational number too long to be written down, modulo two primes."""

    first: int
    second: int


Exact = Fraction | Residues


def exactly(node: Node, work: WorkBudget) -> Exact | None:
    """The value of a formula without letters, None where it has no rational one.

    Raises:
        TooBigError: it takes more work than there is.
    """
    try:
        return Rationals({}, work).value(node)
    except (IrrationalError, UndefinedError):
        return None


def equal(one: Exact, two: Exact) -> bool:
    """Whether two values are the same."""
    if isinstance(one, Fraction) and isinstance(two, Fraction):
        return one == two
    return _residues(one) == _residues(two)


class Rationals:
    """Values of a tree as fractions, or residues of them."""

    def __init__(self, point: Mapping[str, Fraction], work: WorkBudget) -> None:
        self._point = point
        self._work = work
        self._fraction_bits = _POINT_BITS if point else _FRACTION_BITS
        self._integer_bits = _POINT_BITS if point else _INTEGER_BITS

    def value(self, node: Node) -> Exact:
        """Raises `IrrationalError`, `UndefinedError` or `TooBigError` where there is none."""
        if node.op == "num":
            assert node.value is not None
            return node.value
        if node.op == "letter":
            return self._point[node.name]
        if node.op in ("sum", "prod"):
            return self._series(node)
        operation: Callable[..., Exact] | None = getattr(self, f"_{node.op}", None)
        if operation is None:
            raise IrrationalError
        self._work.charge(1)
        return operation(*(self.value(argument) for argument in node.args))

    def _series(self, node: Node) -> Exact:
        low, high = (self.value(bound) for bound in node.args[:2])
        result: Exact = Fraction(node.op == "prod")
        combine = self._add if node.op == "sum" else self._mul
        for k in terms(low, high, self._work):
            result = combine(result, Rationals({**self._point, node.name: Fraction(k)}, self._work).value(node.args[2]))
        return result

    def _add(self, *values: Exact) -> Exact:
        total: Exact = Fraction(0)
        for value in values:
            if isinstance(total, Fraction) and isinstance(value, Fraction):
                bits = _bits(total) + _bits(value)
                integers = total.denominator == value.denominator == 1
                if bits <= (self._integer_bits if integers else self._fraction_bits):
                    self._work.charge(bits >> 8)
                    total += value
                    continue
            pairs = zip(_residues(total), _residues(value), _PRIMES, strict=True)
            total = Residues(*((one + two) % prime for one, two, prime in pairs))
        return total

    def _mul(self, *values: Exact) -> Exact:
        product: Exact = Fraction(1)
        for value in values:
            if isinstance(product, Fraction) and isinstance(value, Fraction):
                bits = _bits(product) + _bits(value)
                integers = product.denominator == value.denominator == 1
                if bits <= (self._integer_bits if integers else self._fraction_bits):
                    self._work.charge(bits >> 5)
                    product *= value
                    continue
            pairs = zip(_residues(product), _residues(value), _PRIMES, strict=True)
            product = Residues(*(one * two % prime for one, two, prime in pairs))
        return product

    def _neg(self, value: Exact) -> Exact:
        return self._mul(Fraction(-1), value)

    def _div(self, above: Exact, below: Exact) -> Exact:
        if isinstance(below, Fraction):
            if not below:
                raise UndefinedError
            return self._mul(above, 1 / below)
        if 0 in below:
            raise UndefinedError
        return self._mul(above, Residues(*(pow(value, -1, p) for value, p in zip(below, _PRIMES, strict=True))))

    def _pow(self, base: Exact, exponent: Exact) -> Exact:
        if isinstance(exponent, Residues) or abs(exponent) > _MOST_EXPONENT:
            raise TooBigError
        if exponent.denominator != 1:
            if not isinstance(base, Fraction):
                raise IrrationalError
            return self._pow(self._root(Fraction(exponent.denominator), base), Fraction(exponent.numerator))
        power = exponent.numerator
        if isinstance(base, Fraction):
            if not base:
                if power <= 0:
                    raise UndefinedError
                return base
            if base in (1, -1):
                return base if power % 2 else Fraction(1)
            bits = _bits(base) * abs(power)
            if bits <= (self._integer_bits if base.denominator == 1 and power > 0 else self._fraction_bits):
                self._work.charge(bits >> 4)
                return base**power
        self._work.charge(100)
        return Residues(*(pow(value, power, p) for value, p in zip(_residues(base), _PRIMES, strict=True)))

    def _root(self, degree: Exact, radicand: Exact) -> Exact:
        if not isinstance(degree, Fraction) or degree.denominator != 1 or degree < 1:
            raise IrrationalError
        if not isinstance(radicand, Fraction):
            raise IrrationalError
        self._work.charge(_bits(radicand))
        return _exact_root(radicand, degree.numerator)

    def _factorial(self, value: Exact) -> Exact:
        number = _whole(value)
        if number <= MOST_FACTORIAL:
            self._work.charge(number)
            return Fraction(factorial(number))
        if number > _MOST_MODULAR:
            raise TooBigError
        self._work.charge(number)
        results = []
        for prime in _PRIMES:
            result = 1
            for factor in range(2, number + 1):
                result = result * factor % prime
            results.append(result)
        return Residues(*results)

    def _binom(self, above: Exact, below: Exact) -> Exact:
        number, chosen = _whole(above), _whole(below)
        if chosen > number:
            return Fraction(0)
        if number <= MOST_FACTORIAL:
            self._work.charge(number)
            return Fraction(comb(number, chosen))
        if min(chosen, number - chosen) <= 100:  # noqa: PLR2004 (a short product)
            self._work.charge(min(chosen, number - chosen) * number.bit_length() >> 3)
            return Fraction(comb(number, chosen))
        parts = (Fraction(number), Fraction(chosen), Fraction(number - chosen))
        whole, one, two = (self._factorial(part) for part in parts)
        return self._div(whole, self._mul(one, two))

    def _floor(self, value: Exact) -> Exact:
        return Fraction(floor(_written_out(value)))

    def _ceil(self, value: Exact) -> Exact:
        return Fraction(ceil(_written_out(value)))

    def _abs(self, value: Exact) -> Exact:
        return abs(_written_out(value))

    def _mod(self, value: Exact, modulus: Exact) -> Exact:
        number, by = _written_out(value), _written_out(modulus)
        if not by:
            raise UndefinedError
        return number - by * floor(number / by)

    def _percent(self, value: Exact) -> Exact:
        return self._mul(value, Fraction(1, 100))


def _residues(value: Exact) -> Residues:
    if isinstance(value, Residues):
        return value
    first, second = (value.numerator * pow(value.denominator, -1, prime) % prime for prime in _PRIMES)
    return Residues(first, second)


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def terms(low: Exact, high: Exact, work: WorkBudget) -> range:
    """The whole numbers that a series runs through.

    Raises:
        TooBigError: they are too many.
        UndefinedError: its ends are no whole numbers.
    """
    first, last = _written_out(low), _written_out(high)
    if first.denominator != 1 or last.denominator != 1:
        raise UndefinedError
    count = max(0, last.numerator - first.numerator + 1)
    if count > _MOST_TERMS:
        raise TooBigError
    work.charge(5 * count)
    return range(first.numerator, last.numerator + 1)


def _whole(value: Exact) -> int:
    number = _written_out(value)
    if number.denominator != 1:
        raise IrrationalError
    if number < 0:
        raise UndefinedError
    return number.numerator


def _written_out(value: Exact) -> Fraction:
    if isinstance(value, Residues):
        raise TooBigError
    return value


def _exact_root(value: Fraction, degree: int) -> Fraction:
    """The rational root, where there is one; of negative numbers the real one, where there is one."""
    if value < 0 and degree % 2:
        return -_exact_root(-value, degree)
    if value < 0 or degree > _bits(value) + 1:
        if value in (0, 1):
            return value
        raise IrrationalError
    return Fraction(_integer_root(value.numerator, degree), _integer_root(value.denominator, degree))


def _integer_root(number: int, degree: int) -> int:
    if degree == 2:  # noqa: PLR2004 (a square root)
        root = isqrt(number)
    elif number < 2:  # noqa: PLR2004 (0 and 1)
        return number
    elif degree > _HIGH_DEGREE and number.bit_length() > _LONG:
        raise IrrationalError  # not looked for
    elif degree > _HIGH_DEGREE:  # of a small root every bit is tried
        root = 0
        for bit in reversed(range(-(-number.bit_length() // degree) + 1)):
            root = larger if (larger := root | 1 << bit) ** degree <= number else root
    else:  # Newton's method from above
        root = 1 << -(-number.bit_length() // degree)
        while (better := ((degree - 1) * root + number // root ** (degree - 1)) // degree) < root:
            root = better
    if root**degree != number:
        raise IrrationalError
    return root
