"""Quirks of what hosts tell of limits: how long to wait, and how much is allowed.

Must not know: which calls meet them, how an account is measured (`meter`).
"""

from __future__ import annotations

import math
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from eli5b_batch.simulated.quirks.base import TOO_MANY, Quirk, Scene, SentResponse, failure, refuses, sent
from eli5b_batch.simulated.rate import burst

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KINDS: Final = {"requests": "x-ratelimit", "tokens": "x-tokenlimit"}
"""What the ordinary headers, those of Together, call requests and tokens."""

_ORDINARY: Final = tuple(f"{name}-" for name in _KINDS.values())

_MINUTES: Final = {"openai": {"requests": 1, "tokens": 1}, "groq": {"requests": 24 * 60, "tokens": 1}}
"""What a limit is told for, minutes: Groq's of requests is a day's."""

_TOO_FAST: Final = refuses(
    TOO_MANY, "Rate limit reached for {model}. Please slow down.", "requests", "rate_limit_exceeded"
)


def _tells(name: str, written: Callable[[Scene], str]) -> Callable[[Scene], SentResponse]:
    """Makes a 429 that tells the wait in one header."""

    def make(scene: Scene) -> SentResponse:
        answer = _TOO_FAST(scene)
        return answer._replace(headers={**answer.headers, name: written(scene)})

    return make


def duration(seconds: float) -> str:
    """As Go writes one: `17ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"


def respelled(headers: Mapping[str, str], style: str) -> dict[str, str]:
    """The ordinary headers of limits as OpenAI or Groq write them; empty where the account has no limits.

    What is left is counted down from the limit, and it is told how long it takes until all of it is there again.
    """
    told = {}
    for kind, ordinary in _KINDS.items():
        if f"{ordinary}-limit" in headers:
            per_second, left = float(headers[f"{ordinary}-limit"]), int(headers[f"{ordinary}-remaining"])
            limit = round(60 * per_second * _MINUTES[style][kind])
            used = max(0.0, burst(per_second) - left)
            told[f"x-ratelimit-limit-{kind}"] = str(limit)
            told[f"x-ratelimit-remaining-{kind}"] = str(max(0, limit - int(used)))
            told[f"x-ratelimit-reset-{kind}"] = duration(round(used / per_second, 3))
    return told


def _in_words_of(style: str, wait: Callable[[int], dict[str, str]]) -> Callable[[Scene], SentResponse]:
    """Makes any answer with limits told as `style` does, and refusals in its words; `wait`: its headers for seconds."""

    def make(scene: Scene) -> SentResponse:
        kept = {name: value for name, value in scene.headers.items() if not name.lower().startswith(_ORDINARY)}
        told = {**kept, **respelled(scene.headers, style)}
        if scene.status != TOO_MANY:
            return sent(scene, scene.reply)._replace(headers=told)
        kind = next(kind for kind in _KINDS if kind[:-1] in str(scene.reply["error"]["type"]))
        seconds = max(1, int(scene.headers["x-ratelimit-reset"]))
        sentence = (
            f"Rate limit reached for {scene.model} in organization org-SIMULATED on {kind} per min: "
            f"Limit {told[f'x-ratelimit-limit-{kind}']}. Please try again in {duration(seconds)}."
        )
        body = failure(sentence, kind, "rate_limit_exceeded")
        return sent(scene, body)._replace(headers={**told, **wait(seconds)})

    return make


LIMITS: Final[dict[str, Quirk]] = {
    "retry_after_epoch_s": Quirk(
        "429 until the time in `X-RateLimit-Reset`, an epoch in seconds",
        "dirge#719, hindsight#3508",
        _tells("X-RateLimit-Reset", lambda scene: f"{scene.now + scene.wait_s:.0f}"),
        lasts="wait",
    ),
    "retry_after_epoch_ms": Quirk(
        "429 until the time in `X-RateLimit-Reset`, an epoch in milliseconds",
        "OpenRouter: mastra#23778",
        _tells("X-RateLimit-Reset", lambda scene: f"{1000 * (scene.now + scene.wait_s):.0f}"),
        lasts="wait",
    ),
    "retry_after_duration": Quirk(
        "429 for as long as `Retry-After` says in minutes and seconds, such as `0m2s`",
        "made up",
        _tells("Retry-After", lambda scene: f"0m{math.ceil(scene.wait_s)}s"),
        lasts="wait",
    ),
    "retry_after_http_date": Quirk(
        "429 until the date in `Retry-After`",
        "RFC 9110, 10.2.3",
        _tells("Retry-After", lambda scene: formatdate(round(scene.now + scene.wait_s), usegmt=True)),
        lasts="wait",
    ),
    "retry_after_ms": Quirk(
        "429 for as long as `retry-after-ms` says",
        "Azure, OpenAI",
        _tells("retry-after-ms", lambda scene: f"{math.ceil(1000 * scene.wait_s)}"),
        lasts="wait",
    ),
    "limit_headers_openai": Quirk(
        "the account's limits are told as OpenAI does",
        "OpenAI, vLLM proxies",
        _in_words_of("openai", lambda seconds: {"retry-after-ms": str(1000 * seconds)}),
        "headers",
    ),
    "limit_headers_groq": Quirk(
        "the account's limits are told as Groq does: requests of a day, tokens of a minute",
        "Groq",
        _in_words_of("groq", lambda seconds: {"retry-after": str(seconds)}),
        "headers",
    ),
}
"""By name."""
