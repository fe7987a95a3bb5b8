"""What every protocol is made of: its parameters, the context it calls models through, and how it is found.

Must not know: any single experiment, how calls are sent.

A protocol is a folder of this package; its `protocol.py` has
    Params    a `ProtocolParams` class: its part of the job file
    GRADED    the steps whose replies are graded answers
    run       async def run(problem, ctx, params): the experiment for one problem

Which calls `run` makes may not depend on what a reply says: they are counted beforehand by running it against replies
of filler. (What a call asks may, and does, hold earlier replies.)
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

from pydantic import AfterValidator, ValidationError, ValidationInfo

from eli5b_batch.errors import JobError
from eli5b_batch.job.explain import explain, nearest
from eli5b_batch.job.values import Section

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.job.schema import Job, Model
    from eli5b_batch.protocols.prompts import Message, Prompt, Prompts


def _defined(name: str, info: ValidationInfo) -> str:
    models = (info.context or {}).get("models", ())
    if name not in models:
        raise ValueError(f"no model {name!r}; {nearest(name, list(models), 'defined')}")
    return name


ModelName = Annotated[str, AfterValidator(_defined)]
"""A name under `models:` of the job file."""


class ProtocolParams(Section):
    """Base of every protocol's parameters."""


class Reply(Protocol):
    """What a call gives back."""

    @property
    def key(self) -> str:
        """The call's name in the journal."""
        ...

    @property
    def ok(self) -> bool:
        """Whether the model answered; a failed call is data, not an exception."""
        ...

    @property
    def text(self) -> str:
        """The reply's text. Raises `UpstreamError` when the call failed."""
        ...


class Calls(Protocol):
    """The one way to a model: the run's, or the one that only counts."""

    def call(
        self,
        owner: Problem,
        problem: Problem,
        model: str,
        ask: Prompt | Sequence[Message],
        *,
        step: str,
        tags: Mapping[str, str | int],
    ) -> Awaitable[Reply]:
        """Answer this call: from the journal where it stands there, else by asking the model.

        `owner` is the problem whose protocol asks, `problem` the one the call belongs to.
        """
        ...


class Context:
    """A protocol's view of the run, for one problem."""

    def __init__(
        self,
        problem: Problem,
        *,
        calls: Calls,
        prompts: Prompts,
        models: Mapping[str, Model],
        partners: Mapping[str, Problem],
    ) -> None:
        self.problem = problem
        self.prompt = prompts
        self.models = models
        self._calls = calls
        self._partners = partners

    def call(
        self,
        model: str,
        ask: Prompt | Sequence[Message],
        *,
        step: str,
        problem: Problem | None = None,
        **tags: str | int,
    ) -> Awaitable[Reply]:
        """Ask `model`. The same problem, step, model and tags are one call, however often and wherever asked.

        Args:
            model: the job's name of the model.
            ask: a prompt from `ctx.prompt(...)`, or chat messages.
            step: what this call is for, e.g. `hint` or `answer`.
            problem: the problem it belongs to, where that is not this context's.
            tags: what else tells this call from others; they become columns of the results.
        """
        return self._calls.call(self.problem, problem or self.problem, model, ask, step=step, tags=tags)

    def partner(self, problem: Problem) -> Problem:
        """Another problem of the same domain with another answer: the donor of a placebo.

        Raises:
            JobError: the data holds no such problem.
        """
        try:
            return self._partners[problem.id]
        except KeyError:
            raise JobError(
                f"params.hints: placebo needs a second problem with another answer than {problem.id}"
            ) from None


class ProtocolModule(Protocol):
    """The shape of a protocol module."""

    Params: type[ProtocolParams]
    GRADED: tuple[str, ...]
    run: Callable[[Problem, Context, Any], Awaitable[None]]


def load_protocol(name: str) -> ProtocolModule:
    """The protocol module `name`.

    Raises:
        JobError: there is none.
    """
    known = sorted(path.parent.name for path in Path(__file__).parent.glob("*/protocol.py"))
    if name not in known:
        raise JobError(f"protocol: no protocol is called {name!r}; {nearest(name, known, 'there are')}")
    return cast("ProtocolModule", importlib.import_module(f"eli5b_batch.protocols.{name}.protocol"))


def load_params(protocol: ProtocolModule, job: Job, where: str) -> ProtocolParams:
    """The job's `params`, checked by the protocol's own schema.

    Raises:
        JobError: with the path under `params`.
    """
    try:
        return protocol.Params.model_validate(job.params, context={"models": list(job.models)})
    except ValidationError as error:
        raise JobError(explain(error, where, protocol.Params, "params")) from None
