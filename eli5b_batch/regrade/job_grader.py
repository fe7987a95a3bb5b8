"""By whom answers are graded again: by rules, or by what a judge has said about them.

Must not know: files. A judgement is read from the journal, never asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eli5b_batch.grading.graders import GRADERS, RuleGrader
from eli5b_batch.grading.judge import JUDGE
from eli5b_batch.run.judging import is_about, judgements_of

if TYPE_CHECKING:
    from eli5b_batch.job.schema import Job, Judge
    from eli5b_batch.records.journal import Journal


class JobGrader(NamedTuple):
    """A grader that goes by rules, and the judge whose verdict counts in place of theirs, if any."""

    rules: RuleGrader
    judge: Judge | None = None

    @property
    def name(self) -> str:
        """Name and version, as written beside a verdict."""
        return JUDGE if self.judge else self.rules.name

    @property
    def signature(self) -> tuple[str, str | None]:
        """All that a row of grades.jsonl says of who graded: `grader` and, where it is a judge, `rule_grader`."""
        return self.name, self.rules.name if self.judge else None


def grader_of(job: Job) -> JobGrader:
    """The grader that a job names."""
    return JobGrader(GRADERS[job.rules], job.judge if job.grader == "judge" else None)


def judgements(journal: Journal, judge: Judge, key: str, text: str) -> list[str | None] | None:
    """The judge's replies about an answer, one for each order; None in the list: that call failed.

    Args:
        journal: holds them.
        judge: of the job.
        key: of the answer.
        text: of the answer; a judgement from before a redo may be about another.

    Returns:
        None where the judge has not been asked about this very answer in every order.
    """
    told: list[str | None] = []
    for name in judgements_of(key, judge):
        entry = journal.find(name)
        if entry is None:
            return None
        if not entry.ok:
            told.append(None)
            continue
        judgement = journal.read(name, entry)
        if not is_about(judgement, text):
            return None
        told.append(str(judgement["reply"]["text"]))
    return told
