"""Why calls fail: which failures have one cause, though their sentences name different numbers and ids.

Must not know: calls, hosts, displays. Nothing here reads files or clocks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST: Final = 200
_READ: Final = 4_000
"""Characters of a sentence that are compared: the words in which two causes differ stand at the beginning."""
_MASK: Final = "#"

_NUMBERED: Final = "request|req|trace|correlation|session|message|response|incident|event|error"
_PREFIXES: Final = "req|chatcmpl|cmpl|gen|resp|msg|org|proj|acct|sk|pk"
_UNITS: Final = "milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|months?"
_MONTHS: Final = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_WEEKDAYS: Final = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"

_MASKED: Final = tuple(
    (re.compile(pattern), mask)
    for pattern, mask in (
        # a call's key: 00000-1b00533f|answer|hint:none|model:1b|sample=0; its last part must not hold a space
        (r"[^\s|]{0,200}\|[^|]{1,100}(?:\|\w{1,50}[:=][^|]{0,200}){0,20}\|\w{1,50}[:=][^|\s]{0,200}", _MASK),
        (r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", _MASK),
        # an id that is introduced as one, or has the prefix of one, whatever it looks like
        (
            rf"(?i)(?<![a-z])((?:{_NUMBERED})[ _-]?id|cf-ray)\b(?:[\"'`\s:=#(]|\bis\b)*[\w.+/=-]+",
            rf"\1 {_MASK}",
        ),
        (rf"(?i)\b({_PREFIXES})([-_])(?=[\w-]{{10}})[\w-]+", rf"\1\2{_MASK}"),
        (r"(?i)\b[a-f]{8,}\b", _MASK),  # a hexadecimal id without a digit
        # a number, an amount, a date, a time, an address, a version: any token without a space that has a digit
        (r"(?:(?<!\w)[+-])?[^\W_]*\d[^\W_]*(?:[.,:/+-][^\W_]*\d[^\W_]*)*", _MASK),
        (rf"\b(?:(?:{_WEEKDAYS})[a-z]*,? )?{_MASK},? (?:{_MONTHS})[a-z]*\.?,? {_MASK}", _MASK),
        (rf"\b(?:(?:{_WEEKDAYS})[a-z]*,? )?(?:{_MONTHS})[a-z]*\.? {_MASK}(?:,? {_MASK})*", _MASK),
        # a length of time in any number of units
        (rf"(?i){_MASK} ?(?:{_UNITS})\b(?:(?:,| and|, and)? {_MASK} ?(?:{_UNITS})\b)*", _MASK),
        (rf"{_MASK}(?: {_MASK})+", _MASK),
        (rf"(?i)({_MASK} (?:request|token|call|time|attempt|retr|character|byte|second))(?:s|y|ies)?\b", r"\1"),
    )
)
"""The patterns to replace, in this order, and their replacements."""


def cause_of(error_class: str, message: str) -> str:
    """Return the text that all failures of one cause have in common, at most 200 characters.

    Args:
        error_class: the class of the failure, such as `bad_request`. Failures of two classes never have one cause.
        message: the sentence of the failure. Its numbers, times and ids, which differ from call to call, are masked.
    """
    masked = " ".join(message[:_READ].split())
    for pattern, mask in _MASKED:
        masked = pattern.sub(mask, masked)
    return f"{error_class}: {masked}"[:_LONGEST]


def starts_of(error: Mapping[str, Any], attempts: int) -> int:
    """Return in how many starts of the run a call has failed, by the `error` of its record.

    Args:
        error: the error as recorded. Older records only count how often the call was sent, over all starts.
        attempts: how often a start sends a call to its provider before the call has failed.
    """
    starts = error.get("starts")
    return int(starts if starts is not None else error.get("attempts", 0) // attempts)


@dataclass(slots=True)
class Cause:
    """Failures of one cause.

    Attributes:
        error_class: the class of the failures.
        message: the sentence of the first failure.
        key: the call's key of the first failure.
        count: how many failures there are.
        given_up: how many of them are not tried again.
        calls: how many of them there are by (step, model).
        various: True if these are the rare failures of many causes of one class.
    """

    error_class: str
    message: str
    key: str
    count: int = 0
    given_up: int = 0
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    various: bool = False


class Causes:
    """Failures counted by cause, in bounded memory: where there are very many causes, rare ones are counted by class.

    Args:
        most: how many causes are counted one by one at least; twice as many are counted at most.
    """

    def __init__(self, most: int = 200) -> None:
        self._most = most
        self._causes: dict[str, Cause] = {}
        self._various: dict[str, Cause] = {}

    def add(self, error: Mapping[str, Any], *, key: str, step: str, model: str, given_up: bool) -> None:
        """Count the failure of one call.

        Args:
            error: the error as recorded, with `class` and `message`.
            key: the key of the call.
            step: the step of the call.
            model: the call's model, by its name in the job.
            given_up: True if the call is not tried again.
        """
        error_class, message = str(error.get("class")), str(error.get("message"))
        name = cause_of(error_class, message)
        cause = self._causes.get(name)
        if cause is None:
            if len(self._causes) >= 2 * self._most:
                self._drop_rare()
            cause = self._causes[name] = Cause(error_class, message[:_READ], key)
        cause.count += 1
        cause.given_up += given_up
        cause.calls[step, model] += 1

    def commonest(self) -> list[Cause]:
        """Return every cause, the commonest first; of equally common ones the earliest first."""
        return sorted([*self._causes.values(), *self._various.values()], key=lambda cause: -cause.count)

    def _drop_rare(self) -> None:
        """Keep the commoner half of the causes; count the others by class. One that comes up again starts at 0."""
        names = sorted(self._causes, key=lambda name: -self._causes[name].count)
        for name in names[self._most :]:
            rare = self._causes.pop(name)
            rest = self._various.setdefault(
                rare.error_class, Cause(rare.error_class, rare.message, rare.key, various=True)
            )
            rest.count += rare.count
            rest.given_up += rare.given_up
            rest.calls += rare.calls
