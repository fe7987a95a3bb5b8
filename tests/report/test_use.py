"""report/use.py: what a run's progress says of its limits and slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from eli5b_batch.progress.snapshot import SLOT_SECONDS
from eli5b_batch.report.use import limit_row, slot_row

if TYPE_CHECKING:
    from eli5b_batch.progress.snapshot import ProviderProgress, SlotProgress

SLOT: dict[str, Any] = {
    "provider": "gpus",
    "slot": "gpu0",
    "calls": 120,
    "loads": 2,
    "on_gpu": None,
    "busy_s": 60.0,
    "loading_s": 10.0,
    "idle_s": 20.0,
    "down_s": 10.0,
}


def slot(**changes: object) -> SlotProgress:
    return cast("SlotProgress", {**SLOT, "url": "http://x", **changes})


def test_the_time_of_a_slot_is_told_in_its_parts() -> None:
    assert slot_row(slot(), {("gpus", "gpu0"): 5000}) == {**SLOT, "seconds": 100.0, "tokens_per_s": 50.0}
    assert slot_row(slot(slot="gpu1"), {("gpus", "gpu0"): 5000})["tokens_per_s"] == 0.0


def test_a_slot_that_measured_no_time_has_no_speed() -> None:
    assert slot_row(slot(**dict.fromkeys(SLOT_SECONDS, 0.0)), {})["tokens_per_s"] is None


def test_a_slot_that_answered_nothing_is_not_given_the_tokens_of_an_earlier_start() -> None:
    assert slot_row(slot(calls=0), {("gpus", "gpu0"): 5000})["tokens_per_s"] == 0.0


def test_limits_are_told_by_where_they_began_went_and_ended() -> None:
    history = [[0.0, 3000], [4.5, 1400], [9.0, 2900]]
    row = limit_row(cast("ProviderProgress", {"provider": "api", "rate_limited": 2, "limit_history": history}))
    assert row["provider"] == "api"
    assert [row[k] for k in ("rate_limited", "first", "lowest", "highest", "last")] == [2, 3000, 1400, 3000, 2900]
    assert row["history"] == history
