"""Checks a job's settings for single fields and headers of requests: extra fields, omitted fields, headers.

Must not know: files. Every mistake raises a `JobError`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.errors import JobError
from eli5b_batch.job.explain import kind_of, nearest
from eli5b_batch.job.members import charges_of
from eli5b_batch.job.prices import Price
from eli5b_batch.job.reserved_names import CALL_HEADER, NEEDED, OPENAI, OTHER_BOUNDS
from eli5b_batch.job.schema import OpenAIProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eli5b_batch.job.schema import Job, Member, Model

_SAMPLING: Final = ("temperature", "top_p", "top_k", "max_tokens", "num_ctx", "stop")
_OWNED: Final = {name: f"give it as sampling.{name}" for name in _SAMPLING} | {
    "model": "give it as the model's own `model`",
    "messages": "the prompts are sent as messages; change them by `prompts`",
    "seed": "every call has a seed that follows from the job's `seed`; change that",
    "stream": "replies are always read whole, so it is false",
}
"""Fields that the run fills in -> what to do instead of writing them into `extra`."""
_OWNED_OPENAI: Final = dict.fromkeys(("n", "best_of"), "one reply is read of each call; ask for more by params.samples")
_OWNED_OLLAMA: Final = {
    "num_predict": "give it as sampling.max_tokens",
    "options": "write what it holds into extra itself",
    "truncate": "it is always false, so that no prompt is cut in silence",
    "shift": "it is always false, so that no prompt is cut in silence",
}
_OUR_HEADERS: Final = frozenset(
    "accept-encoding connection content-encoding content-length content-type expect host keep-alive te trailer"
    f" transfer-encoding upgrade {CALL_HEADER}".split()
)
_DEEPEST: Final = 64
_MOST_VALUES: Final = 10_000
_LARGEST: Final = 2**64
_SMALLEST: Final = -(2**63)


def check_fields(job: Job, where: str) -> None:
    """Check all settings of a job for single fields and headers.

    Raises:
        JobError: a setting is wrong; the message says where, what, and what would be right.
    """
    for name, model in job.models.items():
        _check_extra(job, name, model, f"{where}: models.{name}.sampling")
    for name, provider in job.providers.items():
        if isinstance(provider, OpenAIProvider):
            extras = [field for model in job.models_of(name).values() for field in model.sampling.extra or ()]
            sent = list(dict.fromkeys((*OPENAI, *extras)))
            place = f"{where}: providers.{name}"
            _check_omit(provider.omit or [], sent, f"{place}.omit")
            _check_headers(provider.headers_env or {}, f"{place}.headers_env")
            for i, member in enumerate(provider.members):
                _check_omit(member.omit or [], sent, f"{place}.members[{i}].omit")
                _check_headers(member.headers_env or {}, f"{place}.members[{i}].headers_env")
            for account in provider.accounts:
                _check_account(account, place)
    for name, model in job.models.items():
        paid = any(isinstance(charge, Price) for charge in charges_of(job, name).values())
        if job.budget and paid and not is_bounded(job, name):
            raise JobError(
                f"{where}: providers.{model.provider}.omit: without max_tokens nothing bounds the replies of {name}, "
                "and no budget can be kept; add its other name to sampling.extra, such as "
                f"{{max_completion_tokens: {model.sampling.max_tokens}}}, or drop budget"
            )


def is_bounded(job: Job, name: str) -> bool:
    """True if the requests for this model to every account limit the length of a reply."""
    provider, extra = job.provider_of(name), job.models[name].sampling.extra or {}
    accounts = provider.accounts if isinstance(provider, OpenAIProvider) else []
    bounds = {"max_tokens", *OTHER_BOUNDS & extra.keys()}
    return all(bounds - set(account.omit or ()) for account in accounts)


def _check_extra(job: Job, name: str, model: Model, place: str) -> None:
    slots = bool(job.provider_of(name).shape[1])
    owned = _OWNED | (_OWNED_OLLAMA if slots else _OWNED_OPENAI)
    extra = model.sampling.extra or {}
    for field, value in extra.items():
        if field in owned:
            raise JobError(f"{place}.extra.{field}: this field is no extra: {owned[field]}")
        if field in OTHER_BOUNDS and not slots and not _is_a_bound(value, model.sampling.max_tokens):
            raise JobError(
                f"{place}.extra.{field}: must be a whole number from 1 to sampling.max_tokens "
                f"({model.sampling.max_tokens}), by which money and time are reckoned, and this is {kind_of(value)}"
            )
    _check_json(extra, f"{place}.extra")


def _is_a_bound(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _check_json(extra: Mapping[str, Any], place: str) -> None:
    """Refuse values that no request can hold: YAML has more kinds of values than JSON, and values within themselves."""
    waiting: deque[tuple[str, int, object]] = deque([(place, 0, extra)])
    values = 0
    while waiting:
        at, depth, value = waiting.popleft()
        values += 1
        if depth > _DEEPEST or values > _MOST_VALUES:
            raise JobError(
                f"{place}: it is nested more than {_DEEPEST} deep, or holds more than {_MOST_VALUES:,} values"
            )
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise JobError(f"{at}: a key must be a text: put it in quotes")
            waiting.extend((f"{at}.{key}", depth + 1, inner) for key, inner in value.items())
        elif isinstance(value, list):
            waiting.extend((f"{at}[{i}]", depth + 1, inner) for i, inner in enumerate(value))
        elif isinstance(value, int | float):
            if not (math.isfinite(value) if isinstance(value, float) else _SMALLEST <= value < _LARGEST):
                raise JobError(f"{at}: must be a finite number of at most 64 bits, and this is {kind_of(value)}")
        elif not isinstance(value, str | None):
            raise JobError(f"{at}: must be what JSON can hold, and this is {kind_of(value)}; put it in quotes")


def _check_omit(omit: list[str], sent: list[str], place: str) -> None:
    """Check the fields that are not to be sent; `sent` are the fields of a request."""
    for i, field in enumerate(omit):
        if field in NEEDED:
            raise JobError(f"{place}[{i}]: no request can do without {field}")
        if field not in sent:
            omittable = [name for name in sent if name not in NEEDED]
            hint = nearest(field, omittable, "fields that are sent")
            raise JobError(f"{place}[{i}]: no field {field!r} is sent; {hint}")
        if field in omit[:i]:
            raise JobError(f"{place}[{i}]: {field} stands twice")


def _check_headers(headers: Mapping[str, str], place: str) -> None:
    spellings: dict[str, str] = {}
    for header in headers:
        if header.lower() in _OUR_HEADERS:
            raise JobError(f"{place}.{header}: the run sets this header itself; leave it out")
        if spellings.setdefault(header.lower(), header) != header:
            raise JobError(f"{place}.{header}: {spellings[header.lower()]} is the same header; give it once")


def _check_account(account: Member, place: str) -> None:
    """Refuse a header Authorization beside a key, as the key is sent in that header."""
    setting = next((key for key in ("api_key_env", "api_key_command") if getattr(account, key)), None)
    for header in account.headers_env or {}:
        if setting and header.lower() == "authorization":
            member = f" (member {account.name})" if account.name else ""
            raise JobError(f"{place}.headers_env.{header}: {setting} gives this header{member}; leave one of them out")
