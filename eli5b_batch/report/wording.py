"""How arms, differences and p-values are written, the same in the terminal, on the page and in the figure.

Must not know: how any of them is computed or laid out. Numbers, money and times are written by `text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUMMARY_SCHEMA: Final = 5
"""Version of summary.json; written as `schema`. A report of another version is made anew."""

_SMALLEST_P = 0.001
_NAMED = 3
"""So many are named in a note."""


def percent_range(interval: Sequence[float] | None) -> str:
    """An interval of shares as `10.1 to 14.6`, in %."""
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, always with its sign: `+3.4`."""
    return f"{_whole_zero(difference):+.1f}"


def points_range(interval: Sequence[float] | None) -> str:
    """An interval of differences as `-0.4 to +2.6`, in percentage points."""
    return "-" if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def p_value(p: float) -> str:
    """A p-value with three decimals."""
    return f"< {_SMALLEST_P}" if p < _SMALLEST_P else f"{p:.3f}"


def decimal(value: float | None) -> str:
    """A figure between -1 and 1 with two decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def arm_label(arm: dict[str, Any]) -> str:
    """An arm in one line: its model and its tags."""
    tags = ", ".join(f"{tag} {value}" for tag, value in arm["tags"].items())
    return f"{arm['model']}: {tags}" if tags else str(arm["model"])


def how_lost(arms: Sequence[dict[str, Any]]) -> str:
    """What answers of these arms may have suffered, in words."""
    words = {"filtered": "filtered", "wordless": "without a word"}
    seen = ["cut off", *(word for name, word in words.items() if any(arm[name] for arm in arms))]
    return f"{', '.join(seen)} or failed"


def level(thinking: Any) -> str:  # noqa: ANN401 - a text, or {"tokens": n}
    """A setting of `sampling.thinking` as a job says it; a dash where it is left out."""
    if thinking is None:
        return "-"
    return f"{thinking['tokens']:,} tokens" if isinstance(thinking, dict) else str(thinking)


def named(rows: Iterable[str]) -> str:
    """A list of which only the first few are named: a note is one sentence, the page has them all."""
    texts = list(rows)
    return "; ".join([*texts[:_NAMED], f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else texts)


def hint_label(hint: str) -> str:
    """A condition as words: `tailored_any` is a name of the program, not of the world."""
    return {"none": "no hint", "tailored_any": "tailored (any)"}.get(hint, hint.replace("_", " "))


def size_of(summary: dict[str, Any]) -> str:
    """How much data a summary rests on: `2,821 problems, 4 samples each`."""
    problems, samples = summary["problems"], summary["samples"]
    text = plural(problems, "problem")
    return f"{text}, {plural(samples, 'sample')} each" if problems else text


def title(summary: dict[str, Any]) -> str:
    """The run's name, and SIMULATED before it where it is."""
    return f"SIMULATED {summary['name']}" if summary["simulated"] else str(summary["name"])


def _whole_zero(difference: float) -> float:
    """In percentage points, with -0.04 written as +0.0 and not as -0.0."""
    rounded = round(100 * difference, 1)
    return rounded or 0.0
