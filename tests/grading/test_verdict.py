from __future__ import annotations

import pickle

import pytest

from eli5b_batch.grading.verdict import Outcome, Verdict


@pytest.mark.parametrize("outcome", ["correct", "incorrect", "no_answer", "timeout", "error"])
def test_only_correct_counts(outcome: Outcome) -> None:
    assert Verdict(outcome, "5", "boxed/text", 0.1).correct is (outcome == "correct")


def test_it_crosses_process_borders() -> None:
    verdict = Verdict("incorrect", "\ud800", "boxed/number", 0.1)
    assert pickle.loads(pickle.dumps(verdict)) == verdict  # noqa: S301 - our own bytes
