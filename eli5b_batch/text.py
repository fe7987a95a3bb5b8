"""How numbers, sums of money, times and untrusted texts are written, the same on every screen, page and line.

Must not know: what any of them means. Every function is pure and gives ASCII unless the text given is not.
"""

from __future__ import annotations

from typing import Final

NONE: Final = "-"
"""Stands where there is nothing to show."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MILLION = 1_000_000
_FEW_SECONDS: Final = 9.95
"""Seconds below which a tenth matters."""
_LEAST_USD: Final = 0.005
"""USD that two decimals show."""


def duration(seconds: float | None) -> str:
    """`8.1s`, `45s`, `12m 03s`, `1h 40m`, `2d 03h`; None is `-`."""
    if seconds is None:
        return NONE
    if seconds < _FEW_SECONDS:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
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


def plural(number: int, noun: str) -> str:
    """`1 call`, `14,105 calls`."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def amount(number: float) -> str:
    """A number in at most five characters: `9.8`, `580`, `1.2k`, `300k`, `1.5M`."""
    units = iter("kMGT")
    unit = ""
    while number >= 999.5:  # noqa: PLR2004 - would be written 1000
        number /= 1000
        unit = next(units)
    return f"{number:.{1 if number < 99.95 else 0}f}{unit}"  # noqa: PLR2004 - would be written 100.0


def size(number: float) -> str:
    """Bytes: `512 B`, `20.3 kB`, `340 MB`, `1.2 GB`."""
    short = amount(number)
    return f"{short.rstrip('kMGT')} {short.lstrip('0123456789.')}B" if number >= 1000 else f"{number:.0f} B"  # noqa: PLR2004


def rounded(number: float | None) -> str:
    """`1,234`; None is `-`."""
    return NONE if number is None else f"{number:,.0f}"


def tenths(number: float | None) -> str:
    """`1,234.5`; None is `-`."""
    return NONE if number is None else f"{number:,.1f}"


def speed(per_s: float) -> str:
    """Calls a second, or a minute where that reads better: `9.8/s`, `1.4/min`."""
    slow = 0 < per_s < 0.995  # noqa: PLR2004 - would be written 1.0
    return f"{amount(60 * per_s)}/min" if slow else f"{amount(per_s)}/s"


def percent(part: float | None, whole: float = 1.0) -> str:
    """`42.1%`; `-` where there is no part or the whole is nothing."""
    return NONE if part is None or not whole else f"{100 * part / whole:.1f}%"


def count_and_share(part: int, whole: int) -> str:
    """A count with its share of a whole: `12 (3.4%)`; a bare 0 stays 0."""
    return f"{part:,} ({percent(part, whole)})" if part else "0"


def seconds_and_share(part: float, whole: float) -> str:
    """Seconds with their share of a whole: `12m 03s (3.4%)`."""
    return f"{duration(part)} ({percent(part, whole)})" if whole else duration(part)


def dollars(usd: float, places: int = 2) -> str:
    """`$1,234.50`; a sum that two decimals would show as nothing is `<$0.01`."""
    return "<$0.01" if places == 2 and 0 < usd < _LEAST_USD else f"${usd:,.{places}f}"  # noqa: PLR2004


def cost(usd: float | None, unknown: int = 0) -> str:
    """A cost and the calls whose price nobody knows: `$1.20`, `free`, `unknown`, `$1.20 + 3 calls unknown`."""
    if usd is None or (unknown and not usd):
        return "unknown"
    if unknown:
        return f"{dollars(usd)} + {plural(unknown, 'call')} unknown"
    return dollars(usd) if usd else "free"


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
