"""protocols/base.py: how a protocol is found, how its parameters are checked, what it sees of a run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.data.problem import Problem
from eli5b_batch.errors import JobError
from eli5b_batch.job.load import parse_job
from eli5b_batch.protocols.base import Context, load_params, load_protocol
from eli5b_batch.protocols.eli5b import protocol as eli5b
from eli5b_batch.protocols.prompts import Prompts

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from eli5b_batch.job.schema import Job

PROBLEM, OTHER = Problem("00000-a", "What is 1 + 1?", "2"), Problem("00001-b", "What is 2 + 3?", "5")


def job(**params: object) -> Job:
    tree = {
        "name": "small",
        "data": {"reader": "quickstart"},
        "providers": {"api": {"api": "simulated", "limits": {}}},
        "models": {name: {"provider": "api", "model": f"m-{name}"} for name in ("teacher", "1b", "3b")},
        "params": params,
    }
    return parse_job(tree, "job.yaml")


class Calls:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def call(self, owner: Problem, problem: Problem, model: str, ask: Any, **rest: Any) -> Awaitable[Any]:  # noqa: ANN401 (kept as given)
        self.asked.append((owner, problem, model, ask, rest))
        return asyncio.sleep(0)


def context(calls: Calls, partners: dict[str, Problem]) -> Context:
    return Context(PROBLEM, calls=calls, prompts=Prompts("eli5b"), models=job().models, partners=partners)


def test_a_protocol_is_found_by_its_modules_name() -> None:
    assert load_protocol("eli5b").run is eli5b.run


@pytest.mark.parametrize(
    ("name", "hint"),
    [("eli5", "did you mean 'eli5b'?"), ("base", "there are: eli5b"), ("", "there are: eli5b"), ("../x", "there are")],
)
def test_a_protocol_that_is_not_there_is_said_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(JobError) as caught:
        load_protocol(name)
    assert str(caught.value).startswith(f"protocol: no protocol is called {name!r}; {hint}")


def test_parameters_are_checked_by_the_protocols_own_schema() -> None:
    params = load_params(load_protocol("eli5b"), job(teacher="teacher", students=["1b"], samples=2), "job.yaml")
    assert params.model_dump()["samples"] == 2


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"teacher": "teacher", "students": []}, "job.yaml: params.students: must not be empty"),
        ({"teacher": "taecher", "students": ["1b"]}, "job.yaml: params.teacher: no model 'taecher'; did you mean"),
        ({"teacher": "teacher", "students": ["1b", "9b"]}, "job.yaml: params.students[1]: no model '9b'; did you mean"),
        ({"teacher": "teacher", "students": ["1b"], "samples": True}, "job.yaml: params.samples: must be a whole num"),
        ({"teacher": "teacher", "students": ["1b"], "hint": []}, "job.yaml: params.hint: unknown key 'hint'; did you"),
        ({"teacher": "teacher", "students": ["1b"], "hints": ["tailord"]}, "job.yaml: params.hints[0]: must be 'none'"),
    ],
)
def test_a_wrong_parameter_is_said_with_its_path_in_the_job(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        load_params(load_protocol("eli5b"), job(**params), "job.yaml")
    assert str(caught.value).startswith(sentence)


async def test_a_call_belongs_to_the_contexts_problem_unless_it_says_another() -> None:
    calls = Calls()
    ctx = context(calls, {})
    ask = [{"role": "user", "content": "?"}]
    await ctx.call("1b", ask, step="answer", hint="none", sample=0)
    await ctx.call("teacher", ask, step="hint", problem=OTHER)
    assert calls.asked == [
        (PROBLEM, PROBLEM, "1b", ask, {"step": "answer", "tags": {"hint": "none", "sample": 0}}),
        (PROBLEM, OTHER, "teacher", ask, {"step": "hint", "tags": {}}),
    ]


def test_a_partner_is_another_problem_or_a_clear_error() -> None:
    assert context(Calls(), {PROBLEM.id: OTHER}).partner(PROBLEM) is OTHER
    with pytest.raises(JobError, match="placebo needs a second problem with another answer than 00000-a"):
        context(Calls(), {}).partner(PROBLEM)
