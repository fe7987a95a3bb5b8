"""grades.jsonl: one verdict per graded answer, kept apart from the calls so that it can be made again without a model.

Must not know: how a verdict is reached. In memory there are the verdicts of open problems and the counts of each
arm.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import orjson

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.grading.verdict import Outcome
from eli5b_batch.records import parse_key
from eli5b_batch.records.journal import problem_key, problem_of
from eli5b_batch.records.lines import JsonLines, Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from eli5b_batch.grading.verdict import ByRules, Verdict

FAILED: Final = "failed"
"""The verdict on an answer whose call failed: wrong, and in the denominator."""

_CORRECT: Final = "correct"
VERDICTS: Final = frozenset({*get_args(Outcome), FAILED})
"""What a row may say."""
_KEY_AT: Final = len(b'{"key":"')
_VERDICT: Final = b'","verdict":"'


class Arm(NamedTuple):
    """Graded answers of one model under one setting of the protocol's tags, samples taken together."""

    model: str
    tags: tuple[tuple[str, str | int], ...]


class GradeBook:
    """The file, the verdicts of open problems, and the counts of every arm.

    Args:
        path: the file; made if missing.
        on_record: whether the journal holds a call; the grade of one that was lost with the journal's end is ignored.
        closed: problems that nobody will ask about: their verdicts are counted and not kept.
        checkpoint: what `checkpoint()` of an earlier start gave, if the file still begins with what it covers.

    Raises:
        JournalDamagedError: a complete line is not a grade.
    """

    def __init__(
        self,
        path: Path,
        on_record: Callable[[str], bool],
        *,
        closed: Collection[str] = (),
        checkpoint: Mapping[str, Any] | None = None,
    ) -> None:
        self._file = JsonLines(path)
        self._on_record = on_record
        self._closed = {problem_key(problem) for problem in closed}
        self._verdicts: dict[bytes, dict[bytes, str]] = {}
        self.arms: dict[Arm, list[int]] = {}
        """By arm: [graded answers, correct ones]."""
        self._load(checkpoint)

    def _load(self, checkpoint: Mapping[str, Any] | None) -> None:
        start = 0
        if checkpoint is not None and self._file.has(mark := Mark(*checkpoint["mark"])):
            start = mark.end
            self.arms = {Arm(model, tuple(map(tuple, tags))): counts for model, tags, counts in checkpoint["arms"]}
            for key, verdict in checkpoint["open"]:
                if (problem := problem_of(key.encode())) not in self._closed:
                    self._verdicts.setdefault(problem, {})[key.encode()] = verdict
                elif verdict == FAILED:  # made good after the mark: the verdict that replaced it counts
                    self.arms[arm_of(key.encode())][0] -= 1
        for number, (_, line) in enumerate(self._file.scan(start), 1):
            quote = line.find(b'"', _KEY_AT)
            verdict_at = quote + len(_VERDICT)
            verdict = line[verdict_at : line.find(b'"', verdict_at)].decode("ascii", "replace")
            if line[quote:verdict_at] != _VERDICT or verdict not in VERDICTS or line[-2:] != b"}\n":
                raise JournalDamagedError(
                    f"{self._file.path}:{number}: this line is not a grade; delete the file and run again: "
                    "grades can be remade"
                )
            self._note(line[_KEY_AT:quote], sys.intern(verdict))

    def _note(self, key: bytes, verdict: str) -> None:
        counts = self.arms.setdefault(arm_of(key), [0, 0])
        problem = problem_of(key)
        if problem in self._closed:  # its failures were made good: only the verdicts that replaced them count
            counts[0] += verdict != FAILED
            counts[1] += verdict == _CORRECT
            return
        if not self._on_record(key.decode()):
            return
        verdicts = self._verdicts.setdefault(problem, {})
        old = verdicts.get(key)
        counts[0] += old is None
        counts[1] += (verdict == _CORRECT) - (old == _CORRECT)
        verdicts[key] = verdict

    @property
    def graded(self) -> int:
        """Answers with a verdict."""
        return sum(n for n, _ in self.arms.values())

    def verdict(self, key: str) -> str | None:
        """The verdict on record for an answer of an open problem."""
        name = key.encode()
        return self._verdicts.get(problem_of(name), {}).get(name)

    def close_problem(self, problem: str) -> None:
        """Nobody will ask about the answers of this problem any more: they stay counted."""
        self._closed.add(problem_key(problem))
        self._verdicts.pop(problem_key(problem), None)

    def checkpoint(self) -> dict[str, Any]:
        """What a later start needs in order not to read the file from its beginning; JSON-ready."""
        return {
            "mark": list(self._file.mark()),
            "arms": [[*arm, counts] for arm, counts in self.arms.items()],
            "open": [[key.decode(), verdict] for known in self._verdicts.values() for key, verdict in known.items()],
        }

    def add(self, key: str, gold: str, verdict: Verdict, grader: str, by_rules: ByRules | None = None) -> None:
        """Write a verdict down.

        Args:
            key: of the answer.
            gold: the gold answer.
            verdict: what the grader says.
            grader: its name and version, such as `math/3`.
            by_rules: where the grader is a judge, what is kept beside its verdict.
        """
        self._write(row_of(key, gold, verdict, grader, by_rules))

    def add_failed(self, key: str, gold: str, grader: str, by_rules: ByRules | None = None) -> None:
        """Write down that there was no answer to grade."""
        self._write(row_of(key, gold, None, grader, by_rules))

    def _write(self, row: dict[str, Any]) -> None:
        self._file.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._note(row["key"].encode(), row["verdict"])

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()


def row_of(
    key: str, gold: str, verdict: Verdict | None, grader: str, by_rules: ByRules | None = None
) -> dict[str, Any]:
    """A line of grades.jsonl; no verdict: the call failed, and there was nothing to grade."""
    row = {
        "key": key,
        "verdict": verdict.verdict if verdict else FAILED,
        "correct": verdict is not None and verdict.correct,
        "answer": verdict.answer if verdict else None,
        "gold": gold,
        "rule": verdict.rule if verdict else FAILED,
        "seconds": round(verdict.seconds, 5) if verdict else 0.0,
        "grader": grader,
    }
    return row if by_rules is None else row | {"rule_verdict": by_rules.verdict, "rule_grader": by_rules.grader}


def arm_of(key: bytes) -> Arm:
    """The arm that an answer belongs to."""
    return _arm_of_kind(key[key.find(b"|") :])


@cache
def _arm_of_kind(kind: bytes) -> Arm:
    """There are as many kinds of calls as a problem has calls."""
    name = parse_key(kind.decode())
    return Arm(name.model, tuple((tag, value) for tag, value in name.tags.items() if tag != "sample"))
