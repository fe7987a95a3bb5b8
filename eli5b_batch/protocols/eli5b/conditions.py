"""The conditions of a report, and the arms found by them.

Must not know: how results are computed. It costs nothing to import: a report that is only shown again needs no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

CONDITIONS: Final = ("none", "placebo", "generic", "rewritten", "tailored_any", "tailored")
"""Values of the tag `hint`, in the order in which they are shown: least to most made to measure."""


def by_hint(arms: Iterable[tuple[str, Mapping[str, Any], T]]) -> dict[tuple[Any, ...], T]:
    """Arms, given as (model, tags, anything), by (model, hint, whom the hint was written for)."""
    return {(model, tags.get("hint"), tags.get("hint_for")): arm for model, tags, arm in arms}


def own_size(arms: Mapping[tuple[Any, ...], T], model: str, hint: str) -> T | None:
    """The arm of `model` with `hint` written for itself, else for any model; None where there is none."""
    return arms.get((model, hint, model)) or arms.get((model, hint, "any"))
