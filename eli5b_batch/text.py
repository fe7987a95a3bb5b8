"""Numbers and texts as a display shows them: short, in fixed places, harmless to a terminal.

Must not know: snapshots, rich. Every function is pure and gives ASCII unless the text given is not.
"""

from __future__ import annotations

from typing import Final

NONE = "-"
"""Shown where there is nothing to show."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MILLION = 1_000_000


def duration(seconds: float | None) -> str:
    """`8s`, `12m 03s`, `1h 40m`, `2d 03h`; None is `-`."""
    if seconds is None:
        return NONE
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02d}h"


def count(number: int) -> str:
    """`14,105`; from a million on `1.25M`."""
    return f"{number:,}" if abs(number) < _MILLION else f"{number / _MILLION:.2f}M"


def amount(number: float) -> str:
    """A rate in at most five characters: `9.8`, `580`, `1.2k`, `300k`, `1.5M`."""
    units = iter("kMGT")
    unit = ""
    while number >= 999.5:  # noqa: PLR2004 - would be written 1000
        number /= 1000
        unit = next(units)
    return f"{number:.{1 if number < 99.95 else 0}f}{unit}"  # noqa: PLR2004 - would be written 100.0


def speed(per_s: float) -> str:
    """Calls a second, or a minute where that reads better: `9.8/s`, `1.4/min`."""
    slow = 0 < per_s < 0.995  # noqa: PLR2004 - would be written 1.0
    return f"{amount(60 * per_s)}/min" if slow else f"{amount(per_s)}/s"


def percent(part: float, whole: float) -> str:
    """`42.1%`; `-` where the whole is nothing."""
    return f"{100 * part / whole:.1f}%" if whole else NONE


def shortened(text: str, longest: int) -> str:
    """`text`, or its beginning with `...` where it is longer than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def clean(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey.

    Error messages and model ids come from servers: escape sequences, line breaks and lone surrogates
    in them would break the screen, the line, or the write.
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def quoted(text: str) -> str:
    """A text as a judge is shown it: every line begins with `>`, whatever ends a line, so that none can be its own."""
    return "> " + "\n> ".join(text.splitlines())


_LEAST: Final = 0.005
"""USD that two decimals show."""


def dollars(usd: float) -> str:
    """`$1,234.50`; a sum that would read as nothing is `<$0.01`."""
    return "<$0.01" if 0 < usd < _LEAST else f"${usd:,.2f}"
