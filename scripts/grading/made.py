r"""Golds of kinds that Omni-MATH-Rule has few of (intervals, tuples, matrices, ...), with right and wrong answers.

Everything is put together from parts whose values are known here, so that a label follows from how the answer was made.
Must not know: graders.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import sympy

from formula import read
from golds import Gold
from measures import Made, angles, bases, choices, labelled, marks, money, percentages, ratios, units, words
from perturbed import formula_perturbed
from rewrites import formula_rewrites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Part(NamedTuple):
    """A number that golds are made of: its LaTeX, another way to write it, its value."""

    latex: str
    other: str
    value: float


PARTS = [
    *(Part(str(n), f"{n}.0" if n % 2 else str(n), n) for n in range(-9, 13)),
    Part(r"\frac{1}{2}", "0.5", 0.5),
    Part(r"-\frac{3}{4}", r"\frac{-3}{4}", -0.75),
    Part(r"\frac{2}{3}", r"\dfrac{4}{6}", 2 / 3),
    Part(r"\frac{7}{5}", "1.4", 1.4),
    Part(r"\sqrt{2}", r"\frac{2}{\sqrt{2}}", 2**0.5),
    Part(r"2\sqrt{3}", r"\sqrt{12}", 12**0.5),
    Part(r"-\sqrt{5}", r"-5^{1/2}", -(5**0.5)),
    Part(r"\pi", r"\pi", 3.14159),
    Part(r"\frac{\pi}{2}", r"\frac12\pi", 1.5708),
    Part("100", "10^2", 100),
    Part("2500", "2{,}500", 2500),
]


def _parts(chooser: random.Random, count: int) -> list[Part]:
    while True:
        chosen = chooser.sample(PARTS, count)
        if len({part.value for part in chosen}) == count:
            return chosen


def _another(chooser: random.Random, *used: Part) -> Part:
    return chooser.choice([part for part in PARTS if part.value not in {one.value for one in used}])


def tuples(chooser: random.Random) -> Iterator[Made]:
    """Ordered pairs and triples."""
    parts = _parts(chooser, chooser.choice((2, 2, 3)))
    plain = [part.latex for part in parts]
    gold = f"({', '.join(plain)})"
    names = "xyz" if len(parts) == 3 else chooser.choice(("xy", "ab", "mn"))  # noqa: PLR2004
    for answer in (
        rf"\left({', '.join(plain)}\right)",
        f"({','.join(part.other for part in parts)})",
        rf"({', '.join(names)}) = ({', '.join(plain)})",
        rf"\left( {', '.join(plain)} \right)",
        rf"\big({', '.join(plain)}\big)",
    ):
        yield Made("tuple", gold, answer, right=True)
    other = _another(chooser, *parts).latex
    for kind, answers in (
        ("tuple in another order", [*plain[1:], plain[0]]),
        ("tuple with another part", [*plain[:-1], other]),
        ("tuple with a part too many", [*plain, other]),
        ("tuple with a part lost", plain[:-1]),
        ("tuple reversed" if len(plain) == 2 else "tuple swapped", [plain[1], plain[0], *plain[2:]]),  # noqa: PLR2004
    ):
        yield Made(kind, gold, f"({', '.join(answers)})" if len(answers) > 1 else answers[0], right=False)


def pairs(chooser: random.Random) -> Iterator[Made]:
    """Several ordered pairs: their order does not matter, the order in them does."""
    parts = _parts(chooser, 6)
    two = [(parts[0].latex, parts[1].latex), (parts[2].latex, parts[3].latex)]
    third = (parts[4].latex, parts[5].latex)

    def said(*pairs: tuple[str, str], glue: str = ", ") -> str:
        return glue.join(f"({one}, {other})" for one, other in pairs)

    gold = said(*two)
    yield Made("pairs", gold, said(*two[::-1]), right=True)
    yield Made("pairs", gold, rf"\{{{said(*two)}\}}", right=True)
    yield Made("pairs", gold, said(*two, glue=r" \text{ and } "), right=True)
    yield Made("pairs", gold, "(x, y) = " + said(*two), right=True)
    yield Made("pair lost", gold, said(two[0]), right=False)
    yield Made("pair too many", gold, said(*two, third), right=False)
    yield Made("pair turned round", gold, said(two[0], two[1][::-1]), right=False)
    yield Made("pairs mixed", gold, said((two[0][0], two[1][0]), (two[0][1], two[1][1])), right=False)
    yield Made("pairs mixed", gold, said((two[0][0], two[1][1]), (two[1][0], two[0][1])), right=False)


def lists(chooser: random.Random) -> Iterator[Made]:
    """Lists and sets of numbers: the order does not matter."""
    parts = _parts(chooser, chooser.choice((2, 3, 4)))
    plain = [part.latex for part in parts]
    mixed = chooser.sample(plain, len(plain))
    gold = chooser.choice((", ".join(plain), rf"\{{{', '.join(plain)}\}}"))
    for answer in (
        ", ".join(mixed),
        rf"\{{{','.join(mixed)}\}}",
        rf"\left\{{{', '.join(part.other for part in parts)}\right\}}",
        rf"{', '.join(mixed[:-1])} \text{{ and }} {mixed[-1]}",
        rf"x = {', '.join(mixed)}",
        rf"{', '.join(mixed[:-1])}, \text{{or }} {mixed[-1]}",
        rf"x \in \{{{', '.join(plain)}\}}",
    ):
        yield Made("list", gold, answer, right=True)
    other = _another(chooser, *parts).latex
    yield Made("list with one lost", gold, ", ".join(plain[:-1]), right=False)
    yield Made("list with one too many", gold, ", ".join([*plain, other]), right=False)
    yield Made("list with another", gold, ", ".join([*plain[1:], other]), right=False)
    yield Made("set with another", gold, rf"\{{{', '.join([other, *plain[:-1]])}\}}", right=False)


def intervals(chooser: random.Random) -> Iterator[Made]:
    """Intervals and the inequalities that say the same."""
    low, high = sorted(_parts(chooser, 2), key=lambda part: part.value)
    left, right = chooser.choice("(["), chooser.choice(")]")
    gold = f"{left}{low.latex}, {high.latex}{right}"
    less, more = ("<" if left == "(" else r"\le"), ("<" if right == ")" else r"\leq")
    back = {"<": ">", r"\le": r"\ge", r"\leq": r"\geq"}
    for answer in (
        f"{left}{low.other}, {high.other}{right}",
        rf"\left{left}{low.latex}, {high.latex}\right{right}",
        f"{low.latex} {less} x {more} {high.latex}",
        f"{high.latex} {back[more]} x {back[less]} {low.latex}",
        rf"x \in {gold}",
        f"{low.other}{less} x{more} {high.other}",
    ):
        yield Made("interval", gold, answer, right=True)
    turned = {"(": "[", "[": "("}[left], {")": "]", "]": ")"}[right]
    other, other_less = _another(chooser, low, high).latex, "<" if less != "<" else r"\le"
    for kind, answer in (
        ("interval with another left end", f"{turned[0]}{low.latex}, {high.latex}{right}"),
        ("interval with another right end", f"{left}{low.latex}, {high.latex}{turned[1]}"),
        ("interval with other ends", f"{turned[0]}{low.latex}, {high.latex}{turned[1]}"),
        ("interval from elsewhere", f"{left}{other}, {high.latex}{right}"),
        ("interval to elsewhere", f"{left}{low.latex}, {other}{right}"),
        ("interval turned round", f"{left}{high.latex}, {low.latex}{right}"),
        ("interval to infinity", rf"{left}{low.latex}, \infty)"),
        ("inequality with another left end", rf"{low.latex} {other_less} x {more} {high.latex}"),
        ("one end only", f"x {more} {high.latex}"),
    ):
        yield Made(kind, gold, answer, right=False)


def rays(chooser: random.Random) -> Iterator[Made]:
    """Half-lines, inequalities with one end, and unions of two."""
    low, high = sorted(_parts(chooser, 2), key=lambda part: part.value)
    yield Made("ray", rf"[{low.latex}, \infty)", rf"x \ge {low.latex}", right=True)
    yield Made("ray", rf"[{low.latex}, \infty)", rf"[{low.other}, +\infty)", right=True)
    yield Made("ray", f"x < {low.latex}", rf"(-\infty, {low.latex})", right=True)
    yield Made("ray", f"x < {low.latex}", f"{low.other} > x", right=True)
    yield Made("ray open", rf"[{low.latex}, \infty)", rf"x > {low.latex}", right=False)
    yield Made("ray open", rf"[{low.latex}, \infty)", rf"({low.latex}, \infty)", right=False)
    yield Made("ray the other way", rf"[{low.latex}, \infty)", rf"(-\infty, {low.latex}]", right=False)
    yield Made("ray from elsewhere", f"x < {low.latex}", f"x < {high.latex}", right=False)
    yield Made("inequality turned", f"x < {low.latex}", f"x > {low.latex}", right=False)
    yield Made("inequality closed", f"x < {low.latex}", rf"x \le {low.latex}", right=False)
    yield Made("inequality as its end", f"x < {low.latex}", low.latex, right=False)
    yield Made("inequality as an equation", f"x < {low.latex}", f"x = {low.latex}", right=False)
    gold = rf"(-\infty, {low.latex}) \cup [{high.latex}, \infty)"
    yield Made("union", gold, rf"[{high.latex}, \infty) \cup (-\infty, {low.latex})", right=True)
    yield Made("union", gold, rf"x < {low.latex} \text{{ or }} x \geq {high.latex}", right=True)
    yield Made(
        "union", gold, rf"x\in\left(-\infty, {low.other}\right) \cup \left[{high.other}, +\infty\right)", right=True
    )
    yield Made("union with a part lost", gold, rf"(-\infty, {low.latex})", right=False)
    yield Made("union closed", gold, rf"(-\infty, {low.latex}] \cup [{high.latex}, \infty)", right=False)
    yield Made("union opened", gold, rf"(-\infty, {low.latex}) \cup ({high.latex}, \infty)", right=False)
    yield Made("union as an intersection", gold, rf"(-\infty, {low.latex}) \cap [{high.latex}, \infty)", right=False)
    yield Made("union as what is between", gold, rf"[{low.latex}, {high.latex})", right=False)


def matrices(chooser: random.Random) -> Iterator[Made]:
    """Matrices and columns."""
    parts = _parts(chooser, 4)
    plain, other = [part.latex for part in parts], [part.other for part in parts]

    def said(entries: list[str], name: str = "pmatrix", columns: int = 2) -> str:
        rows = [" & ".join(entries[n : n + columns]) for n in range(0, len(entries), columns)]
        return rf"\begin{{{name}}} " + r" \\ ".join(rows) + rf" \end{{{name}}}"

    gold = said(plain)
    yield Made("matrix", gold, said(plain, "bmatrix"), right=True)
    yield Made("matrix", gold, said(other), right=True)
    yield Made("matrix", gold, said(plain).replace(" & ", "&").replace(r" \\ ", "\\\\\n"), right=True)
    yield Made("matrix", gold, "A = " + said(plain), right=True)
    yield Made(
        "matrix",
        gold,
        said(plain, "matrix").replace(r"\begin", r"\left[\begin").replace("end{matrix}", r"end{matrix}\right]"),
        right=True,
    )
    yield Made("matrix transposed", gold, said([plain[0], plain[2], plain[1], plain[3]]), right=False)
    yield Made("matrix with another entry", gold, said([*plain[:3], _another(chooser, *parts).latex]), right=False)
    yield Made("matrix with rows swapped", gold, said([*plain[2:], *plain[:2]]), right=False)
    yield Made("matrix as a column", gold, said(plain, columns=1), right=False)
    column = said(plain[:3], columns=1)
    yield Made("column", column, said(plain[:3], "bmatrix", 1), right=True)
    yield Made("column in another order", column, said(plain[2::-1], columns=1), right=False)
    yield Made("column with an entry lost", column, said(plain[:2], columns=1), right=False)


def equations(chooser: random.Random) -> Iterator[Made]:
    """Lines, functions and circles."""
    m, b = chooser.randint(2, 9), chooser.randint(1, 9)
    yield from labelled(
        "equation",
        f"y = {m}x + {b}",
        (f"y = {b} + {m}x", f"{m}x + {b} = y", f"y={m} x+{b}", f"{m}x - y + {b} = 0", f"y - {m}x = {b}", f"{m}x+{b}"),
        (
            *(f"y = {m}x - {b}", f"y = {m + 1}x + {b}", f"y = -{m}x + {b}", f"x = {m}y + {b}", f"y = {m}x + {b + 1}"),
            *(f"y = {m}x", f"{m}x - y = {b}"),
        ),
    )
    yield from labelled(
        "function",
        f"f(x) = {m}x^2 - {b}",
        (f"{m}x^2-{b}", f"f(x) = -{b} + {m}x^2", rf"f(x) = {m}x^{{2}} - {b}"),
        (f"f(x) = {m}x^2 + {b}", f"f(x) = {m}x - {b}", f"f(x) = {m}x^3 - {b}", f"f(x) = ({m}x)^2 - {b}"),
    )
    yield from labelled(
        "circle",
        f"(x - {b})^2 + y^2 = {m**2}",
        (f"y^2 + (x-{b})^2 = {m}^2", f"x^2 - {2 * b}x + y^2 = {m**2 - b**2}"),
        (f"(x + {b})^2 + y^2 = {m**2}", f"(x - {b})^2 + y^2 = {m}", f"(x - {b})^2 - y^2 = {m**2}"),
    )


def plus_minus(chooser: random.Random) -> Iterator[Made]:
    """Two values at once."""
    part = chooser.choice([one for one in PARTS if one.value > 0])
    other = chooser.choice([one for one in PARTS if one.value > 0 and one.value != part.value])
    size = part.latex
    both = (
        *(
            f"{size}, -{size}",
            rf"-{size} \text{{ and }} {size}",
            rf"\{{-{size}, {size}\}}",
            rf"{size} \text{{ or }} -{size}",
        ),
        *(rf"x = \pm {size}", rf"\pm{part.other}", f"\u00b1 {size}"),
    )
    yield from labelled(
        "plus or minus", rf"\pm {size}", both, (size, f"-{size}", rf"\pm {other.latex}", rf"\pm {size}, 0")
    )
    yield from labelled("plus or minus", f"{size}, -{size}", both, (size, rf"\pm {other.latex}"))


def formulas(chooser: random.Random) -> Iterator[Made]:
    """A random formula of the kind school books have, rewritten and perturbed."""
    x, n = sympy.Symbol(chooser.choice("xyat")), sympy.Symbol(chooser.choice("nk"))
    one, two, three = (chooser.randint(1, 9) for _ in range(3))
    made = chooser.choice(
        (
            (x - one) * (x + two),
            sympy.expand((x - one) * (x + two) * (x - three)),
            (x + one) / (x**2 + two),
            n * (n + one) / 2,
            2**n * (n + one),
            sympy.sqrt(one * x**2 + two),
            (one + two * sympy.sqrt(3)) / (three + 1),
            sympy.sqrt(one) * sympy.pi / (two + 1) - three,
            (one + two * sympy.I) / (three + 1),
            sympy.log(one + 1) / (two + 1),
            one * sympy.E ** (two) - three,
            sympy.Rational(one, two + three * 10),
            (n**2 - one) / (two * n + three),
            3 ** (n + one) - two,
            sympy.sqrt(one + 1) + sympy.sqrt(two + 10),
            x**2 / one - (x + 1) ** 2 / (two + 10),
        )
    )
    text = sympy.latex(made, ln_notation=True)
    gold = Gold(text, text, read(text))
    if gold.tree is None or gold.tree.kind in ("num", "sym", "neg"):
        return
    rights, wrongs = list(formula_rewrites(chooser, gold)), list(formula_perturbed(chooser, gold))
    for kind, answer in chooser.sample(rights, min(8, len(rights))):
        yield Made(f"formula, {kind}", text, answer, right=True)
    for kind, answer in chooser.sample(wrongs, min(8, len(wrongs))):
        yield Made(f"formula, {kind}", text, answer, right=False)


KINDS: tuple[Callable[[random.Random], Iterator[Made]], ...] = (
    tuples, pairs, lists, intervals, rays, matrices, equations, plus_minus, formulas, bases, words, choices, units,
    money, percentages, ratios, angles, marks,
)  # fmt: skip


def make(seed: int, each: int = 25) -> list[Made]:
    """Answers to so many golds of every kind, without repeats."""
    chooser = random.Random(seed)
    made = [case for kind in KINDS for _ in range(each) for case in kind(chooser)]
    return list(dict.fromkeys(made))
