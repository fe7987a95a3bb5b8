"""The labelled cases of `corpus/*.jsonl`: every answer gets the verdict that mathematics gives it.

One JSON object per line: `kind`, `response` (what a model wrote), `gold`, `right` (the label), `why` (its reason).
The labels come from judgement and computation, never from a grader; a case that fails shows a fault of the grader.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from eli5b_batch.grading import math

FILES: Final = sorted((Path(__file__).parent / "corpus").glob("*.jsonl"))


class Case(NamedTuple):
    """One line of a corpus file, in the order of its fields."""

    kind: str
    response: str
    gold: str
    right: bool
    why: str


def load() -> list[Case]:
    """Every case of every file; a line with other fields fails here."""
    lines = [line for file in FILES for line in file.read_text(encoding="utf-8").split("\n") if line]
    return [Case(**json.loads(line)) for line in lines]


def numbered(cases: list[Case]) -> list[str]:
    """A name for each case: its kind, and its number within it."""
    seen: Counter[str] = Counter()
    names = []
    for case in cases:
        seen[case.kind] += 1
        names.append(f"{case.kind}-{seen[case.kind]}")
    return names


CASES: Final = load()


def test_every_case_says_what_and_why() -> None:
    for case in CASES:
        assert all(type(text) is str for text in (case.kind, case.response, case.gold, case.why)), case
        assert type(case.right) is bool, case
        assert case.kind.isidentifier(), case
        assert case.gold.strip(), case
        assert case.why.strip(), case


def test_no_pair_of_response_and_gold_is_labelled_twice() -> None:
    pairs = Counter((case.response, case.gold) for case in CASES)
    assert [pair for pair, count in pairs.items() if count > 1] == []


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 600


@pytest.mark.parametrize("kind", sorted({case.kind for case in CASES}))
def test_every_kind_has_right_and_wrong_cases(kind: str) -> None:
    labels = Counter(case.right for case in CASES if case.kind == kind)
    assert labels[True] >= 1
    assert labels[False] >= 1
    assert labels.total() >= 10


@pytest.mark.parametrize("case", CASES, ids=numbered(CASES))
def test_the_verdict_is_the_label(case: Case) -> None:
    verdict = math.grade(case.response, case.gold)
    assert verdict.correct is case.right, f"{case.why}; {verdict}"
