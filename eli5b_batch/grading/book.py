"""grades.jsonl: one verdict per graded answer, kept apart from the calls so that it can be rebuilt without any model.

Must not know: how a verdict is reached.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import orjson

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.grading.verdict import GRADER
from eli5b_batch.jsonl import JsonLines

if TYPE_CHECKING:
    from pathlib import Path

    from eli5b_batch.grading.verdict import Verdict

FAILED = "failed"
"""The verdict on an answer whose call failed: wrong, and in the denominator."""


class GradeBook:
    """The file and, in memory, one word per answer.

    Args:
        path: the file; made if missing.

    Raises:
        JournalDamagedError: a complete line is not a grade.
    """

    def __init__(self, path: Path) -> None:
        self._file = JsonLines(path)
        self._verdicts: dict[str, str] = {}
        for number, (_, line) in enumerate(self._file.scan(), 1):
            try:
                row = orjson.loads(line)
                self._verdicts[row["key"]] = sys.intern(row["verdict"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                raise JournalDamagedError(
                    f"{path}:{number}: this line is not a grade; delete the file and run again: grades can be remade"
                ) from None

    def verdict(self, key: str) -> str | None:
        """The verdict on record for an answer."""
        return self._verdicts.get(key)

    def add(self, key: str, gold: str, verdict: Verdict) -> None:
        """Write a verdict down."""
        self._write(key, gold, verdict.verdict, answer=verdict.answer, rule=verdict.rule, seconds=verdict.seconds)

    def add_failed(self, key: str, gold: str) -> None:
        """Write down that there was no answer to grade."""
        self._write(key, gold, FAILED, answer=None, rule=FAILED, seconds=0.0)

    def _write(self, key: str, gold: str, verdict: str, *, answer: str | None, rule: str, seconds: float) -> None:
        row = {
            "key": key,
            "verdict": verdict,
            "correct": verdict == "correct",
            "answer": answer,
            "gold": gold,
            "rule": rule,
            "seconds": round(seconds, 5),
            "grader": GRADER,
        }
        self._file.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._verdicts[key] = verdict

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()
