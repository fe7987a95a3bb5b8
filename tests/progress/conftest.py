from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.progress.snapshot import ArmProgress, ProviderProgress, SlotProgress, Snapshot, StepProgress


@pytest.fixture(autouse=True)
def _a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """Makes the run of the paper in the middle, with two GPUs; takes other values for its fields."""
    return _snapshot


def _snapshot(**changes: object) -> Snapshot:
    students = ("1b", "3b", "8b")
    made: dict[str, object] = {
        "schema": 1,
        "run": "omni_full",
        "simulated": True,
        "state": "running",
        "reason": None,
        "pid": os.getpid(),
        "exit_code": None,
        "started_at": "2026-11-21T01:00:00Z",
        "updated_at": "2026-11-21T01:20:00Z",
        "elapsed_s": 1200.0,
        "eta_s": 6000.0,
        "problems": {"total": 2821, "done": 1128, "active": 40, "window": 48},
        "steps": [
            _step("hint", "maverick", 14105, 7334),
            *(_step("answer", model) for model in students),
            _step("answer", "maverick", 2821, 1128),
        ],
        "providers": [_provider(error="HTTP 503: try again later"), _provider("gpus", None)],
        "slots": [_slot(0), _slot(1)],
        "accuracy": [
            *(_arm(model, hint) for hint in ("none", "generic") for model in students),
            *(_arm(model, "tailored", model) for model in students),
            _arm("maverick", "none"),
        ],
        "cost": {"spent_usd": 4.04, "projected_usd": 10.1, "budget_usd": 25.0},
        "failures": {"bad_reply": 1, "timeout": 2},
        "grading": {"waiting": 3, "done": 11280},
    }
    return cast("Snapshot", {**made, **changes})


def _step(name: str = "answer", model: str = "1b", total: int = 8463, done: int = 2821) -> StepProgress:
    return {
        "step": name,
        "model": model,
        "total": total,
        "done": done,
        "failed": 1,
        "replayed": 20,
        "rate_per_s": 9.8,
        "eta_s": 1400.0,
        "began_s": 2.5,
        "ended_s": 1199.0,
    }


def _provider(name: str = "together", limit: float | None = 600.0, error: str | None = None) -> ProviderProgress:
    return {
        "provider": name,
        "in_flight": 60,
        "concurrency": 64,
        "queued": 12,
        "requests_per_minute": 580.0,
        "requests_limit": limit,
        "tokens_per_minute": 300_000.0,
        "tokens_limit": None if limit is None else 400_000.0,
        "rate_limited": 3,
        "retry_waiting": 1,
        "retries": 4,
        "waiting_for": None,
        "last_error": error,
        "last_error_s": 12.0 if error else None,
        "down_s": None,
        "limit_history": [],
    }


def _slot(number: int = 0, busy: float = 0.97) -> SlotProgress:
    return {
        "provider": "gpus",
        "slot": f"gpu{number}",
        "url": "http://127.0.0.1:11434",
        "model": "llama3.2:1b",
        "resident": ["llama3.2:1b"],
        "on_gpu": 1.0,
        "in_flight": 3,
        "parallel": 4,
        "queued": 10,
        "busy_share": busy,
        "busy_s": 1200 * busy,
        "loading_s": 1200 * (1 - busy) / 2,
        "idle_s": 1200 * (1 - busy) / 2,
        "down_s": 0.0,
        "down": False,
        "tokens_per_s": 812.0,
        "calls": 120,
        "loads": 2,
    }


def _arm(model: str, hint: str, hint_for: str = "any", n: int = 2821, correct: int = 1187) -> ArmProgress:
    return {"model": model, "tags": {"hint": hint, "hint_for": hint_for}, "n": n, "correct": correct}
