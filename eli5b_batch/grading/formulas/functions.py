r"""Functions, roots, fractions, series: what a name or a command stands before.

Must not know: relations, lists, words; the reader, which is built on this, has those.

The argument of a function without brackets ends at a plus, a minus, a further function or an explicit product.
"""

from __future__ import annotations

from typing import Final

from eli5b_batch.grading.formulas.arithmetic import STARTS, Arithmetic, signed
from eli5b_batch.grading.formulas.lexer import OPAQUE, UnreadableFormulaError
from eli5b_batch.grading.formulas.numerals import number, worked_out
from eli5b_batch.grading.formulas.tree import Node

_TRIG: Final = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth"})
_INVERSE: Final = {
    "sin": "asin", "cos": "acos", "tan": "atan", "cot": "acot", "sinh": "asinh", "cosh": "acosh", "tanh": "atanh",
}  # fmt: skip


class Functions(Arithmetic):
    """Arithmetic with functions and commands."""

    def _function(self, name: str) -> Node:
        base = self._log_base() if self._accept("_") else None
        power = self._argument() if self._accept("^") else None
        if base is None and self._accept("_"):
            base = self._log_base()
        if power is not None and power.value == -1 and name in _INVERSE:
            name, power = _INVERSE[name], None
        result = self._called(name, base, power, self._function_argument(name))
        return result if power is None or name in OPAQUE else Node("pow", (result, power))

    def _called(self, name: str, base: Node | None, power: Node | None, argument: Node) -> Node:
        if name in OPAQUE:
            if known := worked_out(name, argument):
                return known
            values = sorted(map(str, argument.args if argument.op in ("tuple", "set", "list") else [argument]))
            return Node("letter", name=f"{name} {base} {power} {' '.join(values)}")
        if name == "lg":
            name, base = "log", number("10")
        if name == "log":
            return Node("call", (argument,), "ln") if base is None else Node("call", (base, argument), "log")
        if base is not None:
            raise UnreadableFormulaError
        return Node("call", (argument,), name)

    def _log_base(self) -> Node:
        r"""`\log_23` is `\log_2 3` where nothing else could be the argument."""
        token = self._next
        if token.kind != "num":
            return self._single()
        if len(token.value) > 1 and token.value.isdigit() and self._peek(1).kind not in (*STARTS, "^"):
            return self._single()
        return self._atom()

    def _function_argument(self, name: str) -> Node:
        if self._next.kind in ("(", "[", "set{"):
            return self._brackets(self._take().kind)
        if sign := self._accept("-"):
            return signed(sign, self._function_argument(name))
        self._deeper()
        argument = self._factor()
        while True:
            if self._starts_factor() and self._next.kind not in ("func", "("):
                argument = self._juxtaposed(argument)
            elif name in _TRIG and self._next.kind == "/" and self._peek(1).kind == "num":
                self._take()
                argument = Node("div", (argument, self._factor()))
            else:
                self._depth -= 1
                return argument

    def _command(self, name: str) -> Node:  # noqa: C901, PLR0911 (a branch a command)
        if name == "frac":
            above = self._single()
            return Node("div", (above, self._single()))
        if name == "binom":
            if self._accept("("):
                pair = self._brackets("(")
                if pair.op != "tuple" or len(pair.args) != 2:  # noqa: PLR2004
                    raise UnreadableFormulaError
                return Node("binom", pair.args)
            above = self._single()
            return Node("binom", (above, self._single()))
        if name in ("sqrt", "cbrt"):
            degree = number("3" if name == "cbrt" else "2")
            if self._accept("["):
                degree = self._sum()
                self._take("]")
            return Node("root", (degree, self._radicand()))
        if name in ("lfloor", "lceil"):
            abs_outside, self._in_abs = self._in_abs, 0
            inside = self._sum()
            if self._take("cmd").value != "r" + name[1:]:
                raise UnreadableFormulaError
            self._in_abs = abs_outside
            return Node(name[1:], (inside,))
        if name in ("sum", "prod"):
            return self._series(name)
        if name in ("floor", "ceil", "abs"):
            self._take("(")
            return Node(name, (self._brackets("("),))
        raise UnreadableFormulaError

    def _series(self, kind: str) -> Node:
        r"""`\sum_{k=1}^{n} x`: x ends where a product does."""
        self._take("_")
        self._take("{")
        letter = self._take()
        self._take("=")
        if letter.kind not in ("name", "const") or letter.value in self._running:
            raise UnreadableFormulaError
        first = self._sum()
        self._take("}")
        self._take("^")
        last = self._argument()
        self._running.add(letter.value)
        term = self._product()
        self._running.remove(letter.value)
        return Node(kind, (first, last, term), letter.value)

    def _radicand(self) -> Node:
        if self._accept("{"):
            inside = self._sum()
            self._take("}")
            return inside
        if self._accept("("):
            return self._brackets("(")
        return self._atom()
