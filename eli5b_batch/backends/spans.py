"""Reads how long to wait from a text: numbers, spans of time and moments, as headers, bodies and sentences hold them.

Must not know: which header or field a text came from. Every wait is in seconds, 0 to `LONGEST_WAIT_S`; None where a
text tells no wait, or one beyond that.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from eli5b_batch.backends.values import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_WAIT_S: Final = 366 * 86400.0
"""A year: no host has a quota of a longer time, so a larger figure is a mistake."""

_UNITS: Final = {
    name: seconds
    for names, seconds in (
        ("ns nanosecond nanoseconds", 1e-9),
        ("us µs μs microsecond microseconds", 1e-6),
        ("ms msec msecs millisecond milliseconds", 1e-3),
        ("s sec secs second seconds", 1.0),
        ("m min mins minute minutes", 60.0),
        ("h hr hrs hour hours", 3600.0),
        ("d day days", 86400.0),
        ("w week weeks", 7 * 86400.0),
    )
    for name in names.split()
}
_PIECE: Final = rf"\d+(?:\.\d+)?\s*(?:{'|'.join(sorted(_UNITS, key=len, reverse=True))})(?![a-zµμ])"
_SPAN: Final = rf"{_PIECE}(?:(?:[\s,]|and)*{_PIECE})*"
_SPAN_ALONE: Final = re.compile(_SPAN, re.IGNORECASE)
_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµμ]+)", re.IGNORECASE)

_EPOCHS: Final = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e9, 1.0))
"""Pairs (least number, units per second): a number from the first on counts units since 1970; a number below all of
them is a span of time."""

_CLOCK: Final = re.compile(r"\d:\d\d:\d\d")
"""The time of day, which every form of an HTTP date has; the standard parser would read `2 Jan` as a date as well."""

_WAITING: Final = re.compile(
    rf"\b(?:again|retry|retrying|wait|waiting|reset|resets|available|access)\b[^.\d]{{0,40}}({_SPAN})", re.IGNORECASE
)
"""`Please try again in 17m16.8s` (Groq), `retry after 20 seconds`, `wait 60 seconds before retrying` (Azure)."""

_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T|\s+at\s+|\s+)(\d\d:\d\d(?::\d\d)?)(?:\.\d+)?\s*(?:Z|UTC|GMT|([+-]\d\d:?\d\d))?",
    re.IGNORECASE,
)
"""`You will regain access on 2026-04-01 at 00:00 UTC` (anthropics/claude-code#38035)."""

_EARLIEST: Final = 946_684_800.0
_LATEST: Final = 4_102_444_800.0
"""The years 2000 to 2100, unix seconds."""

_LONGEST_SENTENCE: Final = 4000


def server_time(headers: Mapping[str, str], wall: Callable[[], float]) -> float:
    """Return the unix time, seconds, of a response by its server's clock, which the dates in it are measured against.

    `wall` counts where the response has no date, or one outside of the years 2000 to 2100.
    """
    date = unix_time(as_text(headers.get("date")))
    return date if date is not None and _EARLIEST < date < _LATEST else wall()


def seconds(value: object, now: float, unit_s: float = 1.0) -> float | None:
    """Return the wait that a header or field tells, seconds; None where it tells none.

    Args:
        value: a number or a text: `7`, `0.5`, `4s`, `6m0s`, `17ms`, an epoch in seconds, milliseconds, microseconds or
            nanoseconds, an HTTP date, ISO 8601. A moment in the past and a negative number are 0.
        now: unix time, seconds, from which the wait to a moment is measured.
        unit_s: the unit of a bare number, seconds.
    """
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else as_text(value).strip()
    number = _number(text)
    if number is not None:
        return _believed(_from_number(number, now, unit_s))
    length = span(text)
    if length is not None:
        return _believed(length)
    moment = unix_time(text)
    return None if moment is None else _believed(moment - now)


def span(text: str) -> float | None:
    """Return the seconds of a span of time: `1h2m3.5s`, `2 minutes and 5 seconds`; None if the text is not one."""
    if not _SPAN_ALONE.fullmatch(text.strip()):
        return None
    return sum(float(count) * _UNITS[unit.lower()] for count, unit in _PARTS.findall(text))


def unix_time(text: str) -> float | None:
    """Return the unix time, seconds, of an HTTP date or an ISO 8601 text (UTC where it has no zone); else None."""
    try:
        if text[:4].isdigit():
            moment = datetime.fromisoformat(text)
        elif _CLOCK.search(text):
            moment = parsedate_to_datetime(text)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def in_sentence(sentence: str, now: float) -> float | None:
    """Return the wait that a sentence tells, seconds, as a span or by a future moment; None where it tells none."""
    sentence = sentence[:_LONGEST_SENTENCE]
    waiting = _WAITING.search(sentence)
    if waiting is not None:
        return _believed(span(waiting[1]) or 0.0)
    for day, time, zone in _MOMENT.findall(sentence):
        moment = unix_time(f"{day}T{time}{zone or 'Z'}")
        if moment is not None and moment > now:
            return _believed(moment - now)
    return None


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _from_number(number: float, now: float, unit_s: float) -> float:
    per_second = next((per_second for least, per_second in _EPOCHS if number >= least), None)
    return number * unit_s if per_second is None else number / per_second - now


def _believed(wait_s: float) -> float | None:
    return max(0.0, wait_s) if -math.inf < wait_s <= LONGEST_WAIT_S else None
