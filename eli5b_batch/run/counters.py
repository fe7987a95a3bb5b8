"""Counting what happens in a run, and the snapshot every display is made from.

Must not know: terminals, files. It is told of calls and verdicts; nothing asks it what to do.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

from eli5b_batch.dispatch.timing import RateMeter
from eli5b_batch.progress.causes import Causes, starts_of
from eli5b_batch.progress.snapshot import ENDED, SNAPSHOT_SCHEMA, ProviderProgress, SlotProgress
from eli5b_batch.run.calls import MOST_STARTS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eli5b_batch.dispatch.budget import Budget
    from eli5b_batch.dispatch.dispatcher import Dispatcher
    from eli5b_batch.progress.snapshot import ArmProgress, Snapshot, State, StepProgress
    from eli5b_batch.records.grades import Arm
    from eli5b_batch.run.calls import Answered
    from eli5b_batch.run.plan import Plan

_UNTOLD: Final = {
    "waiting_for": None,
    "last_error_s": None,
    "requests_per_minute": 0.0,
    "requests_limit": None,
    "tokens_per_minute": 0.0,
    "tokens_limit": None,
    "rate_limited": 0,
    "limit_history": (),
}
"""What not every dispatcher tells of itself: slots have no limits, and most of the time nothing is waited for."""


class Progress:
    """Counters of one run.

    Args:
        name: the run's.
        simulated: whether any reply is simulated.
        plan: the calls to come, by (step, model).
        problems: how many the run asks.
        window: problems that may be in flight.
        paid: models that cost money.
        attempts: by model, how often a start sends a call before it has failed.
        budget: the run's money.
        clock: the event loop's clock, seconds.
        now: wall clock, UTC.
        arms: graded answers and correct ones, by arm.
        dispatchers: the run's, for their figures.
    """

    def __init__(
        self,
        *,
        name: str,
        simulated: bool,
        plan: Plan,
        problems: int,
        window: Callable[[], int],
        paid: Collection[str],
        attempts: Mapping[str, int],
        budget: Budget,
        clock: Callable[[], float],
        now: Callable[[], dt.datetime],
        arms: Callable[[], Mapping[Arm, Sequence[int]]],
        dispatchers: Sequence[Dispatcher] = (),
    ) -> None:
        self._name = name
        self._simulated = simulated
        self._plan = plan
        self._problems = problems
        self._window = window
        self._paid = paid
        self._attempts = attempts
        self._arms = arms
        self._dispatchers = dispatchers
        self._budget = budget
        self._clock = clock
        self._now = now
        self._began = clock()
        self._started_at = _iso(now())
        self._failed: Counter[tuple[str, str]] = Counter()
        self._made: Counter[tuple[str, str]] = Counter()
        self._rates = {key: RateMeter(clock, span=30.0) for key in plan.total}
        self._spans: dict[tuple[str, str], tuple[float, float]] = {}
        self.failures: Counter[str] = Counter()
        self.causes = Causes()
        self.grades_waiting = 0
        self.problems_done = self.problems_active = 0
        self.state: State = "running"
        self.reason: str | None = None
        self.exit_code: int | None = None

    @property
    def calls_done(self) -> int:
        """Calls answered, or failed in this start."""
        return sum(self._done().values())

    @property
    def calls_total(self) -> int:
        """Calls of the whole job."""
        return self._plan.total.total()

    def answered(self, done: Answered) -> None:
        """A call has its record."""
        key = (done.call.step, done.call.model)
        if not done.replayed:
            self._rates.setdefault(key, RateMeter(self._clock, span=30.0)).add()
        if not done.replayed or done.error is not None:  # an error on record is one of the calls that were left
            self._made[key] += 1
        if done.latency_s is not None:
            ended = self._clock() - self._began
            sent = ended - done.latency_s
            self._spans[key] = min(sent, self._spans.get(key, (sent, ended))[0]), ended
        if done.error is not None:
            self._failed[key] += 1
            self.failures[done.error["class"]] += 1
            given_up = starts_of(done.error, self._attempts[done.call.model]) >= MOST_STARTS
            self.causes.add(
                done.error, key=done.call.key, step=done.call.step, model=done.call.model, given_up=given_up
            )

    def _done(self) -> dict[tuple[str, str], int]:
        """Calls done by (step, model): on record when this start began, or made since."""
        return {key: min(n, n - self._plan.left[key] + self._made[key]) for key, n in self._plan.total.items()}

    def snapshot(self) -> Snapshot:
        """The run as it is now; see `eli5b_batch.progress.snapshot`."""
        providers = [d.snapshot() for d in self._dispatchers]
        began = self._began
        done = self._done()
        arms = self._arms()
        steps = [self._step(*key, done[key]) for key in self._plan.total]
        etas = [s["eta_s"] for s in steps]
        return {
            "schema": SNAPSHOT_SCHEMA,
            "run": self._name,
            "simulated": self._simulated,
            "state": self.state,
            "reason": self.reason,
            "pid": os.getpid(),
            "exit_code": self.exit_code,
            "started_at": self._started_at,
            "updated_at": _iso(self._now()),
            "elapsed_s": round(self._clock() - self._began, 1),
            "eta_s": None if any(e is None for e in etas) else max((e or 0.0 for e in etas), default=0.0),
            "problems": {
                "total": self._problems,
                "done": self.problems_done,
                "active": self.problems_active,
                "window": self._window(),
            },
            "steps": steps,
            "providers": [_provider(p, began, ended=self.state in ENDED) for p in providers],
            "slots": [_slot(p["provider"], s) for p in providers for s in p.get("slots", ())],
            "earlier_slots": [],
            "accuracy": [_arm(arm, *counts) for arm, counts in sorted(arms.items(), key=str)],
            "cost": {
                "spent_usd": round(self._budget.spent, 6),
                "projected_usd": self._projected(done),
                "budget_usd": self._budget.cap,
            },
            "failures": dict(self.failures),
            "grading": {"waiting": self.grades_waiting, "done": sum(n for n, _ in arms.values())},
        }

    def _step(self, step: str, model: str, done: int) -> StepProgress:
        key = (step, model)
        total = self._plan.total[key]
        rate = self._rates[key].rate()
        left = max(0, total - done)
        span = self._spans.get(key)
        return {
            "step": step,
            "model": model,
            "total": total,
            "done": done,
            "failed": self._failed[key],
            "replayed": total - self._plan.left[key],
            "rate_per_s": round(rate, 2),
            "eta_s": 0.0 if not left else round(left / rate, 1) if rate else None,
            "began_s": round(span[0], 3) if span else None,
            "ended_s": round(span[1], 3) if span else None,
        }

    def _projected(self, done: Mapping[tuple[str, str], int]) -> float | None:
        """What the whole run will cost, if the paid calls to come cost what the paid calls so far did."""
        if not self._paid:
            return 0.0
        made = sum(n for (_, model), n in done.items() if model in self._paid)
        total = sum(n for (_, model), n in self._plan.total.items() if model in self._paid)
        return round(self._budget.spent * total / made, 4) if made else None


def _iso(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _provider(told: Mapping[str, Any], began: float, *, ended: bool) -> ProviderProgress:
    figures = {**_UNTOLD, **told}
    if ended:
        figures["waiting_for"] = None
    figures["limit_history"] = [[round(at - began, 1), round(limit, 1)] for at, limit in figures["limit_history"]]
    return cast("ProviderProgress", {name: figures[name] for name in ProviderProgress.__annotations__})


def _slot(provider: str, told: Mapping[str, Any]) -> SlotProgress:
    figures = {"provider": provider, **told}
    return cast("SlotProgress", {name: figures[name] for name in SlotProgress.__annotations__})


def _arm(arm: Arm, n: int, correct: int) -> ArmProgress:
    return {"model": arm.model, "tags": dict(arm.tags), "n": n, "correct": correct}
