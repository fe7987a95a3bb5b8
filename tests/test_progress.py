"""progress.py: the figures of a snapshot."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.calls import Answered, Asked, Recorded
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.grading.book import Arm
from eli5b_batch.plan import Plan
from eli5b_batch.problems import Problem
from eli5b_batch.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

PROBLEM = Problem("0-a", "x", "1")
TOTAL = {("hint", "m"): 10, ("answer", "1b"): 20}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(
    clock: Callable[[], float],
    budget: Budget | None = None,
    left: dict[tuple[str, str], int] | None = None,
    arms: dict[Arm, list[int]] | None = None,
) -> Progress:
    return Progress(
        name="run",
        simulated=False,
        plan=Plan(total=Counter(TOTAL), left=Counter(TOTAL if left is None else left)),
        problems=10,
        window=4,
        paid=["m"],
        budget=budget or Budget(5.0),
        clock=clock,
        now=lambda: dt.datetime(2026, 11, 21, 1, 2, 3, tzinfo=dt.UTC),
        arms=lambda: arms or {},
    )


def answer(step: str = "answer", model: str = "1b", *, replayed: bool = False, error: str | None = None) -> Answered:
    call = Asked("k", PROBLEM, PROBLEM, step, model, {"hint": "none", "sample": 0})
    told: dict[str, Any] | None = {"class": error} if error else None
    return Answered(call, Recorded("k", ok=error is None, offset=0, _text="", _read=dict), replayed, told)


def test_calls_are_counted_by_what_became_of_them() -> None:
    clock = Clock()
    p = progress(clock, left={("hint", "m"): 10, ("answer", "1b"): 13})
    clock.now += 10
    for done in (answer(), answer(replayed=True), answer(error="timeout"), answer("hint", "m")):
        p.answered(done)
    hint, answers = p.snapshot()["steps"]
    assert (hint["done"], hint["total"]) == (1, 10)
    assert (answers["done"], answers["failed"], answers["replayed"]) == (9, 1, 7)
    assert answers["rate_per_s"] == pytest.approx(0.2)
    assert answers["eta_s"] == pytest.approx(11 / 0.2)
    assert p.snapshot()["failures"] == {"timeout": 1}
    assert (p.calls_done, p.calls_total) == (10, 30)


def test_a_call_given_up_in_earlier_starts_is_done_and_no_step_is_over_full() -> None:
    p = progress(Clock(), left={("answer", "1b"): 1})
    p.answered(answer(replayed=True, error="timeout"))
    p.answered(answer(replayed=True, error="timeout"))
    assert (p.calls_done, p.snapshot()["steps"][1]["done"]) == (30, 20)


def test_time_left_is_unknown_until_every_step_has_a_rate_and_0_when_all_is_done() -> None:
    p = progress(Clock(), left={("hint", "m"): 10})
    assert p.snapshot()["eta_s"] is None
    for _ in range(10):
        p.answered(answer("hint", "m"))
    assert p.snapshot()["eta_s"] == 0.0


def test_cost_is_projected_from_paid_calls_alone() -> None:
    budget = Budget(5.0)
    p = progress(Clock(), budget)
    p.answered(answer())
    assert p.snapshot()["cost"] == {"spent_usd": 0.0, "projected_usd": None, "budget_usd": 5.0}
    budget.spent = 0.5
    p.answered(answer("hint", "m"))
    p.answered(answer("hint", "m"))
    assert p.snapshot()["cost"] == {"spent_usd": 0.5, "projected_usd": 2.5, "budget_usd": 5.0}


def test_accuracy_is_shown_by_arm() -> None:
    p = progress(Clock(), arms={Arm("1b", (("hint", "none"),)): [2, 1]})
    assert p.snapshot()["accuracy"] == [{"model": "1b", "tags": {"hint": "none"}, "n": 2, "correct": 1}]
    assert p.snapshot()["grading"] == {"waiting": 0, "done": 2}


def test_a_snapshot_says_when_and_who() -> None:
    snapshot = progress(Clock()).snapshot()
    assert snapshot["updated_at"] == "2026-11-21T01:02:03Z"
    assert (snapshot["state"], snapshot["run"], snapshot["simulated"]) == ("running", "run", False)
