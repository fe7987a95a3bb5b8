"""Grading: from a reply's text and the gold answer to a verdict; derived data that can be rebuilt.

Must not know: models, calls, the journal, files.

docs/grading.md says when an answer counts as right, and has a map of the modules.
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
    from eli5b_batch.grading.apart import verdict  # noqa: PLC0415 - most who import the package grade nothing

    return verdict(response, gold)
