"""protocols/eli5b/protocol.py: which calls are made, with which words, and in which order replies feed prompts."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import ValidationError

from eli5b_batch.data.problem import Problem
from eli5b_batch.errors import JobError
from eli5b_batch.job.schema import Model
from eli5b_batch.protocols.base import Context
from eli5b_batch.protocols.eli5b import protocol as eli5b
from eli5b_batch.protocols.eli5b.conditions import CONDITIONS
from eli5b_batch.protocols.prompts import Prompt, Prompts
from eli5b_batch.report.charts import _COLOURS
from eli5b_batch.simulated.model import GAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODELS = {name: Model(provider="p", model=f"llama:{name}") for name in ("teacher", "1b", "3b", "8b")}
PROBLEM = Problem("0-a", "What is 2 + 2?", "4", solution="Add the two.", order=1)
OTHER = Problem("1-b", "What is 3 + 3?", "6", order=0)


@dataclass(frozen=True)
class Said:
    key: str
    text: str
    ok: bool = True


class Script:
    """Calls that answer at once with a text naming the call, and remember what was asked."""

    def __init__(self) -> None:
        self.asked: dict[tuple[Any, ...], str] = {}

    async def call(
        self,
        owner: Problem,  # noqa: ARG002 (part of the interface)
        problem: Problem,
        model: str,
        ask: Prompt | Sequence[dict[str, str]],
        *,
        step: str,
        tags: Mapping[str, str | int],
    ) -> Said:
        await asyncio.sleep(0)
        name = (problem.id, step, model, *tags.values())
        assert isinstance(ask, Prompt)
        self.asked[name] = ask.messages()[0]["content"]
        return Said(str(name), f"reply to {name}")


def params(**values: object) -> eli5b.Params:
    known = {"teacher": "teacher", "students": ["1b", "3b", "8b"], **values}
    return eli5b.Params.model_validate(known, context={"models": list(MODELS)})


async def ask_all(**values: object) -> Script:
    script = Script()
    context = Context(
        PROBLEM, calls=script, prompts=Prompts("eli5b"), models=MODELS, partners={PROBLEM.id: OTHER, OTHER.id: PROBLEM}
    )
    await eli5b.run(PROBLEM, context, params(**values))
    return script


ALL = ["none", "generic", "tailored", "tailored_any", "rewritten", "placebo"]


# The numbers of calls of the published designs, per problem: (teacher, students).
@pytest.mark.parametrize(
    ("values", "teacher", "students"),
    [
        ({"hints": ["generic", "tailored_any"]}, 2, 6),
        ({"hints": ["generic", "tailored"]}, 4, 6),
        ({"teacher_alone": True}, 5, 9),
        ({"teacher_alone": True, "cross_match": True}, 5, 15),
        ({"teacher_alone": True, "cross_match": True, "samples": 4}, 5, 60),
        (
            {
                "hints": ["none", "generic", "tailored", "rewritten"],
                "teacher_alone": True,
                "cross_match": True,
                "samples": 4,
            },
            8,
            72,
        ),
    ],
)
async def test_a_problem_costs_as_many_calls_as_its_design_says(
    values: dict[str, object], teacher: int, students: int
) -> None:
    counts = Counter(name[2] == "teacher" for name in (await ask_all(**values)).asked)
    assert (counts[True], counts[False]) == (teacher, students)


async def test_every_arm_differs_only_in_its_hint() -> None:
    asked = (await ask_all(hints=ALL)).asked
    bare = asked["0-a", "answer", "3b", "none", "any", 0]
    hints = {name[3]: text for name, text in asked.items() if name[1:3] == ("answer", "3b") and name[3] != "none"}
    assert set(hints) == set(ALL) - {"none"}
    for text in hints.values():
        start = text.index("Instructions that may help:\n")
        end = text.index("Reason step by step")
        assert text[:start] + text[end:] == bare


async def test_each_hint_is_asked_with_what_its_condition_may_see() -> None:
    asked = (await ask_all(hints=ALL)).asked
    generic = asked["0-a", "hint", "teacher", "generic", "any"]
    tailored = asked["0-a", "hint", "teacher", "tailored", "3b"]
    rewritten = asked["0-a", "hint", "teacher", "rewritten", "3b"]
    assert PROBLEM.text in generic
    assert "small" not in generic
    assert "llama:3b" not in generic
    assert "llama:3b" in tailored
    assert "llama:3b" not in asked["0-a", "hint", "teacher", "tailored_any", "any"]
    assert "reply to ('0-a', 'hint', 'teacher', 'generic', 'any')" in rewritten
    assert not any(PROBLEM.solution in text for text in asked.values())


async def test_a_placebo_is_another_problems_tailored_hint() -> None:
    asked = (await ask_all(hints=["placebo"])).asked
    donor = ("1-b", "hint", "teacher", "tailored", "8b")
    assert OTHER.text in asked[donor]
    answer = asked["0-a", "answer", "8b", "placebo", "8b", 0]
    assert f"reply to {donor}" in answer
    assert OTHER.text not in answer


async def test_cross_match_gives_every_tailored_hint_to_every_student() -> None:
    asked = (await ask_all(hints=["tailored"], cross_match=True)).asked
    pairs = {(name[2], name[4]) for name in asked if name[1] == "answer"}
    assert pairs == {(student, reader) for student in ("1b", "3b", "8b") for reader in ("1b", "3b", "8b")}


async def test_only_a_teacher_allowed_to_sees_the_solution() -> None:
    asked = (await ask_all(hints=["generic", "tailored", "rewritten"], teacher_sees="solution")).asked
    for name, text in asked.items():
        assert (PROBLEM.solution in text) is (name[1] == "hint" and name[3] in ("generic", "tailored"))


async def test_a_placebo_without_a_second_problem_is_an_error_of_the_job() -> None:
    context = Context(PROBLEM, calls=Script(), prompts=Prompts("eli5b"), models=MODELS, partners={})
    with pytest.raises(ExceptionGroup) as caught:
        await eli5b.run(PROBLEM, context, params(hints=["placebo"]))
    assert caught.group_contains(JobError, match="placebo needs a second problem")


@pytest.mark.parametrize(
    "values",
    [
        {"hints": []},
        {"students": []},
        {"hints": ["none", "none"]},
        {"samples": 0},
        {"hints": ["taylored"]},
        {"teacher": "x"},
    ],
)
def test_nonsense_parameters_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        params(**values)


def test_every_condition_has_its_place_in_the_report_and_its_gain_in_the_simulation() -> None:
    hints = set(get_args(eli5b.Hint))
    assert set(CONDITIONS) == set(GAIN) == hints
    assert set(_COLOURS) >= hints
