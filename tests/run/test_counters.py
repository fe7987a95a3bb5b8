"""progress.py: the figures of a snapshot."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest

from eli5b_batch.data.problem import Problem
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.progress.snapshot import ProviderProgress, SlotProgress, slot_seconds
from eli5b_batch.records.grades import Arm
from eli5b_batch.run.calls import Answered, Asked, Recorded
from eli5b_batch.run.counters import Progress
from eli5b_batch.run.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.progress.snapshot import State

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
    dispatchers: Sequence[Any] = (),
) -> Progress:
    return Progress(
        name="run",
        simulated=False,
        plan=Plan(total=Counter(TOTAL), left=Counter(TOTAL if left is None else left)),
        problems=10,
        window=lambda: 4,
        paid=["m"],
        attempts={"m": 6, "1b": 6},
        budget=budget or Budget(5.0),
        clock=clock,
        now=lambda: dt.datetime(2026, 11, 21, 1, 2, 3, tzinfo=dt.UTC),
        arms=lambda: arms or {},
        dispatchers=dispatchers,
    )


def answer(
    step: str = "answer",
    model: str = "1b",
    *,
    replayed: bool = False,
    error: str | None = None,
    latency_s: float | None = None,
) -> Answered:
    call = Asked("k", PROBLEM, PROBLEM, step, model, {"hint": "none", "sample": 0})
    told: dict[str, Any] | None = {"class": error, "message": "no luck", "attempts": 6} if error else None
    return Answered(call, Recorded("k", 0, {"text": ""}, dict, ok=error is None), replayed, told, latency_s)


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


def test_a_step_says_when_its_first_call_went_out_and_its_last_came_back() -> None:
    clock = Clock()
    p = progress(clock)
    p.answered(answer(replayed=True))
    p.answered(answer(error="upstream"))
    assert [(s["began_s"], s["ended_s"]) for s in p.snapshot()["steps"]] == [(None, None)] * 2
    for at, latency_s in ((110, 2.0), (112, 9.5), (130, 4.0)):  # the second went out before the first
        clock.now = at
        p.answered(answer(latency_s=latency_s, error="timeout" if at == 130 else None))
    hint, answers = p.snapshot()["steps"]
    assert (answers["began_s"], answers["ended_s"]) == (2.5, 30.0)
    assert hint["began_s"] is None


class Gpus:
    """A dispatcher's figures, with what a slot's are made of."""

    def __init__(self, told: dict[str, object] | None = None, /, **slot: object) -> None:
        self._told = told or {}
        self._slot = slot

    def snapshot(self) -> dict[str, Any]:
        usual = {
            "slot": "gpu0",
            "url": "http://x",
            "model": "llama3.2:1b",
            "in_flight": 3,
            "parallel": 4,
            "queued": 10,
            "busy_share": 0.6,
            "busy_s": 60.0,
            "loading_s": 10.0,
            "idle_s": 20.0,
            "down_s": 10.0,
            "tokens_per_s": 812.0,
            "calls": 120,
            "not_for_display": True,
        }
        figures = dict.fromkeys(("in_flight", "concurrency", "queued", "retry_waiting", "retries"), 0)
        usual_slots = [usual | self._slot]
        return {"provider": "gpus", **figures, "last_error": None, "down_s": None, "slots": usual_slots, **self._told}


def test_a_slots_figures_are_shown_as_they_are_told() -> None:
    told = {"resident": ["llama3.2:1b", "llama3.2:3b"], "on_gpu": 0.9, "down": True, "loads": 2}
    shown = progress(Clock(), dispatchers=[Gpus(**told)]).snapshot()
    [slot], [provider] = shown["slots"], shown["providers"]
    assert set(provider) == ProviderProgress.__required_keys__
    assert (provider["requests_limit"], provider["rate_limited"], provider["limit_history"]) == (None, 0, [])
    assert (provider["waiting_for"], provider["last_error_s"]) == (None, None)
    assert told.items() <= slot.items()
    assert set(slot) == SlotProgress.__required_keys__
    assert slot_seconds(slot) == 100.0


def test_what_a_provider_waits_for_is_told_until_the_run_has_ended() -> None:
    waits = {"waiting_for": "a 429 of maverick: 34 s to go", "last_error": "answered 429", "last_error_s": 3.5}
    p = progress(Clock(), dispatchers=[Gpus(waits, resident=[], on_gpu=None, down=False, loads=0)])
    for state, waiting_for in (("running", waits["waiting_for"]), ("draining", waits["waiting_for"]), ("done", None)):
        p.state = cast("State", state)
        [provider] = p.snapshot()["providers"]
        assert (provider["waiting_for"], provider["last_error"], provider["last_error_s"]) == (
            waiting_for,
            "answered 429",
            3.5,
        )


def test_failures_are_counted_by_cause_and_those_of_three_starts_are_given_up() -> None:
    p = progress(Clock())
    for sample, starts in enumerate((1, 2, 3, 4)):
        error = {"class": "refused", "message": f"answered 403: request {sample} is not for you", "starts": starts}
        p.answered(answer(error="refused", replayed=starts > 3)._replace(error=error))
    for attempts in (17, 18):  # as older versions wrote it: sent up to six times in each start
        error = {"class": "timeout", "message": "no answer in time", "attempts": attempts}
        p.answered(answer("hint", "m", error="timeout")._replace(error=error))
    refused, late = p.causes.commonest()
    assert (refused.count, refused.given_up, refused.calls) == (4, 2, {("answer", "1b"): 4})
    assert refused.message == "answered 403: request 0 is not for you"
    assert (late.count, late.given_up, late.calls) == (2, 1, {("hint", "m"): 2})


def test_a_snapshot_says_when_and_who() -> None:
    snapshot = progress(Clock()).snapshot()
    assert snapshot["updated_at"] == "2026-11-21T01:02:03Z"
    assert (snapshot["state"], snapshot["run"], snapshot["simulated"]) == ("running", "run", False)
