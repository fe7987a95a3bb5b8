from __future__ import annotations

import pickle

import pytest

from eli5b_batch.grading.graders import GRADERS


@pytest.mark.parametrize("name", GRADERS)
def test_a_grader_is_named_with_its_version_and_can_be_sent_to_a_worker(name: str) -> None:
    grader = GRADERS[name]
    kind, _, version = grader.name.partition("/")
    assert kind == name
    assert version.isdecimal()
    assert pickle.loads(pickle.dumps(grader)) == grader  # noqa: S301 - our own bytes


@pytest.mark.parametrize("name", GRADERS)
def test_every_grader_knows_a_right_number_from_a_wrong_one(name: str) -> None:
    grader = GRADERS[name]
    assert grader.grade(r"so \boxed{1,234}", "1234").correct
    assert not grader.grade(r"so \boxed{1,235}", "1234").correct
    assert grader.grade("", "1234").verdict == "no_answer"
