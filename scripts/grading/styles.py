r"""Formulas written in other ways: one printer, and the styles models write in.

Must not know: cases, graders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from formula import Node

SUM, PRODUCT, POWER, ATOM = range(4)
"""How tightly a printed part holds together."""

_ASCII: Final = {r"\pi": "pi"}
_UNICODE: Final = {
    r"\pi": "\u03c0", r"\alpha": "\u03b1", r"\beta": "\u03b2", r"\lambda": "\u03bb", r"\omega": "\u03c9",
}  # fmt: skip
_SUPERSCRIPTS: Final = str.maketrans(
    "0123456789-", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b"
)


class NotInThisStyleError(Exception):
    """The formula has a part that this style can't write."""


@dataclass(frozen=True, slots=True)
class Style:
    r"""How a formula is written.

    `frac` is a command, or `/` for a slash or `^{-1}` for a negative power; `times` what stands between factors;
    `root` is `\sqrt`, `^` (a power), `sqrt(` or the Unicode sign; `plain` is no LaTeX: `^(...)`, bare names.
    """

    name: str
    frac: str = r"\frac"
    times: str = " "
    root: str = r"\sqrt"
    left: bool = False
    space: str = ""
    plain: bool = False
    unicode: bool = False
    binom: str = r"\binom"
    power: str = "^"


STYLES: Final = (
    Style("frac"),
    Style("dfrac", frac=r"\dfrac"),
    Style("tfrac and thin spaces", frac=r"\tfrac", times=r"\,", space=r"\,"),
    Style("cfrac and cdot", frac=r"\cfrac", times=r" \cdot "),
    Style("times", times=r" \times ", left=True),
    Style("left and right", left=True, space=" "),
    Style("slash", frac="/"),
    Style("negative power", frac="^{-1}", times=r" \cdot "),
    Style("roots as powers", root="^"),
    Style("display frac and cdot", frac=r"\displaystyle\frac", times=r"\cdot "),
    Style("over spaces", space=" ", times=r"\;"),
    Style("plain text", frac="/", times="*", root="sqrt(", plain=True),
    Style("python", frac="/", times="*", root="sqrt(", plain=True, power="**"),
    Style("plain, side by side", frac="/", times="", root="sqrt(", plain=True),
    Style("unicode", frac="/", times="\u00b7", root="\u221a", plain=True, unicode=True),
    Style("unicode, side by side", frac="/", times="", root="\u221a", plain=True, unicode=True),
    Style("choose", binom=r"\choose"),
    Style("dbinom", binom=r"\dbinom", left=True),
    Style("binomials as factorials", binom="!"),
    Style("binomials as C", binom="C("),
)


class _Printer:
    def __init__(self, style: Style) -> None:
        self.style = style

    def bracket(self, text: str) -> str:
        return rf"\left({text}\right)" if self.style.left else f"({text})"

    def at(self, node: Node, least: int) -> str:
        text, holds = self.write(node)
        return text if holds >= least else self.bracket(text)

    def write(self, node: Node) -> tuple[str, int]:
        method: Callable[[Node], tuple[str, int]] = getattr(self, f"write_{node.kind}")
        return method(node)

    def write_num(self, node: Node) -> tuple[str, int]:
        return node.text, ATOM

    def write_sym(self, node: Node) -> tuple[str, int]:
        if self.style.plain:
            names = _UNICODE if self.style.unicode else _ASCII
            if "\\" in node.text and node.text not in names:
                raise NotInThisStyleError(node.text)
            return names.get(node.text, node.text), ATOM
        return node.text, ATOM

    def write_mixed(self, node: Node) -> tuple[str, int]:
        if self.style.frac == "^{-1}":
            raise NotInThisStyleError(self.style.frac)
        glue = " " if self.style.frac == "/" else ""
        return f"{self.at(node.args[0], ATOM)}{glue}{self.write(node.args[1])[0]}", SUM

    def write_add(self, node: Node) -> tuple[str, int]:
        space, parts = self.style.space, [self.at(node.args[0], SUM)]
        for term in node.args[1:]:
            if term.kind == "neg":
                parts.append(f"{space}-{space}{self.at(term.args[0], PRODUCT)}")
            else:
                text = self.at(term, SUM)
                parts.append(f"{space}+{space}{self.bracket(text) if text.startswith('-') else text}")
        return "".join(parts), SUM

    def write_neg(self, node: Node) -> tuple[str, int]:
        inside = self.at(node.args[0], PRODUCT)
        minus = "\u2212" if self.style.unicode else "-"
        return minus + inside, SUM

    def write_mul(self, node: Node) -> tuple[str, int]:
        text = self.at(node.args[0], PRODUCT)
        if self.style.frac == "/" and node.args[0].kind == "div" and "*" not in self.style.times:
            text = self.bracket(text)  # 1/2(x+1) can be read in two ways
        for before, factor in zip(node.args, node.args[1:], strict=False):
            more = self.at(factor, POWER)
            glue = self.style.times
            if text[-1].isdigit() and factor.kind == "div" and glue.strip() in ("", r"\,", r"\;"):
                glue = "*" if self.style.plain else r" \cdot "  # 2 1/3 is a mixed number
            elif self.style.unicode and before.kind == "root":
                glue = "\u00b7"  # \u221a2\u03c0 can be read in two ways
            if glue.strip() in ("", r"\,", r"\;") and (more[0].isdigit() or more[0] == "."):
                if self.style.plain:
                    more = self.bracket(more)
                else:
                    glue = r" \cdot "
            elif not glue and text[-1].isalpha() and (more[0].isalpha() or more[0] == "("):
                glue = "\u00b7" if self.style.unicode else "*"  # pi e is no pie, x(y+1) no function
            text += glue + more
        return text, PRODUCT

    def write_div(self, node: Node) -> tuple[str, int]:
        above, below = node.args
        if self.style.frac == "/":
            return f"{self.at(above, PRODUCT)}/{self.at(below, POWER)}", PRODUCT
        if self.style.frac == "^{-1}":
            under = self.at(below, ATOM) + "^{-1}"
            return (under, POWER) if above.text == "1" else (f"{self.at(above, PRODUCT)} \\cdot {under}", PRODUCT)
        return f"{self.style.frac}{{{self.write(above)[0]}}}{{{self.write(below)[0]}}}", POWER

    def write_pow(self, node: Node) -> tuple[str, int]:
        base, exponent = node.args
        above = self.write(exponent)[0]
        if base.kind == "call" and not self.style.plain:
            return f"{self.bracket(self.write(base)[0])}^{{{above}}}", POWER
        if base.text and base.kind == "div" and self.style.frac != "/":
            under = self.bracket(self.write(base)[0])
        else:
            under = self.at(base, ATOM)
        if not self.style.plain:
            return f"{under}^{{{above}}}", POWER
        if self.style.unicode and set(above) <= set("0123456789-"):
            return under + above.translate(_SUPERSCRIPTS), POWER
        short = above.isdigit() or (above.isalnum() and len(above) == 1)
        return f"{under}{self.style.power}{above if short else f'({above})'}", POWER

    def write_root(self, node: Node) -> tuple[str, int]:
        radicand, index = node.args[0], self.write(node.args[1])[0] if len(node.args) > 1 else "2"
        if self.style.root == "^":
            return f"{self.at(radicand, ATOM)}^{{1/{index}}}", POWER
        if self.style.plain:
            if index != "2":
                return f"{self.at(radicand, ATOM)}{self.style.power}(1/{index})", POWER
            if self.style.unicode:
                return "\u221a" + (radicand.text if radicand.kind == "num" else f"({self.write(radicand)[0]})"), POWER
            return f"sqrt({self.write(radicand)[0]})", ATOM
        return f"\\sqrt{'' if index == '2' else f'[{index}]'}{{{self.write(radicand)[0]}}}", ATOM

    def write_call(self, node: Node) -> tuple[str, int]:
        slash = "" if self.style.plain else "\\"
        return f"{slash}{node.text}({self.write(node.args[0])[0]})", POWER

    def write_log(self, node: Node) -> tuple[str, int]:
        if self.style.plain:
            raise NotInThisStyleError("log")
        return f"\\log_{{{self.write(node.args[0])[0]}}}({self.write(node.args[1])[0]})", POWER

    def write_fact(self, node: Node) -> tuple[str, int]:
        return self.at(node.args[0], ATOM) + "!", POWER

    def write_binom(self, node: Node) -> tuple[str, int]:
        above, below = (self.write(argument)[0] for argument in node.args)
        if self.style.binom == "!":
            return self._factorials(above, below), POWER
        if self.style.binom == "C(" or self.style.plain:
            if self.style.unicode:
                raise NotInThisStyleError("binom")
            return f"C({above}, {below})" if self.style.plain else rf"C({above},{below})", ATOM
        if self.style.binom == r"\choose":
            return f"{{{above} \\choose {below}}}", ATOM
        return f"{self.style.binom}{{{above}}}{{{below}}}", ATOM

    def _factorials(self, above: str, below: str) -> str:
        def held(text: str) -> str:
            return text if text.isdigit() or len(text) == 1 else f"({text})"

        return f"\\frac{{{held(above)}!}}{{{held(below)}!({above}-{held(below)})!}}"

    def write_floor(self, node: Node) -> tuple[str, int]:
        return self._ends("\\lfloor ", "\\rfloor ", "\u230a", "\u230b", node)

    def write_ceil(self, node: Node) -> tuple[str, int]:
        return self._ends("\\lceil ", "\\rceil ", "\u2308", "\u2309", node)

    def write_abs(self, node: Node) -> tuple[str, int]:
        return self._ends("|", "|", "|", "|", node)

    def _ends(self, left: str, right: str, sign: str, other: str, node: Node) -> tuple[str, int]:
        inside = self.write(node.args[0])[0]
        if self.style.unicode:
            return f"{sign}{inside}{other}", ATOM
        if self.style.plain and left != "|":
            return f"{'floor' if 'floor' in left else 'ceil'}({inside})", ATOM
        return (f"\\left{left}{inside}\\right{right}" if self.style.left else f"{left}{inside}{right}"), ATOM

    def write_deg(self, node: Node) -> tuple[str, int]:
        if self.style.plain:
            return self.at(node.args[0], ATOM) + "\u00b0", POWER
        return self.at(node.args[0], ATOM) + r"^{\circ}", POWER


def show(node: Node, style: Style = STYLES[0]) -> str:
    """The formula in this style.

    Raises:
        NotInThisStyleError: it has a part that this style can't write.
    """
    return _Printer(style).write(node)[0]
