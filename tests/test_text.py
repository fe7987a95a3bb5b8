from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.text import (
    amount,
    clean,
    cost,
    count,
    count_and_share,
    dollars,
    duration,
    percent,
    plural,
    rounded,
    seconds_and_share,
    size,
    tenths,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "0.0s"),
        (8.44, "8.4s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (723, "12m 03s"),
        (6000, "1h 40m"),
        (183600, "2d 03h"),
    ],
)
def test_a_duration_is_written_in_its_largest_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0.0"),
        (9.84, "9.8"),
        (99.96, "100"),
        (580, "580"),
        (999.6, "1.0k"),
        (1234, "1.2k"),
        (300e3, "300k"),
        (999.9e3, "1.0M"),
    ],
)
def test_an_amount_has_at_most_five_characters(number: float, text: str) -> None:
    assert amount(number) == text


def test_counts_shares_and_numbers_are_written_alike_everywhere() -> None:
    assert [count(0), count(14105), count(1_250_000)] == ["0", "14,105", "1.25M"]
    assert [percent(421, 1000), percent(0, 0), percent(3, 3)] == ["42.1%", "-", "100.0%"]
    assert [percent(0.12345), percent(None)] == ["12.3%", "-"]
    assert [count_and_share(12, 400), count_and_share(0, 0)] == ["12 (3.0%)", "0"]
    assert [seconds_and_share(30, 40), seconds_and_share(0, 0)] == ["30s (75.0%)", "0.0s"]
    assert [plural(1, "call"), plural(0, "call"), plural(14105, "call")] == ["1 call", "0 calls", "14,105 calls"]
    assert [tenths(1234.56), tenths(None), rounded(1234.5), rounded(None)] == ["1,234.6", "-", "1,234", "-"]


def test_clean_leaves_nothing_a_terminal_would_obey() -> None:
    assert clean("a\x1b[2Jb\r\nc\td\u202e\u2028e\ud800 \x07") == "a [2Jb c d e"


@given(st.text())
def test_clean_is_printable(text: str) -> None:
    assert clean(text).isprintable()


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0.00"), (0.0049, "<$0.01"), (0.005, "$0.01"), (1.2, "$1.20"), (1234.5, "$1,234.50")],
)
def test_a_sum_is_written_in_cents_and_never_reads_as_nothing_when_it_is_not(usd: float, text: str) -> None:
    assert dollars(usd) == text
    assert dollars(usd, 4) == f"${usd:,.4f}"


def test_a_cost_tells_how_many_calls_have_an_unknown_price() -> None:
    assert cost(1.204, 0) == "$1.20"
    assert cost(0.0, 0) == "free"
    assert cost(0.001, 0) == "<$0.01"
    assert cost(0.0, 3) == "unknown"
    assert cost(1.2, 1) == "$1.20 + 1 call unknown"
    assert cost(1.2, 1200) == "$1.20 + 1,200 calls unknown"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (20_300, "20.3 kB"), (340e6, "340 MB"), (1.23e9, "1.2 GB")],
)
def test_sizes_are_written_in_bytes_and_thousands_of_them(number: float, text: str) -> None:
    assert size(number) == text
