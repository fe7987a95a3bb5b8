from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas.work import OutOfTimeError, TooBigError, WorkBudget


def test_work_is_done_until_it_is_spent() -> None:
    work = WorkBudget(10)
    work.charge(4)
    work.charge(4)
    with pytest.raises(TooBigError):
        work.charge(1)


def test_even_what_costs_nothing_counts() -> None:
    work = WorkBudget(3)
    for _ in range(3):
        work.charge(0)
    with pytest.raises(TooBigError):
        work.charge(0)


def test_one_dear_operation_is_refused_before_it_is_done() -> None:
    with pytest.raises(TooBigError):
        WorkBudget().charge(2e6)


def test_it_ends_with_the_time_there_is() -> None:
    WorkBudget(seconds=60).charge(0)
    with pytest.raises(OutOfTimeError):
        WorkBudget(seconds=-1).charge(0)
