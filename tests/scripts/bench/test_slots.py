"""slots.py: its lower bound and busy share, and one small measurement from end to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from slots import Worked, _judge

SCRIPT = Path(__file__).parents[3] / "scripts" / "bench" / "slots.py"


def test_the_bound_is_all_work_shared_evenly_and_each_model_loaded_once() -> None:
    books = [Worked(ended=float(n + 1), work_s=1.0, load_s=20.0 if n == 0 else 0.0) for n in range(100)]
    row = _judge(books, 120.0, 1, 1)
    assert row["by_bound"] == pytest.approx(120 / (100 + 5 + 10 + 20))
    assert row["busy"] == pytest.approx((100 - 12) / 96)  # of 12 s to 108 s, 12 s to 100 s were worked
    assert (row["calls"], row["loads"]) == (100, 1)


def test_a_small_schedule_comes_to_its_end(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "schedule", "--slots", "2", "--problems", "5"]
    subprocess.run(  # noqa: S603 (our own script)
        [*command, "--json", str(figures)], check=True, capture_output=True, timeout=100
    )
    rows = orjson.loads(figures.read_bytes())
    assert [(row["students"], row["slots"], row["calls"]) for row in rows] == [("skewed", 2, 90), ("equal", 2, 90)]
    assert all(row["by_bound"] > 1 for row in rows)
