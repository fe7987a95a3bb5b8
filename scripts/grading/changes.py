r"""Changes of a formula's tree that leave its value as it is: by hand, and through sympy.

Nobody relies on that: whoever uses them compares values, so that a slip made here does not become a label.
Must not know: cases, graders.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import sympy

from formula import Node, UnknownFormulaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def number(value: Fraction | int) -> Node:
    """A rational number as a tree."""
    value = Fraction(value)
    if value < 0:
        return Node("neg", (number(-value),))
    if value.denominator == 1:
        return Node("num", text=str(value.numerator))
    return Node("div", (number(value.numerator), number(value.denominator)), "frac")


def _reversed(kind: str) -> Callable[[Node], Node]:
    def turn(node: Node) -> Node:
        arguments = tuple(turn(argument) for argument in node.args)
        if node.kind == kind:
            arguments = arguments[::-1]
        return replace(node, args=arguments)

    return turn


def _everywhere(change: Callable[[Node], Node]) -> Callable[[Node], Node]:
    def apply(node: Node) -> Node:
        return change(replace(node, args=tuple(apply(argument) for argument in node.args)))

    return apply


def _split_fraction(node: Node) -> Node:
    if node.kind == "div" and node.args[0].kind == "add":
        terms = [
            Node("neg", (Node("div", (term.args[0], node.args[1]), "frac"),))
            if term.kind == "neg"
            else Node("div", (term, node.args[1]), "frac")
            for term in node.args[0].args
        ]
        return replace(node, kind="add", args=tuple(terms), text="")
    return node


def _multiply_out(by: int) -> Callable[[Node], Node]:
    def change(node: Node) -> Node:
        if node.kind != "div":
            return node
        above, below = (
            number(int(side.text) * by)
            if side.kind == "num" and side.text.isdigit()
            else Node("mul", (number(by), side))
            for side in node.args
        )
        return replace(node, args=(above, below))

    return change


def _bare_product(node: Node) -> Node:
    """a/b as (1/b) a."""
    if node.kind == "div" and node.args[0].text != "1":
        return Node("mul", (Node("div", (number(1), node.args[1]), "frac"), node.args[0]))
    return node


def _less_one_power(node: Node) -> Node:
    """b^(n+1) as b b^n, b^n as b b^(n-1)."""
    if node.kind != "pow" or node.args[0].kind != "num":
        return node
    exponent = node.args[1]
    if exponent.kind == "add" and exponent.args[-1].text == "1":
        rest = exponent.args[:-1]
        less = rest[0] if len(rest) == 1 else Node("add", rest)
    elif exponent.kind == "num" and exponent.text.isdigit() and int(exponent.text) > 2:  # noqa: PLR2004
        less = number(int(exponent.text) - 1)
    else:
        return node
    return Node("mul", (node.args[0], Node("pow", (node.args[0], less))))


def _more_one_power(node: Node) -> Node:
    """b^(n-1) as b^n / b."""
    if node.kind == "pow" and node.args[0].kind == "num" and node.args[1].kind == "add":
        exponent = node.args[1]
        last = exponent.args[-1]
        if last.kind == "neg" and last.args[0].text.isdigit():
            rest = exponent.args[:-1]
            more = Node("pow", (node.args[0], rest[0] if len(rest) == 1 else Node("add", rest)))
            return Node("div", (more, Node("pow", (node.args[0], last.args[0]))), "frac")
    return node


def _inside_root(node: Node) -> Node:
    r"""c\sqrt{d} as \sqrt{c^2 d}."""
    if node.kind == "mul" and node.args[-1].kind == "root" and len(node.args) == 2 and node.args[0].text.isdigit():  # noqa: PLR2004
        root = node.args[1]
        if len(root.args) == 1 and root.args[0].kind == "num":
            return Node("root", (number(int(node.args[0].text) ** 2 * int(root.args[0].text)),))
    return node


def _unrationalised(node: Node) -> Node:
    r"""\frac{\sqrt{a}}{b} as \frac{a}{b\sqrt{a}}."""
    if node.kind == "div" and node.args[0].kind == "root" and len(node.args[0].args) == 1:
        root = node.args[0]
        return replace(node, args=(root.args[0], Node("mul", (node.args[1], root))))
    return node


def _sign_above(node: Node) -> Node:
    if node.kind == "neg" and node.args[0].kind == "div":
        above, below = node.args[0].args
        return Node("div", (Node("neg", (above,)), below), "frac")
    return node


def _sign_below(node: Node) -> Node:
    if node.kind == "neg" and node.args[0].kind == "div" and node.args[0].args[1].kind == "num":
        above, below = node.args[0].args
        return Node("div", (above, Node("neg", (below,))), "frac")
    return node


def _split_root(node: Node) -> Node:
    if node.kind == "root" and len(node.args) == 1 and node.args[0].kind == "div":
        return Node("div", tuple(Node("root", (side,)) for side in node.args[0].args), "frac")
    return node


def _log_over_log(node: Node) -> Node:
    if node.kind == "log":
        base, argument = node.args
        return Node("div", (Node("call", (argument,), "ln"), Node("call", (base,), "ln")), "frac")
    return node


def _log_and_ln(node: Node) -> Node:
    if node.kind == "call" and node.text in ("ln", "log"):
        return replace(node, text={"ln": "log", "log": "ln"}[node.text])
    return node


def _mirrored_binom(node: Node) -> Node:
    if node.kind == "binom":
        above, below = node.args
        if above.text.isdigit() and below.text.isdigit():
            return replace(node, args=(above, number(int(above.text) - int(below.text))))
        return replace(node, args=(above, Node("add", (above, Node("neg", (below,))))))
    return node


def _powers_of_base(node: Node) -> Node:
    if node.kind == "pow" and node.args[0].text in ("4", "8", "9", "16"):
        base, by = {"4": (2, 2), "8": (2, 3), "9": (3, 2), "16": (2, 4)}[node.args[0].text]
        exponent = node.args[1]
        above = number(int(exponent.text) * by) if exponent.text.isdigit() else Node("mul", (number(by), exponent))
        return Node("pow", (number(base), above))
    return node


CHANGES: Final[dict[str, Callable[[Node], Node]]] = {
    "sums reordered": _reversed("add"),
    "products reordered": _reversed("mul"),
    "fraction split": _everywhere(_split_fraction),
    "fraction extended": _everywhere(_multiply_out(6)),
    "fraction as a product": _everywhere(_bare_product),
    "power less one": _everywhere(_less_one_power),
    "power and one": _everywhere(_more_one_power),
    "factor inside the root": _everywhere(_inside_root),
    "not rationalised": _everywhere(_unrationalised),
    "sign above": _everywhere(_sign_above),
    "sign below": _everywhere(_sign_below),
    "root of a fraction": _everywhere(_split_root),
    "log over log": _everywhere(_log_over_log),
    "ln and log": _everywhere(_log_and_ln),
    "mirrored binomial": _everywhere(_mirrored_binom),
    "base of powers": _everywhere(_powers_of_base),
}


# --- sympy ---------------------------------------------------------------------------------------

_SYMPY: Final[dict[str, Callable[[Any], Any]]] = {
    "expanded": sympy.expand,
    "factored": sympy.factor,
    "together": sympy.together,
    "apart": lambda expression: sympy.apart(expression) if len(expression.free_symbols) == 1 else expression,
    "denominators rationalised": sympy.radsimp,
    "simplified": sympy.simplify,
    "as sympy prints it": lambda expression: expression,
    "powers combined": lambda expression: sympy.powsimp(expression, force=True),
    "powers expanded": sympy.expand_power_exp,
}


def to_sympy(node: Node) -> Any:  # noqa: ANN401, C901, PLR0911, PLR0912 - sympy has no types; one case a kind
    """The formula as an expression of sympy.

    Raises:
        UnknownFormulaError: it has a part that only a tree can hold.
    """
    if node.kind == "num":
        return sympy.Rational(node.text)
    if node.kind == "sym":
        constants = {r"\pi": sympy.pi, "e": sympy.E, "i": sympy.I}
        return constants[node.text] if node.text in constants else sympy.Symbol(node.text, positive=True)
    parts = [to_sympy(argument) for argument in node.args]
    match node.kind:
        case "add" | "mixed":
            return sympy.Add(*parts)
        case "mul":
            return sympy.Mul(*parts)
        case "neg":
            return -parts[0]
        case "div":
            return parts[0] / parts[1]
        case "pow":
            return sympy.Pow(*parts)
        case "root":
            return sympy.root(parts[0], parts[1] if len(parts) > 1 else 2)
        case "binom":
            return sympy.binomial(*parts)
        case "fact":
            return sympy.factorial(parts[0])
        case "floor":
            return sympy.floor(parts[0])
        case "ceil":
            return sympy.ceiling(parts[0])
        case "call":
            return getattr(sympy, {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(node.text, node.text))(
                parts[0]
            )
        case "log":
            return sympy.log(parts[1], parts[0])
    raise UnknownFormulaError(node.kind)


def _tame(node: Node) -> bool:
    """Whether sympy can be trusted to work on it in no time: no big powers, nothing nested deep."""
    for part in node.walk():
        if part.kind in ("fact", "binom", "deg", "mixed") or (part.kind == "num" and len(part.text) > 9):  # noqa: PLR2004
            return False
        if part.kind == "pow" and any(one.kind == "num" and Fraction(one.text) > 12 for one in part.args[1].walk()):  # noqa: PLR2004
            return False
        if part.kind == "root" and len(part.args) > 1 and part.args[1].text not in ("3", "4"):
            return False
    return True


def by_sympy(node: Node) -> Iterator[tuple[str, str]]:
    """What sympy makes of a formula, and what it is called; nothing where it might take long.

    Raises:
        UnknownFormulaError: it has a part that only a tree can hold.
    """
    if not _tame(node):
        return
    expression = to_sympy(node)
    for name, change in _SYMPY.items():
        try:
            changed = change(expression)
        except (sympy.PolynomialError, NotImplementedError):
            continue
        yield f"sympy: {name}", sympy.latex(changed)
        if expression.is_number and name == "expanded":
            yield "sympy: inverse of the inverse", sympy.latex(1 / sympy.radsimp(1 / changed)) if changed else "0"
