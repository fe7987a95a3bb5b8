r"""Sets of real numbers: intervals, their unions, and the inequalities that describe them.

Must not know: LaTeX, how two ends are found equal (that is an argument).
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.grading.formulas import values
from eli5b_batch.grading.formulas.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.grading.formulas.work import WorkBudget

    Same = Callable[[Node, Node], bool | None]

_INFINITY: Final = Node("const", name="inf")
_MINUS_INFINITY: Final = Node("neg", (_INFINITY,))
_FLIPPED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "in": "in"}
_MOST: Final = 60
_PAIR: Final = 2
_MOST_PAIRS: Final = 100
"""Of intervals, beyond which sets are not put together."""


class Piece(NamedTuple):
    """One interval; a single point has two equal closed ends."""

    low: Node
    low_closed: bool
    high: Node
    high_closed: bool


class Region(NamedTuple):
    """A union of intervals, and the letter that is in it, where it was named."""

    letter: str
    pieces: tuple[Piece, ...]


_LINE: Final = Piece(_MINUS_INFINITY, low_closed=False, high=_INFINITY, high_closed=False)


def describes(node: Node) -> bool:
    """Whether this can only be a set of real numbers; a pair in round brackets may be a point."""
    if node.op == "tuple":
        half_open = node.name in ("[)", "(]")
        return len(node.args) == _PAIR and (half_open or any(map(_is_infinite, node.args)))
    if node.op == "rel":
        return not set(node.name.split()) - _FLIPPED.keys()
    if node.op == "set":
        return len(node.args) == 1 and node.args[0].op == "rel"
    if node.op == "list":
        return any(describes(item) for item in node.args)
    return node.op in ("union", "minus") or _is_difference(node) or node == Node("letter", name="set:R")


def equal(ours: Node, gold: Node, same: Same, work: WorkBudget) -> bool | None:
    """Whether two sets are the same; None where one of them is not read as a set here."""
    one, two = region(ours, work), region(gold, work)
    if one is None or two is None:
        return None if one is two else False
    if one.letter and two.letter and one.letter.casefold() != two.letter.casefold():
        return None if ours.op == gold.op == "rel" else False
    mine, theirs = (_merged(side.pieces, same, work) for side in (one, two))
    if len(mine) != len(theirs):
        return False
    return all(any(_same_piece(piece, other, same) for other in theirs) for piece in mine)


def _same_piece(one: Piece, two: Piece, same: Same) -> bool:
    return (
        (one.low_closed, one.high_closed) == (two.low_closed, two.high_closed)
        and _same_end(one.low, two.low, same)
        and _same_end(one.high, two.high, same)
    )


def _same_end(one: Node, two: Node, same: Same) -> bool:
    if _is_infinite(one) or _is_infinite(two):
        return _is_infinite(one) == _is_infinite(two) != 0
    return bool(same(one, two))


def _is_infinite(node: Node) -> int:
    """1 and -1 for the infinities, else 0."""
    if node.op == "const" and node.name == "inf":
        return 1
    return -1 if node.op == "neg" and _is_infinite(node.args[0]) == 1 else 0


def region(node: Node, work: WorkBudget) -> Region | None:  # noqa: C901, PLR0911 (a branch a kind)
    """What a node describes, None where it is no set of real numbers."""
    if node.op == "unit":
        return region(node.args[0], work)
    if node.op == "rel":
        return _of_relation(node, work)
    if node.op == "tuple" and len(node.args) == _PAIR:
        low, high = node.args
        return Region("", (Piece(low, node.name[0] == "[", high, node.name[1] == "]"),))
    if node.op == "set" and len(node.args) == 1 and node.args[0].op == "rel":
        return region(node.args[0], work)
    if node.op == "set":
        return Region("", tuple(Piece(item, low_closed=True, high=item, high_closed=True) for item in node.args))
    if node == Node("letter", name="set:R"):
        return Region("", (_LINE,))
    if node.op == "union" or (node.op == "list" and node.name in ("or", "cup")):
        return _union([region(part, work) for part in node.args])
    if node.op == "list":
        return _both(node, work)
    if node.op == "minus":
        return _without(node, work)
    if _is_difference(node):
        return _without(Node("minus", (node.args[0], node.args[1].args[0])), work)
    return None


def _is_difference(node: Node) -> bool:
    """`R - {3}`: a set without some points, written as a difference."""
    return (
        node.op == "add" and len(node.args) == _PAIR and node.args[1].op == "neg" and node.args[1].args[0].op == "set"
    )


def _union(parts: Sequence[Region | None]) -> Region | None:
    letters = {part.letter for part in parts if part and part.letter}
    if len(letters) > 1 or None in parts:
        return None
    return Region(next(iter(letters), ""), tuple(piece for part in parts if part for piece in part.pieces))


def _both(node: Node, work: WorkBudget) -> Region | None:
    """`x > 1, x < 2` is an interval; `x < 1, x > 2` can only be meant as a union."""
    parts = [region(part, work) for part in node.args]
    common = parts[0]
    for part in parts[1:]:
        common = _common(common, part, work) if common and part else None
    return common if common and common.pieces else _union(parts)


def _common(one: Region, two: Region, work: WorkBudget) -> Region | None:
    """What is in both, where every end is a number."""
    if one.letter and two.letter and one.letter != two.letter:
        return None
    if len(one.pieces) * len(two.pieces) > _MOST_PAIRS:
        return None
    pieces = []
    for first in one.pieces:
        for second in two.pieces:
            if None in (ends := [_at(end, work) for piece in (first, second) for end in (piece.low, piece.high)]):
                return None
            low = first if (ends[0], not first.low_closed) >= (ends[2], not second.low_closed) else second
            high = first if (ends[1], first.high_closed) <= (ends[3], second.high_closed) else second
            joint = Piece(low.low, low.low_closed, high.high, high.high_closed)
            bottom, top = _at(joint.low, work), _at(joint.high, work)
            if bottom < top or (bottom == top and joint.low_closed and joint.high_closed):
                pieces.append(joint)
    return Region(one.letter or two.letter, tuple(pieces))


def _at(end: Node, work: WorkBudget) -> Any:  # noqa: ANN401 - mpmath has no types
    sign = _is_infinite(end)
    return sign * 10**400 if sign else values.real(end, work)


def _without(node: Node, work: WorkBudget) -> Region | None:
    """One set without another, of intervals and points."""
    whole, left_out = (region(part, work) for part in node.args)
    if whole is None or left_out is None or any(_at(piece.low, work) is None for piece in left_out.pieces):
        return None
    result: Region | None = whole
    for piece in left_out.pieces:
        below = Piece(_MINUS_INFINITY, low_closed=False, high=piece.low, high_closed=not piece.low_closed)
        above = Piece(piece.high, low_closed=not piece.high_closed, high=_INFINITY, high_closed=False)
        outside = Region(
            "", tuple(part for part in (below, above) if _is_infinite(part.low) != _is_infinite(part.high))
        )
        result = _common(result, outside, work) if result else None
    return result


def _of_relation(node: Node, work: WorkBudget) -> Region | None:
    signs = node.name.split()
    sides = node.args
    if len(sides) == _PAIR:
        name, end, sign = sides[0], sides[1], signs[0]
        if not _is_variable(name, end):
            name, end, sign = sides[1], sides[0], _FLIPPED[signs[0]] if signs[0] in _FLIPPED else signs[0]
            if not _is_variable(name, end) or signs[0] == "in":
                return None
        return _both_sides(name.args[0].name, end, sign) if name.op == "abs" else _half_line(name.name, end, sign, work)
    if len(sides) == 3 and _is_variable(sides[1], sides[0]) and _is_variable(sides[1], sides[2]):  # noqa: PLR2004
        low, name, high = sides
        first, second = signs
        if first in (">", ">=") and second in (">", ">="):
            low, high, first, second = high, low, _FLIPPED[second], _FLIPPED[first]
        if first in ("<", "<=") and second in ("<", "<="):
            return Region(name.name, (Piece(low, first == "<=", high, second == "<="),))
    return None


def _is_variable(name: Node, end: Node) -> bool:
    if name.op in ("mul", "abs"):  # f(x), |x|
        return all(part.op == "letter" for part in name.args) and not end.letters()
    return name.op == "letter" and not name.name.startswith("set:") and name.name not in end.letters()


def _both_sides(name: str, end: Node, sign: str) -> Region | None:
    """`|x| < 1` and `|x| >= 1`."""
    minus, closed = Node("neg", (end,)), sign in ("<=", ">=")
    if sign in ("<", "<="):
        return Region(name, (Piece(minus, closed, end, closed),))
    below = Piece(_MINUS_INFINITY, low_closed=False, high=minus, high_closed=closed)
    above = Piece(end, low_closed=closed, high=_INFINITY, high_closed=False)
    return Region(name, (below, above)) if sign in (">", ">=") else None


def _half_line(name: str, end: Node, sign: str, work: WorkBudget) -> Region | None:
    if sign == "=":
        return Region(name, (Piece(end, low_closed=True, high=end, high_closed=True),))
    if sign == "in":
        inside = region(end, work)
        return inside and Region(name, inside.pieces)
    below = Piece(_MINUS_INFINITY, low_closed=False, high=end, high_closed=sign == "<=")
    above = Piece(end, low_closed=sign == ">=", high=_INFINITY, high_closed=False)
    pieces = {"<": (below,), "<=": (below,), ">": (above,), ">=": (above,), "!=": (below, above)}.get(sign)
    return None if pieces is None else Region(name, pieces)


def _merged(pieces: Sequence[Piece], same: Same, work: WorkBudget) -> Sequence[Piece]:
    """Pieces in order, those that touch or overlap as one, where every end is a number."""
    if len(pieces) < _PAIR or len(pieces) > _MOST:
        return pieces

    if any(_at(end, work) is None for piece in pieces for end in (piece.low, piece.high)):
        return pieces

    def order(one: Piece, two: Piece) -> int:
        first, second = _at(one.low, work), _at(two.low, work)
        return (first > second) - (first < second) or two.low_closed - one.low_closed

    merged: list[Piece] = []
    for piece in sorted(pieces, key=cmp_to_key(order)):
        last = merged[-1] if merged else None
        if last is not None:
            touch = _same_end(last.high, piece.low, same)
            if (touch and (last.high_closed or piece.low_closed)) or (
                not touch and _at(piece.low, work) < _at(last.high, work)
            ):
                if _same_end(last.high, piece.high, same):
                    merged[-1] = last._replace(high_closed=last.high_closed or piece.high_closed)
                elif _at(piece.high, work) > _at(last.high, work):
                    merged[-1] = last._replace(high=piece.high, high_closed=piece.high_closed)
                continue
        merged.append(piece)
    return merged
