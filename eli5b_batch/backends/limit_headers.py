"""Reads the limits in a response's headers: of what, how much, how much is left, and when the limit is reset.

Must not know: hosts by name, what a limit is used for. Names of headers stand in tables, each with its source.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from eli5b_batch.backends import spans
from eli5b_batch.backends.base import Advice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Scope = Literal["requests", "tokens"]

_NAMES: Final = (
    # OpenAI, Groq, Azure: -limit-requests; Mistral: -limit-req-minute (mistralai/client-ts#169); Cerebras:
    # -reset-tokens-minute, -remaining-requests-day (qwen-code#670). Alone, as `x-ratelimit-reset`: Together and others.
    re.compile(
        r"(?:x-)?ratelimit-(?P<figure>limit|remaining|reset)(?:-(?P<scope>requests|req|tokens))?"
        r"(?:-(?P<window>second|minute|hour|day|month))?"
    ),
    # anthropic-ratelimit-requests-remaining: docs.claude.com/en/api/rate-limits
    re.compile(r"[a-z]+-ratelimit-(?P<scope>requests|tokens)-(?P<figure>limit|remaining|reset)(?P<window>)"),
)
_SCOPES: Final[dict[str, Scope]] = {"requests": "requests", "req": "requests", "tokens": "tokens"}
_WINDOWS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
_LONGEST_PAUSE_S: Final = 60.0
_MINUTE: Final = 60.0

_BARE: Final[dict[Scope, tuple[str, str]]] = {
    "requests": ("x-ratelimit-limit", "x-ratelimit-limit-dynamic"),
    "tokens": ("x-tokenlimit-limit", "x-tokenlimit-limit-dynamic"),
}
"""Headers of limits that count over the host's own window; of a limit and its dynamic twin (Together) the smaller
counts."""


class Limit(NamedTuple):
    """One limit of a host; a field is None where the headers don't tell it, or tell a value that can't be true.

    Attributes:
        scope: what the limit counts.
        window_s: the time that it counts over, seconds.
        most: the limit itself, per window.
        remaining: how much of it is left.
        reset_s: seconds until it is reset.
    """

    scope: Scope | None
    window_s: float | None
    most: float | None = None
    remaining: float | None = None
    reset_s: float | None = None

    @property
    def is_used_up(self) -> bool:
        """True if nothing is left; a negative figure does not count, as some hosts always send one (mastra#10310)."""
        return self.remaining == 0


def read(headers: Mapping[str, object], now: float) -> list[Limit]:
    """Return every limit of the headers; `now` is the unix time, seconds, from which a reset's moment is measured."""
    limits: dict[tuple[Scope | None, float | None], dict[str, float | None]] = defaultdict(dict)
    for name, value in headers.items():
        meaning = _meaning(name)
        if meaning is not None:
            figure, scope, window_s = meaning
            limits[scope, window_s][figure] = spans.seconds(value, now) if figure == "reset" else _number(value)
    return [
        Limit(*key, figures.get("limit"), figures.get("remaining"), figures.get("reset"))
        for key, figures in limits.items()
    ]


@lru_cache(maxsize=512)
def _meaning(name: str) -> tuple[str, Scope | None, float | None] | None:
    """Return the figure, the scope and the window, seconds, that a header tells; None if it tells of no limit.

    The results are cached, as a host's headers have the same names in every reply.
    """
    match = next(filter(None, (form.fullmatch(name.lower()) for form in _NAMES)), None)
    return match and (match["figure"], _SCOPES.get(match["scope"] or ""), _WINDOWS.get(match["window"] or ""))


def advice(headers: Mapping[str, str], wall: Callable[[], float], bare_window_s: float = 1.0) -> Advice | None:
    """Return the rates and the pause that the headers of a reply tell; None where they tell neither.

    Args:
        headers: the reply's headers.
        wall: unix time, seconds; it counts where the headers have no date.
        bare_window_s: the window, seconds, of a limit whose header names neither what it counts nor a window.
    """
    limits = read(headers, spans.server_time(headers, wall))
    rates = {
        scope: _least(
            [
                *(_positive((_number(headers.get(name)) or 0.0) / bare_window_s) for name in names),
                *(_rate(limit) for limit in limits if limit.scope == scope),
            ]
        )
        for scope, names in _BARE.items()
    }
    # A pause is a minute at most, as this call was answered: if nothing is left, the next refusal tells more.
    resets = [limit.reset_s for limit in limits if limit.scope and limit.is_used_up and limit.reset_s]
    pauses = [min(reset_s, _LONGEST_PAUSE_S) for reset_s in resets]
    advice = Advice(rates["requests"], rates["tokens"], max(pauses, default=None))
    return None if advice == Advice() else advice


def _rate(limit: Limit) -> float | None:
    """Return the rate that a limit allows, per second; None for a limit that sets no rate.

    A window that the headers don't tell is a minute, unless the reset is further off. A limit of an hour or a day (as
    Groq's of requests: console.groq.com/docs/rate-limits) sets no rate: all that is left of it may be used at once, and
    spread over the day it would slow down an account that may go faster.
    """
    window_s = limit.window_s or (_MINUTE if (limit.reset_s or 0) <= _MINUTE else math.inf)
    most = _positive(limit.most)
    return most / window_s if most and window_s <= _MINUTE else None


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def _positive(number: float | None) -> float | None:
    return number if number is not None and 0 < number < math.inf else None


def _least(rates: Iterable[float | None]) -> float | None:
    return min((rate for rate in rates if rate is not None), default=None)
