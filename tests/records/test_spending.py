"""spending.py: what a budget has spent survives any crash, and is never taken for less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.errors import JournalDamagedError, StorageError
from eli5b_batch.records.spending import Spending

if TYPE_CHECKING:
    from pathlib import Path

# What becomes of a call reserved at 1.0: None broke off, a number is its cost, "killed" was in flight at the end.
FATES = st.lists(st.one_of(st.none(), st.floats(0, 1), st.just("killed")), max_size=10)


@given(fates=FATES)
def test_reopening_counts_every_call_at_its_cost_or_at_its_worst(
    tmp_path_factory: pytest.TempPathFactory, fates: list[float | str | None]
) -> None:
    path = tmp_path_factory.mktemp("spending") / "spending.jsonl"
    spending = Spending(path, 0.0)
    for _ in fates:
        spending.reserved(1.0)
    for fate in fates:
        if not isinstance(fate, str):
            spending.settled(1.0, fate)
    spending.close()
    for _ in range(2):
        spending = Spending(path, 0.0)
        assert spending.spent == pytest.approx(sum(fate for fate in fates if isinstance(fate, float)))
        assert spending.unconfirmed == pytest.approx(sum(not isinstance(fate, float) for fate in fates))
        spending.close()


def test_what_the_journal_knows_is_never_forgotten(tmp_path: Path) -> None:
    spending = Spending(tmp_path / "spending.jsonl", 2.5)
    assert (spending.spent, spending.unconfirmed) == (2.5, 0.0)
    spending.close()


def test_a_torn_last_line_is_cut_off_and_damage_is_said(tmp_path: Path) -> None:
    path = tmp_path / "spending.jsonl"
    path.write_bytes(b'{"reserved":1.0}\n{"settled":1.0,"us')
    spending = Spending(path, 0.0)
    assert (spending.spent, spending.unconfirmed) == (0.0, 1.0)
    spending.close()
    path.write_bytes(b'{"reserved":1.0}\nx\n{"settled":1.0,"usd":0.5}\n')
    with pytest.raises(JournalDamagedError, match=r"spending\.jsonl:2: this line is damaged"):
        Spending(path, 0.0)


async def test_a_ledger_that_can_not_be_written_refuses_the_next_call_and_not_the_reply_just_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spending = Spending(tmp_path / "spending.jsonl", 0.0)
    budget = Budget(10.0)
    budget.keep(spending)
    await budget.reserve(1.0)
    monkeypatch.setattr(spending, "settled", lambda *_: (_ for _ in ()).throw(StorageError("full")))
    budget.settle(1.0, 0.5)
    assert budget.spent == 0.5
    with pytest.raises(StorageError, match="full"):
        await budget.reserve(1.0)
    spending.close()
