from __future__ import annotations

import pytest

from eli5b_batch.text import dollars


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0.00"), (0.0049, "<$0.01"), (0.005, "$0.01"), (1.2, "$1.20"), (1234.5, "$1,234.50")],
)
def test_a_sum_is_written_in_cents_and_never_reads_as_nothing_when_it_is_not(usd: float, text: str) -> None:
    assert dollars(usd) == text
