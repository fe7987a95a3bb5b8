r"""One spelling for what can be written in many ways: LaTeX variants, Unicode, plain numbers, golds.

Must not know: sympy, verdicts, which text is the answer, what a formula means.

Every pattern here is linear in the text. Numbers are read into `Fraction`s by patterns that must match the whole of a
bounded text; nothing is evaluated.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Final, NamedTuple

from eli5b_batch.grading.extract import clean, last_box, mended, unclosed_braces
from eli5b_batch.grading.formulas.lexer import is_word

_CHARACTERS: Final = str.maketrans(
    {
        "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2010": "-", "\u2011": "-",
        "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2022": r"\cdot ", "\u2217": "*",
        "\u00f7": "/", "\u2044": "/", "\u2215": "/", "\u00b1": r"\pm ", "\u2213": r"\mp ",
        "\u03c0": r"\pi ", "\u221e": r"\infty ", "\u2264": r"\leq ", "\u2265": r"\geq ", "\u2260": r"\neq ",
        "\u2248": r"\approx ", "\u2261": r"\equiv ", "\u2208": r"\in ", "\u222a": r"\cup ", "\u2229": r"\cap ",
        "\u2205": r"\emptyset ", "\u2026": r"\ldots ", "\u00b0": r"^\circ ", "\u00ba": r"^\circ ",
        "\u221a": r"\sqrt ", "\u221b": r"\sqrt[3] ", "\u221c": r"\sqrt[4] ", "\u2192": r"\to ",
        "\u230a": r"\lfloor ", "\u230b": r"\rfloor ", "\u2308": r"\lceil ", "\u2309": r"\rceil ",
        "\u27e8": r"\langle ", "\u27e9": r"\rangle ", "\u211d": r"\mathbb{R} ", "\u2124": r"\mathbb{Z} ",
        "\u2115": r"\mathbb{N} ", "\u211a": r"\mathbb{Q} ", "\u2102": r"\mathbb{C} ", "\u2032": "'",
        "\u00a2": r"\text{ cents}", "\u20ac": r"\text{ euros }",
        "\u00a3": r"\text{ pounds }", "\u21d2": " ",
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2223": "|",
        "\u00a0": " ", "\u2002": " ", "\u2003": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ", "\u3000": " ",
        "\u2705": None, "\u2713": None, "\u2714": None, "\ufe0f": None,
        "\t": " ", "\n": " ", "\r": " ", "\v": " ", "\f": " ",
        "\u200b": None, "\u200c": None, "\u200d": None, "\u200e": None, "\u200f": None, "\u2060": None, "\ufeff": None,
        "\u2061": None, "\u2062": None, "\u2063": ",",
    }
)  # fmt: skip
_SUPERSCRIPTS: Final = dict(
    zip("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207f", "0123456789+-n", strict=True)
)
_SUBSCRIPTS: Final = dict(
    zip("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089\u2099", "0123456789n", strict=True)
)
_RAISED: Final = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED: Final = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_VULGAR: Final = re.compile(r"[\u00bc-\u00be\u2150-\u215e]")
_WIDE: Final = re.compile(r"[\uff01-\uff5e\U0001d400-\U0001d7ff]")
_GREEK: Final = str.maketrans(
    {
        "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u03b3": r"\gamma ", "\u03b4": r"\delta ", "\u03b8": r"\theta ",
        "\u03bb": r"\lambda ", "\u03bc": r"\mu ", "\u03c6": r"\phi ", "\u03c9": r"\omega ", "\u03c3": r"\sigma ",
        "\u03c4": r"\tau ", "\u03b5": r"\epsilon ", "\u03c1": r"\rho ",
    }
)  # fmt: skip

_DOUBLED: Final = re.compile(r"\\\\(?=[A-Za-z(\[{!,;%$])")
_SINGLED: Final = re.compile(r"(?<!\\)\\[A-Za-z]")
_ENTITIES: Final = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"), ("&nbsp;", " "), ("&#39;", "'"), ("&quot;", '"'))
_VARIANTS: Final = (
    (re.compile(r"\\&"), " and "),
    (re.compile(r"\\(?:tag|label|h?phantom) ?\{[^{}]{0,40}\}"), ""),
    (re.compile(r"(?<=[0-9])(?:,\\[!,]|\\text ?\{,\})(?=[0-9]{3})|\\\\$"), ""),
    (re.compile(r"(?<![\\A-Za-z}\]])\{ ?\}|(?<=[0-9]) ?\{ ?\}"), ""),
    (re.compile(r"\{ ?([+-]) ?\}"), r"\1"),
    (re.compile(r"\\big(cup|cap)(?![A-Za-z])"), r"\\\1"),
    (re.compile(r"\\(?:[dtcs]|nice|x)frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\le(?:q?slant|qq)?(?![A-Za-z])"), r"\\leq"),
    (re.compile(r"\\ge(?:q?slant|qq)?(?![A-Za-z])"), r"\\geq"),
    (re.compile(r"\\ne(?![A-Za-z])|\\not ?="), r"\\neq"),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:lbrace|left ?\\\{|[bB]igg?l? ?\\\{)(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\(?:rbrace|right ?\\\}|[bB]igg?r? ?\\\})(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\(?:left|right) ?\."), ""),
    (re.compile(r"\\!|\\(?:left|right|middle|[bB]igg?[lrm]?|rm|bf|it)(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:(?:display|text|script)style|(?:no)?limits)(?![A-Za-z])"), ""),
    (re.compile(r"(?<=[0-9])(?:\{,\}|\\,|\{\\,\}|\{ \}|\\ )(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9])"), ","),
    (re.compile(r"(?<!\\)\\[,;:> ]|~|\\(?:q?quad|(?:thin|en)space|enskip)(?![A-Za-z])"), " "),
    (re.compile(r"\\[hv](?:space|skip) ?\{[^{}]{0,20}\}"), " "),
    (re.compile(r"\^ ?(?:\{ ?\^? ?\\circ ?\}|\\circ(?![A-Za-z])|o(?![A-Za-z]))"), r"\\degree "),
    (re.compile(r"\\(?:text)?degree(?![A-Za-z])"), r"\\degree "),
    (re.compile(r"\\l?vert(?![A-Za-z])|\\rvert(?![A-Za-z])|\\mid(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:[lL]arge|LARGE|[hH]uge|small|tiny|normalsize|u(?:nder)?line)(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:checkmark|blacksquare|square|Box|qed)(?![A-Za-z])"), ""),
    (re.compile(r"\\\\ ?\[[0-9.]{1,6} ?(?:pt|ex|em|mm|cm)\]|\\cr(?![A-Za-z])"), r"\\\\"),
    (re.compile(r"\\(?:text)?color ?\{[A-Za-z]{1,20}\}"), ""),
    (re.compile(r"(?<!text)\{:\}|\\colon(?![A-Za-z])"), ":"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![A-Za-z])([AaPp])\. ?[Mm]\.?(?![A-Za-z])"), r"\1m"),
    (re.compile(r" {2,}"), " "),
)  # fmt: skip
_ALIGNED: Final = re.compile(r"\\(?:begin|end) ?\{(?:aligned|align|gathered|gather|split|equation|cases)\*?\}")
_WORDING: Final = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mathit|mbox|operatorname)\s?\{([^{}]*)\}")
_SPACE: Final = re.compile(r"(?<![0-9]) | (?![0-9])")
_SINGLE: Final = re.compile(r"\{([A-Za-z0-9])\}")
_LETTERS: Final = re.compile(r"[A-Za-z.,']+")

_DECIMAL: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_THOUSANDS: Final = re.compile(r"([+-]?) ?([0-9]{1,3}(?:([, ])[0-9]{3})(?:\3[0-9]{3}){0,700}(?:\.[0-9]+)?)")
_PLAIN: Final = re.compile(rf"[+-]? ?{_DECIMAL}")
_SCIENTIFIC: Final = re.compile(
    rf"([+-]? ?{_DECIMAL}) ?(?:(?:\\times|\\cdot|\*|x) ?10 ?\^ ?(?:\{{ ?([+-]?[0-9]{{1,3}}) ?\}}|([0-9]))"
    r"|[eE]([+-]?[0-9]{1,3}))"
)
_RATIO: Final = re.compile(
    rf"([+-]?) ?(?:\\frac ?\{{ ?([+-]? ?{_DECIMAL}) ?\}} ?\{{ ?([+-]? ?{_DECIMAL}) ?\}}"
    rf"|\\frac ?([0-9]) ?([0-9])|({_DECIMAL}) ?/ ?({_DECIMAL}))"
)
_MIXED: Final = re.compile(r"([+-]?) ?([0-9]+)(?: ?\\frac ?\{ ?([0-9]+) ?\} ?\{ ?([0-9]+) ?\}| ([0-9]+) ?/ ?([0-9]+))")

_SEGMENT: Final = re.compile(r"\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]|\$\$?([^$]{1,2000})\$", re.DOTALL)
_PROSE: Final = re.compile(r"[A-Za-z]{2,20} [A-Za-z]{2,20} [A-Za-z]{2,20}")


_MOST_CHOICES: Final = 8
_LONGEST_NUMBER: Final = 4_000
"""Characters; Python reads a few more at once. `formulas` reads longer ones."""


class Number(NamedTuple):
    """An exact rational, and whether it was written with a per cent sign."""

    value: Fraction
    percent: bool

    def same(self, other: Number) -> bool:
        """Equal; where only one side has a per cent sign, `50%` is both 50 and 1/2."""
        if self.percent == other.percent:
            return self.value == other.value
        return other.value in (self.value, self.value / 100 if self.percent else self.value * 100)


def _fraction(found: re.Match[str]) -> str:
    value = Fraction(unicodedata.numeric(found[0])).limit_denominator(10)
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _raised(found: re.Match[str]) -> str:
    digits = "".join(_SUPERSCRIPTS[character] for character in found[0])
    return f"^{digits}" if len(digits) == 1 else f"^{{{digits}}}"


def formula(text: str) -> str:
    r"""`text` in one LaTeX spelling: ASCII, `\dfrac` as `\frac`, no `\left`, `\degree`, single spaces."""
    if not text.isascii():
        text = _VULGAR.sub(_fraction, text)
        text = _WIDE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        text = _RAISED.sub(_raised, text)
        text = _LOWERED.sub(lambda found: "_{" + "".join(_SUBSCRIPTS[c] for c in found[0]) + "}", text)
        text = text.translate(_GREEK)
    text = text.translate(_CHARACTERS)
    if "&" in text:
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
    if "\\\\" in text and not _SINGLED.search(text):  # backslashes doubled on their way through some JSON
        text = _DOUBLED.sub(lambda _: "\\", text)
    for pattern, replacement in _VARIANTS:
        text = pattern.sub(replacement, text)
    if _ALIGNED.search(text):
        condition = r" \text{ if } " if "{cases}" in text else ""
        text = _ALIGNED.sub("", text).replace("&", condition).replace("\\\\", ", ")
    return clean(text)


def canonical(text: str) -> str:
    """The form in which two equal spellings are equal strings; of a `formula`, only for comparing.

    Spaces go, except between digits: 7 1/3 is not 71/3.
    """
    bare = _SINGLE.sub(r"\1", _SPACE.sub("", _WORDING.sub(r"\1", text)))
    return bare.casefold() if _LETTERS.fullmatch(bare) and is_word(bare) else bare


def gold_readings(gold: str) -> tuple[str, ...]:
    r"""The formulas a gold answer stands for; more than one where it offers a choice (`... OR ...`).

    A form feed stands where `\f` of `\frac` was; missing closing braces are added at the end; of a
    sentence, its box or last formula counts.
    """
    whole = mended(gold)
    whole += "}" * unclosed_braces(whole)
    readings = []
    for choice in whole.split(" OR ")[:_MOST_CHOICES]:
        boxed = last_box(choice)
        segments = [first or second or third for first, second, third in _SEGMENT.findall(choice)]
        if boxed is not None:
            readings.append(formula(boxed))
        elif segments and _PROSE.search(_SEGMENT.sub(" ", choice)):
            readings.append(formula(segments[-1]))
        else:
            readings.append(formula(choice))
    return tuple(readings)


def plain_number(text: str) -> Number | None:
    r"""The exact value of a `formula` that is nothing but one number, else None.

    Integers (thousands marks allowed), decimals, `\frac{a}{b}`, `a/b`, mixed numbers, `a \times 10^{n}`,
    each with a sign and a per cent sign.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    bare = text.strip()
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
        return _signed(sign, int(whole) + Fraction(above, below)) if 0 < above < below else None
    if found := _RATIO.fullmatch(bare):
        sign, *parts = found.groups()
        upper, lower = (Fraction(part.replace(" ", "")) for part in parts if part)
        return _signed(sign, upper / lower) if lower else None
    return None


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value
