from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.text import amount, clean, count, dollars, duration, percent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "0s"),
        (8.4, "8s"),
        (59.6, "1m 00s"),
        (723, "12m 03s"),
        (6000, "1h 40m"),
        (183600, "2d 03h"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
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
def test_amount(number: float, text: str) -> None:
    assert amount(number) == text


def test_other_texts() -> None:
    assert [count(0), count(14105), count(1_250_000)] == ["0", "14,105", "1.25M"]
    assert [percent(421, 1000), percent(0, 0), percent(3, 3)] == ["42.1%", "-", "100.0%"]


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
