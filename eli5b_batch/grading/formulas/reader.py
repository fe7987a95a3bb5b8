r"""Reads a formula into a tree: numbers, lists, sets, relations, and what is said about them in words.

Must not know: which text is the answer, what is equal to what. Expressions are `arithmetic`'s and `functions`'.

Of a text that is part words, part formula (`12 ways`, `n = 5 for all k`) the formula is read: words in front are passed
over, those behind become the name of a `unit` node round it.
"""

from __future__ import annotations

import re
from typing import Final

from eli5b_batch.grading.formulas.arithmetic import END
from eli5b_batch.grading.formulas.functions import Functions
from eli5b_batch.grading.formulas.lexer import Token, UnreadableFormulaError, tokens
from eli5b_batch.grading.formulas.numerals import base_in_words, filled, in_base, number
from eli5b_batch.grading.formulas.tree import COLLECTIONS, Node
from eli5b_batch.grading.formulas.units import unit
from eli5b_batch.grading.formulas.words import SCALES, change_before

__all__ = ["UnreadableFormulaError", "read"]

_DEEPEST: Final = 100
"""Levels of a tree: looking at one takes a few Python frames a level."""
_MOST_NODES: Final = 4_000
_DIGITS_IN_BASE: Final = re.compile(
    r"\(?([0-9A-F]{0,40}[A-F][0-9A-F]{0,40}|[0-9]{1,400})\)?_ ?\{? ?(?:\\text ?\{ ?base ?\} ?)?([0-9]{1,2}) ?\}?"
)
_RELATIONS: Final = frozenset({"=", "<", ">", "<=", ">=", "!=", "==", "~", "in"})
_SEPARATORS: Final = frozenset({",", ";", "and", "or"})
_CLOSING: Final = {"(": ")", "[": "]", "{": "}", "set{": "set}"}
_IN_BASE: Final = re.compile(r"\(? ?(?:in )?base[ -](\w{1,10}) ?\)?")
_CONDITIONS: Final = frozenset(
    {"for", "if", "when", "where", "with", "since", "because", "as", "so", "at", "provided", "achieved", "attained"}
)
_MODULO: Final = frozenset({"mod", "modulo"})
_SUCH_THAT: Final = frozenset({"with", "such that", "where", "satisfying", "for which", "so that"})
_MATRICES: Final = frozenset({"pmatrix", "bmatrix", "matrix", "array", "smallmatrix", "Bmatrix"})


def read(text: str, *, thousands: bool = True) -> Node:
    """The tree of a `notation.formula`.

    Args:
        text: the formula.
        thousands: whether `1,234` outside brackets is one number rather than two.

    Raises:
        UnreadableFormulaError: it is no formula, or none that can be read here.
    """
    if digits := _DIGITS_IN_BASE.fullmatch(text):
        return Node("based", (number(digits[2]),), digits[1].upper())
    parser = _Reader(tokens(text, thousands=thousands))
    try:
        whole = parser.whole()
    except RecursionError:
        raise UnreadableFormulaError from None
    if whole.depth() > _DEEPEST or sum(1 for _ in whole.walk()) > _MOST_NODES:
        raise UnreadableFormulaError
    return whole


class _Reader(Functions):
    def whole(self) -> Node:
        """Words before a formula are passed over, those behind it kept as its unit; nothing may be left over."""
        words = self._words()
        if self._next is END:
            if not words:
                raise UnreadableFormulaError
            return Node("text", name=words)
        if words:
            self._accept(":", "=", "~")
        if words and self._next.kind == "name" and self._peek(1).kind == "text" and self._peek(1).value in _SUCH_THAT:
            self._at += 2
        result = self._statement()
        if self._next is not END:
            raise UnreadableFormulaError
        if words.casefold().startswith("all real") and words.endswith("except"):
            items = result.args if result.op == "list" else (result,)
            return Node("minus", (Node("letter", name="set:R"), Node("set", items)))
        core, behind = (result.args[0], result.name) if result.op == "unit" else (result, "")
        if (
            core.op == "letter" and not core.name.startswith("set:") and (words or behind)
        ):  # the words say it: all odd n
            return Node("text", name=f"{words} {core.name} {behind}")
        if change_before(words):
            return Node("unit", (core,), f"{words}|{behind}")
        return result

    def _words(self) -> str:
        words: list[str] = []
        while self._next.kind in ("text", "and", "or", "'") or (words and self._next.kind in (",", ".", "!", "?", '"')):
            words.append(self._take().value)
        return " ".join(words)

    def _statement(self, stop: str = "") -> Node:
        """Relations separated by commas, `and`, `or`."""
        items = [self._relation()]
        joined = ""
        while separator := self._accept(*_SEPARATORS) or self._next_measure(items[-1]):
            while another := self._accept(*_SEPARATORS):
                separator = another if another.kind == "or" else separator
            if self._next.kind == stop or self._next is END:  # a comma at the end
                break
            if self._next.kind == "text":
                words = self._words()
                if words.partition(" ")[0] in _CONDITIONS:  # x, for all x in R
                    self._pass_over(stop)
                if self._next is END or self._next.kind == stop:  # 12 or less
                    items[-1] = Node("unit", (items[-1],), f"{separator.kind} {words}")
                    break
            joined = "or" if "or" in (separator.kind, joined) else separator.kind
            items.append(self._relation())
        items = [item for item in items if not _is_declaration(item)] or items
        if len(items) == 1:
            return items[0]
        return Node("list", filled(items), joined)

    def _next_measure(self, item: Node) -> Token | None:
        """`1 hour 30 minutes`: as if there were an `and`."""
        measured = item.op == "unit" and self._next.kind == "num"
        return Token("and", "and", spaced=True) if measured else None

    def _pass_over(self, stop: str) -> None:
        depth = 0
        while self._next is not END and (depth or self._next.kind != stop):
            kind = self._take().kind
            depth += (kind in _CLOSING) - (kind in _CLOSING.values())

    def _relation(self) -> Node:
        first = self._chain()
        if first.op != "rel" or first.name.endswith("in") or self._next.kind != "cup":
            return first
        parts = [first]
        while self._accept("cup"):
            parts.append(self._chain())
        return Node("union", tuple(parts))

    def _chain(self) -> Node:
        sides, signs = [self._union()], []
        while self._next.kind in _RELATIONS and not (self._next.kind == ">" and self._next.value == "rangle"):
            signs.append(self._take().kind)
            if self._next.kind == "text":
                self._words()
            sides.append(self._union() if signs[-1] in ("in", "=") else self._sum())
        if self._next.kind not in ("pmod", "(", "text"):  # f(x) is identically 0
            signs = ["=" if sign == "==" else sign for sign in signs]
        result = Node("rel", tuple(sides), " ".join(signs)) if signs else sides[0]
        if self._accept("pmod"):
            self._accept("{") or self._accept("(")
            modulus = self._sum()
            self._accept("}") or self._accept(")")
            result = Node("mod", (result, modulus))
        elif self._next.kind == "text" and self._next.value in _MODULO:
            self._take()
            result = Node("mod", (result, self._sum()))
        elif self._next.kind == "(" and (self._peek(1).kind == "bmod" or self._peek(1).value in _MODULO):
            self._at += 2
            result = Node("mod", (result, self._sum()))
            self._take(")")
        return self._remark(result)

    def _remark(self, value: Node) -> Node:
        """Words behind a value, to the next separator: a unit, or something said about it."""
        if self._next.value == "frac" and self._peek(1).kind == "{" and self._peek(2).kind == "text":
            return Node("unit", (value,), self._unit_ratio())
        if self._next.kind != "text" and not (self._next.kind in "(/" and self._peek(1).kind in ("text", "~")):
            return value
        words: list[str] = []
        depth = 0
        while self._next is not END and (depth or not self._ends_remark()):
            token = self._take()
            depth += (token.kind in _CLOSING) - (token.kind in _CLOSING.values())
            if token.kind == "text":
                depth += token.value.count("(") - token.value.count(")")
            words.append("^" + self._raised() if token.kind == "^" else token.value)
        said = " ".join(words)
        if "=" in words and said.lstrip("( ").partition(" ")[0] not in _CONDITIONS:
            raise UnreadableFormulaError
        if said.rstrip("s") in ("degree", "in degree") and value.op not in COLLECTIONS:
            return Node("deg", (value,))
        scale, _, rest = said.partition(" ")
        if scale in SCALES and value.op not in COLLECTIONS:
            value, said = Node("mul", (value, Node("num", value=SCALES[scale]))), rest
            if not said:
                return value
        if in_words := _IN_BASE.fullmatch(said):
            return in_base(value, base_in_words(in_words[1]))
        return Node("unit", (value,), said)

    def _ends_remark(self) -> bool:
        kind = self._next.kind
        if kind == ",":
            return self._peek(1).kind != "text"
        if kind == "num":  # 1 hour 30 minutes
            return unit(self._tokens[self._at - 1].value) is not None and self._peek(1).kind == "text"
        return kind in (*_CLOSING.values(), "and", "or", ";", "row", "&")

    def _unit_ratio(self) -> str:
        r"""A unit such as `\frac{\text{km}}{\text{h}}`."""
        parts = []
        self._take()
        for _ in range(2):
            self._take("{")
            parts.append(self._take().value)
            self._take("}")
        return " / ".join(parts)

    def _raised(self) -> str:
        braced = self._accept("{")
        raised = self._take().value
        if braced:
            self._take("}")
        return raised

    def _union(self) -> Node:
        left = self._sum()
        if infix := self._accept("choose", "over"):
            left = Node("binom" if infix.kind == "choose" else "div", (left, self._sum()))
        while self._next.kind in ("cup", "cap", "minus"):
            sign = self._take().kind
            if sign == "cap":
                raise UnreadableFormulaError
            right = self._sum()
            op = "union" if sign == "cup" else "minus"
            left = Node(op, (*left.args, right) if left.op == op == "union" else (left, right))
        return left

    def _brackets(self, opening: str, closing: str = "") -> Node:
        outside = self._in_abs, self._in_set
        self._in_abs, self._in_set = 0, opening == "set{"
        self._deeper()
        ends = (closing,) if closing else (")", "]") if opening in "([" else (_CLOSING[opening],)
        if opening == "set{" and self._accept("set}"):
            (self._in_abs, self._in_set), self._depth = outside, self._depth - 1
            return Node("letter", name="empty")
        inside = self._statement(ends[0])
        if opening == "set{" and self._next.kind in ("|", ":"):
            self._take()
            self._in_set = False
            inside = Node("builder", (inside, self._statement("set}")))
        end = self._take()
        if end.kind not in ends:
            raise UnreadableFormulaError
        (self._in_abs, self._in_set), self._depth = outside, self._depth - 1
        items = inside.args if inside.op == "list" else (inside,)
        if opening == "set{":
            return inside if inside.op == "builder" else Node("set", items)
        if opening == "{":
            return inside
        if inside.op == "list":
            return Node("tuple", items, "()" if opening == "<" else opening + end.kind)
        return inside

    def _group(self) -> Node:
        inside = self._statement("}")
        self._take("}")
        return inside

    def _matrix(self, kind: str) -> Node:
        if kind not in _MATRICES:
            raise UnreadableFormulaError
        rows = [[self._relation()]]
        while True:
            if self._accept("&"):
                rows[-1].append(self._relation())
            elif self._accept("row"):
                if self._next.kind == "end":
                    continue
                rows.append([self._relation()])
            else:
                break
        self._take("end")
        return Node("matrix", tuple(Node("row", tuple(row)) for row in rows), kind)


def _is_declaration(item: Node) -> bool:
    """`k in Z`, which says of a letter what kind of number it is."""
    return item.op == "rel" and item.name == "in" and item.args[1].op == "letter" and item.args[1].name[:4] == "set:"
