"""The judge's part in a run: every graded answer is put to a model, beside the protocol, which knows nothing of it.

Must not know: how calls are made or counted, what verdicts are written to. A judgement is a call like any other, of the
step `judge`; that alone has it journaled, resumed, budgeted, counted, retried and redone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.protocols.prompts import Prompts
from eli5b_batch.records import make_key, parse_key
from eli5b_batch.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.job.schema import Judge
    from eli5b_batch.protocols.base import Calls, Reply
    from eli5b_batch.protocols.prompts import Message, Prompt

    Tell = Callable[[Problem, Problem, Reply, Sequence[Reply]], None]

STEP: Final = "judge"

LONGEST_SHOWN: Final = 4_000
"""Characters of a reply's end that the judge is shown: final answers stand there."""

_FIRST: Final = {"both": ("reference", "candidate"), "one": ("reference",)}
"""By `orders`: what stands first in each question."""

JUDGE_TAGS: Final = frozenset({"judged", "judged_step", "first"})
"""Tags of a judgement beside those of the answer: whose it is, of which step, and what stands first."""


class Judging:
    """Who judges, and how it is asked.

    Args:
        judge: of the job.
        steps: the protocol's graded steps.
    """

    def __init__(self, judge: Judge, steps: Collection[str]) -> None:
        self._judge = judge
        self._steps = frozenset(steps)
        self._prompts = Prompts(STEP)

    @property
    def asked(self) -> dict[str, object]:
        """All that decides what is asked, but for the model's id and sampling."""
        return {**self._judge.model_dump(), "shown": LONGEST_SHOWN, "texts": self._prompts.texts}

    @property
    def texts(self) -> dict[str, str]:
        """The prompt texts, by name."""
        return self._prompts.texts

    def calls(self, calls: Calls, group: asyncio.TaskGroup, tell: Tell | None) -> JudgedCalls:
        """The calls of one problem, with its graded answers judged in `group`; see `JudgedCalls`."""
        return JudgedCalls(calls, self, group, tell)

    def grades(self, step: str) -> bool:
        """Whether replies of this step are judged."""
        return step in self._steps

    def questions(
        self, problem: Problem, reply: Reply, step: str, model: str, tags: Mapping[str, str | int]
    ) -> list[tuple[Prompt, dict[str, str | int]]]:
        """What is asked about one answer, with the tags of each judgement.

        Raises:
            ValueError: the protocol has a tag of this name.
        """
        if not JUDGE_TAGS.isdisjoint(tags):
            raise ValueError(f"a tag of a judged answer may not be called {', '.join(JUDGE_TAGS & set(tags))}")
        return [
            (
                self._prompts(
                    STEP, problem=problem, reply=reply, first=own["first"], shown=LONGEST_SHOWN, quoted=quoted
                ),
                own,
            )
            for own in _tags(self._judge, step, model, tags)
        ]

    @property
    def model(self) -> str:
        """The job's name of the judge."""
        return self._judge.model


def judgements_of(answer: str, judge: Judge) -> list[str]:
    """The keys of the calls in which an answer is judged; `answer` is its key."""
    name = parse_key(answer)
    return [make_key(name.problem, STEP, judge.model, tags) for tags in _tags(judge, name.step, name.model, name.tags)]


def is_about(judgement: Mapping[str, Any], reply: str) -> bool:
    """Whether a judgement on record is about this very reply, and not about one that was there before a redo."""
    return f":\n{quoted(reply[-LONGEST_SHOWN:])}\n\n" in judgement["request"]["messages"][-1]["content"]


def _tags(judge: Judge, step: str, model: str, tags: Mapping[str, str | int]) -> list[dict[str, str | int]]:
    """The tags of each judgement of an answer, by its step, its model and its own tags."""
    return [{**tags, "judged": model, "judged_step": step, "first": first} for first in _FIRST[judge.orders]]


class JudgedCalls:
    """Calls of one problem; each graded reply is put to the judge while the protocol goes on.

    An answer whose call failed is not judged: its judgements are records of class `upstream`, as answers to a hint that
    failed are.

    Args:
        calls: makes the calls.
        judging: who judges.
        group: holds the judgements; the problem ends with it.
        tell: told of each judged answer: the owner, its problem, the answer, and the judge's replies; None: nobody is.
    """

    def __init__(self, calls: Calls, judging: Judging, group: asyncio.TaskGroup, tell: Tell | None) -> None:
        self._calls = calls
        self._judging = judging
        self._group = group
        self._tell = tell
        self._judged: set[str] = set()

    async def call(
        self,
        owner: Problem,
        problem: Problem,
        model: str,
        ask: Prompt | Sequence[Message],
        *,
        step: str,
        tags: Mapping[str, str | int],
    ) -> Reply:
        """Answer one call; see `protocols.base.Calls`."""
        reply = await self._calls.call(owner, problem, model, ask, step=step, tags=tags)
        if self._judging.grades(step) and reply.key not in self._judged:
            self._judged.add(reply.key)
            questions = self._judging.questions(problem, reply, step, model, tags)
            self._group.create_task(self._judge(owner, problem, reply, questions))
        return reply

    async def _judge(
        self, owner: Problem, problem: Problem, reply: Reply, questions: Sequence[tuple[Prompt, dict[str, str | int]]]
    ) -> None:
        judge = self._judging.model
        told = await asyncio.gather(
            *(self._calls.call(owner, problem, judge, ask, step=STEP, tags=tags) for ask, tags in questions)
        )
        if self._tell is not None:
            self._tell(owner, problem, reply, told)
