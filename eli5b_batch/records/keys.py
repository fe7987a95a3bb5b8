"""What a call is called and how it is written down: keys, request hashes, seeds, field names.

Must not know: files, clocks, providers. Everything here is a pure function.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD_SCHEMA: Final = 1
"""Version of a journal line; written to every line as `schema`."""

RESERVED: Final = frozenset(
    (
        # fields of a journal line
        "key status request_hash problem step model provider slot simulated request reply usage cost_usd timing error"
        " built_on schema"
        # columns of a row of results
        " verdict correct answer gold input_tokens output_tokens latency_s call finish_reason"
        " finish built_on_finish truncated"
        # and where a judge graded
        " rule rule_verdict"
    ).split()
)
"""What a protocol's tag may not be called, because a journal line or a row of results has a field of that name."""

_SAFE: Final = " :/.,+-_@"


class CallName(NamedTuple):
    """What a key says: which call of the experiment it is."""

    problem: str
    step: str
    model: str
    tags: dict[str, str | int]


def make_key(problem: str, step: str, model: str, tags: Mapping[str, str | int]) -> str:
    """The identity of a call: ASCII text of problem, step and sorted tags (the model's name among them).

    It holds nothing that is not part of the question: no address, no time, no attempt.
    Whole numbers are written `n=0`, texts `n:text`, so that `parse_key` gives back what was put in.
    """
    named = {**tags, "model": model}
    parts = [_quoted(problem), _quoted(step)]
    for tag in sorted(named):
        value = named[tag]
        parts.append(f"{tag}={value}" if isinstance(value, int) else f"{tag}:{_quoted(value)}")
    return "|".join(parts)


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """Kept, because every key is made of the same few words: quoting them anew took a tenth of a rehearsal."""
    return quote(text, safe=_SAFE)


def parse_key(key: str) -> CallName:
    """The inverse of `make_key`.

    Raises:
        ValueError: `key` was not made by `make_key`.
    """
    problem, step, *rest = key.split("|")
    tags: dict[str, str | int] = {}
    for part in rest:
        name, colon, text = part.partition(":")
        if colon and "=" not in name:
            tags[name] = unquote(text)
        else:
            name, _, number = part.partition("=")
            tags[name] = int(number)
    if "model" not in tags:
        raise ValueError(f"not a call key: {key!r}")
    model = str(tags.pop("model"))
    return CallName(unquote(problem), unquote(step), model, tags)


def request_hash(request: Mapping[str, Any]) -> str:
    """16 hex digits over what is asked: model id, messages, sampling and seed; never over where."""
    return hashlib.blake2b(
        orjson.dumps(request, option=orjson.OPT_SORT_KEYS), digest_size=8, usedforsecurity=False
    ).hexdigest()


def derive_seed(run_seed: int, problem: str, model: str, sample: int) -> int:
    """The sampling seed of a call, 0..2^31-1: the same in every arm, so that arms differ in wording only."""
    text = f"{run_seed}|{problem}|{model}|{sample}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4, usedforsecurity=False).digest(), "big") >> 1
