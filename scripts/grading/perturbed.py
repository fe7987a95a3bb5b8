r"""Golds changed a little, so that they mean something else: replies every grader has to call wrong.

One thing is changed in a formula's tree, as by somebody who looks for a grader that can be fooled; a change that turns
out to have the gold's value, or whose value can't be told from it, is dropped.
Must not know: graders.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import mpmath  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from changes import number
from formula import FUNCTIONS, Node, UnknownFormulaError, read
from styles import STYLES, NotInThisStyleError, show
from values import compare, value_at

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from golds import Gold

Perturbed = tuple[str, str]
"""What was changed, and the answer."""

OTHER_LETTERS: Final = {
    "n": "m",
    "m": "n",
    "k": "n",
    "x": "y",
    "a": "b",
    "b": "a",
    "r": "s",
    "p": "q",
    "d": "k",
    "c": "b",
}
OTHER_FUNCTIONS: Final = {
    "sin": "cos", "cos": "sin", "tan": "cot", "arcsin": "arccos", "arctan": "arcsin", "ln": "exp", "log": "exp",
}  # fmt: skip
PLAINLY: Final = 0.7
"""Share of changed formulas that are printed as golds are."""
SIGNIFICANT: Final = (2, 3, 4)
"""Digits of a rounded decimal; with more, some graders take it for the number on purpose."""


# --- whole numbers -------------------------------------------------------------------------------


def _other_digit(chooser: random.Random, digits: str) -> str:
    place = chooser.randrange(len(digits))
    allowed = [digit for digit in "0123456789" if digit != digits[place] and not (place == 0 and digit == "0")]
    return digits[:place] + chooser.choice(allowed) + digits[place + 1 :]


def integer_perturbed(chooser: random.Random, value: int) -> Iterator[Perturbed]:
    """Answers that are not this integer."""
    digits, sign = str(abs(value)), "-" if value < 0 else ""
    yield "one more", str(value + 1)
    yield "one less", str(value - 1)
    yield "a half more", f"{value}.5"
    yield "a little more", f"{value}.000001"
    yield "nines", f"{value - 1}.9999999" if value > 0 else f"{value}.0000001"
    yield "another digit", sign + _other_digit(chooser, digits)
    if value:
        yield "other sign", str(-value)
        yield "ten times", f"{value}0"
        yield "hundred times, scientific", rf"{value} \times 10^{{2}}"
        yield "tenth", str(value / 10)
        yield "with pi", rf"{value}\pi"
        yield "imaginary", f"{value}i"
        yield "per cent of it", rf"\frac{{{value}}}{{100}}"
    if abs(value) > 1:
        yield "inverse", rf"\frac{{1}}{{{value}}}"
        yield "square", f"{value}^2"
        yield "square root", rf"\sqrt{{{abs(value)}}}"
        yield "hedged", rf"{value} \text{{ or }} {value + 1}"
        yield "list", f"{value}, {value + 2}"
        yield "pair", f"({value}, {value})" if chooser.random() < 0.5 else f"({value - 1}, {value})"  # noqa: PLR2004
        yield "range", f"{value - 1} \\text{{ to }} {value}"
    if value > 2:  # noqa: PLR2004
        yield "factorial", f"{value}!"
        yield "bounded only", rf"n \ge {value}"
        yield "sum off by one", f"{value - 2} + 3"
        yield "power of two", f"2^{{{value}}}"
    if len(digits) > 1:
        yield "digit lost", sign + digits[:-1]
        swapped = digits[:-2] + digits[-1] + digits[-2]
        if swapped != digits:
            yield "digits swapped", sign + swapped
        yield "digit doubled", f"{sign}{digits[0]}{digits}"
        yield (
            "decimal point",
            f"{sign}{digits[:-1]}.{digits[-1]}" if digits[-1] != "0" else f"{sign}{digits[0]}.{digits}",
        )
        yield (
            "base eight",
            f"{sign}{digits}_8" if not set(digits) & set("89") and len(digits) > 1 else f"{sign}{digits}_{{11}}",
        )
        yield (
            "spaced like a mixed number",
            f"{sign}{digits[:-1]} \\frac{{1}}{{{digits[-1]}}}" if digits[-1] not in "01" else f"{digits}1",
        )
    if len(digits) > 3:  # noqa: PLR2004
        yield "thousands mark and one", f"{value + 1:,}"
        yield "last digits rounded", f"{round(value, -2) if round(value, -2) != value else value + 100}"
        yield "comma as decimals", f"{sign}{digits[:-3]}.{digits[-3:]}"


# --- formulas ------------------------------------------------------------------------------------


def _put(tree: Node, old: Node, new: Node) -> Node:
    if tree is old:
        return new
    return replace(tree, args=tuple(_put(argument, old, new) for argument in tree.args))


def _without(node: Node, place: int) -> Node:
    rest = tuple(argument for n, argument in enumerate(node.args) if n != place)
    return rest[0] if len(rest) == 1 else replace(node, args=rest)


def _of_number(chooser: random.Random, part: Node) -> Iterator[tuple[str, Node]]:
    if not part.text.isdigit():
        return
    size = int(part.text)
    yield "number one more", number(size + 1)
    if size > 1:
        yield "number one less", number(size - 1)
    if size > 9:  # noqa: PLR2004
        yield "digit changed", number(int(_other_digit(chooser, part.text)))
        yield "digits swapped", number(int(part.text[:-2] + part.text[-1] + part.text[-2]))


def _of_letter(part: Node) -> Iterator[tuple[str, Node]]:
    if part.text == r"\pi":
        yield "pi as 3.14", Node("num", text="3.14")
        yield "pi as 22/7", Node("div", (number(22), number(7)), "frac")
        yield "pi lost", number(1)
    elif part.text == "i":
        yield "i lost", number(1)
    elif part.text == "e":
        yield "e as 2.718", Node("num", text="2.718")
    else:
        yield "letter and one", Node("add", (part, number(1)))
        yield "letter less one", Node("add", (part, Node("neg", (number(1),))))
        if part.text in OTHER_LETTERS:
            yield "other letter", replace(part, text=OTHER_LETTERS[part.text])
        yield "letter as a number", number(2)


def _of_part(chooser: random.Random, part: Node) -> Iterator[tuple[str, Node]]:  # noqa: C901, PLR0912, PLR0915 - a case a kind
    """Every small change of one part of a formula."""
    match part.kind:
        case "num":
            yield from _of_number(chooser, part)
        case "sym":
            yield from _of_letter(part)
        case "add":
            for place, term in enumerate(part.args):
                flipped = term.args[0] if term.kind == "neg" else Node("neg", (term,))
                yield "sign of a term", replace(part, args=(*part.args[:place], flipped, *part.args[place + 1 :]))
                yield "term lost", _without(part, place)
            yield "sum as a product", replace(part, kind="mul")
        case "mul":
            for place in range(len(part.args)):
                yield "factor lost", _without(part, place)
            yield "product as a sum", replace(part, kind="add")
            yield "product as a power", Node("pow", part.args[:2])
        case "neg":
            yield "sign lost", part.args[0]
        case "div":
            yield "fraction upside down", replace(part, args=part.args[::-1])
            yield "denominator lost", part.args[0]
            yield "fraction as a product", replace(part, kind="mul", text="")
        case "pow":
            yield "exponent lost", part.args[0]
            yield "base and exponent swapped", replace(part, args=part.args[::-1])
            yield "exponent negative", replace(part, args=(part.args[0], Node("neg", part.args[1:])))
            yield "exponent one more", replace(part, args=(part.args[0], Node("add", (part.args[1], number(1)))))
            yield (
                "exponent one less",
                replace(part, args=(part.args[0], Node("add", (part.args[1], Node("neg", (number(1),)))))),
            )
            yield "power as a product", replace(part, kind="mul")
        case "root":
            yield "root lost", part.args[0]
            yield "other root", replace(part, args=(part.args[0], number(3 if len(part.args) == 1 else 5)))
            if part.args[0].kind == "mul":
                first, *rest = part.args[0].args
                yield "root of the first factor", Node("mul", (Node("root", (first,)), *rest))
        case "call":
            if part.text in OTHER_FUNCTIONS:
                yield "other function", replace(part, text=OTHER_FUNCTIONS[part.text])
            if part.text in ("sin", "cos", "tan") and not part.has("deg"):
                yield "degrees added", replace(part, args=(Node("deg", part.args),))
            if part.text in ("ln", "log"):
                yield "logarithm to base ten", Node("log", (number(10), *part.args))
                yield "logarithm to base two", Node("log", (number(2), *part.args))
            if part.args[0].kind == "deg":
                yield "degrees lost", replace(part, args=part.args[0].args)
            yield "function lost", part.args[0]
        case "log":
            yield "base and argument swapped", replace(part, args=part.args[::-1])
            yield "base lost", Node("call", part.args[1:], "ln")
        case "fact":
            yield "factorial lost", part.args[0]
        case "floor":
            yield "floor as ceiling", replace(part, kind="ceil")
            yield "floor lost", part.args[0]
        case "ceil":
            yield "ceiling as floor", replace(part, kind="floor")
            yield "ceiling lost", part.args[0]
        case "binom":
            yield "binomial as a fraction", Node("div", part.args, "frac")
            yield "binomial one more", replace(part, args=(Node("add", (part.args[0], number(1))), part.args[1]))
            yield "factorials forgotten", Node("div", tuple(Node("fact", (side,)) for side in part.args), "frac")
        case "mixed":
            yield "mixed number as a product", replace(part, kind="mul", args=(part.args[0], part.args[1]))


def _of_whole(tree: Node) -> Iterator[tuple[str, Node]]:
    one = number(1)
    yield "negative", Node("neg", (tree,))
    yield "inverse", Node("div", (one, tree), "frac")
    yield "square", Node("pow", (tree, number(2)))
    yield "double", Node("mul", (number(2), tree))
    yield "half", Node("div", (tree, number(2)), "frac")
    yield "ten times", Node("mul", (number(10), tree))
    yield "hundredth", Node("div", (tree, number(100)), "frac")
    yield "one more", Node("add", (tree, one))
    yield "one less", Node("add", (tree, Node("neg", (one,))))
    yield "rest to one", Node("add", (one, Node("neg", (tree,))))
    yield "with pi", Node("mul", (tree, Node("sym", text=r"\pi")))
    yield "root", Node("root", (tree,))


def _rounded(tree: Node) -> Iterator[Perturbed]:
    """Decimals that are near the value and not it."""
    if tree.letters or tree.has("mixed", "deg"):
        return
    with mpmath.workdps(40):
        try:
            value = value_at(tree, {})
        except (UnknownFormulaError, ZeroDivisionError, ValueError):
            return
        if isinstance(value, mpmath.mpc) or not 10**-3 < abs(value) < 10**6:
            return
        real = mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value
        for digits in SIGNIFICANT:
            text = mpmath.nstr(real, digits, strip_zeros=False, min_fixed=-10, max_fixed=10).rstrip(".")
            if Fraction(text) != value:
                yield f"rounded to {digits} digits", text
                yield f"about {digits} digits", rf"\approx {text}"


def formula_changes(chooser: random.Random, tree: Node) -> list[tuple[str, Node]]:
    """Every small change of a formula in some order, whatever it does to the value."""
    changes = list(_of_whole(tree))
    for part in tree.walk():
        changes += [(name, _put(tree, part, changed)) for name, changed in _of_part(chooser, part)]
    return chooser.sample(changes, len(changes))


def _in_some_style(chooser: random.Random, tree: Node) -> str:
    try:
        return show(tree, chooser.choice(STYLES))
    except NotInThisStyleError:
        return show(tree)


def formula_perturbed(chooser: random.Random, gold: Gold) -> Iterator[Perturbed]:
    """Answers that are not this formula, each checked to have another value."""
    assert gold.tree is not None
    tree = gold.tree
    for name, changed in formula_changes(chooser, tree):
        text = show(changed)
        back = read(text)
        if back is not None and compare(tree, back) is False:
            yield name, text if chooser.random() < PLAINLY else _in_some_style(chooser, changed)
    yield from _rounded(tree)
    text = show(tree)
    if not tree.has("add") and not tree.has("deg", *FUNCTIONS):
        yield "hedged", rf"{gold.formula} \text{{ or }} 7"
        yield "list", f"{gold.formula}, 7"
        yield "pair", f"({gold.formula}, 7)"
        yield "bounded only", rf"x \le {text}"
        yield "not equal", rf"x \ne {text}"


def in_passing(chooser: random.Random, right: str, wrong: str) -> str:
    """A reply that says the right value on its way to another final answer."""
    return chooser.choice(
        (
            f"At first the answer seems to be ${right}$, but that counts twice. So the answer is \\boxed{{{wrong}}}.",
            f"We get $a = {right}$ and from this\n\n\\[\\boxed{{{wrong}}}\\]\n",
            f"Case 1 gives \\boxed{{{right}}}, and case 2 rules it out. Hence the final answer is \\boxed{{{wrong}}}.",
            f"One might guess {right}.\n\n**Final answer:** ${wrong}$",
        )
    )
