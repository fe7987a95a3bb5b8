"""What grading says about one answer.

Must not know: how it was found out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Outcome = Literal["correct", "incorrect", "no_answer", "timeout", "error"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer's grade.

    `answer` is what was taken from the text (None: nothing found, or not known because the worker died).
    `rule` names what found the answer and what decided, as in `boxed/rational`; `seconds` is wall time.
    Only `correct` counts as right: the other four outcomes stay in the denominator.
    """

    verdict: Outcome
    answer: str | None
    rule: str
    seconds: float

    @property
    def correct(self) -> bool:
        """Whether the answer equals the gold answer."""
        return self.verdict == "correct"


class ByRules(NamedTuple):
    """What a grader that goes by rules says of the same answer, and its name; kept beside the judge's verdict."""

    verdict: Outcome | Literal["failed"]
    grader: str
