"""Counting what happens in a run, and the snapshot every display is made from.

Must not know: terminals, files. It is told of calls and verdicts; nothing asks it what to do.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from eli5b_batch.dispatch.capacity import RateMeter
from eli5b_batch.snapshot import SCHEMA

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eli5b_batch.calls import Answered
    from eli5b_batch.dispatch.budget import Budget
    from eli5b_batch.dispatch.dispatcher import Dispatcher
    from eli5b_batch.plan import Plan
    from eli5b_batch.snapshot import Arm, Provider, Slot, Snapshot, State, Step


class Progress:
    """Counters of one run.

    Args:
        name: the run's.
        simulated: whether any reply is simulated.
        plan: the calls to come, by (step, model).
        problems: how many the run asks.
        window: most problems in flight.
        paid: models that cost money.
        budget: the run's money.
        clock: the event loop's clock, seconds.
        now: wall clock, UTC.
        dispatchers: the run's, for their figures.
    """

    def __init__(
        self,
        *,
        name: str,
        simulated: bool,
        plan: Plan,
        problems: int,
        window: int,
        paid: Collection[str],
        budget: Budget,
        clock: Callable[[], float],
        now: Callable[[], dt.datetime],
        dispatchers: Sequence[Dispatcher] = (),
    ) -> None:
        self._name = name
        self._simulated = simulated
        self._plan = plan
        self._problems = problems
        self._window = window
        self._paid = paid
        self._dispatchers = dispatchers
        self._budget = budget
        self._clock = clock
        self._now = now
        self._began = clock()
        self._started_at = _iso(now())
        self._done: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._replayed: Counter[tuple[str, str]] = Counter()
        self._rates = {key: RateMeter(clock, span=30.0) for key in plan.total}
        self._arms: dict[tuple[Any, ...], tuple[int, int]] = {}
        self.failures: Counter[str] = Counter()
        self.grades_waiting = self.grades_done = 0
        self.problems_done = self.problems_active = 0
        self.state: State = "running"
        self.reason: str | None = None
        self.exit_code: int | None = None

    @property
    def calls_done(self) -> int:
        """Calls answered or failed, replayed ones included."""
        return self._done.total()

    @property
    def calls_total(self) -> int:
        """Calls of the whole job."""
        return self._plan.total.total()

    def answered(self, done: Answered) -> None:
        """A call has its record."""
        key = (done.call.step, done.call.model)
        self._done[key] += 1
        if done.replayed:
            self._replayed[key] += 1
        else:
            self._rates[key].add()
        if done.error is not None:
            self._failed[key] += 1
            self.failures[done.error["class"]] += 1

    def graded(self, model: str, tags: Mapping[str, str | int], *, correct: bool) -> None:
        """An answer has its verdict."""
        self.grades_done += 1
        arm = (model, *((tag, value) for tag, value in tags.items() if tag != "sample"))
        n, right = self._arms.get(arm, (0, 0))
        self._arms[arm] = (n + 1, right + correct)

    def snapshot(self) -> Snapshot:
        """The run as it is now; see `eli5b_batch.snapshot`."""
        providers = [d.snapshot() for d in self._dispatchers]
        steps = [self._step(*key) for key in self._plan.total]
        etas = [s["eta_s"] for s in steps]
        return {
            "schema": SCHEMA,
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
                "window": self._window,
            },
            "steps": steps,
            "providers": [_provider(p) for p in providers],
            "slots": [_slot(p["provider"], s) for p in providers for s in p.get("slots", ())],
            "accuracy": [_arm(arm, n, right) for arm, (n, right) in sorted(self._arms.items(), key=str)],
            "cost": {
                "spent_usd": round(self._budget.spent, 6),
                "projected_usd": self._projected(),
                "budget_usd": self._budget.cap,
            },
            "failures": dict(self.failures),
            "grading": {"waiting": self.grades_waiting, "done": self.grades_done},
        }

    def _step(self, step: str, model: str) -> Step:
        key = (step, model)
        total, done = self._plan.total[key], self._done[key]
        rate = self._rates[key].rate()
        left = max(0, total - done)
        return {
            "step": step,
            "model": model,
            "total": total,
            "done": done,
            "failed": self._failed[key],
            "replayed": self._replayed[key],
            "rate_per_s": round(rate, 2),
            "eta_s": 0.0 if not left else round(left / rate, 1) if rate else None,
        }

    def _projected(self) -> float | None:
        """What the whole run will cost, if the paid calls to come cost what the paid calls so far did."""
        if not self._paid:
            return 0.0
        done = sum(n for (_, model), n in self._done.items() if model in self._paid)
        total = sum(n for (_, model), n in self._plan.total.items() if model in self._paid)
        return round(self._budget.spent * total / done, 4) if done else None


def _iso(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _provider(p: Mapping[str, Any]) -> Provider:
    return {
        "provider": p["provider"],
        "in_flight": p["in_flight"],
        "concurrency": p["concurrency"],
        "queued": p["queued"],
        "requests_per_minute": p.get("requests_per_minute", 0.0),
        "requests_limit": p.get("requests_limit"),
        "tokens_per_minute": p.get("tokens_per_minute", 0.0),
        "tokens_limit": p.get("tokens_limit"),
        "rate_limited": p.get("rate_limited", 0),
        "retry_waiting": p["retry_waiting"],
        "retries": p["retries"],
        "last_error": p["last_error"],
    }


def _slot(provider: str, s: Mapping[str, Any]) -> Slot:
    return {
        "provider": provider,
        "slot": s["slot"],
        "url": s["url"],
        "model": s["model"],
        "in_flight": s["in_flight"],
        "parallel": s["parallel"],
        "queued": s["queued"],
        "busy_share": s["busy_share"],
        "tokens_per_s": s["tokens_per_s"],
        "calls": s["calls"],
    }


def _arm(arm: tuple[Any, ...], n: int, correct: int) -> Arm:
    model, *tags = arm
    return {"model": model, "tags": dict(tags), "n": n, "correct": correct}
