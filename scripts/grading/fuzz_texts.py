r"""Texts to fuzz a grader with: random formulas, rewritten and changed ones, and real texts torn apart.

Must not know: graders, what is checked.
"""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Final, NamedTuple

from changes import CHANGES
from formula import read
from golds import CORPUS, read_golds, read_special
from perturbed import formula_changes
from styles import STYLES, NotInThisStyleError, show
from values import compare

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

LONGEST: Final = 4_000
LONGEST_CHECKED: Final = 120
"""Characters of a formula that is rewritten."""
LONGEST_NUMBER: Final = 8
COMPARING_S: Final = 3
_STYLES: Final = [style for style in STYLES if style.binom != "!"]  # (5-9)! has no value


class Texts(NamedTuple):
    """One thing to try.

    `formula` says that both are formulas and not just any text; `equal` whether they have one value (None: who knows).
    """

    response: str
    gold: str
    formula: bool
    equal: bool | None = None


# --- formulas ------------------------------------------------------------------------------------

_LETTERS: Final = ("x", "n", "k", "a", "b", "r", "R", "p", r"\pi", "e", "i", r"\theta", r"\alpha", "x_1", "a_{n}")

_FUNCTIONS: Final = ("sin", "cos", "tan", "ln", "log", "arctan", "log_{2}")


class Grammar:
    """Random formulas as golds have them."""

    def __init__(self, chooser: random.Random) -> None:
        self._chooser = chooser

    def number(self) -> str:
        """A number in one of many spellings."""
        chooser = self._chooser
        size = chooser.choice(
            (chooser.randint(0, 9), chooser.randint(0, 100), chooser.randint(0, 10**6), chooser.randint(0, 10**15))
        )
        return chooser.choice(
            (str(size),) * 6
            + (f"{size:,}", f"{size / 8}", f"{size}.{chooser.randint(0, 999)}", f"{size:,}".replace(",", "{,}"))
        )

    def atom(self) -> str:
        """A number or a letter."""
        return self.number() if self._chooser.random() < 0.65 else self._chooser.choice(_LETTERS)  # noqa: PLR2004

    def value(self, depth: int) -> str:  # noqa: C901, PLR0911, PLR0912 - one form each
        """A formula with one value."""
        if depth <= 0:
            return self.atom()
        one, two = self.value(depth - 1), self.value(depth - self._chooser.randint(1, 3))
        match self._chooser.randrange(16):
            case 0 | 1:
                return rf"\frac{{{one}}}{{{two}}}"
            case 2:
                return f"{one}+{two}"
            case 3:
                return f"{one}-{two}"
            case 4:
                return rf"{one} \cdot {two}"
            case 5:
                return rf"\sqrt{{{one}}}"
            case 6:
                return f"({one})({two})"
            case 7:
                return f"({one})^{{{self._chooser.choice((two, self.atom(), '2', 'n'))}}}"
            case 8:
                return rf"\left({one}\right) / {self.atom()}"
            case 9:
                return rf"\{self._chooser.choice(_FUNCTIONS)}\left({one}\right)"
            case 10:
                return rf"\binom{{{self.atom()}}}{{{self.atom()}}}"
            case 11:
                end = self._chooser.choice(("floor", "ceil"))
                return rf"\left\l{end} {one} \right\r{end}"
            case 12:
                return f"-{one}" if not one.startswith("-") else one
            case 13:
                return rf"\sqrt[{self._chooser.randint(2, 7)}]{{{one}}}"
            case 14:
                return f"{self.atom()}!"
            case _:
                return rf"|{one}|" if "|" not in one else one

    def structured(self, depth: int) -> str:
        """A formula of several values, or one with something round it."""
        chooser = self._chooser
        one, two, three = (self.value(depth) for _ in range(3))
        small, some = chooser.randint(2, 9), chooser.randint(1, 10**6)
        return chooser.choice(
            (
                *(f"({one}, {two})", f"[{one}, {two})", rf"\{{{one}, {two}, {three}\}}", f"{one}, {two}"),
                *(rf"{one} \pm {two}", f"x = {one}", rf"{one} \le x < {two}", rf"x > {one}", rf"{one} \text{{ cm}}"),
                *(rf"(-\infty, {one}) \cup ({two}, \infty)", rf"{self.number()}^\circ", rf"{self.number()}\%"),
                *(rf"\begin{{pmatrix}} {one} & {two} \\ {three} & 0 \end{{pmatrix}}", f"{some}_{{{small + 2}}}"),
                *(rf"{some}\frac{{1}}{{{small}}}", r"\text{yes}", f"y = {one} x + {two}", rf"{one} : {two}"),
                *(rf"{one} \text{{ or }} {two}", rf"f(x) = {one}"),
            )
        )


# --- texts ---------------------------------------------------------------------------------------

_BITS: Final = [
    *(
        r"\boxed{ \fbox{ } { $ $$ \( \) \[ \] \frac \sqrt ^ _ \text{ \left( \right) \ \\ ! % & # ~ | < > = , . ; :"
        r" #### ** <answer> </answer> or \pm \cup \infty \begin{pmatrix} \end{pmatrix} \circ \% __ 0 1e999"
        r" 9^{9^{9}} 1/0 e i \pi \ldots \int_0^1"
        r" \sum_{k=1}^{n} \operatorname{ \overline{ \mathbb{R} \emptyset :: -- ' \" \to \bmod"
        "  \n \0 \x0c \u00a0 \ud800 \u202e \u0301 \u2212 \u00b0 \u221a \u00bd \u2460 \uff11 \U0001d7d9"
    ).split(" "),
    "The answer is ",
    " and ",
    "9" * 400,
]
_AROUND: Final = (
    ("\\frac{", "}{2}"), ("\\sqrt{", "}"), ("(", ")"), ("{", "}"), ("\\text{", "}"), ("|", "|"),
    ("\\left(", "\\right)"), ("2^{", "}"), ("\\{", "\\}"), ("-(", ")"),
)  # fmt: skip
PARTS: Final = re.compile(r"\\[A-Za-z]+|.", re.DOTALL)


class Mutator:
    """Real texts, changed."""

    def __init__(self, chooser: random.Random, texts: list[str]) -> None:
        self._chooser = chooser
        self._texts = texts

    def one(self) -> str:
        """Some real text, changed a few times."""
        text = self._chooser.choice(self._texts)
        for _ in range(self._chooser.choice((0, 1, 1, 2, 3, 6))):
            text = self._changed(text)[:LONGEST]
        return text

    def _changed(self, text: str) -> str:  # noqa: C901, PLR0911 - one change each
        chooser = self._chooser
        at, to = sorted((chooser.randint(0, len(text)), chooser.randint(0, len(text))))
        bit = chooser.choice(_BITS)
        match chooser.randrange(11):
            case 0:
                return text[:at] + bit + text[at:]
            case 1:
                return text[:at] + text[to:] if to - at < len(text) // 2 else text[at:to]
            case 2:
                return text[:to] + text[at:to] * chooser.choice((1, 2, 30)) + text[to:]
            case 3:
                other = chooser.choice(self._texts)
                cut = chooser.randint(0, len(other))
                return text[:at] + other[cut:]
            case 4:
                return text[:at] + bit * chooser.choice((2, 9, 50, 500)) + text[at:]
            case 5:
                left, right = chooser.choice(_AROUND)
                times = chooser.choice((1, 2, 10, 60))
                return text[:at] + left * times + text[at:to] + right * times + text[to:]
            case 6:
                return re.sub(r"\d+", lambda found: found[0] * chooser.choice((1, 1, 1, 20, 200)), text)
            case 7:
                return text.replace("\\", chooser.choice(("\\\\", "", "/")))
            case 8:
                parts = PARTS.findall(text)[:400]
                return "".join(chooser.sample(parts, len(parts)))
            case 9:
                return text.swapcase() if chooser.random() < 0.3 else text[::-1]  # noqa: PLR2004
            case _:
                return text[:to]


def real_texts(data: Path) -> list[str]:
    """Golds, special golds with their answers, and the replies and golds of our corpus."""
    texts = [gold.text for gold in read_golds(data)]
    texts = [text for text in texts if not text.isdigit()] + texts[:200]
    texts += [text for one in read_special() for text in (one.gold, *one.right, *one.wrong)]
    for path in CORPUS.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        texts += [row[name][-LONGEST:] for row in rows for name in ("response", "gold")]
    return texts


def boxed(text: str) -> str:
    """A reply that is only a box."""
    return rf"\boxed{{{text}}}"


def rewritten(chooser: random.Random, formula: str) -> list[Texts]:
    """A formula in other styles, changed so that its value stays, and changed so that it doesn't; all checked."""

    def stop(*_: object) -> None:
        raise TimeoutError

    found: list[Texts] = []
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(COMPARING_S)
    try:
        found += _rewritten(chooser, formula)
    except (TimeoutError, MemoryError):
        pass
    finally:
        signal.alarm(0)
    return found


def _rewritten(chooser: random.Random, formula: str) -> Iterator[Texts]:
    tree = read(formula)
    if tree is None or len(formula) > LONGEST_CHECKED or any(part.text == "log" for part in tree.walk()):
        return
    if any(part.text == "i" or len(part.text) > LONGEST_NUMBER for part in tree.walk()):
        return  # what is huge inside a function takes all digits with it
    if tree.letters and tree.has("floor", "ceil", "binom", "fact"):
        return  # letters are given whole numbers here, where some formulas are equal that are not everywhere
    rough = tree.has("floor", "ceil")  # of 3.14 as of pi
    made = [change(tree) for change in chooser.sample(list(CHANGES.values()), 3)]
    made += [changed for name, changed in formula_changes(chooser, tree)[:3] if not (rough and " as " in name)]
    for changed in made:
        text = show(changed)
        back = read(text)
        equal = compare(tree, back) if back is not None else None
        if equal is None or text == formula:
            continue
        try:
            yield Texts(boxed(show(changed, chooser.choice(_STYLES))), formula, formula=True, equal=equal)
        except NotInThisStyleError:
            yield Texts(boxed(text), formula, formula=True, equal=equal)
