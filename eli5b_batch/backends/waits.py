"""How long a refusal says to wait, wherever it says so: headers, fields of the body, its sentence.

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
"""What says plainly how long to wait, in the order in which it is asked, with what a bare number counts in seconds."""

_FIELDS: Final = {
    "retry_after_ms": 1e-3,
    "retry_after": 1.0,
    "retry_after_seconds": 1.0,
    "retryAfter": 1.0,
    "retryDelay": 1.0,  # Google: `error.details[].retryDelay: "34s"`, of the type google.rpc.RetryInfo
}
_HOUR_S: Final = 3600.0
_NESTED: Final = "headers"
"""OpenRouter repeats the headers of a refusal in `error.metadata.headers` (openclaude#936)."""


def seconds(
    headers: Mapping[str, str], complaint: Complaint, now: float, scope: limit_headers.Scope | None = None
) -> float | None:
    """Seconds to wait, 0 to `spans.LONGEST_WAIT_S`; None where a refusal does not say.

    What is asked for goes before when limits are filled again.

    Args:
        headers: of the response.
        complaint: what its body says.
        now: unix time by the server's clock.
        scope: what there was too much of, where that is known.
    """
    wait = asked_for(headers, complaint, now)
    places = _headers(headers, complaint)
    return (
        _reset([limit for place in places for limit in limit_headers.read(place, now)], scope) if wait is None else wait
    )


def asked_for(headers: Mapping[str, str], complaint: Complaint, now: float) -> float | None:
    """Seconds that a response asks for in so many words; what it says plainly goes before what its sentence says."""
    waits = (
        *_each(_headers(headers, complaint), _HEADERS, now),
        *_each(complaint.fields, _FIELDS, now),
        spans.in_sentence(complaint.sentence, now),
    )
    return next((wait for wait in waits if wait is not None), None)


def _headers(headers: Mapping[str, str], complaint: Complaint) -> list[dict[str, object]]:
    """The headers of a response, and those that its body repeats."""
    nested = [as_object(fields.get(_NESTED)) for fields in complaint.fields]
    return [{name.lower(): value for name, value in each.items()} for each in (headers, *nested)]


def _each(places: Iterable[Mapping[str, Any]], names: Mapping[str, float], now: float) -> Iterable[float | None]:
    return (spans.seconds(place.get(name), now, unit_s) for place in places for name, unit_s in names.items())


def _reset(every: Sequence[limit_headers.Limit], scope: limit_headers.Scope | None) -> float | None:
    """When there is more: of what is used up, else of what there was too much of, else of what is filled first.

    A limit of hours of which some is left is not what a call was refused for.
    """
    resets = [
        (limit, limit.reset_s)
        for limit in every
        if limit.reset_s is not None and not (limit.reset_s > _HOUR_S and (limit.left or 0) > 0)
    ]
    used_up = [reset_s for limit, reset_s in resets if limit.is_used_up]
    of_scope = [reset_s for limit, reset_s in resets if scope and limit.scope == scope]
    return max(used_up) if used_up else min(of_scope or [reset_s for _, reset_s in resets], default=None)
