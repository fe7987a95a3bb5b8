r"""Golds written in other ways that mean the same: replies every grader has to call right.

Formulas are rewritten as trees, printed in many styles, or taken through sympy; each rewrite is read back and its value
compared with the gold's to 1,500 digits, so that a slip made here does not become a label. Notations the reader of
`formula` does not know are only ever put round a formula that passed.
Must not know: graders.
"""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import sympy

from changes import CHANGES, by_sympy
from formula import FUNCTIONS, Node, UnknownFormulaError, read
from styles import STYLES, NotInThisStyleError, Style, show
from values import compare, value_at

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from golds import Gold

Rewrite = tuple[str, str]
"""What was done, and the answer."""


# --- whole numbers -------------------------------------------------------------------------------


def integer_rewrites(chooser: random.Random, value: int) -> Iterator[Rewrite]:
    """An integer in other spellings."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 1000:  # noqa: PLR2004
        commas = f"{value:,}"
        yield "thousands comma", commas
        yield "thousands brace", commas.replace(",", "{,}")
        yield "thousands thin space", commas.replace(",", r"\,")
        yield "thousands comma and negative space", commas.replace(",", r",\!")
    yield "trailing zero", f"{value}.0"
    by = chooser.randint(2, 9)
    yield "fraction", rf"\frac{{{value * by}}}{{{by}}}"
    yield "units", rf"{value} \text{{ {chooser.choice(['cm', 'units', 'ways', 'square units', 'triangles'])}}}"
    yield "units in words", f"{value} {chooser.choice(['people', 'ways', 'integers', 'points', 'pairs'])}"
    yield "name", f"{chooser.choice(['x', 'n', 'N', 'S', 'k', 'a_1', 'f(3)', 'AB'])} = {value}"
    yield "unicode minus" if sign else "plus", f"\u2212{size}" if sign else f"+{size}"
    yield "text", rf"\text{{{value}}}"
    yield "bold", rf"\mathbf{{{value}}}"
    yield "words in the box", rf"\text{{The answer is }} {value}"
    yield "sentence in the box", f"The answer is {value}."
    yield "braces", f"{{{value}}}"
    yield "dollars in the box", f"${value}$"
    yield "chain", f"{value - 3} + 3 = {value}"
    part = chooser.randint(1, max(1, size))
    yield "sum", f"{value - part} + {part}"
    if 1 < size < 10**9:
        factors = sympy.factorint(size)
        printed = r" \cdot ".join(f"{base}^{{{times}}}" if times > 1 else f"{base}" for base, times in factors.items())
        yield "prime factors", sign + printed
        if any(times > 1 for times in factors.values()):
            yield "prime factors, times", sign + printed.replace(r"\cdot", r"\times")
    if size in (120, 720, 5040, 40320):
        yield "factorial", f"{sign}{[1, 1, 2, 6, 24, 120, 720, 5040, 40320].index(size)}!"
    zeros = len(str(size)) - len(str(size).rstrip("0"))
    if size and zeros > 2:  # noqa: PLR2004
        short = str(size)[:-zeros]
        yield "scientific", rf"{sign}{short} \times 10^{{{zeros}}}"
        yield "scientific, dot", rf"{sign}{short} \cdot 10^{zeros}"
        decimal = f"{short[0]}.{short[1:]}" if len(short) > 1 else f"{short}.0"
        yield "scientific, one digit", rf"{sign}{decimal} \times 10^{{{len(str(size)) - 1}}}"
    if size:
        yield "root of a square", rf"{sign}\sqrt{{{size**2}}}"


# --- formulas ------------------------------------------------------------------------------------


def _exact_decimal(value: Fraction) -> str | None:
    below, twos_and_fives = value.denominator, 0
    while below % 10 == 0 or below % 2 == 0 or below % 5 == 0:
        below //= 2 if below % 2 == 0 else 5
        twos_and_fives += 1
    if below != 1 or twos_and_fives > 12 or value.denominator == 1:  # noqa: PLR2004
        return None
    scaled = value * 10**twos_and_fives
    digits = str(abs(scaled.numerator)).rjust(twos_and_fives + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-twos_and_fives]}.{digits[-twos_and_fives:]}".rstrip("0")


def _rational(gold: Gold) -> Fraction | None:
    assert gold.tree is not None
    try:
        value = value_at(gold.tree, {}) if not gold.tree.letters and not gold.tree.has("call", "deg") else None
    except (UnknownFormulaError, ZeroDivisionError):
        return None
    return value if isinstance(value, Fraction) and max(abs(value.numerator), value.denominator) < 10**15 else None


def _of_a_rational(value: Fraction) -> Iterator[Rewrite]:
    decimal = _exact_decimal(value)
    if decimal:
        yield "exact decimal", decimal
        if decimal.startswith("0."):
            yield "decimal without zero", decimal[1:]
    sign, size = ("-" if value < 0 else ""), abs(value)
    yield "slash", f"{sign}{size.numerator}/{size.denominator}"
    if size > 1 and size.denominator > 1:
        whole, rest = divmod(size.numerator, size.denominator)
        yield "mixed number", rf"{sign}{whole}\frac{{{rest}}}{{{size.denominator}}}"
        yield "mixed number, spaced", rf"{sign}{whole} \frac{{{rest}}}{{{size.denominator}}}"
        yield "mixed number, slash", f"{sign}{whole} {rest}/{size.denominator}"
    if size.numerator < 10 and size.denominator < 10:  # noqa: PLR2004
        yield "fraction without braces", rf"{sign}\frac{size.numerator}{size.denominator}"
        yield "dfrac without braces", rf"{sign}\dfrac{size.numerator}{size.denominator}"
    yield "negative power", rf"{sign}{size.numerator} \cdot {size.denominator}^{{-1}}"
    by = 7
    yield "not reduced", rf"{sign}\frac{{{size.numerator * by}}}{{{size.denominator * by}}}"


def _around(chooser: random.Random, formula: str, *, bare: bool) -> Iterator[Rewrite]:
    """What leaves the formula as it is."""
    name = chooser.choice(["x", "S", "A", "k", "\\theta", "a_n", "f(n)", "P", "AB", "\\cos A"])
    yield "name", f"{name} = {formula}"
    yield "words in the box", rf"\text{{The answer is }} {formula}"
    yield "dollars in the box", f"${formula}$"
    yield "display style", rf"\displaystyle {formula}"
    yield "braces", f"{{{formula}}}"
    yield "full stop in the box", f"{formula}."
    yield "doubled backslashes", re.sub(r"\\(?=[a-z])", r"\\\\", formula)
    if bare:
        yield "units", rf"{formula} \text{{ units}}"
        yield "units, mathrm", rf"{formula} \mathrm{{~cm}}"


def _degrees(gold: Gold) -> Iterator[Rewrite]:
    plain = re.fullmatch(r"(\d+)\^\s*\{?\\circ\}?", gold.formula)
    if plain:
        size = plain[1]
        yield "degrees left out", size
        yield "degree sign", f"{size}\u00b0"
        yield "degrees without braces", rf"{size}^\circ"
        yield "degrees, command", rf"{size}\degree"
        yield "degrees in words", f"{size} degrees"
        yield "degrees in text", rf"{size} \text{{ degrees}}"
        yield "degrees as a decimal", rf"{size}.0^\circ"
        yield "angle named", rf"\angle ABC = {size}^\circ"


def _printed(chooser: random.Random, tree: Node) -> Iterator[Rewrite]:
    """The tree changed, and printed in LaTeX that can be read back."""
    for name, change in CHANGES.items():
        changed = change(tree)
        if changed != tree:
            yield name, show(changed)
            twice = chooser.choice(list(CHANGES.values()))(changed)
            yield "two changes", show(twice, chooser.choice(STYLES[:6]))
    with suppress(UnknownFormulaError, AttributeError):
        yield from by_sympy(tree)


def formula_rewrites(chooser: random.Random, gold: Gold) -> Iterator[Rewrite]:
    """A formula written in other ways, each checked against the gold where it can be read back."""
    assert gold.tree is not None
    tree = gold.tree
    printed = dict(_printed(chooser, tree))
    for style in STYLES:
        text = _in_style(style, tree)
        if text is None:
            continue
        if style.plain or style.binom in (r"\choose", "C(", "!") or tree.has("mixed"):
            yield f"style: {style.name}", text
        else:
            printed[f"style: {style.name}"] = text
    for name, text in printed.items():
        back = read(re.sub(r"\\(?:displaystyle|c(?=frac))", lambda found: "\\" if found[0] == "\\c" else "", text))
        if back is not None and text != gold.formula and compare(tree, back):
            yield name, text
    value = _rational(gold)
    if value is not None:
        yield from _of_a_rational(value)
    if not tree.has("deg"):
        yield from _around(chooser, gold.formula, bare=not tree.letters)
    yield from _degrees(gold)


def _in_style(style: Style, tree: Node) -> str | None:
    """The formula in a style, None where that can't write it or shows nothing of its own in it."""
    try:
        return show(tree, style) if _says_more(style, tree) else None
    except NotInThisStyleError:
        return None


def _says_more(style: Style, tree: Node) -> bool:
    """Whether a style shows anything of its own in this formula."""
    if style.binom != r"\binom":
        return tree.has("binom")
    if style.root == "^":
        return tree.has("root")
    if style.times != " " and style.frac == r"\frac" and not style.left:
        return tree.has("mul")
    if style.frac in ("/", "^{-1}") and not style.plain:
        return tree.has("div")
    return not (style.unicode and tree.has(*FUNCTIONS))
