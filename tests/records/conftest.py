"""A run folder of records written one by one, for every test of their reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.records import make_key

if TYPE_CHECKING:
    from pathlib import Path


class RunFolder:
    """A manifest and a journal; each record has its number among them as `timing.latency`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = path / "calls.jsonl"
        self.calls.touch()
        self.records = 0
        self.redo({})

    @property
    def end(self) -> int:
        """Bytes of the journal."""
        return self.calls.stat().st_size

    def redo(self, offsets: dict[str, int]) -> None:
        data = {"sha256": "0", "reader": "jsonl"}
        manifest: dict[str, Any] = {
            "name": "small", "protocol": "eli5b", "simulated": False, "graded_steps": ["answer"], "expected_answers": 0,
            "teacher": None, "students": None, "data": data, "models": {}, "created_at": "x", "starts": [],
            "redo": offsets,
        }  # fmt: skip
        (self.path / "manifest.json").write_bytes(orjson.dumps(manifest))

    def record(
        self, problem: str, step: str = "answer", *, ok: bool = True, usual: bool = True, **changes: object
    ) -> dict[str, Any]:
        """Append a record; an unusual one has its fields in another order."""
        tags: Any = changes.pop("tags", {})
        record = {
            "key": make_key(problem, step, "1b", tags),
            "status": "ok" if ok else "error",
            "request_hash": "0" * 16,
            "cost_usd": 0.5,
            "problem": problem,
            "step": step,
            **tags,
            "model": "1b",
            "provider": "gpus",
            "slot": "gpu0",
            "simulated": True,
            "request": {
                "model": "llama3.2:1b",
                "messages": [{"role": "user", "content": "a\u2028b"}],
                "sampling": {"temperature": 0.7, "thinking": {"tokens": 5}, "extra": {"top_k": 3}},
                "seed": 9,
            },
            "reply": {"text": "x", "finish_reason": "stop", "finish": "whole"} if ok else None,
            "usage": {"input_tokens": 10, "output_tokens": 20} if ok else None,
            "timing": {"queued": 0.0, "started": 1.5, "latency": self.records, "load": 0, "attempts": 1},
            "error": None if ok else {"class": "timeout", "message": "late", "status": None, "attempts": 1},
            "schema": 1,
            **changes,
        }
        fields = list(record) if usual else sorted(record, reverse=True)
        self.write(orjson.dumps({field: record[field] for field in fields}, option=orjson.OPT_APPEND_NEWLINE))
        self.records += 1
        return record

    def write(self, line: bytes) -> None:
        with self.calls.open("ab") as file:
            file.write(line)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)
