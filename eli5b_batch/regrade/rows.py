"""The rows of the new grades.jsonl, each compared with the old one as it is written, and what that comes to.

Must not know: how a verdict is reached.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.records.grades import FAILED, arm_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eli5b_batch.records.grades import Arm
    from eli5b_batch.regrade.drafts import Drafts
    from eli5b_batch.regrade.old_grades import OldGrades

FIRST_SHOWN: Final = 10
"""So many changed verdicts are kept to be shown; the file has them all."""
_GAVE_UP: Final = frozenset({"timeout", "error"})


@dataclass(slots=True)
class Tally:
    """Answers of one arm: with a verdict and correct before, and after; verdicts that changed."""

    graded_before: int = 0
    correct_before: int = 0
    graded: int = 0
    correct: int = 0
    changed: int = 0


@dataclass(slots=True)
class RegradeResult:
    """What a regrade found.

    Attributes:
        grader: name and version of who graded now.
        simulated: whether the replies are.
        before: old rows by the grader they name.
        moved: answers by (verdict before, verdict now); before is None where there was none.
        arms: by arm, in the order of their first answers.
        first: the first changed rows of the new file.
        dropped: old verdicts on answers that are not on record.
        unjudged: answers that the judge has still to be asked about.
        replaced: whether grades.jsonl was replaced; it is not where the new one would say the same.
        seconds: wall time.
    """

    grader: str
    simulated: bool
    before: Counter[str]
    moved: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    arms: dict[Arm, Tally] = field(default_factory=dict)
    first: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    unjudged: int = 0
    replaced: bool = False
    seconds: float = 0.0

    @property
    def graded(self) -> int:
        """Answers with a verdict now; calls that failed are none."""
        return sum(n for (_, new), n in self.moved.items() if new != FAILED)

    @property
    def failed(self) -> int:
        """Answers whose calls failed."""
        return self.moved.total() - self.graded

    @property
    def changed(self) -> int:
        """Answers whose verdict is another than before."""
        return sum(n for (old, new), n in self.moved.items() if old not in (None, new))

    @property
    def added(self) -> int:
        """Answers that had no verdict before."""
        return sum(n for (old, _), n in self.moved.items() if old is None)


class Rows:
    """Writes row after row.

    Args:
        old: the rows there are.
        drafts: where the new ones go.
        outcome: filled in.
    """

    def __init__(self, old: OldGrades, drafts: Drafts, outcome: RegradeResult) -> None:
        self.written = 0
        self._old = old
        self._drafts = drafts
        self._outcome = outcome
        self._same = 0

    @property
    def differ(self) -> bool:
        """Whether the new file says anything that the old one does not, or the other way round."""
        return not self._same == self.written == self._old.rows

    def add(self, row: dict[str, Any]) -> None:
        """Write the verdict on an answer, with what was said before.

        A verdict on a call that failed is none on the answer that made it good.
        """
        old = self._old.take(row["key"])
        counts = old is not None and (old["verdict"] != FAILED or row["verdict"] == FAILED)
        before = old["verdict"] if old is not None and counts else None
        self._write(_with_history(row, old) if old is not None and counts else row, old, before)

    def leave_out(self, key: str) -> None:
        """The judge has still to be asked about this answer: it has no verdict."""
        self._old.take(key)
        self._outcome.unjudged += 1

    def take_over_the_rest(self, failed: Callable[[str, str], dict[str, Any]]) -> None:
        """Keep that calls failed which were never sent; leave out verdicts on answers that are not on record.

        Args:
            failed: makes the row of a call that failed from its key and gold answer.
        """
        for old in self._old.left():
            if old["verdict"] == FAILED:
                self._write(_with_history(failed(old["key"], old["gold"]), old), old, FAILED)
            else:
                self._outcome.dropped += 1

    def _write(self, row: dict[str, Any], old: Mapping[str, Any] | None, before: str | None) -> None:
        outcome, now = self._outcome, row["verdict"]
        changed = before not in (None, now)
        self._drafts.write(row, changed=changed)
        self.written += 1
        self._same += row == old
        outcome.moved[before, now] += 1
        tally = outcome.arms.setdefault(arm_of(row["key"].encode()), Tally())
        tally.graded += 1
        tally.correct += row["correct"]
        tally.graded_before += before is not None
        tally.correct_before += before == "correct"
        tally.changed += changed
        if changed and len(outcome.first) < FIRST_SHOWN:
            outcome.first.append(row)


def _with_history(row: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The new row with what was said before; the old one where the same grader says the same.

    A verdict that the same grader once came to is not given up because the machine was too busy this time.
    """
    if old["grader"] == row["grader"]:
        gave_up = row["verdict"] in _GAVE_UP and old["verdict"] not in _GAVE_UP
        if gave_up or all(old.get(name) == row[name] for name in row if name != "seconds"):
            return dict(old)
    earlier = list(old.get("earlier", ()))
    if old["verdict"] != row["verdict"]:
        earlier.append({name: old[name] for name in ("grader", "verdict", "answer", "rule")})
    return {**row, "earlier": earlier} if earlier else row
