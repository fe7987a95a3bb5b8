"""A run folder written line by line, for every test of regrading."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.records import make_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROBLEMS = ["What is 1 + 1?", "What is 2 + 3?"]
GOLDS = ["2", "5"]


def problem_id(index: int) -> str:
    """As the reader makes it."""
    mark = hashlib.blake2b(PROBLEMS[index].encode(), digest_size=4, usedforsecurity=False).hexdigest()
    return f"{index:05d}-{mark}"


class Folder:
    """Journal, verdicts, job and manifest of a run on the two problems of the fixture `job`."""

    def __init__(self, path: Path, job: Path) -> None:
        path.mkdir()
        self.path = path
        self.data = job.parent / "data.jsonl"
        (path / "job.yaml").write_bytes(job.read_bytes())
        self.manifest()

    def manifest(self, **changes: Any) -> None:  # noqa: ANN401 - any JSON value
        manifest = {
            "schema": 1,
            "name": "small",
            "protocol": "eli5b",
            "simulated": False,
            "graded_steps": ["answer"],
            "expected_answers": 4,
            "teacher": "teacher",
            "students": ["1b"],
            "data": {"reader": "jsonl", "sha256": hashlib.sha256(self.data.read_bytes()).hexdigest()},
            "models": {"1b": {"digest": "", "model": "llama3.2:1b"}},
            "created_at": "2026-03-01T12:00:00+00:00",
            "starts": ["2026-03-01T12:00:00+00:00"],
            **changes,
        }
        (self.path / "manifest.json").write_bytes(orjson.dumps(manifest))

    def reply(self, problem: int, text: str | None, step: str = "answer", /, **tags: str | int) -> str:
        """A call on record; no text: it failed."""
        key = make_key(problem_id(problem), step, "1b", {"hint": "none", "sample": 0, **tags})
        record = {
            "key": key,
            "status": "error" if text is None else "ok",
            "request_hash": "0" * 16,
            "cost_usd": 0.0,
            "reply": None if text is None else {"text": text, "finish_reason": "stop"},
            "error": {"class": "timeout", "message": "too slow"} if text is None else None,
        }
        self.append("calls.jsonl", record)
        return key

    def verdict(self, key: str, verdict: str, answer: str | None = None, **changes: Any) -> None:  # noqa: ANN401 - any JSON value
        row = {
            "key": key,
            "verdict": verdict,
            "correct": verdict == "correct",
            "answer": answer,
            "gold": GOLDS[int(key[:5])],
            "rule": "boxed/old",
            "seconds": 0.25,
            "grader": "math/1",
            **changes,
        }
        self.append("grades.jsonl", row)

    def graded(self, problem: int, text: str | None, verdict: str, **tags: str | int) -> str:
        """An answer on record with its old verdict."""
        key = self.reply(problem, text, **tags)
        self.verdict(key, verdict, None if text is None else "old")
        return key

    def append(self, name: str, row: dict[str, Any]) -> None:
        with (self.path / name).open("ab") as file:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def rows(self, name: str = "grades.jsonl") -> dict[str, dict[str, Any]]:
        """By key; each key stands once."""
        lines = (self.path / name).read_bytes().splitlines()
        rows = {row["key"]: row for row in map(orjson.loads, lines)}
        assert len(rows) == len(lines)
        return rows

    def verdicts(self) -> dict[str, str]:
        return {key: row["verdict"] for key, row in self.rows().items()}

    def files(self) -> dict[str, bytes]:
        """All there is but the lock, which stays behind."""
        paths = [p for p in self.path.rglob("*") if p.is_file() and p.name != ".lock"]
        return {str(p.relative_to(self.path)): p.read_bytes() for p in paths}


@pytest.fixture
def folder(tmp_path: Path, job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)  # a data file's path is relative
    return Folder(tmp_path / "run", job())
