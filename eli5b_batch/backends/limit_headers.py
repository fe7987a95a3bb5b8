"""What the headers of a response say of limits: how much of what, how much is left, and when there is more.

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
        r"(?:x-)?ratelimit-(?P<what>limit|remaining|reset)(?:-(?P<scope>requests|req|tokens))?"
        r"(?:-(?P<window>second|minute|hour|day|month))?"
    ),
    # anthropic-ratelimit-requests-remaining: docs.claude.com/en/api/rate-limits
    re.compile(r"[a-z]+-ratelimit-(?P<scope>requests|tokens)-(?P<what>limit|remaining|reset)(?P<window>)"),
)
_SCOPES: Final[dict[str, Scope]] = {"requests": "requests", "req": "requests", "tokens": "tokens"}
_WINDOWS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
_LONGEST_PAUSE_S: Final = 60.0
_MINUTE: Final = 60.0

_BARE: Final[dict[Scope, tuple[str, str]]] = {
    "requests": ("x-ratelimit-limit", "x-ratelimit-limit-dynamic"),
    "tokens": ("x-tokenlimit-limit", "x-tokenlimit-limit-dynamic"),
}
"""Limits over the host's own window; of a limit and its dynamic twin (Together) the smaller holds."""


class Limit(NamedTuple):
    """One limit; None for what the headers don't say of it, or say so that it can't be believed."""

    scope: Scope | None
    window_s: float | None
    most: float | None = None
    left: float | None = None
    reset_s: float | None = None

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left; a figure below 0 is no figure: some hosts send one all the time (mastra#10310)."""
        return self.left == 0


def read(headers: Mapping[str, object], now: float) -> list[Limit]:
    """Every limit of the headers; `now` is unix time, for those that name the moment of their reset."""
    limits: dict[tuple[Scope | None, float | None], dict[str, float | None]] = defaultdict(dict)
    for name, value in headers.items():
        figure = _figure(name)
        if figure is not None:
            what, scope, window_s = figure
            limits[scope, window_s][what] = spans.seconds(value, now) if what == "reset" else _number(value)
    return [
        Limit(*key, figures.get("limit"), figures.get("remaining"), figures.get("reset"))
        for key, figures in limits.items()
    ]


@lru_cache(maxsize=512)
def _figure(name: str) -> tuple[str, Scope | None, float | None] | None:
    """What a header tells, and of which limit; None if of none. Kept: a host's headers are the same in every reply."""
    match = next(filter(None, (form.fullmatch(name.lower()) for form in _NAMES)), None)
    return match and (match["what"], _SCOPES.get(match["scope"] or ""), _WINDOWS.get(match["window"] or ""))


def advice(headers: Mapping[str, str], wall: Callable[[], float], bare_window_s: float = 1.0) -> Advice | None:
    """What the headers of a reply say of how fast one may go on, and for how long not at all; None where nothing.

    Args:
        headers: of a reply.
        wall: unix time, where the headers have no date.
        bare_window_s: what a limit counts over whose header names neither what it counts nor over what time.
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
    # A minute at most: this call was answered. If there is nothing left, the next is refused, and that says more.
    resets = [limit.reset_s for limit in limits if limit.scope and limit.is_used_up and limit.reset_s]
    pauses = [min(reset_s, _LONGEST_PAUSE_S) for reset_s in resets]
    advice = Advice(rates["requests"], rates["tokens"], max(pauses, default=None))
    return None if advice == Advice() else advice


def _rate(limit: Limit) -> float | None:
    """Per second. A window that is not told is a minute, unless its reset is further off.

    A limit of an hour or a day (Groq tells requests so: console.groq.com/docs/rate-limits) is a stock, no pace: while
    some of it is left it may be used at once, and spread over the day it would idle an account that may go faster.
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
