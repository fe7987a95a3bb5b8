"""The plan: every call of a job, counted by running its protocol against calls that are never made.

Must not know: providers at work. What `check` predicts and what a run does can't differ: both run the same protocol.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eli5b_batch.data.load import load_problems
from eli5b_batch.dispatch.budget import input_bound
from eli5b_batch.protocols.base import Context, ProtocolModule, ProtocolParams, load_params, load_protocol
from eli5b_batch.protocols.prompts import Prompt, Prompts
from eli5b_batch.run.calls import CountingCalls, Recorded
from eli5b_batch.run.judging import STEP as JUDGE
from eli5b_batch.run.judging import Judging
from eli5b_batch.simulated.quirks.check import check_quirks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eli5b_batch.data.problem import Problem, Problems
    from eli5b_batch.job.schema import Job
    from eli5b_batch.protocols.base import Calls
    from eli5b_batch.protocols.prompts import Message
    from eli5b_batch.run.judging import Tell


@dataclass(frozen=True)
class Experiment:
    """A job with everything it refers to: loaded, checked, and nothing sent yet. `judging`: None where rules grade."""

    job: Job
    protocol: ProtocolModule
    params: ProtocolParams
    prompts: Prompts
    problems: Problems
    judging: Judging | None = None

    async def run(self, problem: Problem, calls: Calls, tell: Tell | None = None) -> None:
        """The protocol for one problem; where a judge grades, until every graded answer is judged.

        Args:
            problem: the problem.
            calls: makes the calls.
            tell: told of each judged answer; see `judging.JudgedCalls`.
        """
        if self.judging is None:
            await self.protocol.run(problem, self.context(problem, calls), self.params)
            return
        async with asyncio.TaskGroup() as group:
            judged = self.judging.calls(calls, group, tell)
            await self.protocol.run(problem, self.context(problem, judged), self.params)

    def context(self, problem: Problem, calls: Calls) -> Context:
        """What the protocol sees for one problem."""
        return Context(
            problem,
            calls=calls,
            prompts=self.prompts,
            models=self.job.models,
            partners=self.problems.partners,
        )

    def everything_asked_about(self) -> list[Problem]:
        """The problems of the run and the donors of their placebos, which may lie outside it."""
        selected = self.problems.selected
        donors = (self.problems.partners.get(p.id) for p in selected)
        return list({p.id: p for p in (*selected, *donors) if p is not None}.values())


def load_experiment(job: Job, where: str) -> Experiment:
    """Load protocol, parameters, prompts and problems of a job.

    Raises:
        JobError: anything of it is wrong.
    """
    check_quirks(job, where)
    protocol = load_protocol(job.protocol)
    params = load_params(protocol, job, where)
    prompts = Prompts(job.protocol, job.prompts)
    judging = Judging(job.judge, protocol.GRADED) if job.judge else None
    return Experiment(job, protocol, params, prompts, load_problems(job.data), judging)


@dataclass
class Plan:
    """Calls by (step, model), of them the ones not yet on record, and what they will read.

    `graded` counts the answers among them, `fingerprint` is of the job that was counted. `again` counts answers on
    record that may be asked again, because what they were built on is.
    """

    total: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    input_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    graded: int = 0
    fingerprint: str = ""

    @property
    def models_left(self) -> set[str]:
        """Models that still have calls to answer, or may have."""
        return {model for (_, model), n in (self.left + self.again).items() if n}


def providers_left(job: Job, plan: Plan) -> list[str]:
    """Providers that still have calls to answer, or may have."""
    return sorted({job.models[name].provider for name in plan.models_left})


def remembered_plan(manifest: Mapping[str, Any], fingerprint: str) -> Plan | None:
    """What an earlier start counted for the very same job; None: count again."""
    known = manifest.get("plan", {})
    if known.get("fingerprint") != fingerprint:
        return None
    total = Counter({(step, model): n for step, model, n in known["calls"]})
    return Plan(total=total, graded=manifest["expected_answers"], fingerprint=fingerprint)


async def count_calls(
    experiment: Experiment,
    problems: Sequence[Problem] | None = None,
    *,
    on_record: Callable[[str], bool] | None = None,
    outdated: Callable[[str, Sequence[str]], bool] | None = None,
    asked_again: Callable[[str, Prompt], bool | None] | None = None,
    reply_length: Mapping[tuple[str, str], int] | None = None,
) -> Plan:
    """Count the calls of a job.

    Args:
        experiment: the job.
        problems: the ones to count; None: all of the run.
        on_record: whether a key is answered already; None: nothing is.
        outdated: whether the answer to a key is older than one of the replies (keys) it is built on, or one is missing.
        asked_again: whether an outdated answer is asked again, where that is known already; None: it never is.
        reply_length: measure prompts too: every one is rendered, with replies of so many bytes by (step, model), or by
            ("", model) for steps not named.

    Raises:
        JobError: a prompt names a value it is not given, or a placebo finds no partner.
    """
    plan = Plan()
    again: set[str] = set()
    graded = experiment.protocol.GRADED
    # The first problem's prompts are all rendered, so that a mistake in a text is found before anything is asked.
    first = True

    def fill(step: str, model: str) -> str:
        lengths = reply_length or {}
        return "x" * lengths.get((step, model), lengths.get(("", model), 0))

    def count(key: str, step: str, model: str, ask: Prompt | Sequence[Message]) -> None:
        slot = (step, model)
        plan.total[slot] += 1
        plan.graded += step in graded
        if on_record is None or not on_record(key):
            plan.left[slot] += 1
        elif outdated is not None and isinstance(ask, Prompt):
            built_on = [value.key for value in ask.values.values() if isinstance(value, Recorded)]
            open_upstream = not again.isdisjoint(built_on)
            if open_upstream or outdated(key, built_on):
                certain = asked_again(key, ask) if asked_again is not None and not open_upstream else None
                if certain is not False:
                    again.add(key)
                    (plan.left if certain else plan.again)[slot] += 1
        if reply_length or first:
            plan.input_bytes[slot] += input_bound(ask.messages() if isinstance(ask, Prompt) else ask)

    calls = CountingCalls(count, fill)
    for problem in experiment.problems.selected if problems is None else problems:
        try:
            await experiment.run(problem, calls)
        except* Exception as group:  # noqa: BLE001 (the first error of a task group is the error)
            raise first_of(group) from None
        first = False
    # What answers are built on comes first wherever steps are listed, and what is built on answers last.
    order = sorted(plan.total, key=lambda slot: (slot[0] == JUDGE, slot[0] in graded))
    plan.total = Counter({slot: plan.total[slot] for slot in order})
    return plan


def first_of(group: BaseException) -> BaseException:
    """The first single error inside a task group's error."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
