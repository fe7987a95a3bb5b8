"""budget_runs.py: its audit, on a made-up ledger; and one small run, killed and resumed."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from books import Entry
from budget_runs import Row, bill, judge, summary
from eli5b_batch.job.prices import Price
from eli5b_batch.job.schema import Model, Sampling
from eli5b_batch.records import make_key

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "audit" / "budget_runs.py"
HINT = make_key("p1", "hint", "teacher", {"hint": "generic", "hint_for": "any"})
ANSWER = make_key("p1", "answer", "1b", {"hint": "generic", "hint_for": "any", "sample": 0})


def entry(key: str, tokens: int, *, status: int = 200, delivered: bool = True, fault: str | None = None) -> Entry:
    return Entry(0.0, "api", key, 5000, status, delivered, tokens, fault)


def models() -> dict[str, Model]:
    def model(read: float, written: float) -> Model:
        price = Price(input=read, output=written, as_of=dt.date(2026, 3, 1))
        return Model(provider="api", model="m", price=price, sampling=Sampling(max_tokens=100))

    return {"teacher": model(2.0, 10.0), "1b": model(0.0, 1.0)}


def row(in_full: float = 0.9, set_aside: float = 0.95, used: float = 0.8, codes: Sequence[int] = (-9, 4)) -> Row:
    made = Row(0, 1.0, 0.8, in_full, 0.7, set_aside, used, faults=0, kills=1, codes=list(codes))
    judge(made)
    return made


def test_work_is_priced_by_token_class_whether_it_arrived_or_not() -> None:
    ledger = [
        entry(HINT, 70),
        entry(HINT, 70, delivered=False, fault="lost"),
        entry(ANSWER, 45),
        entry(HINT, 0, status=500, fault="broken"),
    ]
    billed = bill(ledger, {HINT: 20, ANSWER: 40}, models())
    assert billed.done * 1e6 == pytest.approx(2 * (20 * 2 + 50 * 10) + 5 * 1)
    assert billed.in_full == billed.done


def test_work_whose_sender_left_is_billed_as_the_longest_reply() -> None:
    ledger = [entry(HINT, 70), entry(HINT, 0, status=499), entry("never read", 0, status=499)]
    billed = bill(ledger, {HINT: 20}, models())
    assert billed.done * 1e6 == pytest.approx(540)
    assert (billed.in_full - billed.done) * 1e6 == pytest.approx(20 * 2 + 100 * 10)


def test_a_run_above_its_cap_or_not_stopped_by_it_is_found() -> None:
    good, above = row(), row(in_full=1.01, set_aside=2.0, used=1.01)
    assert (good.wrong, above.wrong) == ([], ["ABOVE THE CAP"])
    assert row(set_aside=0.85).wrong == ["more than was set aside"]
    assert row(set_aside=1.01).wrong == ["ABOVE THE CAP"]
    assert row(codes=[0]).wrong == ["ended with 0, not for its budget"]
    assert summary([good, above]) == "never above the cap: 1 of 2; used 80.0% to 101.0% of the cap (median 90.5%)"


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_run_with_faults_and_a_kill_stays_below_its_cap(tmp_path: Path) -> None:
    # With this seed servers garble and lose replies, none hangs, and the run is killed.
    command = [sys.executable, str(SCRIPT), "--runs", "1", "--problems", "4", "--first-seed", "3"]
    done = subprocess.run(  # noqa: S603 (our own script)
        [*command, "--timeout", "60", "--json", str(tmp_path / "rows.json")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "never above the cap: 1 of 1" in done.stdout
    (figures,) = orjson.loads((tmp_path / "rows.json").read_bytes())
    assert 0 < figures["journal"] <= figures["in_full"] <= figures["set_aside"] <= figures["cap"]
    assert figures["codes"] == [-9, 4]
