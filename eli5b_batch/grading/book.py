"""grades.jsonl: one verdict per graded answer, kept apart from the calls so that it can be made again without a model.

Must not know: how a verdict is reached. In memory there is one byte per call of the journal, and the running counts of
each arm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.grading.verdict import GRADER
from eli5b_batch.jsonl import JsonLines
from eli5b_batch.records import parse_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eli5b_batch.grading.verdict import Verdict

FAILED: Final = "failed"
"""The verdict on an answer whose call failed: wrong, and in the denominator."""

_VERDICTS: Final = ("", "correct", "incorrect", "no_answer", "timeout", "error", FAILED)
_CODES: Final = {verdict: code for code, verdict in enumerate(_VERDICTS)}
_CORRECT: Final = _CODES["correct"]
_KEY_AT: Final = len(b'{"key":"')
_VERDICT: Final = b'","verdict":"'


class Arm(NamedTuple):
    """Graded answers of one model under one setting of the protocol's tags, samples taken together."""

    model: str
    tags: tuple[tuple[str, str | int], ...]


class GradeBook:
    """The file, and what it says of each call.

    Args:
        path: the file; made if missing.
        row: the place of a key in the journal's index; None for a call that is not on record, whose grade is ignored.

    Raises:
        JournalDamagedError: a complete line is not a grade.
    """

    def __init__(self, path: Path, row: Callable[[str | bytes], int | None]) -> None:
        self._file = JsonLines(path)
        self._row = row
        self._codes = bytearray()
        self._arm_of: dict[bytes, Arm] = {}
        self.graded = 0
        self.arms: dict[Arm, list[int]] = {}
        """By arm: [graded answers, correct ones]."""
        for number, (_, line) in enumerate(self._file.scan(), 1):
            quote = line.find(b'"', _KEY_AT)
            start = quote + len(_VERDICT)
            verdict = line[start : line.find(b'"', start)].decode("ascii", "replace")
            if line[quote:start] != _VERDICT or verdict not in _CODES or line[-2:] != b"}\n":
                raise JournalDamagedError(
                    f"{path}:{number}: this line is not a grade; delete the file and run again: grades can be remade"
                )
            self._note(line[_KEY_AT:quote], verdict)

    def _note(self, key: bytes, verdict: str) -> None:
        row = self._row(key)
        if row is None:
            return
        if row >= len(self._codes):
            self._codes.extend(bytes(row + 1 - len(self._codes)))
        old, new = self._codes[row], _CODES[verdict]
        self._codes[row] = new
        self.graded += not old
        counts = self.arms.setdefault(self._arm(key), [0, 0])
        counts[0] += not old
        counts[1] += (new == _CORRECT) - (old == _CORRECT)

    def _arm(self, key: bytes) -> Arm:
        kind = key[key.find(b"|") :]
        arm = self._arm_of.get(kind)
        if arm is None:
            name = parse_key(kind.decode())
            tags = tuple((tag, value) for tag, value in name.tags.items() if tag != "sample")
            arm = self._arm_of[kind] = Arm(name.model, tags)
        return arm

    def verdict(self, key: str) -> str | None:
        """The verdict on record for an answer."""
        row = self._row(key)
        code = self._codes[row] if row is not None and row < len(self._codes) else 0
        return _VERDICTS[code] if code else None

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
        self._note(key.encode(), verdict)

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()
