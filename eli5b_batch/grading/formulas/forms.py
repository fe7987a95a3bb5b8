r"""A formula in the form it is compared in: `\pm` written out, digits in a base as their value, names recognised.

Must not know: what is compared with what.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.formulas.tree import Node
from eli5b_batch.grading.formulas.units import unit
from eli5b_batch.grading.formulas.words import plain

if TYPE_CHECKING:
    from eli5b_batch.grading.formulas.work import WorkBudget

_CALLED: Final = frozenset("fghFGPQuvT")
_MOST_DIGITS: Final = 1_000
"""Of a number in another base; longer ones are compared as text."""
_ONE: Final = Node("num", value=Fraction(1))
_SAID: Final = {
    "no solution": Node("letter", name="empty"),
    **dict.fromkeys(("all real numbers", "all reals", "real numbers", "all real"), Node("letter", name="set:R")),
}


def expanded(node: Node) -> Node:  # noqa: PLR0911 (one return a form)
    r"""Digits in a base as their value, `\pm` as a list of two, `x \in \{1, 2\}` as the set."""
    if node.op == "text" and (known := _SAID.get(plain(node.name))):
        return known
    if node.op == "unit" and node.args[0].op == "unit":  # $18 / day
        return Node("unit", node.args[0].args, f"{node.args[0].name} {node.name}")
    if node.op == "based":
        return _value_of_digits(node)
    if node.op == "list" and node.name in ("and", ",") and (total := _measures_together(node)):
        return total
    if node.op in ("mul", "neg", "div") and any(part.op == "matrix" for part in node.args):
        return _multiplied_out(node)
    if node.op in ("set", "list") and any(item.has("pm") for item in node.args):
        items = (part for item in node.args for part in (expanded(item).args if item.has("pm") else (item,)))
        return replace(node, args=tuple(items))
    if node.has("pm"):
        return Node("list", (_choose(node, 0), _choose(node, 1)), "pm")
    if node.op == "rel" and node.name == "in" and node.args[1].op == "set":
        return node.args[1]
    return node


def _measures_together(node: Node) -> Node | None:
    """`1 hour and 30 minutes` as one measure."""
    units = [unit(item.name) if item.op == "unit" else None for item in node.args]
    first = units[0]
    if first is None or any(other is None or other.dimension != first.dimension for other in units):
        return None
    if not all(one and two and one.factor > two.factor for one, two in pairwise(units)):
        return None
    parts = (
        Node("mul", (Node("num", value=measure.factor / first.factor), item.args[0]))
        for measure, item in zip(units, node.args, strict=True)
        if measure
    )
    return Node("unit", (Node("add", tuple(parts)),), node.args[0].name)


def _choose(node: Node, which: int) -> Node:
    if node.op == "pm":
        inside = _choose(node.args[0], which)
        minus = (node.name == "pm") == bool(which)
        return Node("neg", (inside,)) if minus else inside
    return replace(node, args=tuple(_choose(part, which) for part in node.args)) if node.args else node


def _multiplied_out(node: Node) -> Node:
    """A number times a matrix, entry by entry."""
    at = next(n for n, part in enumerate(node.args) if part.op == "matrix")
    matrix = node.args[at]

    def scaled(entry: Node) -> Node:
        return replace(node, args=(*node.args[:at], entry, *node.args[at + 1 :]))

    rows = tuple(replace(row, args=tuple(map(scaled, row.args))) for row in matrix.args)
    return replace(matrix, args=rows)


def _value_of_digits(node: Node) -> Node:
    base = node.args[0].value
    if node.args[0].op == "neg":
        inside = node.args[0].args[0].value
        base = None if inside is None else -inside
    written = Node("text", name=f"{node.name} in base {base}")
    if base is None or abs(base) < 2 or base.denominator != 1 or len(node.name) > _MOST_DIGITS:  # noqa: PLR2004
        return written
    digits = [int(digit, 36) for digit in node.name]
    if max(digits) >= abs(base):
        return written
    value = 0
    for digit in digits:
        value = value * base.numerator + digit
    return Node("num", value=Fraction(value))


def is_name(node: Node) -> bool:
    """What values are given to: x, a_1, f(x), AB, |AB|, a + b, (x, y)."""
    if node.op in ("letter", "abs", "tuple", "list", "div"):
        return all(is_name(part) for part in node.args)
    if node.op == "mul":
        called = node.args[0].op in ("letter", "pow") and (node.args[0].name or "f")[0] in _CALLED
        return all(is_name(part) or (called and part.op == "num") for part in node.args)
    if node.op == "pow":  # an inverse function
        return node.args[0].op == "letter" and node.args[1].value == -1
    return node.op in ("deg", "call") and is_name(node.args[0])


def name_first(node: Node) -> Node:
    """`5 = x` turned round."""
    if node.op == "rel" and node.name == "=" and is_name(node.args[1]) and not is_name(node.args[0]):
        return replace(node, args=(node.args[1], node.args[0]))
    return node


def renamed(node: Node, names: dict[str, str]) -> Node:
    """The same formula in other letters."""
    if node.op == "letter":
        return replace(node, name=names.get(node.name, node.name))
    return replace(node, args=tuple(renamed(part, names) for part in node.args)) if node.args else node


def has_degrees(node: Node) -> bool:
    """Whether the value is an angle in degrees; degrees within a sine are not the value's."""
    if node.op == "deg":
        return True
    return node.op in ("add", "mul", "neg", "div", "pm") and any(has_degrees(part) for part in node.args)


def without_degrees(node: Node) -> Node:
    """The number of degrees of an angle."""
    if node.op == "deg":
        return node.args[0]
    if node.op in ("add", "mul", "neg", "div"):
        return replace(node, args=tuple(without_degrees(part) for part in node.args))
    return node


def over_one_denominator(node: Node, work: WorkBudget) -> tuple[Node, Node]:
    """Numerator and denominator.

    Raises:
        TooBigError: multiplied out they take more than there is.
    """
    above, below, _ = _multiplied(node, work)
    return above, below


def _multiplied(node: Node, work: WorkBudget) -> tuple[Node, Node, int]:
    """Numerator, denominator, and how large they are together."""
    if node.op == "neg":
        above, below, size = _multiplied(node.args[0], work)
        return Node("neg", (above,)), below, size
    if node.op not in ("add", "mul", "div"):
        size = sum(1 for _ in node.walk())
        return node, _ONE, size
    parts = [_multiplied(part, work) for part in node.args]
    size = sum(part[2] for part in parts)
    if node.op == "div":
        (above, below, _), (other_above, other_below, _) = parts
        return Node("mul", (above, other_below)), Node("mul", (below, other_above)), size
    below = Node("mul", tuple(part[1] for part in parts))
    if node.op == "mul":
        return Node("mul", tuple(part[0] for part in parts)), below, size
    size *= len(parts)
    work.charge(50 * size)
    rest = [[other[1] for other in parts if other is not part] for part in parts]
    above = Node("add", tuple(Node("mul", (part[0], *others)) for part, others in zip(parts, rest, strict=True)))
    return above, below, size
