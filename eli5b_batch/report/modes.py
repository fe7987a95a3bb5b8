"""What thinking is worth: models of one id at one provider that are asked to think differently, under each hint.

Must not know: files, figures, how thoughts are asked for.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.protocols.eli5b.conditions import CONDITIONS, own_size
from eli5b_batch.report.contrasts import family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eli5b_batch.report.contrasts import ArmAnswers, Hinted

_LEVELS: Final = ("off", "low", "medium", "on", "high", "max")
"""From less to more."""


def modes(arms: Hinted, students: Sequence[str], models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each hint, every pair of modes of one model: the mode that thinks more minus the other.

    The pairs under one hint are a family. A hint written for the student is one for each mode; all others are the same.

    Args:
        arms: by model, hint and whom the hint was written for.
        students: in the order of a report.
        models: of the manifest, which says what thinking was asked of each; those of older versions do not.
    """
    pairs = list(_pairs(students, models))
    found = []
    for hint in CONDITIONS:
        found += family(
            (
                _labels(hint, (more, models[more]), (less, models[less])),
                own_size(arms, more, hint),
                own_size(arms, less, hint),
            )
            for more, less in pairs
        )
    for row in found:
        for name, student in (("output_tokens", "student"), ("output_tokens_other", "other")):
            row[name] = _mean_tokens(own_size(arms, row[student], row["hint"]))
    return found


def _pairs(students: Sequence[str], models: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Two names of one model id at one provider that are asked to think differently: the more, the less."""
    amounts = {name: _amount(models[name]) for name in students if "thinking" in models.get(name, {})}
    for one, other in combinations(amounts, 2):
        here, there = models[one], models[other]
        same = (here["provider"], here["model"]) == (there["provider"], there["model"])
        more, less = sorted((one, other), key=lambda name: amounts[name][1], reverse=True)
        if same and _can_be_ordered(amounts[one], amounts[other]):
            yield more, less


def _amount(model: Mapping[str, Any]) -> tuple[str, int]:
    """How much a model is asked to think, and on which scale; left out, as it does by default, where that is known."""
    thinking = model["thinking"]
    if isinstance(thinking, dict):
        return "tokens", int(thinking["tokens"])
    by_default = {"thinks": "on", "does not think": "off"}.get(model.get("by_default", ""))
    level = by_default if thinking is None else thinking
    return ("unknown", 0) if level is None else ("level", _LEVELS.index(level))


def _can_be_ordered(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether one is more than the other for sure: a number of tokens is more than none, and else has no level."""
    scales = {one[0], other[0]}
    return one[1] != other[1] and "unknown" not in scales and (len(scales) == 1 or 0 in (one[1], other[1]))


def _labels(hint: str, more: tuple[str, Mapping[str, Any]], less: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "hint": hint,
        "student": more[0],
        "other": less[0],
        "thinking": more[1]["thinking"],
        "thinking_other": less[1]["thinking"],
    }


def _mean_tokens(arm: ArmAnswers | None) -> Any:  # noqa: ANN401 - a number, or None where no reply tells its tokens
    return None if arm is None else arm.rows["output_tokens"].mean()
