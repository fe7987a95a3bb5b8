"""The filters of a job's `data.where`: which problems pass.

Must not know: files, readers, samples.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eli5b_batch.data.problem import Problem

NUMBER_FIELDS: Final[Mapping[str, Callable[[Problem], float | None]]] = {"difficulty": lambda p: p.difficulty}
TEXT_FIELDS: Final[Mapping[str, Callable[[Problem], tuple[str, ...]]]] = {
    "domain": lambda p: p.domains,
    "source": lambda p: (p.source,),
}


def apply_where(problems: Sequence[Problem], where: Mapping[str, Any]) -> list[Problem]:
    """The problems that pass every filter of `data.where`.

    Numbers: `[low, high]`, ends included; a problem without the number does not pass. Texts: a value or a
    list of values; a problem with several (domains) passes with any of them.

    Raises:
        JobError: a field that can't be filtered by, a value of the wrong shape, or one that matches nothing.
    """
    kept = list(problems)
    for name, value in where.items():
        if name in NUMBER_FIELDS:
            passing = _in_range(problems, name, value)
        elif name in TEXT_FIELDS:
            passing = _one_of(problems, name, value)
        else:
            known = ", ".join([*NUMBER_FIELDS, *TEXT_FIELDS])
            raise JobError(f"data.where.{name}: problems can't be filtered by that; known fields: {known}")
        kept = [p for p in kept if p.id in passing]
    if not kept:
        raise JobError(f"data.where: no problem matches all of {', '.join(where)} at once")
    return kept


def _in_range(problems: Sequence[Problem], name: str, value: Any) -> set[str]:  # noqa: ANN401 - as the user wrote it
    match value:
        case [int() | float() as low, int() | float() as high] if low <= high:
            numbers = {p.id: number for p in problems if (number := NUMBER_FIELDS[name](p)) is not None}
        case _:
            raise JobError(f"data.where.{name} must be a range [low, high] of numbers, found {value!r:.60}")
    if not numbers:
        raise JobError(f"data.where.{name}: no problem of this data set has a {name}")
    passing = {key for key, number in numbers.items() if low <= number <= high}
    if not passing:
        raise JobError(
            f"data.where.{name}: no problem lies in [{low:g}, {high:g}];"
            f" this data set runs from {min(numbers.values()):g} to {max(numbers.values()):g}"
        )
    return passing


def _one_of(problems: Sequence[Problem], name: str, value: Any) -> set[str]:  # noqa: ANN401 - as the user wrote it
    wanted = [value] if isinstance(value, str) else value
    if not (isinstance(wanted, list) and wanted and all(isinstance(text, str) for text in wanted)):
        raise JobError(f"data.where.{name} must be a text or a list of texts, found {value!r:.60}")
    texts = {p.id: TEXT_FIELDS[name](p) for p in problems}
    known = sorted({text for found in texts.values() for text in found} - {""})
    for text in wanted:  # each must occur: a misspelt one among good ones would go unseen
        if text not in known:
            near = ", ".join(difflib.get_close_matches(text, known) or known[:10]) or "none at all"
            raise JobError(f"data.where.{name}: no problem has the {name} {text!r}; the data has: {near}")
    return {key for key, found in texts.items() if not set(wanted).isdisjoint(found)}
