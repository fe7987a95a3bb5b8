"""The graders that go by rules, each with its name and version: what `grader:` of a job file names.

Must not know: pools, models, the journal. The judge, who is a model, is in `judge.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.grading import math, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.grading.verdict import Verdict


class RuleGrader(NamedTuple):
    """One grader: functions of (text, gold) at module level, so that they can be sent to a worker process.

    `name` is written beside every verdict; its version changes whenever a verdict could change. `decide` is bounded
    and safe in any thread; where it says None, `grade` goes on and may hang: in a process that can be killed only.
    """

    name: str
    decide: Callable[[str, str], Verdict | None]
    grade: Callable[[str, str], Verdict]


GRADERS: Final = {
    "math": RuleGrader("math/3", math.decide, math.grade),
    "number": RuleGrader("number/2", number.decide, number.decide),
}
"""By what a job file calls them."""
