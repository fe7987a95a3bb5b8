"""Graders that misbehave, in a module of their own so that worker processes can import them."""

from __future__ import annotations

import os

from eli5b_batch.grading.verdict import Verdict


def hang(text: str, gold: str) -> Verdict:
    """Holds the interpreter for minutes in one multiplication, unless the text says `sane`."""
    if "sane" not in text:
        print("hanging", flush=True)  # noqa: T201 - the test of a killed parent waits for it
        pow(7, 10**9)
    return fine(text, gold)


def crash(text: str, gold: str) -> Verdict:
    if "sane" not in text:
        os._exit(3)
    return fine(text, gold)


def eat_memory(text: str, gold: str) -> Verdict:
    if "sane" not in text:
        return Verdict("correct", str(len(bytearray(4 << 30))), "planted", 0.0)
    return fine(text, gold)


def fine(text: str, gold: str) -> Verdict:
    return Verdict("correct", text, gold, os.getpid())
