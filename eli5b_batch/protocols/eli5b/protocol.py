"""ELI5B: does a hint written for a small model help it more than a hint written for anyone?

Must not know: providers, slots, files. For each problem the teacher writes hints (conditions below), each student
solves the problem with each hint, and the answers are graded. Every arm uses the same wrapper (the prompt `answer`),
the same decoding and the same seed per sample, so that only the hint differs.

    none          the problem alone                         the floor
    generic       instructions for anyone                   the original experiment's first condition
    tailored      instructions for this very student        the original experiment's second condition
    tailored_any  instructions for "a small model"          one hint for all students
    rewritten     the generic hint reworded for this        the communication effect: no mathematics may be added
                  student
    placebo       the tailored hint of another problem      extra tokens, no information
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pydantic import Field, field_validator

from eli5b_batch.protocols.base import Context, ModelName, ProtocolParams, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eli5b_batch.data.problem import Problem

Hint = Literal["none", "generic", "tailored", "tailored_any", "rewritten", "placebo"]

GRADED: Final = ("answer",)
ANYONE: Final = "any"
_PERSONAL: Final = ("tailored", "rewritten", "placebo")


class Params(ProtocolParams):
    """The experiment's part of the job file."""

    teacher: ModelName
    students: list[ModelName] = Field(min_length=1)
    hints: list[Hint] = Field(["none", "generic", "tailored"], min_length=1)
    teacher_alone: bool = Field(default=False, description="The teacher answers too: the ceiling.")
    cross_match: bool = Field(default=False, description="Every tailored hint to every student, not only its own.")
    samples: int = Field(1, ge=1, le=1000, description="Answers per student and hint.")
    teacher_sees: Literal["problem", "solution"] = Field(
        "problem", description="`solution` shows the teacher the reference solution: another question."
    )

    @field_validator("students", "hints")
    @classmethod
    def _once_each(cls, names: list[str]) -> list[str]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} stands twice")
        return names


class Treatment(NamedTuple):
    """One answer to ask for: who answers, with which hint, written for whom."""

    model: str
    hint: Hint
    hint_for: str
    sample: int


async def run(problem: Problem, ctx: Context, params: Params) -> None:
    """The whole experiment for one problem: every arm, side by side."""
    async with asyncio.TaskGroup() as group:
        for arm in arms(params):
            group.create_task(answer(problem, ctx, params, arm))


def arms(params: Params) -> Iterator[Treatment]:
    """Every answer that one problem is asked for."""
    if params.teacher_alone:
        yield Treatment(params.teacher, "none", ANYONE, 0)
    for student, hint, sample in itertools.product(params.students, params.hints, range(params.samples)):
        if hint == "tailored" and params.cross_match:
            yield from (Treatment(student, hint, reader, sample) for reader in params.students)
        else:
            yield Treatment(student, hint, student if hint in _PERSONAL else ANYONE, sample)


async def answer(problem: Problem, ctx: Context, params: Params, arm: Treatment) -> None:
    """One model's answer under one condition."""
    hint = None if arm.hint == "none" else await write_hint(problem, ctx, params, arm.hint, arm.hint_for)
    ask = ctx.prompt("answer", problem=problem, hint=hint)
    await ctx.call(arm.model, ask, step="answer", hint=arm.hint, hint_for=arm.hint_for, sample=arm.sample)


async def write_hint(problem: Problem, ctx: Context, params: Params, kind: Hint, reader: str) -> Reply:
    """The teacher's hint. Asked for once, however many answers use it: the same call is never made twice."""
    if kind == "placebo":
        return await write_hint(ctx.partner(problem), ctx, params, "tailored", reader)
    values: dict[str, object] = {"problem": problem, "student": ctx.models.get(reader)}
    if kind == "rewritten":
        values["draft"] = await write_hint(problem, ctx, params, "generic", ANYONE)
    else:
        values["solution"] = problem.solution if params.teacher_sees == "solution" else None
    ask = ctx.prompt(f"hint_{kind}", **values)
    return await ctx.call(params.teacher, ask, step="hint", problem=problem, hint=kind, hint_for=reader)
