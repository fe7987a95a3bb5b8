r"""Equations, inequalities that are no intervals, congruences: what is said of a name, and up to what it is the same.

Must not know: how two values are found equal (that is an argument), pools.

A name in front (`x =`) counts only where both sides have one and it matters. Equations without a name are the same up
to a factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.formulas import values
from eli5b_batch.grading.formulas.forms import is_name, name_first, over_one_denominator, renamed
from eli5b_batch.grading.formulas.logic import all_in_order, all_of, any_of
from eli5b_batch.grading.formulas.tree import COLLECTIONS, Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.grading.formulas.work import WorkBudget

    Same = Callable[[Node, Node], bool | None]

_FLIPPED: Final = {"!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def is_equation(node: Node) -> bool:
    """Whether this says that things are equal, exactly or about."""
    return node.op == "rel" and not set(node.name.split()) - {"=", "~"}


def equal_equations(ours: Node, gold: Node, same: Same, work: WorkBudget) -> bool | None:
    """Whether they say the same, one of them at least an equation; the other may be the value alone."""
    ours, gold = name_first(ours), name_first(gold)
    if not is_equation(gold):
        return any_of(same(said, gold) for said in _values_said(ours, gold, work))
    name, meant = gold.args[0], gold.args[-1]
    if not is_equation(ours):
        return is_name(name) and ours.op != "rel" and same(ours, meant)
    our_name, said = ours.args[0], ours.args[-1]
    if {our_name.op, name.op} == {"tuple"} and said.op == "tuple" and our_name != name:
        return same(_reordered(said, our_name, name), meant)
    if is_name(name) and is_name(our_name) and not _is_another(our_name, name):
        result = same(_in_the_same_letter(our_name, name, said), meant)
        if result or our_name.args[:1] == name.args[:1] or our_name == name:  # the same function, too
            return result
    if len(gold.args) == len(ours.args) == 2:  # noqa: PLR2004 (left and right)
        return _same_curve(ours, gold, same, work)
    return any_of(same(value, meant) for value in _values_said(ours, meant, work))


def _reordered(said: Node, names: Node, wanted: Node) -> Node:
    """`(q, p) = (3, 2)` as `(p, q)`; as it is where the names are others."""
    if set(names.args) != set(wanted.args) or len(names.args) != len(said.args):
        return said
    given = dict(zip(names.args, said.args, strict=True))
    return Node("tuple", tuple(given[name] for name in wanted.args), said.name)


def _is_another(one: Node, two: Node) -> bool:
    """F beside f' or its inverse, a_n beside a_{n+1}: kindred names of different things."""
    heads = [node.args[0] if node.op == "mul" else node for node in (one, two)]
    bases = [head.args[0] if head.op == "pow" else head for head in heads]
    if any(base.op != "letter" for base in bases):  # a/b, |AB|
        return one != two and not (heads == bases and all(map(_is_product, (one, two))))
    if {base.name for base in bases} <= {"x", "y", "z"}:
        return bases[0] != bases[1]
    plain = [head.op == "letter" and "_" not in head.name and "'" not in head.name for head in heads]
    kindred = bases[0].name[:1] == bases[1].name[:1] and heads[0] != heads[1]
    return kindred and not (any(plain) and all("'" not in base.name for base in bases) and heads == bases)


def _is_product(node: Node) -> bool:
    return node.op == "mul"


def _values_said(equation: Node, gold: Node, work: WorkBudget) -> list[Node]:
    r"""The value an equation or a chain of them comes down to: its last side.

    `\sqrt{2} \approx 1.41` says the first of its sides, too; so does `1/3 = 0.33`, where the decimal is a rounding.
    """
    sides = equation.args
    signs = equation.name.split()
    if not is_name(sides[0]) and sides[0].letters() and gold.letters():
        identity = len(sides) > 2 or values.same(sides[0], sides[1], work)  # noqa: PLR2004 (x^2 - 1 = (x - 1)(x + 1))
        return [sides[-1]] if identity else []
    said = [sides[-1]]
    for before, sign in zip(reversed(sides[:-1]), reversed(signs), strict=True):
        if is_name(before) and before.letters() - gold.letters():
            break
        last = said[0]
        if sign == "~" or (last.op == "num" and last.name and _rounds(last, before, work)) or len(said) > 1:
            said.append(before)
    return said


def _rounds(decimal: Node, exact: Node, work: WorkBudget) -> bool:
    one, two = (values.real(node, work) for node in (decimal, exact))
    if one is None or two is None:
        return False
    off = abs(one - two) * 10 ** len(decimal.name.partition(".")[2])
    return bool(2 * off <= 1 or (off < 1 and abs(one) < abs(two)))


def _in_the_same_letter(our_name: Node, name: Node, said: Node) -> Node:
    """`f(n) = n^2` is `f(x) = x^2`."""
    if our_name.op == name.op == "mul" and len(our_name.args) == len(name.args):
        ours, golds = (_arguments(node) for node in (our_name, name))
        free = said.letters() - set(ours)
        if len(set(ours)) == len(ours) == len(golds) and not free & set(golds):
            return renamed(said, dict(zip(ours, golds, strict=True)))
        return Node("text", name="another letter") if free & set(golds) else said
    return said


def _arguments(name: Node) -> list[str]:
    """The letters that a function is said of."""
    parts = (part for argument in name.args[1:] for part in (argument.args if argument.op == "tuple" else (argument,)))
    return [part.name for part in parts if part.op == "letter"]


def _same_curve(ours: Node, gold: Node, same: Same, work: WorkBudget) -> bool | None:
    """Whether two equations say the same up to a factor."""
    differences = []
    for node in (ours, gold):
        left, right = node.args
        if left.op in COLLECTIONS or right.op in COLLECTIONS:
            return all_in_order(ours.args, gold.args, same)
        differences.append(Node("add", (left, Node("neg", (right,)))))
    if differences[0].letters() != differences[1].letters():
        return False
    one, two = (over_one_denominator(difference, work)[0] for difference in differences)
    if one.letters() != two.letters() or not one.letters():
        return False
    return values.proportional(one, two, work)


def equal_relations(ours: Node, gold: Node, same: Same) -> bool | None:
    """Inequalities and the like that are no intervals: side by side, or with the sides changed over."""
    signs = ours.name.split()
    if signs == gold.name.split():
        return all_in_order(ours.args, gold.args, same)
    if [_FLIPPED.get(sign, sign) for sign in reversed(signs)] == gold.name.split():
        return all_in_order(tuple(reversed(ours.args)), gold.args, same)
    return False


def equal_modulo(ours: Node, gold: Node, same: Same, work: WorkBudget) -> bool | None:
    """`n = 672 (mod 1000)` is 672, and 1672 modulo the same."""
    said, meant = (_residue(node) for node in (ours, gold))
    if ours.op != gold.op:
        return same(said, meant)
    moduli = values.rational(ours.args[1], work), values.rational(gold.args[1], work)
    numbers = values.rational(said, work), values.rational(meant, work)
    if None in moduli or None in numbers or not moduli[1]:
        return all_of([same(ours.args[1], gold.args[1]), same(said, meant)])
    return moduli[0] == moduli[1] and (numbers[0] - numbers[1]) % moduli[1] == 0  # type: ignore[operator]


def _residue(node: Node) -> Node:
    inside = node.args[0] if node.op == "mod" else node
    return inside.args[-1] if inside.op == "rel" else inside


def named_values(node: Node) -> dict[str, Node]:
    """`x = 1, y = 2` by name; empty where not every item has a name of its own."""
    if node.op != "list":
        return {}
    given = {
        item.args[0].name: item.args[1]
        for item in node.args
        if item.op == "rel" and item.name == "=" and item.args[0].op == "letter"
    }
    return given if len(given) == len(node.args) else {}


def without_name(item: Node) -> Node:
    """`x = 5` as 5, where the name says nothing."""
    if is_equation(item) and item.name == "=" and is_name(item.args[0]) and not item.args[1].letters():
        return item.args[1]
    return item
