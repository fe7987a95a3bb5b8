"""plan.py: what a job will ask is counted by the protocol itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from eli5b_batch.errors import JobError
from eli5b_batch.job.load import load_job
from eli5b_batch.run.plan import Experiment, count_calls, first_of, load_experiment

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"


def experiment(*overrides: str, limit: int | None = 5) -> Experiment:
    return load_experiment(load_job(QUICKSTART, overrides=overrides, limit=limit), "quickstart.yaml")


async def test_calls_are_counted_by_step_and_model_with_hints_first() -> None:
    plan = await count_calls(experiment())
    assert list(plan.total.items()) == [
        (("hint", "maverick"), 20),
        (("answer", "maverick"), 5),
        (("answer", "1b"), 15),
        (("answer", "3b"), 15),
        (("answer", "8b"), 15),
    ]
    assert plan.graded == 50
    assert plan.left == plan.total
    assert plan.models_left == {"maverick", "1b", "3b", "8b"}


async def test_what_is_on_record_is_not_left() -> None:
    plan = await count_calls(experiment(), on_record=lambda key: "model:3b" not in key)
    assert plan.models_left == {"3b"}
    assert sum(plan.left.values()) == 15


async def test_a_placebos_donor_outside_the_run_is_counted_and_known() -> None:
    one = experiment("params.hints=[placebo]", "params.teacher_alone=false", limit=1)
    plan = await count_calls(one)
    assert plan.total["hint", "maverick"] == 3
    assert len(one.problems.selected) == 1
    assert len(one.everything_asked_about()) == 2


async def test_prompts_are_measured_with_replies_of_the_given_length() -> None:
    short = await count_calls(experiment(), reply_length={("", "maverick"): 10})
    long = await count_calls(experiment(), reply_length={("", "maverick"): 1010})
    assert short.input_bytes["hint", "maverick"] == long.input_bytes["hint", "maverick"] > 0
    assert long.input_bytes["answer", "1b"] - short.input_bytes["answer", "1b"] == 10 * 1000  # 2 hints of 5 problems


async def test_a_prompt_naming_an_unknown_value_is_found_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "hint_tailored.txt").write_text("Explain {{ problm.text }}")
    with pytest.raises(JobError, match=r"hint_tailored: 'problm' is undefined; the values given to it are: problem"):
        await count_calls(experiment(f"prompts={tmp_path}"))


def test_the_first_error_of_nested_groups_is_found() -> None:
    inner = ValueError("x")
    assert first_of(ExceptionGroup("a", [ExceptionGroup("b", [inner]), KeyError()])) is inner
    assert first_of(inner) is inner
