"""What a judge's replies come to: reading one, and the verdict that one or two of them make.

Must not know: models, calls, the texts a judge is asked with. Who asks it is `run/judging.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from eli5b_batch.grading.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eli5b_batch.grading.verdict import Outcome

JUDGE: Final = "judge/1"
"""Name and version of how replies are read, written beside every verdict. What was asked stands in calls.jsonl."""

CALL_FAILED: Final = "judge/failed"
UNREADABLE: Final = "judge/unreadable"
DISAGREE: Final = "judge/orders_disagree"

Opinion = Literal["equivalent", "different", "no_answer"]

_OUTCOMES: Final[dict[Opinion, Outcome]] = {
    "equivalent": "correct",
    "different": "incorrect",
    "no_answer": "no_answer",
}
_VERDICT_LINE: Final = re.compile(
    r"[\W_]{0,9}verdict[\W_]{1,9}(equivalent|different|no[\s_-]answer)[\W_]{0,9}", re.IGNORECASE
)


def read(reply: str) -> Opinion | None:
    """What a judge's reply says in its last line, None where that is not a verdict.

    Only the last line counts: before it a judge may weigh the other verdict, or quote the candidate.
    """
    line = reply.rstrip().rpartition("\n")[2]
    said = _VERDICT_LINE.fullmatch(line.strip())
    if said is None:
        return None
    match said[1].lower():
        case "equivalent":
            return "equivalent"
        case "different":
            return "different"
    return "no_answer"


def verdict_of(replies: Sequence[str | None], by_rules: Verdict) -> Verdict:
    """The verdict on an answer, from what the judge replied in each order; None: that call failed.

    An answer is correct only where every order says so. Orders that say different things show that the judge goes by
    the place an answer stands at (position bias): they count as incorrect, under a rule of their own.

    Args:
        replies: one, or one for each order.
        by_rules: the rule grader's verdict on the same answer, which has the answer and the time that took.
    """
    outcome, rule = decide(replies)
    return Verdict(outcome, by_rules.answer, rule, by_rules.seconds)


def decide(replies: Sequence[str | None]) -> tuple[Outcome, str]:
    """The outcome and the rule of `verdict_of`."""
    opinions = {None if reply is None else read(reply) for reply in replies}
    if None in replies:
        return "error", CALL_FAILED
    if None in opinions:
        return "error", UNREADABLE
    if len(opinions) > 1:
        return "incorrect", DISAGREE
    (opinion,) = opinions
    assert opinion is not None
    return _OUTCOMES[opinion], f"judge/{opinion}"
