"""How numbers and arms are written, the same in the terminal, on the page and in the figure.

Must not know: how any of them is computed or laid out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.text import dollars

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUMMARY_SCHEMA: Final = 5
"""Version of summary.json; written as `schema`. A report of another version is made anew."""

_SMALLEST_P = 0.001
_MINUTE, _HOUR = 60, 3600
_NAMED = 3
"""So many are named in a note."""


def percent(share: float | None) -> str:
    """A share as `12.3%`; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.1f}%"


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


def whole(value: float | None) -> str:
    """A mean of many as a whole number; a dash where there is none."""
    return "-" if value is None else f"{value:,.0f}"


def money(usd: float, unknown: int) -> str:
    """A cost with what is unknown of it: `$1.20`, `free`, `unknown`, `$1.20 + 3 calls unknown`."""
    known = dollars(usd)
    if not unknown:
        return known if usd else "free"
    calls = "1 call" if unknown == 1 else f"{unknown:,} calls"
    return f"{known} + {calls} unknown" if usd else "unknown"


def duration(seconds: float | None) -> str:
    """Seconds as `8.1 s`, `12 min 03 s` or `1 h 40 min`; a dash where there are none."""
    if seconds is None:
        return "-"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < _HOUR:
        return f"{rounded // _MINUTE} min {rounded % _MINUTE:02d} s"
    return f"{rounded // _HOUR} h {rounded % _HOUR // _MINUTE:02d} min"


def seconds_and_share(seconds: float, total: float) -> str:
    """Seconds with their share of a total: `12.5 s (3.4%)`."""
    return f"{duration(seconds)} ({percent(seconds / total)})" if total else duration(seconds)


def speed(per_s: float | None) -> str:
    """A rate, per second."""
    return "-" if per_s is None else f"{per_s:,.1f}"


def count_and_share(count: int, total: int) -> str:
    """A count with its share of a total: `12 (3.4%)`; a bare 0 stays 0."""
    return f"{count:,} ({percent(count / total)})" if count else "0"


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
    text = "1 problem" if problems == 1 else f"{problems:,} problems"
    return f"{text}, {samples} {'sample' if samples == 1 else 'samples'} each" if problems else text


def title(summary: dict[str, Any]) -> str:
    """The run's name, and SIMULATED before it where it is."""
    return f"SIMULATED {summary['name']}" if summary["simulated"] else str(summary["name"])


def _whole_zero(difference: float) -> float:
    """In percentage points, with -0.04 written as +0.0 and not as -0.0."""
    rounded = round(100 * difference, 1)
    return rounded or 0.0
