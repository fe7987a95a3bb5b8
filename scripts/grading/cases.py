r"""The labelled cases that `bench.py` measures graders on, made from the golds of Omni-MATH-Rule and GSM8K.

Must not know: graders, tables.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from eli5b_batch.data.readers import read_gsm8k
from formats import FINAL, NO_ANSWER
from golds import Gold, boxed, read_golds, read_special, stated
from made import make
from perturbed import formula_perturbed, in_passing, integer_perturbed
from rewrites import formula_rewrites, integer_rewrites
from worker import MARKED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

PER_INTEGER: Final = 2
PER_FORMULA: Final = 8
PER_FORMAT: Final = 40
NEAR: Final = ("letter as a number", "other letter")
STATED: Final = 0.25
"""Share of replies that state their answer instead of boxing it."""
BOXED_ONLY: Final = (
    "full stop",
    "sentence in",
    "words in",
    "dollars in",
    "about",
    "scientific",
    "comma",
    "hedged",
    "list",
    "slash",
    "decimal",
    "range",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A reply, a gold, and whether the reply is right, with the reason for the label."""

    set: str
    kind: str
    response: str
    gold: str
    right: bool
    why: str = ""


def read_cases(path: Path, name: str | None = None) -> list[Case]:
    """The cases of a file; `name` is the set of a file of the corpus, which does not say."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [
        Case(name or row["set"], row["kind"], row["response"], row["gold"], row["right"], row.get("why", ""))
        for row in rows
    ]


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """Keeps made cases in a file."""
    path.write_text("".join(json.dumps(asdict(case)) + "\n" for case in cases))


def self_agreement(data: Path, seed: int) -> list[Case]:
    """Every gold against itself, boxed and in a plain statement."""
    del seed
    cases = []
    for gold in read_golds(data / "omni_math_rule.jsonl"):
        cases.append(Case("self", "boxed", f"So the answer is\n\\[\\boxed{{{gold.text}}}\\]", gold.text, right=True))
        said = gold.text if MARKED.search(gold.text) else f"${gold.text}$"
        cases.append(Case("self", "stated", f"The answer is {said}", gold.text, right=True))
    return cases


def _chosen(chooser: random.Random, made: Sequence[tuple[Gold, list[tuple[str, str]]]]) -> list[tuple[Gold, str, str]]:
    """Some of what was made of each gold, what is rare before what can be made of all."""
    counts = Counter(kind for _, changes in made for kind, _ in changes)
    chosen = []
    for gold, changes in made:
        most = PER_INTEGER if gold.whole else PER_FORMULA
        ranked = sorted(changes, key=lambda change: chooser.random() ** counts[change[0]], reverse=True)
        chosen += [(gold, kind, answer) for kind, answer in ranked[:most]]
    return chosen


def _reply(chooser: random.Random, kind: str, answer: str) -> str:
    plain = not kind.startswith(BOXED_ONLY) and "$" not in answer
    return stated(chooser, answer) if plain and chooser.random() < STATED else boxed(chooser, answer)


def rewritten(data: Path, seed: int) -> list[Case]:
    """Golds against equal rewrites: all right."""
    chooser = random.Random(seed)
    made = [
        (gold, [*(integer_rewrites(chooser, int(gold.formula)) if gold.whole else formula_rewrites(chooser, gold))])
        for gold in read_golds(data / "omni_math_rule.jsonl")
        if gold.tree is not None
    ]
    return [
        Case("right", kind, _reply(chooser, kind, answer), gold.text, right=True, why=f"{answer} is {gold.formula}")
        for gold, kind, answer in _chosen(chooser, made)
    ]


def perturbed(data: Path, seed: int) -> list[Case]:
    """Golds against perturbed golds: all wrong."""
    chooser = random.Random(seed)
    made = [
        (gold, [*(integer_perturbed(chooser, int(gold.formula)) if gold.whole else formula_perturbed(chooser, gold))])
        for gold in read_golds(data / "omni_math_rule.jsonl")
        if gold.tree is not None
    ]
    cases = []
    for gold, kind, answer in _chosen(chooser, made):
        why = f"{answer} is not {gold.formula}"
        passing = kind in ("one more", "one less", "number one more", "negative") and chooser.random() < 0.5  # noqa: PLR2004
        response = in_passing(chooser, gold.formula, answer) if passing else _reply(chooser, kind, answer)
        cases.append(Case("wrong", "in passing" if passing else kind, response, gold.text, right=False, why=why))
    return cases


def gsm8k(data: Path, seed: int) -> list[Case]:
    """GSM8K's golds in the ways its solutions and models write them, and one off."""
    chooser = random.Random(seed)
    cases = []
    for line in (data / "gsm8k_test.jsonl").read_text().splitlines():
        row = json.loads(line)
        gold = read_gsm8k(row).answer
        value = int(gold)
        for right, number in ((True, value), (False, value + chooser.choice((-1, 1, 10, 100)))):
            said = chooser.choice(
                (f"{number:,}", str(number), f"${number:,}", f"{number}.00", f"{number} dollars", f"{number}%")
            )
            form = chooser.choice(
                (
                    "#### {said}",
                    "The answer is {said}.",
                    r"\boxed{{{said}}}",
                    "**{said}**",
                    "So the answer is **{said}**.",
                    "A: {said}",
                )
            )
            said = said.replace("$", r"\$").replace("%", r"\%") if "boxed" in form else said
            response = row["answer"].rpartition("####")[0] + form.format(said=said)
            cases.append(Case("gsm8k", form, response, gold, right, f"{said} against {gold}"))
    return cases


def special(data: Path, seed: int) -> list[Case]:
    """Golds with answers by hand."""
    del data
    chooser = random.Random(seed)
    return [
        Case(
            "special",
            f"{one.set}, {kind}",
            boxed(chooser, answer),
            one.gold,
            kind == "right",
            f"{answer} against {one.gold}",
        )
        for one in read_special()
        for kind, answers in (("right", one.right), ("wrong", one.wrong))
        for answer in answers
    ]


def made(data: Path, seed: int) -> list[Case]:
    """Golds of other kinds, both ways."""
    del data
    chooser = random.Random(seed)
    return [
        Case("made", kind, boxed(chooser, answer), gold, right, f"{answer} against {gold}")
        for kind, gold, answer, right in make(seed)
    ]


def formats(data: Path, seed: int) -> list[Case]:
    """Replies in the forms of different models, with the gold and with one off; and replies without an answer."""
    chooser = random.Random(seed)
    golds = [gold for gold in read_golds(data / "omni_math_rule.jsonl") if gold.tree is not None]
    cases = []
    for form, reply in FINAL.items():
        for gold in chooser.sample(golds, PER_FORMAT):
            other = _other(chooser, gold)
            cases += [
                _formatted(form, reply, gold, gold.formula, other),
                _formatted(form, reply, gold, other, gold.formula),
            ]
    for form, reply in NO_ANSWER.items():
        for gold in chooser.sample(golds, PER_FORMAT):
            cases.append(
                Case("formats", form, reply.replace("{answer}", gold.formula), gold.text, right=False, why=form)
            )
    return cases


def _formatted(form: str, reply: str, gold: Gold, answer: str, passing: str) -> Case:
    in_json = answer.replace("\\", "\\\\")
    said = reply.replace("{json}", in_json).replace("{answer}", answer).replace("{other}", passing)
    return Case("formats", form, said, gold.text, answer == gold.formula, f"{answer} is said")


def _other(chooser: random.Random, gold: Gold) -> str:
    """Another value than the gold's."""
    if gold.whole:
        return str(int(gold.formula) + chooser.choice((-1, 1, 2, 10)))
    return next(answer for kind, answer in formula_perturbed(chooser, gold) if kind not in NEAR)


MAKERS: Final[dict[str, Callable[[Path, int], list[Case]]]] = {
    "self": self_agreement,
    "wrong": perturbed,
    "right": rewritten,
    "formats": formats,
    "special": special,
    "made": made,
    "gsm8k": gsm8k,
}
"""Set -> what makes it, given the folder of the data and a seed."""
