"""A grader that does what the text says, in a module of its own so that worker processes can import it."""

from __future__ import annotations

import os
import signal

from eli5b_batch.grading.verdict import Verdict


def undecided(text: str, gold: str) -> Verdict | None:  # noqa: ARG001 - as every `decide`
    """Leaves every answer to a worker."""
    return None


def obey(text: str, gold: str) -> Verdict:
    """Does what the first word of `text` says, if it says anything."""
    word = text.partition(" ")[0]
    if word == "hang":
        pow(7, 10**9)
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "fail":
        raise ZeroDivisionError
    return Verdict("correct", text, gold, 0.0)


def prepare_nothing() -> None:
    """Leaves sympy where it is."""
