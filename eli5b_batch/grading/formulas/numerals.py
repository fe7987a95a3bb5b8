"""Nodes for numbers in unusual writings: repeating decimals, digits in a base, series with dots.

Must not know: tokens, how anything is compared.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.formulas.lexer import UnreadableFormulaError
from eli5b_batch.grading.formulas.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE: Final = 4_000
DOTS: Final = Node("dots")
_MOST_FILLED: Final = 200


def number(digits: str) -> Node:
    """The node of a decimal as written."""
    text = digits.rstrip(".") if digits.endswith(".") else digits
    whole, point, decimals = text.partition(".")
    value = Fraction(_integer(whole or "0"))
    if point:
        value += Fraction(_integer(decimals or "0"), 10 ** len(decimals))
    return Node("num", value=value, name=text if point else "")


def _integer(digits: str) -> int:
    """Python reads no more than 4,300 digits at once."""
    value = 0
    for start in range(0, len(digits), _AT_ONCE):
        part = digits[start : start + _AT_ONCE]
        value = value * 10 ** len(part) + int(part)
    return value


def repeating(written: str) -> Node:
    """0.1(6) is 16/99 and the like: digits before and in the period."""
    head, _, period = written.rstrip(")").partition("(")
    whole, _, fraction = head.partition(".")
    shift = 10 ** len(fraction)
    value = Fraction(int((whole or "0") + fraction), shift) + Fraction(int(period), shift * (10 ** len(period) - 1))
    return Node("num", value=value)


def is_proper(fraction: Node) -> bool:
    """Whether this is a fraction that can stand behind a whole number."""
    if fraction.op != "div":
        return False
    above, below = fraction.args
    if above.op != "num" or below.op != "num" or above.name or below.name:
        return False
    assert above.value is not None
    assert below.value is not None
    return 0 < above.value < below.value


def filled(items: list[Node]) -> tuple[Node, ...]:
    """`1, 3, ..., 9` written out, and `1/2 + ... + 1/7`: whole numbers in equal steps, or their reciprocals."""
    if DOTS not in items:
        return tuple(items)
    at = items.index(DOTS)
    if not 0 < at < len(items) - 1 or items.count(DOTS) > 1:
        raise UnreadableFormulaError
    reciprocal = items[at - 1].op == "div" == items[at + 1].op
    last, end = (_counted(items[n], reciprocal=reciprocal) for n in (at - 1, at + 1))
    before = _counted(items[at - 2], reciprocal=reciprocal) if at > 1 else last - 1
    step = last - before
    if not step or (end - last) % step or not 0 < (end - last) // step <= _MOST_FILLED:
        raise UnreadableFormulaError
    between = (Fraction(n) for n in range(last + step, end, step))
    return (*items[:at], *(Node("num", value=1 / n if reciprocal else n) for n in between), *items[at + 1 :])


def _counted(item: Node, *, reciprocal: bool) -> int:
    value = item.value
    if reciprocal and item.op == "div" and item.args[0].value == 1:
        value = item.args[1].value
    if value is None or value.denominator != 1:
        raise UnreadableFormulaError
    return value.numerator


_WHOLE: Final[dict[str, Callable[..., int]]] = {"gcd": gcd, "lcm": lcm, "max": max, "min": min}


def worked_out(name: str, argument: Node) -> Node | None:
    """`gcd(12, 18)` and the like of whole numbers; None: of anything else."""
    numbers = [part.value for part in argument.args if part.op == "num" and part.value is not None]
    if (
        name not in _WHOLE
        or not numbers
        or len(numbers) < len(argument.args)
        or any(n.denominator > 1 for n in numbers)
    ):
        return None
    return Node("num", value=Fraction(_WHOLE[name](*(n.numerator for n in numbers))))


_BASES: Final = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16,
}  # fmt: skip


def base_in_words(words: str) -> Node:
    """`five`, `base five`, `base 5`.

    Raises:
        UnreadableFormulaError: that is no base.
    """
    name = words.rpartition(" ")[2]
    if name.isdecimal():
        return number(name)
    if name not in _BASES:
        raise UnreadableFormulaError
    return number(str(_BASES[name]))


def in_base(digits: Node, base: Node) -> Node:
    """A number as written, its digits meant in another base.

    Raises:
        UnreadableFormulaError: it is no row of digits.
    """
    value = digits.value if digits.op == "num" and not digits.name else None
    if value is None or value.denominator != 1 or value < 0:
        raise UnreadableFormulaError
    return Node("based", (base,), str(value.numerator))
