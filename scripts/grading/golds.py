r"""Golds of the data sets as formulas, and replies built round an answer.

Must not know: graders, what makes a reply right.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from formula import Node, read

if TYPE_CHECKING:
    import random

SPECIAL: Final = Path(__file__).parent / "special.jsonl"
CORPUS: Final = Path(__file__).resolve().parents[2] / "tests" / "grading" / "corpus"

_WRAPPINGS: Final = (
    re.compile(r"\$([^$]*)\$"),
    re.compile(r"\\\[(.*)\\\]", re.DOTALL),
    re.compile(r"\\\((.*)\\\)", re.DOTALL),
    re.compile(r"\\boxed\{(.*)\}\s*\.?", re.DOTALL),
)


class Gold(NamedTuple):
    """A gold as the data set has it, the formula in it, and its tree (None: not a formula that can be read)."""

    text: str
    formula: str
    tree: Node | None

    @property
    def whole(self) -> bool:
        """Whether it is an integer in digits."""
        return re.fullmatch(r"-?\d+", self.formula) is not None


def read_golds(path: Path) -> list[Gold]:
    """The golds of Omni-MATH-Rule, in the file's order."""
    golds = []
    for line in path.read_text().splitlines():
        text = json.loads(line)["answer"]
        formula = mended(text)
        golds.append(Gold(text, formula, read(formula)))
    return golds


class Special(NamedTuple):
    """A gold with answers by hand; `set` is `special` for an odd gold of Omni-MATH-Rule, else it is one of our own."""

    set: str
    gold: str
    right: list[str]
    wrong: list[str]


def read_special() -> list[Special]:
    """The golds with answers by hand: those that are no plain formula, and values that have several exact names."""
    return [Special(**json.loads(line)) for line in SPECIAL.read_text().splitlines()]


def mended(text: str) -> str:
    """A gold without wrapping, and without what went wrong on its way: form feeds, doubled backslashes, lost braces."""
    text = text.strip(" \n").replace("\f", "\\f")
    text = re.sub(r"\\\\(?=[a-z])", r"\\", text)
    for _ in range(3):
        for wrapping in _WRAPPINGS:
            found = wrapping.fullmatch(text)
            if found:
                text = found[1].strip()
    return text + "}" * max(0, text.count("{") - text.count("}"))


_LEADS: Final = (
    "So the total is {answer}.",
    "Adding the cases gives\n\\[{answer}\\]",
    "Therefore, the final answer is ${answer}$.",
    "**Step 3.** Since there are 4 choices for each of the 2 places, $4^2 = 16$.\n\n$$\n{answer}\n$$",
    "Thus we find {answer}",
    "{answer}",
    "### Final Answer\n\n$${answer}$$\n",
    "Let $x = 3$. Then $x^2 + 1 = 10$, and in the end\n\n{answer}\n\nThis completes the solution.",
)
_STATEMENTS: Final = (
    "The answer is ${answer}$.",
    "The answer is: ${answer}$",
    "Adding up gives the result.\n\n**Answer:** ${answer}$",
    "We try small cases first.\n\nFinal answer: \\({answer}\\)",
    "Therefore, the final answer is \\({answer}\\).",
    "<answer>{answer}</answer>",
    "#### {answer}",
)


def boxed(chooser: random.Random, answer: str) -> str:
    """A reply with `answer` in a box."""
    return chooser.choice(_LEADS).replace("{answer}", "\\boxed{" + answer + "}")


def stated(chooser: random.Random, answer: str) -> str:
    """A reply with `answer` in a plain final statement."""
    return chooser.choice(_STATEMENTS).replace("{answer}", answer)
