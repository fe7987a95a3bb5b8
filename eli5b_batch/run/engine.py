"""The engine: the part of a run in which calls are made, from the first problem to the last reply on record.

Must not know: how records are stored, which servers answer, which clock it runs on. `run/execute.py` gives the engine a
run folder and real servers; `forecast` gives it memory and modelled servers on a virtual clock.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import signal
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.errors import Eli5bError, StorageError
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.grading.judge import JUDGE, decide, verdict_of
from eli5b_batch.grading.verdict import ByRules
from eli5b_batch.job.members import is_free
from eli5b_batch.log import log
from eli5b_batch.records.folder import LOG
from eli5b_batch.records.grades import FAILED
from eli5b_batch.run.calls import Answered, RunCalls
from eli5b_batch.run.counters import Progress
from eli5b_batch.run.plan import Plan, first_of
from eli5b_batch.run.problem_window import ProblemWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.dispatch.budget import Budget
    from eli5b_batch.dispatch.dispatcher import Dispatcher
    from eli5b_batch.dispatch.stop import Reason, Stop
    from eli5b_batch.grading.verdict import Verdict
    from eli5b_batch.job.schema import Job
    from eli5b_batch.progress.causes import Causes
    from eli5b_batch.protocols.base import Reply
    from eli5b_batch.records.grades import Arm
    from eli5b_batch.run.calls import CallRecords
    from eli5b_batch.run.plan import Experiment

INTERRUPTED: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
_SOME_FAILED: Final = 3
COMPLETE: Final = (0, _SOME_FAILED)
"""Exit codes of a run in which every call was made."""
_LEAST_WINDOW: Final = 8
_MOST_WINDOW: Final = 2_000
"""Problems in flight at most where the window finds its own size; each holds some ten kilobytes."""
_ASSUMED_REPLY_S: Final = 5.0
"""A teacher's reply, before one has come."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: exit code, one sentence where it did not finish, calls on record, failures and why."""

    exit_code: int
    reason: str | None
    calls: int
    of_calls: int
    failures: Counter[str]
    causes: Causes


class Verdicts(Protocol):
    """Where verdicts are written down; see `grading.book.GradeBook`."""

    @property
    def arms(self) -> Mapping[Arm, Sequence[int]]:
        """By arm: [graded answers, correct ones]."""
        ...

    def verdict(self, key: str) -> str | None:
        """The verdict on record for an answer."""
        ...

    def add(self, key: str, gold: str, verdict: Verdict, grader: str, by_rules: ByRules | None = None) -> None:
        """Write a verdict down."""
        ...

    def add_failed(self, key: str, gold: str, grader: str, by_rules: ByRules | None = None) -> None:
        """Write down that there was no answer to grade."""
        ...


class FinishedProblems(Protocol):
    """The problems that need nothing any more; see `finished.Finished`."""

    def __contains__(self, problem: Problem) -> bool: ...


class Records(Protocol):
    """What a run writes to; see `store.Store`."""

    @property
    def journal(self) -> CallRecords:
        """The calls."""
        ...

    @property
    def book(self) -> Verdicts:
        """Their verdicts."""
        ...

    @property
    def finished(self) -> FinishedProblems:
        """The problems that need nothing any more."""
        ...

    def finish(self, problem: Problem) -> None:
        """Every call of the problem is answered and graded."""
        ...

    def checkpoint(self) -> None:
        """Save what a later start would have to read again."""
        ...


class Grader(Protocol):
    """Grades one text after another; see `grading.apart.GraderPool`."""

    def decide(self, text: str, gold: str) -> Verdict | None:
        """The verdict on the final answer of `text` where it can be had at once."""
        ...

    async def grade(self, text: str, gold: str) -> Verdict:
        """The verdict on the final answer of `text`."""
        ...


class Engine:
    """Makes the calls of one run; belongs to the event loop it is made on.

    Args:
        experiment: the job.
        plan: its calls, counted.
        records: where calls and verdicts go.
        grader: decides on answers.
        dispatchers: by provider; the ones that have calls to answer.
        stop: the run's.
        budget: the run's.
        upkeep: works beside the calls until the end, as the journal's syncing does; an error in it stops the run.
        grace_s: seconds that calls in flight get after SIGTERM or SIGHUP.
    """

    def __init__(
        self,
        experiment: Experiment,
        plan: Plan,
        *,
        records: Records,
        grader: Grader,
        dispatchers: Mapping[str, Dispatcher],
        stop: Stop,
        budget: Budget,
        upkeep: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        grace_s: float = 30.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        job = experiment.job
        began, at = dt.datetime.now(dt.UTC).timestamp(), loop.time()
        self._experiment = experiment
        self._records = records
        self._book = records.book
        self._grader = grader
        self._rules = GRADERS[job.rules].name
        self._dispatchers = dispatchers
        self._stop = stop
        self._upkeep = upkeep
        self._grace_s = grace_s
        self._slots = [d.capacity for d in dispatchers.values() if isinstance(d.capacity, SlotPool)]
        self._producers = [d for d in dispatchers.values() if d.capacity not in self._slots]
        self._gates = [d.capacity for d in dispatchers.values() if isinstance(d.capacity, Gate)]
        self._least, self._most = window_of(job, on_slots=bool(self._slots))
        self._window = ProblemWindow(self._least, self._most_problems, self._wants_more)
        self._leads_to = _leads_to(job, plan)
        self._leave = asyncio.Event()
        self._grading: dict[str, list[asyncio.Task[None]]] = {}
        self._failing: set[str] = set()
        self._calls = RunCalls(
            job,
            journal=records.journal,
            dispatchers=dispatchers,
            stop=stop,
            wall=lambda t: began + t - at,
            observe=self._observe,
        )
        self.progress = Progress(
            name=job.name,
            simulated=job.simulated,
            plan=plan,
            problems=len(experiment.problems.selected),
            window=lambda: self._window.size,
            paid=[name for name in job.models if not is_free(job, name)],
            attempts={name: job.provider_of(name).attempts for name in job.models},
            budget=budget,
            clock=loop.time,
            now=lambda: dt.datetime.now(dt.UTC),
            arms=lambda: records.book.arms,
            dispatchers=list(dispatchers.values()),
        )

    async def to_the_end(self) -> Ending:
        """Make every call, or as many as can be until something stops the run."""
        services = [asyncio.create_task(d.capacity.run()) for d in self._dispatchers.values()]
        services += [asyncio.create_task(work()) for work in self._upkeep]
        work = asyncio.create_task(self._all_problems())
        asked = asyncio.create_task(self._stop.stopped())
        try:
            await asyncio.wait({work, asked, *services}, return_when=asyncio.FIRST_COMPLETED)
            for task in (work, *services):
                if task.done() and not task.cancelled() and (error := task.exception()):
                    self._stop.ask(first_of(error))
            if self._stop.reason is not None:
                await self._come_home()
        finally:
            await _cancel(work, asked, *services)
        return self._end()

    def interrupt(self, number: signal.Signals) -> None:
        """The first signal stops new calls, the second leaves at once."""
        if self._stop.reason is not None:
            self._leave.set()
            return
        self._stop.ask(number)
        if number is not signal.SIGINT:
            asyncio.get_running_loop().call_later(self._grace_s, self._leave.set)

    def _most_problems(self) -> int:
        """Where calls go to APIs only, more than places are begun while a model is held up and others are not."""
        held_up = not self._slots and any(gate.is_held_up() for gate in self._gates)
        return self._most if self._slots or held_up else self._least

    def _wants_more(self) -> bool:
        """Whether another problem is wanted: something runs dry, and nothing is swamped."""
        lead_s = max((d.reply_s or _ASSUMED_REPLY_S for d in self._producers), default=0.0)
        under_way = sum(d.under_way for d in self._producers)
        coming = {model: under_way * share for model, share in self._leads_to.items()}
        wanted = any(slots.is_hungry(lead_s, coming) for slots in self._slots) or any(
            gate.is_held_up() for gate in self._gates
        )
        return wanted and not any(d.capacity.is_full(lead_s) for d in self._dispatchers.values())

    async def _all_problems(self) -> None:
        async with asyncio.TaskGroup() as group:
            for problem in self._experiment.problems.selected:
                if problem in self._records.finished:
                    self.progress.problems_done += 1
                    continue
                await self._window.enter()
                group.create_task(self._problem(problem))
            for dispatcher in self._dispatchers.values():
                dispatcher.refused.nothing_to_come = True

    async def _problem(self, problem: Problem) -> None:
        self.progress.problems_active += 1
        try:
            await self._experiment.run(problem, self._calls, self._judged)
            await asyncio.gather(*self._grading.pop(problem.id, ()))
            self.progress.problems_done += 1
            if problem.id not in self._failing:
                self._records.finish(problem)
        except Exception as error:  # noqa: BLE001 (ends the run in order: other problems' calls in flight come home)
            self._stop.ask(first_of(error))
        finally:
            self.progress.problems_active -= 1
            self._calls.forget(problem)
            self._window.leave()

    def _observe(self, done: Answered) -> None:
        """A call has its record: count it, and see to its verdict if it is an answer."""
        call, reply = done.call, done.reply
        self.progress.answered(done)
        self._window.look()
        if done.error is not None:
            self._failing.add(call.owner.id)
            log("call failed", level=logging.WARNING, key=call.key, **done.error)
        if call.step not in self._experiment.protocol.GRADED:
            return
        verdict = self._book.verdict(call.key)
        judged = self._experiment.judging is not None
        if not reply.ok:
            if verdict is None:
                grader, by_rules = (JUDGE, ByRules(FAILED, self._rules)) if judged else (self._rules, None)
                self._book.add_failed(call.key, call.problem.answer, grader, by_rules)
        elif not judged and (not done.replayed or verdict in {None, FAILED}):
            self._grade(call.owner, call.problem, reply)

    def _judged(self, owner: Problem, problem: Problem, reply: Reply, told: Sequence[Reply]) -> None:
        """The judge has replied about an answer, or failed to: see to its verdict, unless that is on record."""
        if not reply.ok:
            return
        replies = [one.text if one.ok else None for one in told]
        outcome, _ = decide(replies)
        if outcome == "error" or outcome != self._book.verdict(reply.key):
            self._grade(owner, problem, reply, replies)

    def _grade(self, owner: Problem, problem: Problem, reply: Reply, judged: Sequence[str | None] = ()) -> None:
        """Have an answer graded by rules, and its verdict written down; `judged` are the judge's replies about it."""
        at_once = self._grader.decide(reply.text, problem.answer)
        if at_once is not None:
            self._write_down(problem, reply, at_once, judged)
        else:
            task = asyncio.create_task(self._grade_apart(problem, reply, judged))
            self._grading.setdefault(owner.id, []).append(task)

    async def _grade_apart(self, problem: Problem, reply: Reply, judged: Sequence[str | None]) -> None:
        self.progress.grades_waiting += 1
        try:
            verdict = await self._grader.grade(reply.text, problem.answer)
        finally:
            self.progress.grades_waiting -= 1
        self._write_down(problem, reply, verdict, judged)

    def _write_down(self, problem: Problem, reply: Reply, verdict: Verdict, judged: Sequence[str | None]) -> None:
        if judged:
            by_rules = ByRules(verdict.verdict, self._rules)
            self._book.add(reply.key, problem.answer, verdict_of(judged, verdict), JUDGE, by_rules)
        else:
            self._book.add(reply.key, problem.answer, verdict, self._rules)

    async def _come_home(self) -> None:
        """Wait until every call in flight is on disk, or somebody is in a hurry."""
        self.progress.state = "draining"
        self.progress.reason = _sentence(self._stop.reason)
        log("run stops", level=logging.WARNING, reason=self.progress.reason, in_flight=self._stop.in_flight)
        home = asyncio.create_task(self._stop.drained())
        leave = asyncio.create_task(self._leave.wait())
        await asyncio.wait({home, leave}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel(home, leave)

    def _end(self) -> Ending:
        progress, reason = self.progress, self._stop.reason
        if reason is None:
            progress.state = "done"
            progress.exit_code = _SOME_FAILED if progress.failures else 0
        elif isinstance(reason, signal.Signals):
            progress.state, progress.exit_code = "stopped", INTERRUPTED[reason]
            progress.reason = f"stopped by {reason.name}"
        else:
            stopped = isinstance(reason, Eli5bError) and not isinstance(reason, StorageError)
            progress.state = "stopped" if stopped else "failed"
            progress.exit_code = reason.exit_code if isinstance(reason, Eli5bError) else 1
            unexpected = None if isinstance(reason, Eli5bError) else reason
            log("run failed", level=logging.ERROR, error=unexpected, reason=str(reason))
        if not isinstance(reason, StorageError):
            self._records.checkpoint()
        log("run ends", state=progress.state, exit_code=progress.exit_code, failures=dict(progress.failures))
        return Ending(
            progress.exit_code,
            progress.reason,
            progress.calls_done,
            progress.calls_total,
            progress.failures,
            progress.causes,
        )


def window_of(job: Job, *, on_slots: bool) -> tuple[int, int]:
    """Least and most problems in flight: one for each place, or, with calls left for slots, as many as they want.

    More than one for each place only while a model of an API is held up by its own limits, and others are not.
    """
    if job.window != "auto":
        return job.window, job.window
    if on_slots:
        return _LEAST_WINDOW, _MOST_WINDOW
    places = max(_LEAST_WINDOW, job.places)
    return places, max(places, _MOST_WINDOW)


def _leads_to(job: Job, plan: Plan) -> dict[str, float]:
    """By model id on slots: calls to it for each call to an API, over what is left of the job."""
    on_slots: Counter[str] = Counter()
    elsewhere = 0
    for (_, name), calls in plan.left.items():
        if job.provider_of(name).shape[1]:
            on_slots[job.models[name].model] += calls
        else:
            elsewhere += calls
    return {model: calls / elsewhere for model, calls in on_slots.items()} if elsewhere else {}


def _sentence(reason: Reason | None) -> str:
    if isinstance(reason, signal.Signals):
        return f"stopped by {reason.name}: calls in flight come home first, a second one leaves at once"
    if isinstance(reason, Eli5bError):
        return str(reason)
    return f"unexpected {type(reason).__name__}: {reason}; the traceback is in {LOG}"


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are gone; an error among them was seen when it arose."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
