"""What differs between arms: the planned contrasts, the interaction, the gap closed.

Must not know: files, figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eli5b_batch.protocols.eli5b.conditions import own_size
from eli5b_batch.statistics import intervals as statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl

    from eli5b_batch.statistics.intervals import Comparison, Floats

    Hinted = Mapping[tuple[Any, ...], "ArmAnswers"]

CONTRASTS: Final = (
    ("tailored", "generic"),
    ("rewritten", "generic"),
    ("generic", "none"),
    ("tailored", "placebo"),
    ("tailored_any", "generic"),
)
"""The planned comparisons, first minus second, within each student."""


@dataclass(frozen=True, slots=True)
class ArmAnswers:
    """All answers of one model under one setting of every tag but `sample`.

    `answered` and `correct` count per problem, in one order of problems shared by all arms.
    """

    model: str
    tags: dict[str, str | int]
    rows: pl.DataFrame
    ungraded: int
    answered: Floats
    correct: Floats


def family(pairs: Iterable[tuple[dict[str, Any], ArmAnswers | None, ArmAnswers | None]]) -> list[dict[str, Any]]:
    """The difference of each pair, first minus second, with Holm's correction over all of them.

    Args:
        pairs: labels, which stand before the figures; two arms. Left out where an arm is missing, or where no problem
            has answers in both.
    """
    found = []
    for labels, one, other in pairs:
        if one is None or other is None:
            continue
        mine, theirs = _per_problem(one, other)
        if len(mine):
            compared = statistics.compare(mine - theirs, paired_single=_single(one, other))
            found.append({**labels, **_comparison(compared)})
    adjusted = statistics.holm([row["p"] for row in found])
    return [{**row, "p_holm": p} for row, p in zip(found, adjusted, strict=True)]


def contrasts(arms: Hinted, students: Sequence[str]) -> list[dict[str, Any]]:
    """Every planned contrast of every student; the students of a contrast are a family."""
    found = []
    for first, second in CONTRASTS:
        found += family(
            (
                {"contrast": f"{first} - {second}", "student": student},
                own_size(arms, student, first),
                own_size(arms, student, second),
            )
            for student in students
        )
    return found


def _per_problem(*arms: ArmAnswers) -> tuple[Floats, ...]:
    """Each arm's accuracy per problem, over the problems that all of them have answers to."""
    has = np.logical_and.reduce([arm.answered > 0 for arm in arms])
    return tuple(arm.correct[has] / arm.answered[has] for arm in arms)


def _single(*arms: ArmAnswers) -> bool:
    return all(arm.answered.max() <= 1 for arm in arms)


def _comparison(compared: Comparison) -> dict[str, Any]:
    return {
        "problems": compared.problems,
        "differing": compared.differing,
        "difference": compared.value,
        "interval": compared.interval,
        "p": compared.p,
        "test": compared.test,
    }


def interaction(arms: Hinted, students: Sequence[str]) -> dict[str, Any] | None:
    """Does a hint written for one's own size help more than one written for the other end of the scale?

    [A(s, for s) - A(s, for l)] - [A(l, for s) - A(l, for l)] per problem, for the first and the last student
    (s, l) of the manifest, whose list runs by size. Swapping s and l gives the same number.
    """
    if len(students) < 2:  # noqa: PLR2004 - it takes two
        return None
    small, large = students[0], students[-1]
    pairs = [(small, small), (small, large), (large, small), (large, large)]
    crossed = [arms.get((model, "tailored", hint_for)) for model, hint_for in pairs]
    four = [arm for arm in crossed if arm is not None]
    if len(four) < len(pairs):
        return None
    small_own, small_other, large_other, large_own = _per_problem(*four)
    if not len(small_own):
        return None
    compared = statistics.compare((small_own - small_other) - (large_other - large_own))
    return {"small": small, "large": large, **_comparison(compared)}


def gaps_closed(arms: Hinted, students: Sequence[str], teacher: str | None) -> list[dict[str, Any]]:
    """(tailored - none) / (teacher alone - none) of every student whose three arms exist."""
    found = []
    ceiling = arms.get((teacher, "none", "any"))
    for student in students:
        helped, alone = own_size(arms, student, "tailored"), own_size(arms, student, "none")
        if helped is None or alone is None or ceiling is None:
            continue
        shares = _per_problem(helped, alone, ceiling)
        if len(shares[0]):
            closed = statistics.gap_closed(*shares)
            found.append({"student": student, **closed._asdict()})
    return found
