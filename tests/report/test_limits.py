"""report/limits.py: what a run's progress says of its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from eli5b_batch.report.limits import limits_used

if TYPE_CHECKING:
    from pathlib import Path


def test_limits_are_told_of_providers_that_had_any(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    bounded = {"provider": "api", "rate_limited": 2, "limit_history": [[0.0, 3000], [4.5, 1400], [9.0, 2900]]}
    slots = {"provider": "gpus", "rate_limited": 0, "limit_history": []}
    path.write_bytes(orjson.dumps({"providers": [bounded, slots]}))
    (row,) = limits_used(path)
    assert row["provider"] == "api"
    assert [row[k] for k in ("rate_limited", "first", "lowest", "highest", "last")] == [2, 3000, 1400, 3000, 2900]
    assert row["history"] == bounded["limit_history"]


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"providers": [{"provider": "old"}]}'])
def test_without_them_nothing_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "progress.json"
    if content is not None:
        path.write_bytes(content)
    assert limits_used(path) == []
