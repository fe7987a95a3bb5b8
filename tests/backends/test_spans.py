from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.backends import spans

NOW = 1_796_115_420.0
"""2026-12-01T08:57:00Z."""

WAITS = st.floats(0, spans.LONGEST_WAIT_S - 10)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("1e2", 100.0),
        ("-3", 0.0),
        ("4s", 4.0),
        ("6m0s", 360.0),
        ("17ms", 0.017),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("350µs", 350e-6),
        ("12ns", 12e-9),
        ("2 minutes and 5 seconds", 125.0),
        ("1 hour, 3 min", 3780.0),
        ("3 days", 259200.0),
        ("1796115450", 30.0),
        ("1796115450.5", 30.5),
        ("1796115450000", 30.0),
        ("1796115450000000", 30.0),
        ("1796115450000000000", 30.0),
        ("1700000000", 0.0),
        ("Tue, 01 Dec 2026 08:58:00 GMT", 60.0),
        ("Tuesday, 01-Dec-26 08:58:00 GMT", 60.0),
        ("Tue Dec  1 08:58:00 2026", 60.0),
        ("Tue, 01 Dec 2026 10:58:00 +0200", 60.0),
        ("Tue, 01 Dec 2026 08:00:00 GMT", 0.0),
        ("2026-12-01T08:57:30Z", 30.0),
        ("2026-12-01T08:57:30.250+00:00", 30.25),
        ("2026-12-01T08:57:30", 30.0),
        (7, 7.0),
        (0.25, 0.25),
        (1796115450000, 30.0),
    ],
)
def test_a_wait_is_read_in_every_form(text: object, wait_s: float) -> None:
    assert spans.seconds(text, NOW) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "nan", "inf", "-inf", "1e999", "1_000", "99999999", "400 days", "2 Jan", "4x", "s", "1s2"),
        *("9" * 400, None, True, [], {}, math.nan, math.inf),
    ],
)
def test_a_text_that_tells_no_wait_or_an_unbelievable_one_is_no_wait(text: object) -> None:
    assert spans.seconds(text, NOW) is None


def test_a_bare_number_counts_what_its_header_says() -> None:
    assert spans.seconds("1500", NOW, 1e-3) == 1.5
    assert spans.seconds("2s", NOW, 1e-3) == 2.0


@given(st.text(max_size=40) | st.from_regex(r"[\d.:a-zA-Z, +-]{0,30}", fullmatch=True) | st.floats() | st.integers())
def test_whatever_a_server_says_is_a_wait_within_bounds_or_none(value: object) -> None:
    wait = spans.seconds(value, NOW)
    assert wait is None or 0 <= wait <= spans.LONGEST_WAIT_S


@given(st.text(max_size=200) | st.from_regex(r"[\w ]{0,20}(try again|wait|resets) [\d. a-z,]{0,30}", fullmatch=True))
def test_whatever_a_sentence_says_is_a_wait_within_bounds_or_none(sentence: str) -> None:
    wait = spans.in_sentence(sentence, NOW)
    assert wait is None or 0 <= wait <= spans.LONGEST_WAIT_S


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59_999))
def test_a_span_is_the_sum_of_its_parts(hours: int, minutes: int, milliseconds: int) -> None:
    text = f"{hours}h{minutes}m{milliseconds / 1000}s"
    assert spans.span(text) == pytest.approx(hours * 3600 + minutes * 60 + milliseconds / 1000)


@given(WAITS)
def test_a_moment_in_any_unit_is_as_far_away_as_it_is(wait_s: float) -> None:
    for per_second in (1, 1e3, 1e6, 1e9):
        assert spans.seconds(str(int((NOW + wait_s) * per_second)), NOW) == pytest.approx(wait_s, abs=1.01)
    assert spans.seconds(formatdate(NOW + wait_s, usegmt=True), NOW) == pytest.approx(wait_s, abs=1.01)


@pytest.mark.parametrize(
    ("sentence", "wait_s"),
    [
        ("Limit 100000, Used 99336, Requested 1700. Please try again in 17m16.8s. Need more tokens?", 1036.8),
        ("Please retry in 34.074824224s.", 34.074824224),
        ("retry in 20 seconds", 20.0),
        ("Please retry after 1 second.", 1.0),
        ("Rate limit of 40000 per 60s exceeded for UserByModelByMinuteTokens. Please wait 55 seconds before", 55.0),
        ("You can try again in about 5 minutes", 300.0),
        ("Your quota resets in 15 hours", 54000.0),
        ("Try again in 6ms", 0.006),
        ("You will regain access on 2026-12-02 at 00:00 UTC.", 54180.0),
        ("Quota resets at 2026-12-01T08:58:00Z.", 60.0),
        ("available again from 2026-12-01 10:58:00+0200", 60.0),
        ("The limit is 30 requests per 60s", None),
        ("Try again later. The limit is 5 per 60s", None),
        ("created 2026-11-01T00:00:00Z, too many requests", None),
        ("please wait", None),
        ("", None),
    ],
)
def test_a_sentence_says_how_long_to_wait(sentence: str, wait_s: float | None) -> None:
    assert spans.in_sentence(sentence, NOW) == (None if wait_s is None else pytest.approx(wait_s))


def test_dates_are_measured_by_the_servers_own_clock() -> None:
    assert spans.server_time({"date": "Tue, 01 Dec 2026 08:57:00 GMT"}, lambda: 0.0) == NOW
    for headers in ({}, {"date": "yesterday"}):
        assert spans.server_time(headers, lambda: 5.0) == 5.0
