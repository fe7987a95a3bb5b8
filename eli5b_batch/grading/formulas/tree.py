"""The tree a formula is read into: plain data, built by `reader`, looked at by `structure` and `values`.

Must not know: LaTeX, how anything is evaluated.

    num        value                    a rational as written; name: its text where that has a decimal point
    letter     name                     a variable, with its subscript
    const      name                     pi, e, i, inf
    add mul neg div pow root            arithmetic; root: (degree, radicand)
    call       name, arguments          a function of one argument; log: (base, x)
    factorial binom floor ceil abs deg percent pm
    ratio      a to b, or a time of day
    sum prod   name, (first, last, x)   of x over whole numbers; name: the letter that runs through them
    based      name, (base,)            digits in another base
    unit       name, (x,)               a value with a unit or a remark behind it; name: `words in front|words behind`,
                                        the former and the bar only where they change the value
    list       name, items              top level, in any order; name: the word between, `or` where it was
    tuple      name, items              name: its delimiters, as in `[)`
    set union minus builder matrix row  as they say; minus: a set without another
    rel        name, (left, right, ...) a chain; name: its signs, separated by spaces
    mod        (value, modulus)
    text       name                     words
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Node:
    """One formula or part of one; see the table above for what an `op` holds."""

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction | None = None

    def __str__(self) -> str:
        """As people read it: `add(num 1, letter x)`."""
        own = " ".join(str(part) for part in (self.op, self.name or self.value) if part not in ("", None))
        return f"{own}({', '.join(map(str, self.args))})" if self.args else own

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.args)

    def depth(self) -> int:
        """Levels from here down."""
        level, deepest = [self], 0
        while level:
            deepest += 1
            level = [part for node in level for part in node.args]
        return deepest

    def letters(self) -> frozenset[str]:
        """The variables in it; not those that only run through a sum."""
        if self.op in ("sum", "prod"):
            first, last, term = (part.letters() for part in self.args)
            return first | last | term - {self.name}
        if self.op == "letter":
            return frozenset({self.name})
        return frozenset().union(*(part.letters() for part in self.args))

    def has(self, *ops: str) -> bool:
        """Whether one of these operations is in it."""
        return any(node.op in ops for node in self.walk())


COLLECTIONS = ("list", "tuple", "set", "union", "minus", "builder", "matrix", "rel", "text", "mod")
"""What is not one value."""
