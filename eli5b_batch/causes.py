"""Why calls fail: what makes two failures one cause, though their sentences name other numbers and ids.

Must not know: calls, hosts, displays. Everything here is pure.
"""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 200
_READ: Final = 4_000
"""Characters of a sentence that count; what tells two causes apart stands at its beginning."""
_MASK: Final = "#"

_NUMBERED: Final = "request|req|trace|correlation|session|message|response|incident|event|error"
_PREFIXES: Final = "req|chatcmpl|cmpl|gen|resp|msg|org|proj|acct|sk|pk"
_UNITS: Final = "milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|months?"
_MONTHS: Final = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_WEEKDAYS: Final = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"

_MASKED: Final = tuple(
    (re.compile(pattern), mask)
    for pattern, mask in (
        # a call's key: 00000-1b00533f|answer|hint:none|model:1b|sample=0; only its last part can't hold a space here
        (r"[^\s|]{0,200}\|[^|]{1,100}(?:\|\w{1,50}[:=][^|]{0,200}){0,20}\|\w{1,50}[:=][^|\s]{0,200}", _MASK),
        (r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", _MASK),
        # an id that is called one, or begins like one, whatever it looks like
        (
            rf"(?i)\b((?:[a-z]+[ _-]?)?(?:{_NUMBERED})[ _-]?id|cf-ray)\b(?:[\"'`\s:=#(]|\bis\b)*[\w.+/=-]+",
            rf"\1 {_MASK}",
        ),
        (rf"(?i)\b({_PREFIXES})([-_])(?=[\w-]{{10}})[\w-]+", rf"\1\2{_MASK}"),
        (r"(?i)\b[a-f]{8,}\b", _MASK),  # a hexadecimal one without a digit
        # a number, an amount, a date, a time, an address, a version: whatever hangs together and has a digit in it
        (r"(?:(?<!\w)[+-])?[^\W_]*\d[^\W_]*(?:[.,:/+-][^\W_]*\d[^\W_]*)*", _MASK),
        (rf"\b(?:(?:{_WEEKDAYS})[a-z]*,? )?{_MASK},? (?:{_MONTHS})[a-z]*\.?,? {_MASK}", _MASK),
        (rf"\b(?:(?:{_WEEKDAYS})[a-z]*,? )?(?:{_MONTHS})[a-z]*\.? {_MASK}(?:,? {_MASK})*", _MASK),
        # a length of time in any number of units
        (rf"(?i){_MASK} ?(?:{_UNITS})\b(?:(?:,| and|, and)? {_MASK} ?(?:{_UNITS})\b)*", _MASK),
        (rf"{_MASK}(?: {_MASK})+", _MASK),
        (rf"(?i)({_MASK} (?:request|token|call|time|attempt|retr|character|byte|second))(?:s|y|ies)?\b", r"\1"),
    )
)
"""In this order: what is replaced, and by what."""


def cause_of(error_class: str, message: str) -> str:
    """What a failure has in common with others of its cause, at most 200 characters.

    Args:
        error_class: of the failure, such as `bad_request`; failures of two classes never have one cause.
        message: its sentence, in which numbers, times and ids are masked: they differ from call to call.
    """
    masked = " ".join(message[:_READ].split())
    for pattern, mask in _MASKED:
        masked = pattern.sub(mask, masked)
    return f"{error_class}: {masked}"[:_LONGEST]
