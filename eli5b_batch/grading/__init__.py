"""Grading: from a reply's text and the gold answer to a verdict; derived data that can be rebuilt.

Must not know: models, calls, the journal, files.

    extract    which part of a text is the final answer            linear scans only; `sentences`: where no label is
    notation   one spelling for what can be written in many ways   no sympy
    formulas   reads formulas, compares what they say              own parser, no eval; every step bounded
    rules      the rules of comparison, in their order
    math       equal to the gold?  `decide`: the above, at once; `grade`: then ...
    symbolic   ... sympy and math-verify                           may hang: inside a worker only
    number     the grader for answers that are one number
    graders    the two, with names and versions
    limits     what bounds an answer inside a worker
    pool       many answers at once, on an event loop              the runner's way in: `GraderPool.grade`
    solo       one answer, from any thread or process              everybody else's: `is_correct`, `grade`
    judge      a model as judge: what its replies come to
    book       grades.jsonl
"""

from __future__ import annotations

from eli5b_batch.grading.verdict import Verdict

__all__ = ["Verdict", "grade", "is_correct"]


def is_correct(response: str, gold: str) -> bool:
    """Whether the final answer of `response` equals `gold`; see `grade`."""
    return grade(response, gold).correct


def grade(response: str, gold: str) -> Verdict:
    """The verdict on the final answer of `response`: within 5 s and 1 GB, safe in any thread and process.

    Args:
        response: a model's whole reply.
        gold: the data set's answer: a number, a LaTeX formula, or a sentence holding one.

    Raises:
        TypeError: an argument is not a string.
    """
    from eli5b_batch.grading.solo import verdict  # noqa: PLC0415 - most who import the package grade nothing

    return verdict(response, gold)
