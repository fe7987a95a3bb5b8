r"""One spelling for what can be written in many ways: LaTeX variants, numbers, units, golds.

Must not know: sympy, verdicts, which text is the answer.

Numbers are read into `Fraction`s by patterns that must match the whole of a bounded text; nothing is
evaluated.  Answers come in at `extract.LONGEST` characters at most.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple

from eli5b_batch.grading.extract import LONGEST, clean, last_box, unclosed_braces

_CHARACTERS: Final = str.maketrans(
    {
        "\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u00f7": "/", "\u2044": "/",
        "\u03c0": r"\pi ", "\u221e": r"\infty ", "\u2264": r"\leq ", "\u2265": r"\geq ",
        "\u00b0": r"^{\circ}", "\u00b2": "^{2}", "\u00b3": "^{3}", "\u221a": "sqrt",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\t": " ", "\n": " ",
    }
)  # fmt: skip
_VARIANTS: Final = (
    (re.compile(r"\\\\(?=[A-Za-z])"), r"\\"),  # a backslash doubled on its way through some JSON
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\le(?:q?slant)?(?![A-Za-z])"), r"\\leq"),
    (re.compile(r"\\ge(?:q?slant)?(?![A-Za-z])"), r"\\geq"),
    (re.compile(r"\\(?:left|right|displaystyle|limits|[bB]igg?[lr]?)(?![A-Za-z])|\\!"), ""),
    (re.compile(r"\\[,;: ]|~|\\q?quad(?![A-Za-z])"), " "),
    (re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])"), ""),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9])"), ","),
    (re.compile(r" {2,}"), " "),
)
_WORDING: Final = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s?\{([^{}]*)\}")
_SPACE: Final = re.compile(r"(?<![0-9]) | (?![0-9])")
_SINGLE: Final = re.compile(r"\{([A-Za-z0-9])\}")
_LETTERS: Final = re.compile(r"[A-Za-z.,']+")

_UNIT_WORD: Final = r"\\(?:text|mathrm|mbox|textrm) ?\{(?: ?[^{}ie ] ?|[^{}]{2,40})\}(?: ?\^ ?\{?[0-9]\}?)?"
_UNIT: Final = re.compile(rf"(?<=[0-9}})]) ?{_UNIT_WORD}(?: ?/ ?{_UNIT_WORD})?$")
_PLAIN_UNIT: Final = re.compile(r"(?<=[0-9]) (?!pi\b|sqrt\b|mod\b)[A-Za-z]{2,15}(?: [A-Za-z]{1,15}){0,5}$")

_DECIMAL: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_THOUSANDS: Final = re.compile(r"([+-]?) ?([0-9]{1,3}(?:([, ])[0-9]{3})(?:\3[0-9]{3}){0,700}(?:\.[0-9]+)?)")
_PLAIN: Final = re.compile(rf"[+-]? ?{_DECIMAL}")
_SCIENTIFIC: Final = re.compile(
    rf"([+-]? ?{_DECIMAL}) ?(?:(?:\\times|\\cdot|\*) ?10 ?\^ ?(?:\{{ ?([+-]?[0-9]{{1,3}}) ?\}}|([0-9]))"
    r"|[eE]([+-]?[0-9]{1,3}))"
)
_RATIO: Final = re.compile(
    rf"([+-]?) ?(?:\\frac ?\{{ ?([+-]? ?{_DECIMAL}) ?\}} ?\{{ ?([+-]? ?{_DECIMAL}) ?\}}"
    rf"|\\frac ?([0-9]) ?([0-9])|({_DECIMAL}) ?/ ?({_DECIMAL}))"
)
_MIXED: Final = re.compile(r"([+-]?) ?([0-9]+)(?: ?\\frac ?\{ ?([0-9]+) ?\} ?\{ ?([0-9]+) ?\}| ([0-9]+) ?/ ?([0-9]+))")

_EQUALS: Final = re.compile(r"(?<![<>!:\\])=")
_NAME: Final = re.compile(r"\\?[A-Za-z]+ ?(?:_ ?\{?[A-Za-z0-9]{1,5}\}?)? ?(?:\([A-Za-z, ]{1,10}\))? ?")
_SEGMENT: Final = re.compile(r"\\\((.{1,2000}?)\\\)|\$([^$]{1,2000})\$", re.DOTALL)
_PROSE: Final = re.compile(r"[A-Za-z]{2,20} [A-Za-z]{2,20} [A-Za-z]{2,20}")


class Number(NamedTuple):
    """An exact rational, and whether it was written with a per cent sign."""

    value: Fraction
    percent: bool

    def same(self, other: Number) -> bool:
        """Equal; where only one side has a per cent sign, `50%` is both 50 and 1/2."""
        if self.percent == other.percent:
            return self.value == other.value
        return other.value in (self.value, self.value / 100 if self.percent else self.value * 100)


def formula(text: str) -> str:
    r"""`text` in one LaTeX spelling: `\dfrac` as `\frac`, no `\left`, no degree signs, single spaces."""
    text = text.translate(_CHARACTERS)
    for pattern, replacement in _VARIANTS:
        text = pattern.sub(replacement, text)
    return clean(text)


def canonical(text: str) -> str:
    """The form in which two equal spellings are equal strings; only for comparing.

    Spaces go, except between digits: 7 1/3 is not 71/3.
    """
    bare = _SINGLE.sub(r"\1", _SPACE.sub("", _WORDING.sub(r"\1", formula(text))))
    return bare.casefold() if _LETTERS.fullmatch(bare) else bare


def gold_readings(gold: str) -> tuple[str, ...]:
    r"""The formulas a gold answer stands for; more than one where it offers a choice (`... OR ...`).

    A form feed stands where `\f` of `\frac` was; missing closing braces are added at the end; of a
    sentence, its box or last formula counts.
    """
    mended = gold.replace("\f", "\\f")
    mended += "}" * unclosed_braces(mended)
    readings = []
    for choice in re.split(r" OR ", mended):
        boxed = last_box(choice)
        segments = [first or second for first, second in _SEGMENT.findall(choice)]
        if boxed is not None:
            readings.append(formula(boxed))
        elif segments and _PROSE.search(choice):
            readings.append(formula(segments[-1]))
        else:
            readings.append(formula(choice))
    return tuple(readings)


def align(said: str, gold: str) -> tuple[str, str]:
    """Answer and gold (both `formula`s) without units, and without `x =` where only the value matters."""
    gold = _UNIT.sub("", gold)
    said = _PLAIN_UNIT.sub("", _UNIT.sub("", said))
    name, *sides = _EQUALS.split(gold)
    if len(sides) == 1 and _NAME.fullmatch(name):
        gold = sides[0].strip()
    if not _EQUALS.search(gold) and not re.search(r"[,;]|\\leq|\\geq|[<>]", said):
        said = _EQUALS.split(said)[-1].strip()
    return clean(said), clean(gold)


def plain_number(text: str) -> Number | None:
    r"""The exact value of a `formula` that is nothing but one number, else None.

    Integers (thousands marks allowed), decimals, `\frac{a}{b}`, `a/b`, mixed numbers, `a \times 10^{n}`,
    each with a sign and a per cent sign.
    """
    if len(text) > LONGEST:  # golds may be longer; Python's own limit for `int` is twice that
        return None
    bare = text.removeprefix("\\$").removeprefix("$").strip()
    percent = bare.endswith("%")
    bare = bare.removesuffix("%").removesuffix("\\").strip()
    value = _rational(bare)
    return None if value is None else Number(value, percent)


def _rational(bare: str) -> Fraction | None:
    if _PLAIN.fullmatch(bare):
        return Fraction(bare.replace(" ", ""))
    if found := _THOUSANDS.fullmatch(bare):
        return Fraction(found[1] + found[2].replace(found[3], ""))
    if found := _SCIENTIFIC.fullmatch(bare):
        shift = int(found[2] or found[3] or found[4])
        return Fraction(found[1].replace(" ", "")) * Fraction(10) ** shift
    if found := _MIXED.fullmatch(bare):
        sign, whole, *parts = found.groups()
        above, below = (int(part) for part in parts if part)
        return _signed(sign, int(whole) + Fraction(above, below)) if below else None
    if found := _RATIO.fullmatch(bare):
        sign, *parts = found.groups()
        upper, lower = (Fraction(part.replace(" ", "")) for part in parts if part)
        return _signed(sign, upper / lower) if lower else None
    return None


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value
