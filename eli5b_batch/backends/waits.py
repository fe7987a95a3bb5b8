"""How long to wait after a refusal, as its headers, the fields of its body, or its sentence say.

Must not know: hosts by name, what the refusal means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.backends import limit_headers, spans
from eli5b_batch.backends.values import as_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eli5b_batch.backends.complaints import Complaint

_HEADERS: Final = {"retry-after-ms": 1e-3, "retry-after": 1.0}
"""Headers that say how long to wait, the first one first: name -> seconds in one unit of a bare number."""

_FIELDS: Final = {
    "retry_after_ms": 1e-3,
    "retry_after": 1.0,
    "retry_after_seconds": 1.0,
    "retryAfter": 1.0,
    "retryDelay": 1.0,  # Google: `error.details[].retryDelay: "34s"`, of the type google.rpc.RetryInfo
}
"""Fields of a body that say how long to wait: name -> seconds in one unit of a bare number."""

_HOUR_S: Final = 3600.0
_NESTED: Final = "headers"
"""OpenRouter repeats the headers of a refusal in `error.metadata.headers` (openclaude#936)."""


def seconds(
    headers: Mapping[str, str], complaint: Complaint, now: float, scope: limit_headers.Scope | None = None
) -> float | None:
    """Return the seconds to wait after a refusal, 0 to `spans.LONGEST_WAIT_S`; None where it does not say.

    A wait that the response asks for counts before the times at which its limits are reset.

    Args:
        headers: the response's headers.
        complaint: the content of its body.
        now: unix time by the server's clock.
        scope: what exceeded the limit; None where that is not known.
    """
    wait = asked_for(headers, complaint, now)
    places = _headers(headers, complaint)
    return (
        _reset([limit for place in places for limit in limit_headers.read(place, now)], scope) if wait is None else wait
    )


def asked_for(headers: Mapping[str, str], complaint: Complaint, now: float) -> float | None:
    """Return the seconds that a response asks the client to wait; headers count first, then fields, then its sentence.

    None where it asks for no wait.
    """
    waits = (
        *_each(_headers(headers, complaint), _HEADERS, now),
        *_each(complaint.fields, _FIELDS, now),
        spans.in_sentence(complaint.sentence, now),
    )
    return next((wait for wait in waits if wait is not None), None)


def _headers(headers: Mapping[str, str], complaint: Complaint) -> list[dict[str, object]]:
    """Return the headers of a response, and those that its body repeats, with names in lower case."""
    nested = [as_object(fields.get(_NESTED)) for fields in complaint.fields]
    return [{name.lower(): value for name, value in each.items()} for each in (headers, *nested)]


def _each(places: Iterable[Mapping[str, Any]], names: Mapping[str, float], now: float) -> Iterable[float | None]:
    return (spans.seconds(place.get(name), now, unit_s) for place in places for name, unit_s in names.items())


def _reset(every: Sequence[limit_headers.Limit], scope: limit_headers.Scope | None) -> float | None:
    """Return the seconds until the call may be sent again, by the resets of the limits; None where no header has one.

    The latest reset of all limits that are used up counts; without these the earliest of the limits of `scope`; without
    these the earliest of all. A limit that resets in more than an hour and of which some is left can't be the reason
    for the refusal.
    """
    resets = [
        (limit, limit.reset_s)
        for limit in every
        if limit.reset_s is not None and not (limit.reset_s > _HOUR_S and (limit.remaining or 0) > 0)
    ]
    used_up = [reset_s for limit, reset_s in resets if limit.is_used_up]
    of_scope = [reset_s for limit, reset_s in resets if scope and limit.scope == scope]
    return max(used_up) if used_up else min(of_scope or [reset_s for _, reset_s in resets], default=None)
