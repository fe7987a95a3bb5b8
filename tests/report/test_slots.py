"""report/slots.py: what a run's progress says of its slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.report.slots import slots_used

if TYPE_CHECKING:
    from pathlib import Path

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


def test_the_time_of_a_slot_is_told_in_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    path.write_bytes(orjson.dumps({"slots": [{**SLOT, "url": "http://x"}, {**SLOT, "slot": "gpu1"}]}))
    first, second = slots_used(path, {("gpus", "gpu0"): 5000})
    assert first == {**SLOT, "seconds": 100.0, "tokens_per_s": 50.0}
    assert second["tokens_per_s"] == 0.0


def test_a_slot_that_measured_no_time_has_no_speed(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    nothing = dict.fromkeys(("busy_s", "loading_s", "idle_s", "down_s"), 0.0)
    path.write_bytes(orjson.dumps({"slots": [SLOT | nothing]}))
    assert slots_used(path, {})[0]["tokens_per_s"] is None


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"slots": [{"provider": "gpus", "slot": "gpu0"}]}'])
def test_without_progress_nothing_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "progress.json"
    if content is not None:
        path.write_bytes(content)
    assert slots_used(path, {}) == []
