r"""Arithmetic out of tokens: sums, products, powers; recursive descent, no evaluation.

Must not know: functions, relations, lists, words; `functions` and `reader`, which are built on this, have those.

Implicit products bind like explicit ones. What TeX reads digit by digit (`x^10`) is read as people mean it, but
`\frac12` as TeX does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from fractions import Fraction
from typing import Final

from eli5b_batch.grading.formulas.lexer import Token, UnreadableFormulaError
from eli5b_batch.grading.formulas.numerals import (
    DOTS,
    base_in_words,
    filled,
    in_base,
    is_proper,
    number,
    repeating,
)
from eli5b_batch.grading.formulas.tree import Node

_MAX_DEPTH: Final = 60
END: Final = Token("", "", spaced=False)
STARTS: Final = frozenset({"num", "repeating", "name", "const", "func", "cmd", "(", "[", "{", "begin"})


class Arithmetic(ABC):
    """A cursor over tokens, and what reads one expression from it."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0
        self._in_abs = 0
        self._in_set = False
        self._running: set[str] = set()
        """Letters that run through a series being read."""

    @abstractmethod
    def _function(self, name: str) -> Node:
        """A function, its name taken."""

    @abstractmethod
    def _command(self, name: str) -> Node:
        r"""`\frac` and the like, the command taken."""

    @abstractmethod
    def _brackets(self, opening: str, closing: str = "") -> Node:
        """What stands in brackets, the opening one taken."""

    @abstractmethod
    def _group(self) -> Node:
        """What stands in braces, the opening one taken."""

    @abstractmethod
    def _matrix(self, kind: str) -> Node:
        """A matrix, its beginning taken."""

    # --- tokens

    @property
    def _next(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else END

    def _peek(self, ahead: int) -> Token:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else END

    def _take(self, kind: str = "") -> Token:
        token = self._next
        if kind and token.kind != kind:
            raise UnreadableFormulaError
        self._at += 1
        return token

    def _accept(self, *kinds: str) -> Token | None:
        return self._take() if self._next.kind in kinds else None

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnreadableFormulaError

    # --- sums and products

    def _sum(self) -> Node:
        self._deeper()
        terms = []
        sign = self._accept("+", "-", "pm", "mp")
        terms.append(signed(sign, self._product()))
        while self._next.kind in ("+", "-", "pm", "mp"):
            sign = self._take()
            terms.append(signed(sign, self._product()))
        self._depth -= 1
        return terms[0] if len(terms) == 1 else Node("add", filled(terms))

    def _product(self) -> Node:
        left = self._factor()
        while True:
            if self._accept("*"):
                left = _times(left, self._factor())
            elif self._next.kind == "/" and self._peek(1).kind == "text":  # $18/day
                return left
            elif self._accept("/"):
                left = Node("div", (left, self._factor()))
            elif self._next.kind == ":" and self._peek(1).kind in STARTS and not self._in_set:
                self._take()
                left = Node("ratio", (left, self._factor()))
            elif self._accept("bmod"):
                left = Node("mod", (left, self._factor()))
            elif self._starts_factor():
                left = self._juxtaposed(left)
            else:
                return left

    def _starts_factor(self) -> bool:
        kind = self._next.kind
        if kind == "|":
            return not self._in_abs and not self._in_set
        if kind == "cmd":
            return not self._next.value.startswith("r") and not (
                self._peek(1).kind == "{" and self._peek(2).kind == "text"
            )
        if kind == "(" and self._peek(1).kind in ("text", "bmod", "~"):
            return False
        return kind in STARTS

    def _juxtaposed(self, left: Node) -> Node:
        """A product without a sign, or a whole number beside a proper fraction: a mixed number."""
        token = self._next
        whole = left.op == "num" and not left.name and self._tokens[self._at - 1].kind == "num"
        right = self._factor()
        if whole and token.value == "frac":
            if is_proper(right):
                return Node("add", (left, right))
            if right.op in ("deg", "percent") and is_proper(right.args[0]):
                return Node(right.op, (Node("add", (left, right.args[0])),))
        if left.op == "deg" and right.op == "num" and self._accept("'"):
            return Node("deg", (Node("add", (left.args[0], Node("div", (right, number("60"))))),))
        if token.kind == "num":
            if whole and token.spaced and self._next.kind == "/" and self._peek(1).kind == "num":
                self._take()
                fraction = Node("div", (right, self._factor()))
                if is_proper(fraction):
                    return Node("add", (left, fraction))
            if left.op == "num" or whole:
                raise UnreadableFormulaError
        return _times(left, right)

    def _factor(self) -> Node:
        if sign := self._accept("-", "+", "pm", "mp"):
            return signed(sign, self._factor())
        if self._accept("..."):
            return DOTS
        if self._accept("$"):  # money
            return Node("unit", (self._factor(),), "$")
        return self._postfix(self._atom())

    def _postfix(self, base: Node) -> Node:
        while True:
            if self._accept("^"):
                base = self._power(base)
            elif self._next.kind == "!" and not self._next.spaced:
                self._take()
                if self._accept("!"):
                    raise UnreadableFormulaError
                base = Node("factorial", (base,))
            elif self._accept("deg"):
                base = Node("deg", (base,))
                if self._next.kind == "name" and self._next.value in ("C", "F"):
                    base = Node("unit", (base.args[0],), f"deg{self._take().value}")
            elif self._accept("%"):
                base = Node("percent", (base,))
            elif self._accept("$"):
                base = Node("unit", (base,), "$")
            elif self._next.kind == "_" and base.op == "num":
                base = self._based(base)
            else:
                return base

    def _power(self, base: Node) -> Node:
        if self._next.kind == "{" and self._peek(1).kind == "deg":  # ^{\circ}, oddly braced
            self._at += 2
            self._take("}")
            return Node("deg", (base,))
        if self._accept("deg"):
            return Node("deg", (base,))
        exponent = self._argument()
        if exponent.op == "div" and exponent.args[0].op == exponent.args[1].op == "num":
            above, below = (part.value or Fraction(0) for part in exponent.args)
            if below.denominator == 1 and below % 2 == 1:  # of a negative number the real root is meant
                root = Node("root", (exponent.args[1], base))
                return root if above == 1 else Node("pow", (root, exponent.args[0]))
        return Node("pow", (base, exponent))

    def _argument(self) -> Node:
        """What stands behind `^`, or behind a command: a group or the next sign."""
        if self._accept("{"):
            inside = self._sum()
            self._take("}")
            return inside
        if sign := self._accept("-", "+"):
            return signed(sign, self._argument())
        base = self._atom()
        if self._next.kind == "!" and not self._next.spaced:
            self._take()
            return Node("factorial", (base,))
        return Node("pow", (base, self._argument())) if self._accept("^") else base

    def _single(self) -> Node:
        r"""An argument of `\frac` in TeX's way: a group, or one digit or letter."""
        token = self._next
        if token.kind == "num" and len(token.value) > 1 and token.value.isdigit():
            self._tokens[self._at] = Token("num", token.value[1:], spaced=False)
            return number(token.value[0])
        if self._accept("{"):
            return self._group()
        return self._atom()

    def _based(self, digits: Node) -> Node:
        self._take("_")
        braced = self._accept("{")
        bracketed = self._accept("(")
        words = self._accept("text")
        sign = self._accept("-")
        base = base_in_words(self._take().value if self._next.kind == "num" else words.value if words else "")
        if bracketed:
            self._take(")")
        if braced:
            self._take("}")
        return in_base(digits, signed(sign, base))

    def _atom(self) -> Node:  # noqa: PLR0911 (one branch a kind of token)
        token = self._take()
        kind = token.kind
        if kind == "num":
            return number(token.value)
        if kind == "repeating":
            return repeating(token.value)
        if kind in ("name", "const"):
            return self._name(token)
        if kind == "func":
            return self._function(token.value)
        if kind in ("(", "[", "set{", "{"):
            return self._brackets(kind)
        if kind in ("|", "||"):
            self._in_abs += 1
            inside = self._sum()
            self._take(kind)
            self._in_abs -= 1
            return Node("abs", (inside,))
        if kind == "<" and token.value in ("langle", "<"):
            return self._brackets("<", ">")
        if kind == "begin":
            return self._matrix(token.value)
        if kind == "cmd":
            return self._command(token.value)
        raise UnreadableFormulaError

    def _name(self, token: Token) -> Node:
        name = token.value
        if name == "C" and self._pair_ahead():
            self._take()
            pair = self._brackets("(")
            if pair.op != "tuple" or len(pair.args) != 2:  # noqa: PLR2004
                raise UnreadableFormulaError
            return Node("binom", pair.args)
        while self._next.kind == "'":
            name += self._take().value
        if self._next.kind == "_" and not (token.kind == "const" and len(name) > 1):
            self._take()
            name += "_" + self._subscript()
        elif token.kind == "const" and name not in self._running:
            return Node("const", name=name)
        return Node("letter", name=name)

    def _pair_ahead(self) -> bool:
        """Whether brackets with one comma between them follow."""
        depth = commas = 0
        for token in self._tokens[self._at :] if self._next.kind == "(" else ():
            depth += (token.kind in ("(", "[", "{", "set{")) - (token.kind in (")", "]", "}", "set}"))
            commas += token.kind == "," and depth == 1
            if depth == 0:
                return commas == 1
        return False

    def _subscript(self) -> str:
        if not self._accept("{"):
            return self._take().value
        parts: list[str] = []
        depth = 1
        while True:
            token = self._take()
            if token is END:
                raise UnreadableFormulaError
            depth += (token.kind == "{") - (token.kind == "}")
            if not depth:
                return "".join(parts)
            parts.append(token.value)


def signed(sign: Token | None, value: Node) -> Node:
    """`value` with the sign before it."""
    if sign is None or sign.kind == "+":
        return value
    if sign.kind == "-":
        if value.op == "num" and value.value is not None and value.value:
            return replace(value, value=-value.value)
        return Node("neg", (value,))
    return Node("pm", (value,), sign.kind)


def _times(left: Node, right: Node) -> Node:
    return Node("mul", (*left.args, right) if left.op == "mul" else (left, right))
