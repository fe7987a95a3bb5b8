"""How numbers, sums of money, times and untrusted texts are written, the same on every screen, page and line.

Must not know: what the numbers and texts mean. Every function is pure; its result is ASCII unless its argument is not.
"""

from __future__ import annotations

from typing import Final

NONE: Final = "-"
"""Shown in place of a value that is None or unknown."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MILLION = 1_000_000
_FEW_SECONDS: Final = 9.95
"""Durations below this many seconds are shown with a decimal."""
_LEAST_USD: Final = 0.005
"""Smallest amount, USD, that two decimals show as more than $0.00."""


def duration(seconds: float | None) -> str:
    """Return a duration as `8.1s`, `45s`, `12m 03s`, `1h 40m` or `2d 03h`; None is `-`."""
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
    """Return a count as `14,105`, from a million on as `1.25M`."""
    return f"{number:,}" if abs(number) < _MILLION else f"{number / _MILLION:.2f}M"


def plural(number: int, noun: str) -> str:
    """Return a count with its noun: `1 call`, `14,105 calls`."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def amount(number: float) -> str:
    """Return a number in at most five characters: `9.8`, `580`, `1.2k`, `300k`, `1.5M`."""
    units = iter("kMGT")
    unit = ""
    while number >= 999.5:  # noqa: PLR2004 - would be written 1000
        number /= 1000
        unit = next(units)
    return f"{number:.{1 if number < 99.95 else 0}f}{unit}"  # noqa: PLR2004 - would be written 100.0


def size(number: float) -> str:
    """Return a number of bytes as `512 B`, `20.3 kB`, `340 MB` or `1.2 GB`."""
    short = amount(number)
    return f"{short.rstrip('kMGT')} {short.lstrip('0123456789.')}B" if number >= 1000 else f"{number:.0f} B"  # noqa: PLR2004


def rounded(number: float | None) -> str:
    """Return a number without decimals, `1,234`; None is `-`."""
    return NONE if number is None else f"{number:,.0f}"


def tenths(number: float | None) -> str:
    """Return a number with one decimal, `1,234.5`; None is `-`."""
    return NONE if number is None else f"{number:,.1f}"


def speed(per_s: float) -> str:
    """Return a rate, given per second, as `9.8/s`; below 1/s as `1.4/min`."""
    slow = 0 < per_s < 0.995  # noqa: PLR2004 - would be written 1.0
    return f"{amount(60 * per_s)}/min" if slow else f"{amount(per_s)}/s"


def percent(part: float | None, whole: float = 1.0) -> str:
    """Return the share of `part` in `whole` as `42.1%`; `-` where `part` is None or `whole` is 0."""
    return NONE if part is None or not whole else f"{100 * part / whole:.1f}%"


def count_and_share(part: int, whole: int) -> str:
    """Return a count with its share of a whole, `12 (3.4%)`; a count of 0 is `0`."""
    return f"{part:,} ({percent(part, whole)})" if part else "0"


def seconds_and_share(part: float, whole: float) -> str:
    """Return a duration with its share of a whole, `12m 03s (3.4%)`; without the share where `whole` is 0."""
    return f"{duration(part)} ({percent(part, whole)})" if whole else duration(part)


def dollars(usd: float, places: int = 2) -> str:
    """Return a sum as `$1,234.50`; a sum above 0 that two decimals would show as $0.00 is `<$0.01`."""
    return "<$0.01" if places == 2 and 0 < usd < _LEAST_USD else f"${usd:,.{places}f}"  # noqa: PLR2004


def cost(usd: float | None, unknown: int = 0) -> str:
    """Return a cost as `$1.20`, `free`, `unknown`, or `$1.20 + 3 calls unknown`.

    Args:
        usd: the known cost; None where it is unknown as a whole.
        unknown: number of calls whose price is unknown; they are not in `usd`.
    """
    if usd is None or (unknown and not usd):
        return "unknown"
    if unknown:
        return f"{dollars(usd)} + {plural(unknown, 'call')} unknown"
    return dollars(usd) if usd else "free"


def shortened(text: str, longest: int) -> str:
    """Return `text`; if it is longer than `longest` characters, its beginning and `...`, `longest` in all."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def clean(text: str) -> str:
    """Return `text` on one line, every run of blanks and unprintable characters replaced by one space.

    Error messages and model ids come from servers: an escape sequence, a line break or a lone surrogate
    in them would break the screen, the line, or the write.
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def quoted(text: str) -> str:
    """Return a text with `> ` before every line, so that a judge can't take any of its lines for the prompt's own."""
    return "> " + "\n> ".join(text.splitlines())
