r"""Formulas of gold answers as trees: read from LaTeX with the span of every part.

It reads what golds are written in, not what models write: whatever it does not know makes it give up on the whole text.
It checks the labels that graders are measured by, so it shares nothing with any of them.
Must not know: cases, graders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CONSTANTS: Final = (r"\pi", "e", "i")
FUNCTIONS: Final = ("arcsin", "arccos", "arctan", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp")
GREEK: Final = "alpha beta gamma delta theta lambda mu rho sigma tau phi omega ell".split()
SPACE: Final = re.compile(r"(?:\s|\\[,;:! ]|~|\\q?quad(?![A-Za-z]))*")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_COMMAND: Final = re.compile(r"\\[A-Za-z]+")
_DEGREE: Final = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))")
_SIZED: Final = re.compile(r"\\(?:left|right)\s*(?=[()\[\]|]|\\[lr](?:floor|ceil))")
_CLOSES: Final = {"(": ")", "[": "]", "{": "}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}


class UnknownFormulaError(Exception):
    """This text is none of the formulas that can be read here, or has no value at some point."""


@dataclass(frozen=True, slots=True)
class Node:
    """One part of a formula: `source[start:end]`; `text` is the number, letter or function it is.

    Kinds: num sym mixed add mul div neg pow root call log fact binom floor ceil abs deg; `div` has text "/" or "frac".
    """

    kind: str
    args: tuple[Node, ...] = ()
    text: str = ""
    start: int = 0
    end: int = 0

    def walk(self) -> Iterator[Node]:
        """This part and all its parts."""
        yield self
        for argument in self.args:
            yield from argument.walk()

    def has(self, *kinds: str) -> bool:
        """Whether a part is of one of these kinds."""
        return any(part.kind in kinds for part in self.walk())

    @property
    def letters(self) -> list[str]:
        """Its unknowns."""
        return sorted({part.text for part in self.walk() if part.kind == "sym" and part.text not in CONSTANTS})


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = _SIZED.sub(lambda found: " " * len(found[0]), source)  # spans stay what they are
        self.at = 0

    def read(self) -> Node:
        node = self.sum()
        self.skip()
        if self.at != len(self.source):
            raise UnknownFormulaError(self.source[self.at :])
        return node

    def skip(self) -> None:
        found = SPACE.match(self.source, self.at)
        assert found is not None
        self.at = found.end()

    def peek(self) -> str:
        """The next command or character."""
        self.skip()
        command = _COMMAND.match(self.source, self.at)
        return command[0] if command else self.source[self.at : self.at + 1]

    def take(self, *wanted: str) -> str:
        found = self.peek()
        if found not in wanted or not found:
            return ""
        self.at += len(found)
        return found

    def sum(self) -> Node:
        self.skip()
        start, terms = self.at, [self.term()]
        while sign := self.take("+", "-"):
            begun = self.at - 1
            term = self.product()
            terms.append(Node("neg", (term,), start=begun, end=self.at) if sign == "-" else term)
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms), start=start, end=self.at)

    def term(self) -> Node:
        self.skip()
        start = self.at
        if self.take("-"):
            return Node("neg", (self.term(),), start=start, end=self.at)
        self.take("+")
        return self.product()

    def product(self) -> Node:
        self.skip()
        start, node = self.at, self.power()
        factors, divided = [node], False
        while True:
            if self.take("\\cdot", "\\times", "*"):
                factors.append(self.power())
            elif self.take("/"):
                above = factors[0] if len(factors) == 1 else Node("mul", tuple(factors), start=start, end=self.at - 1)
                factors = [Node("div", (above, self.power()), "/", start, self.at)]
                divided = True
            elif self.starts_factor():
                if divided:
                    raise UnknownFormulaError("a factor after a slash")
                factors.append(self.power())
                factors = self.mixed(factors)
            else:
                break
        return factors[0] if len(factors) == 1 else Node("mul", tuple(factors), start=start, end=self.at)

    def mixed(self, factors: list[Node]) -> list[Node]:
        whole, part = factors[-2:]
        fraction = part.kind == "div" and part.text == "frac" and all(one.kind == "num" for one in part.args)
        proper = fraction and float(part.args[0].text) < float(part.args[1].text)
        if proper and whole.kind == "num" and whole.text.isdigit() and self.source[whole.start] != "(":
            return [*factors[:-2], Node("mixed", (whole, part), start=whole.start, end=part.end)]
        return factors

    def starts_factor(self) -> bool:
        found = self.peek()
        if found[:1] == "\\":
            return found[1:] in (
                *FUNCTIONS,
                *GREEK,
                "frac",
                "dfrac",
                "tfrac",
                "sqrt",
                "binom",
                "dbinom",
                "pi",
                "lfloor",
                "lceil",
            )
        return found.isalnum() or found in ("(", "[", "{", ".")

    def power(self) -> Node:
        self.skip()
        start, node = self.at, self.atom()
        while True:
            self.skip()
            degree = _DEGREE.match(self.source, self.at)
            if degree:
                self.at = degree.end()
                node = Node("deg", (node,), start=start, end=self.at)
            elif self.take("!"):
                node = Node("fact", (node,), start=start, end=self.at)
            elif self.take("^"):
                node = Node("pow", (node, self.argument()), start=start, end=self.at)
            else:
                return node

    def argument(self) -> Node:
        """What a power, fraction or root takes: a group, a command or a single character."""
        if self.peek() in ("{", "\\frac", "\\sqrt", "\\pi"):
            return self.atom()
        found = self.peek()
        if not found.isalnum():
            raise UnknownFormulaError(found)
        self.at += 1
        return Node("num" if found.isdigit() else "sym", (), found, self.at - 1, self.at)

    def group(self, opening: str) -> Node:
        start = self.at - len(opening)
        inside = self.sum()
        if not self.take(_CLOSES[opening]):
            raise UnknownFormulaError(f"{opening} never closed")
        return replace(inside, start=start, end=self.at)

    def atom(self) -> Node:  # noqa: C901, PLR0911 - one case a kind
        found = self.peek()
        start = self.at
        number = _NUMBER.match(self.source, self.at)
        if number:
            self.at = number.end()
            return Node("num", (), number[0], start, self.at)
        self.at += len(found)
        name = found.removeprefix("\\")
        if found in ("(", "[", "{"):
            return self.group(found)
        if found == "|":
            inside = self.sum()
            if not self.take("|"):
                raise UnknownFormulaError("| never closed")
            return Node("abs", (inside,), start=start, end=self.at)
        if name in ("lfloor", "lceil"):
            inside = self.group(found)
            return Node(
                "floor" if name == "lfloor" else "ceil",
                (replace(inside, start=inside.start + len(found)),),
                "",
                start,
                self.at,
            )
        if name in ("frac", "dfrac", "tfrac"):
            return Node("div", (self.argument(), self.argument()), "frac", start, self.at)
        if name in ("binom", "dbinom"):
            return Node("binom", (self.argument(), self.argument()), "", start, self.at)
        if name == "sqrt":
            index = (self.group("["),) if self.take("[") else ()
            return Node("root", (self.argument(), *index), "", start, self.at)
        if name in FUNCTIONS and found[0] == "\\":
            return self.function(name, start)
        if (len(found) == 1 and found.isalpha()) or (found[:1] == "\\" and name in (*GREEK, "pi")):
            end = self.at
            if self.take("_"):
                self.argument()
                end = self.at
            self.at = end
            return Node("sym", (), re.sub(r"\s", "", self.source[start:end]), start, end)
        raise UnknownFormulaError(found)

    def function(self, name: str, start: int) -> Node:
        base = self.argument() if name == "log" and self.take("_") else None
        exponent = self.argument() if self.take("^") else None
        argument = self.group(bracket) if (bracket := self.take("(", "[")) else self.juxtaposed()
        inverse = exponent is not None and exponent.kind == "neg" and exponent.args[0].text == "1"
        if base is not None:
            node = Node("log", (base, argument), "", start, self.at)
        elif inverse and f"arc{name}" in FUNCTIONS:
            return Node("call", (argument,), f"arc{name}", start, self.at)
        else:
            node = Node("call", (argument,), name, start, self.at)
        return Node("pow", (node, exponent), "", start, self.at) if exponent is not None else node

    def juxtaposed(self) -> Node:
        """The argument of a function without brackets: factors side by side, up to the next function."""
        self.skip()
        start, factors = self.at, [self.power()]
        while self.starts_factor() and self.peek().removeprefix("\\") not in FUNCTIONS and self.peek() != "(":
            factors.append(self.power())
        return factors[0] if len(factors) == 1 else Node("mul", tuple(factors), start=start, end=self.at)


def read(source: str) -> Node | None:
    """The tree of `source`, None where it is no formula that can be read here."""
    try:
        return _Reader(source).read()
    except (UnknownFormulaError, RecursionError, KeyError):
        return None
