"""report/limits.py: what a run's progress says of its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from eli5b_batch.report.limits import limit_row

if TYPE_CHECKING:
    from eli5b_batch.progress.snapshot import ProviderProgress


def test_limits_are_told_by_where_they_began_went_and_ended() -> None:
    history = [[0.0, 3000], [4.5, 1400], [9.0, 2900]]
    row = limit_row(cast("ProviderProgress", {"provider": "api", "rate_limited": 2, "limit_history": history}))
    assert row["provider"] == "api"
    assert [row[k] for k in ("rate_limited", "first", "lowest", "highest", "last")] == [2, 3000, 1400, 3000, 2900]
    assert row["history"] == history
