from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.backends.base import Advice
from eli5b_batch.backends.limit_headers import advice

NAMES = [
    f"x-ratelimit-{figure}{scope}"
    for figure in ("limit", "remaining", "reset")
    for scope in ("", "-requests", "-tokens", "-requests-day", "-dynamic")
]


def advise(**headers: str) -> Advice | None:
    return advice({name.replace("_", "-"): value for name, value in headers.items()}, lambda: 1_796_115_420.0)


def test_without_limits_there_is_no_advice() -> None:
    assert advise() is None
    assert advise(date="Tue, 01 Dec 2026 08:57:00 GMT", x_ratelimit_remaining_requests="7") is None


def test_limits_with_remaining_and_reset_headers_are_per_minute() -> None:
    # community.openai.com/t/1268905
    limits = advise(
        x_ratelimit_limit_requests="5000",
        x_ratelimit_limit_tokens="160000",
        x_ratelimit_remaining_requests="4999",
        x_ratelimit_remaining_tokens="159976",
        x_ratelimit_reset_requests="12ms",
        x_ratelimit_reset_tokens="9ms",
        x_ratelimit_limit_tokens_usage_based="1",
    )
    assert limits is not None
    assert limits.requests_per_s == pytest.approx(5000 / 60)
    assert limits.tokens_per_s == pytest.approx(160000 / 60)
    assert limits.pause_s is None


def test_a_limit_of_a_day_sets_no_rate() -> None:
    # console.groq.com/docs/rate-limits: requests per day, tokens per minute
    limits = advise(
        x_ratelimit_limit_requests="14400",
        x_ratelimit_limit_tokens="18000",
        x_ratelimit_remaining_requests="14370",
        x_ratelimit_remaining_tokens="17997",
        x_ratelimit_reset_requests="2m59.56s",
        x_ratelimit_reset_tokens="7.66s",
    )
    assert limits == Advice(None, 300.0, None)


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        # mistralai/client-ts#169
        ({"x_ratelimit_limit_req_minute": "720", "x_ratelimit_limit_tokens_minute": "6000"}, Advice(12.0, 100.0)),
        # qwen-code#670
        ({"x_ratelimit_limit_requests_day": "14400", "x_ratelimit_limit_tokens_minute": "6000"}, Advice(None, 100.0)),
        ({"x_ratelimit_limit_requests_second": "5"}, Advice(5.0)),
        ({"anthropic_ratelimit_requests_limit": "60"}, Advice(1.0)),
        ({"x_ratelimit_limit_requests": "600", "x_ratelimit_limit_requests_minute": "60"}, Advice(1.0)),
        ({"x_ratelimit_limit_requests": "600", "x_ratelimit_limit": "4"}, Advice(4.0)),
        ({"x_ratelimit_limit_requests": "0"}, None),
        ({"x_ratelimit_limit_requests": "many"}, None),
        ({"x_ratelimit_limit_requests": "inf"}, None),
    ],
)
def test_the_rate_is_the_least_of_all_limits_of_a_minute_or_less(
    headers: dict[str, str], limits: Advice | None
) -> None:
    assert advise(**headers) == limits


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m0s"}, 60.0),
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "1796115450"}, 30.0),
        ({"x_ratelimit_remaining_tokens": "-12", "x_ratelimit_reset_tokens": "30s"}, None),
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "0s"}, None),
        ({"x_ratelimit_remaining_tokens": "0"}, None),
        # Together's, per second: a share of a second is told as a whole one, which would idle an account in full use
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1"}, None),
    ],
)
def test_a_limit_that_is_used_up_is_a_pause_until_its_reset(headers: dict[str, str], pause_s: float | None) -> None:
    limits = advise(**headers)
    assert (limits.pause_s if limits else None) == pause_s


@given(st.dictionaries(st.sampled_from(NAMES), st.text("0123456789.smh-e", max_size=8)))
def test_whatever_headers_say_advice_is_positive(headers: dict[str, str]) -> None:
    limits = advice(headers, lambda: 0.0)
    assert limits is None or all(value is None or value > 0 for value in limits)
