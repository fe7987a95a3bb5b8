r"""Whether two formulas say the same: values, and what values are put together to.

Must not know: LaTeX, which text is the answer, pools.

Tuples are compared in order, sets and lists in any; intervals with their ends, and inequalities as the intervals they
describe (`regions`); matrices entry by entry; equations by what they set a name to (`equations`). Units are compared
where both sides have one that is known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.formulas import regions, values
from eli5b_batch.grading.formulas.equations import (
    equal_equations,
    equal_modulo,
    equal_relations,
    is_equation,
    named_values,
    without_name,
)
from eli5b_batch.grading.formulas.forms import expanded, has_degrees, renamed, without_degrees
from eli5b_batch.grading.formulas.logic import all_in_order, all_of
from eli5b_batch.grading.formulas.tree import COLLECTIONS, Node
from eli5b_batch.grading.formulas.units import unit
from eli5b_batch.grading.formulas.words import change_before, change_behind, condition, counted, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction

    from eli5b_batch.grading.formulas.work import WorkBudget

_MOST_PAIRS: Final = 40
"""Items of lists in any order that are compared one with another; numbers are sorted, however many."""


def equal(ours: Node, gold: Node, work: WorkBudget) -> bool | None:
    """Whether an answer says what the gold answer says; None: it can't be said here.

    Raises:
        TooBigError: it takes more work than there is.
    """
    return _Comparison(work).equal(ours, gold)


class _Comparison:
    """One answer beside one gold answer."""

    def __init__(self, work: WorkBudget) -> None:
        self._work = work

    def equal(self, ours: Node, gold: Node) -> bool | None:  # noqa: C901, PLR0911 (one branch a kind)
        if ours == gold:
            return True
        ours, gold = expanded(ours), expanded(gold)
        if ours.op == "unit" or gold.op == "unit":
            return self._with_units(ours, gold)
        if gold.op == "mod" or ours.op == "mod":
            return equal_modulo(ours, gold, self.equal, self._work)
        if is_equation(ours) or is_equation(gold):
            return equal_equations(ours, gold, self.equal, self._work)
        if ours.op == "ratio" or gold.op == "ratio":
            return self._ratios(ours, gold)
        if ours.op == "builder" or gold.op == "builder":
            return self._builders(ours, gold)
        if regions.describes(ours) or regions.describes(gold):
            result = regions.equal(ours, gold, self.equal, self._work)
            if result is not None or ours.op != gold.op:
                return result
        if gold.op == "rel":
            return equal_relations(ours, gold, self.equal) if ours.op == "rel" else False
        if ours.op == "text" and (number := counted(ours.name)) is not None:
            ours = Node("num", value=number)
        if ours.op == "text" or gold.op == "text":
            return ours.op == gold.op and plain(ours.name) == plain(gold.name)
        if ours.op in COLLECTIONS or gold.op in COLLECTIONS:
            return self._collections(ours, gold)
        return self._values(ours, gold)

    # --- values

    def _values(self, ours: Node, gold: Node) -> bool | None:
        if ours.op == "percent" or gold.op == "percent":
            return self._percentages(ours, gold)
        in_degrees = has_degrees(ours), has_degrees(gold)
        if any(in_degrees) and not any(Node("const", name="pi") in node.walk() for node in (ours, gold)):
            bare = values.same(without_degrees(ours), without_degrees(gold), self._work)
            if bare or all(in_degrees):
                return bare
        return values.same(ours, gold, self._work)

    def _percentages(self, ours: Node, gold: Node) -> bool | None:
        """`50%` is 50 where the other side leaves the sign out, and it is 1/2."""
        if ours.op == gold.op:
            return self.equal(ours.args[0], gold.args[0])
        signed, other = (ours, gold) if ours.op == "percent" else (gold, ours)
        return values.same(signed.args[0], other, self._work) or values.same(signed, other, self._work)

    def _with_units(self, ours: Node, gold: Node) -> bool | None:  # noqa: PLR0911 (one return a kind)
        if _change(ours) != _change(gold):
            return False
        if gold.op != "unit" and ours.name in gold.letters():  # 5 m beside 5 times m
            return self.equal(Node("mul", (*ours.args, Node("letter", name=ours.name))), gold)
        one, two = (unit(node.name.rpartition("|")[2]) if node.op == "unit" else None for node in (ours, gold))
        said, meant = (node.args[0] if node.op == "unit" else node for node in (ours, gold))
        if any(side and side.is_price for side in (one, two)) and "percent" in (said.op, meant.op):
            return False
        if any(side and side.is_time_of_day for side in (one, two)) and "ratio" in (said.op, meant.op):
            return said == meant and (one == two or None in (one, two))  # 4:30 p.m. is no ratio
        in_radians = any(node.op == "unit" and node.name.rpartition("|")[2].startswith("rad") for node in (ours, gold))
        if in_radians and said.op != meant.op == "deg":
            return values.same(said, meant, self._work)
        if one and two and one != two:
            if one.dimension != two.dimension:
                return self.equal(said, meant) if one.is_price and two.is_price else False
            said, meant = _scaled(said, one.factor), _scaled(meant, two.factor)
        return self.equal(said, meant)

    def _ratios(self, ours: Node, gold: Node) -> bool | None:
        """2:3 is 4:6 and 2/3."""
        return self.equal(*(replace(node, op="div") if node.op == "ratio" else node for node in (ours, gold)))

    # --- collections

    def _collections(self, ours: Node, gold: Node) -> bool | None:  # noqa: PLR0911 (one return a pair of kinds)
        kinds = ours.op, gold.op
        if "matrix" in kinds:
            return self._matrices(ours, gold)
        if (names := named_values(gold)) and (named_values(ours) or ours.op == "tuple"):
            return self._by_name(ours, names)
        if kinds == ("tuple", "tuple"):
            return ours.name == gold.name and self._in_order(ours.args, gold.args)
        if kinds == ("list", "tuple") and (names := named_values(ours)):
            return self._in_order([names[name] for name in sorted(names)], gold.args)
        if kinds == ("list", "tuple") and gold.name != "()":
            return False
        if kinds == ("list", "tuple"):
            return self._in_order([without_name(item) for item in ours.args], gold.args)
        if gold.op in ("list", "set") and ours.op in ("list", "set", "tuple"):
            if ours.op == "tuple" and (gold.op == "set" or ours.name != "()"):
                return False
            if all(map(_is_piecewise, (ours, gold))):
                return self._pieces(ours, gold)
            return self._in_any_order(_items(ours), _items(gold))
        return self._single(ours, gold)

    def _pieces(self, ours: Node, gold: Node) -> bool | None:
        """`1 if n is even, 2 if n is odd`: the same values under the same conditions."""
        meant = {condition(piece.name): piece.args[0] for piece in gold.args}
        said = {condition(piece.name): piece.args[0] for piece in ours.args}
        return said.keys() == meant.keys() and all_of(self.equal(said[name], value) for name, value in meant.items())

    def _by_name(self, ours: Node, gold: Mapping[str, Node]) -> bool | None:
        """`x = 1, y = 2` beside the same in any order, or beside (1, 2)."""
        if ours.op == "tuple":
            return self._in_order(ours.args, [gold[name] for name in sorted(gold)])
        said = named_values(ours)
        if said.keys() != gold.keys():
            return False
        return all_of(self.equal(said[name], value) for name, value in gold.items())

    def _single(self, ours: Node, gold: Node) -> bool | None:
        """A value beside a set or a list: {5} is 5, and so is one value said twice over."""
        if Node("letter", name="empty") in (ours, gold):
            return False
        if gold.op in ("set", "list"):
            first, *others = _items(gold)
            if others and (gold.name != "or" or not all(self.equal(first, other) for other in others)):
                return False
            return self.equal(ours, first)  # one value, in one form or several
        if ours.op == "list":
            return all_of(self.equal(item, gold) for item in _items(ours))
        return ours.op == "set" and len(_items(ours)) == 1 and self.equal(_items(ours)[0], gold)

    def _in_order(self, ours: Sequence[Node], gold: Sequence[Node]) -> bool | None:
        return all_in_order(ours, gold, self.equal)

    def _in_any_order(self, ours: Sequence[Node], gold: Sequence[Node]) -> bool | None:
        one, two = ([number for item in side if (number := self._rational(item)) is not None] for side in (ours, gold))
        if len(one) == len(ours) and len(two) == len(gold):
            return sorted(one) == sorted(two) if len(one) == len(two) else sorted(set(two)) == sorted(one)
        if max(len(ours), len(gold)) > _MOST_PAIRS:
            return self._in_order(ours, gold)
        left = list(gold)
        unknown = False
        for item in ours:
            results = [self.equal(item, candidate) for candidate in left]
            unknown |= None in results
            if True not in results:
                return None if unknown else False
            del left[results.index(True)]
        return not left

    def _rational(self, item: Node) -> Fraction | None:
        return None if item.op in COLLECTIONS else values.rational(item, self._work)

    def _matrices(self, ours: Node, gold: Node) -> bool | None:
        if ours.op != gold.op:  # a column is a vector, and written as a tuple, too
            matrix, other = (ours, gold) if ours.op == "matrix" else (gold, ours)
            is_vector = len(matrix.args) == 1 or all(len(row.args) == 1 for row in matrix.args)
            if other.op != "tuple" or other.name != "()" or not is_vector:
                return False
            return self._in_order(_entries(matrix), other.args)
        shapes = [[len(row.args) for row in node.args] for node in (ours, gold)]
        return shapes[0] == shapes[1] and self._in_order(_entries(ours), _entries(gold))

    def _builders(self, ours: Node, gold: Node) -> bool | None:
        """Sets by a property: the same property, in whichever letter; or the region that it describes."""
        if ours.op != gold.op:
            sides = [node.args[1] if node.op == "builder" and _is_real(node.args[0]) else node for node in (ours, gold)]
            return None if "builder" in (side.op for side in sides) else self.equal(*sides)
        one, two = ours.args[0], gold.args[0]
        if one.op == two.op == "letter":
            ours = renamed(ours, {one.name: two.name})
        return self._in_order(ours.args, gold.args)


def _is_piecewise(node: Node) -> bool:
    return len(node.args) > 1 and all(piece.op == "unit" and condition(piece.name) for piece in node.args)


def _is_real(node: Node) -> bool:
    """x, or x in R."""
    return node.op == "letter" or (node.op == "rel" and node.name == "in" and node.args[1].name == "set:R")


def _change(node: Node) -> str:
    """What the words round a value make of it."""
    if node.op != "unit":
        return ""
    before, _, behind = node.name.rpartition("|")
    return change_before(before) + change_behind(behind)


def _scaled(node: Node, factor: Fraction) -> Node:
    return Node("mul", (Node("num", value=factor), node)) if node.op not in COLLECTIONS else node


def _entries(matrix: Node) -> list[Node]:
    return [entry for row in matrix.args for entry in row.args]


def _items(node: Node) -> list[Node]:
    r"""The members, without names in front; what `\pm` makes of a member counts as two."""
    items: list[Node] = []
    for item in node.args:
        opened = expanded(item)
        items += [without_name(part) for part in (opened.args if opened.op == "list" else (opened,))]
    return items
