from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.backends import complaints
from eli5b_batch.backends.waits import seconds

if TYPE_CHECKING:
    from eli5b_batch.backends.limit_headers import Scope

NOW = 1_796_115_420.0
SENTENCE = {"error": {"message": "Please try again in 17m16.8s."}}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
GOOGLE = {"error": {"message": "Please retry in 33.9s.", "details": [{"reason": "x"}, RETRY_INFO]}}
NESTED = {"error": {"metadata": {"headers": {"X-RateLimit-Reset": "1796115450000", "X-RateLimit-Remaining": "0"}}}}


@pytest.mark.parametrize(
    ("headers", "body", "wait_s"),
    [
        ({}, {}, None),
        ({"retry-after": "7"}, {}, 7.0),
        ({"Retry-After": "4s"}, {}, 4.0),
        ({"retry-after": "Tue, 01 Dec 2026 08:58:00 GMT"}, {}, 60.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, {}, 0.25),
        ({"retry-after": "1", "x-ratelimit-reset-requests": "6m0s"}, SENTENCE, 1.0),
        ({"retry-after": "soon", "x-ratelimit-reset": "2"}, {}, 2.0),
        ({"x-ratelimit-reset-requests": "6m0s"}, SENTENCE, 1036.8),
        ({"x-ratelimit-reset": "2"}, GOOGLE, 34.0),
        ({}, {"error": {"retry_after": 3}}, 3.0),
        ({}, {"retry_after_ms": 1500}, 1.5),
        ({}, NESTED, 30.0),
        ({"x-ratelimit-reset": "1796115450"}, {}, 30.0),
        ({"X-RateLimit-Reset": "2026-12-01T08:57:30Z"}, {}, 30.0),
        ({"ratelimit-reset": "30"}, {}, 30.0),
        ({"x-ratelimit-reset-tokens-minute": "33.0113"}, {}, 33.0113),
        ({"anthropic-ratelimit-tokens-reset": "2026-12-01T08:57:30Z"}, {}, 30.0),
        ({"x-ratelimit-reset-tokens_usage_based": "9ms"}, {}, None),
    ],
)
def test_a_wait_is_found_wherever_it_is_told(headers: dict[str, str], body: object, wait_s: float | None) -> None:
    wait = seconds(headers, complaints.read(body), NOW)
    assert wait == (None if wait_s is None else pytest.approx(wait_s))


TWINS = {"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "17ms"}


@pytest.mark.parametrize(
    ("more", "scope", "wait_s"),
    [
        ({}, None, 0.017),
        ({}, "tokens", 0.017),
        ({}, "requests", 360.0),
        ({"x-ratelimit-remaining-requests": "0"}, "tokens", 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"}, "tokens", 360.0),
        ({"x-ratelimit-remaining-requests": "12", "x-ratelimit-remaining-tokens": "0"}, "requests", 0.017),
        ({"x-ratelimit-remaining-requests": "-1"}, None, 0.017),
        ({"x-ratelimit-reset-requests": "soon"}, "requests", 0.017),
        ({"x-ratelimit-reset-requests": "15h3m0s", "x-ratelimit-remaining-requests": "900"}, "requests", 0.017),
        ({"x-ratelimit-reset-requests": "15h3m0s", "x-ratelimit-remaining-requests": "0"}, None, 54180.0),
        ({"x-ratelimit-reset": "0.001"}, None, 0.001),
    ],
)
def test_a_used_up_limit_counts_before_the_scope_that_was_refused_and_that_before_the_earliest_reset(
    more: dict[str, str], scope: Scope | None, wait_s: float
) -> None:
    headers: dict[str, Any] = {**TWINS, **more}
    assert seconds(headers, complaints.Complaint(), NOW, scope) == pytest.approx(wait_s)
