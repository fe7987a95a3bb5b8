"""A run folder written line by line, for every test of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.progress.snapshot import ProviderProgress, SlotProgress, Snapshot, StepProgress
from eli5b_batch.records import make_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class RunFolder:
    """Journal, verdicts and manifest of a made-up run; `answer` writes a call and its verdict."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest(simulated=False)

    def manifest(self, **changes: Any) -> None:  # noqa: ANN401 - any JSON value
        manifest = {
            "schema": 1,
            "name": "small",
            "protocol": "eli5b",
            "simulated": False,
            "graded_steps": ["answer"],
            "expected_answers": 0,
            "teacher": "maverick",
            "students": ["1b", "3b", "8b"],
            "data": {"reader": "jsonl", "sha256": "0"},
            "models": {},
            "created_at": "2026-03-01T12:00:00+00:00",
            "starts": ["2026-03-01T12:00:00+00:00"],
            **changes,
        }
        (self.path / "manifest.json").write_bytes(orjson.dumps(manifest))

    def call(
        self,
        problem: str,
        model: str,
        *,
        ok: bool = True,
        step: str = "answer",
        cost: float | None = 0.0,
        finish_reason: str = "stop",
        simulated: bool = False,
        output_tokens: int = 20,
        started: float | None = None,
        latency: float = 0.5,
        slot: str | None = None,
        provider: str = "gpus",
        sent: bool = True,
        window_full: bool = False,
        failure: str = "timeout",
        finish: str | None = None,
        built_on: Sequence[str] = (),
        text: str = "x",
        thinking: str = "",
        reasoning_tokens: int = 0,
        **tags: str | int,
    ) -> str:
        key = make_key(problem, step, model, tags)
        record: dict[str, Any] = {
            "key": key,
            "status": "ok" if ok else "error",
            "problem": problem,
            "step": step,
            **tags,
            "model": model,
            "provider": provider,
            "slot": slot,
            "simulated": simulated,
            "request": {"messages": [{"role": "user", "content": "a\u2028b\u0085c"}]},
            "reply": {
                "text": text,
                "finish_reason": finish_reason,
                **({"finish": finish} if finish else {}),
                **({"thinking": thinking} if thinking else {}),
                **({"window_full": True} if window_full else {}),
            }
            if ok or finish_reason != "stop" or finish
            else None,
            "usage": {
                "input_tokens": 10,
                "output_tokens": output_tokens,
                **({"reasoning_tokens": reasoning_tokens} if reasoning_tokens else {}),
            }
            if ok
            else None,
            "cost_usd": cost,
            "timing": {"latency": latency} if started is None else {"started": started, "latency": latency},
            "error": None if ok else {"class": failure, "message": "too slow"},
        }
        if not sent:
            record["timing"] = None
        if built_on:
            record["built_on"] = built_on
        self.append("calls.jsonl", orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        return key

    def grade(self, key: str, verdict: str, answer: str | None = None, gold: str = "7") -> None:
        grade = {
            "key": key,
            "verdict": verdict,
            "correct": verdict == "correct",
            "answer": answer,
            "gold": gold,
        }
        self.append("grades.jsonl", orjson.dumps(grade, option=orjson.OPT_APPEND_NEWLINE))

    def answer(self, problem: str, model: str, verdict: str, **tags: Any) -> str:  # noqa: ANN401 - tags or options of `call`
        key = self.call(problem, model, ok=verdict != "failed", **tags)
        self.grade(key, verdict, "7" if verdict == "correct" else None)
        return key

    def append(self, name: str, data: bytes) -> None:
        with (self.path / name).open("ab") as file:
            file.write(data)

    def progress(self, **parts: Any) -> None:  # noqa: ANN401 - any JSON value
        """What the newest start wrote of itself; rows of slots and providers need only what matters to the test."""
        usual: dict[str, Any] = dict.fromkeys(Snapshot.__required_keys__, 0)
        kinds = {
            "steps": StepProgress,
            "providers": ProviderProgress,
            "slots": SlotProgress,
            "earlier_slots": SlotProgress,
        }
        rows = {
            part: [{**dict.fromkeys(kinds[part].__annotations__, 0), "limit_history": [], **row} for row in found]
            for part, found in (dict.fromkeys(kinds, ()) | parts).items()
        }
        (self.path / "progress.json").write_bytes(orjson.dumps({**usual, "schema": 1, **rows}))

    def results(self) -> list[dict[str, Any]]:
        lines = (self.path / "results.jsonl").read_bytes().split(b"\n")
        assert lines.pop() == b""
        return [orjson.loads(line) for line in lines]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)
