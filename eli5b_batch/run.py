"""One run, from a checked job to an exit code: wires the parts, owns every task, and stops in order.

Must not know: any single protocol, how a display draws. Read `execute` first: it is the whole life of a run.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import signal
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.calls import Answered, Asked, Recorded, RunCalls
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import ChangedRequestError, Eli5bError, StorageError, TimeUpError
from eli5b_batch.finished import Fingerprint
from eli5b_batch.folder import (
    LOG,
    PROGRESS,
    SPENDING,
    JobOnRecord,
    check_same_job,
    read_manifest,
    redo_of,
    write_manifest,
)
from eli5b_batch.grading.book import FAILED
from eli5b_batch.grading.pool import GraderPool
from eli5b_batch.log import display_failed, log, run_log
from eli5b_batch.plan import Plan, count_calls, first_of, remembered_plan
from eli5b_batch.progress import Progress
from eli5b_batch.progress_file import ProgressFile
from eli5b_batch.providers import open_dispatchers
from eli5b_batch.spending import Spending
from eli5b_batch.store import CHECKPOINT_INTERVAL_S, open_store

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from eli5b_batch.backends.base import ModelFacts
    from eli5b_batch.dispatch.dispatcher import Dispatcher
    from eli5b_batch.dispatch.stop import Reason
    from eli5b_batch.plan import Experiment
    from eli5b_batch.problems import Problem
    from eli5b_batch.snapshot import Snapshot
    from eli5b_batch.store import Store

    Display = Callable[[Callable[[], Snapshot]], AbstractAsyncContextManager[object]]

INTERRUPTED: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
_SOME_FAILED: Final = 3
_LEAST_WINDOW: Final = 8


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: exit code, one sentence where it did not finish, calls on record, failures by class."""

    exit_code: int
    reason: str | None
    calls: int
    of_calls: int
    failures: Counter[str]


async def execute(
    experiment: Experiment,
    run_dir: Path,
    *,
    display: Display,
    grace_s: float = 30.0,
    stop_after_s: float | None = None,
) -> Ending:
    """Run a job, or finish it: a folder with records in it is resumed.

    Args:
        experiment: the checked job.
        run_dir: the run folder; made if missing, after every provider has answered.
        display: makes the display from a source of snapshots.
        grace_s: seconds that calls in flight get after SIGTERM or SIGHUP.
        stop_after_s: seconds after which no new call goes out.

    Raises:
        Eli5bError: the run could not begin: bad folder, missing key, a provider that refuses.
    """
    loop = asyncio.get_running_loop()
    manifest = read_manifest(run_dir)
    if manifest is not None:
        check_same_job(run_dir, manifest, experiment)
    fingerprint = Fingerprint(experiment, redo_of(manifest))
    async with AsyncExitStack() as stack:
        store = stack.enter_context(open_store(run_dir, experiment, fingerprint)) if manifest is not None else None
        plan = await _plan(experiment, fingerprint, manifest, store)
        unfinished = [p for p in experiment.everything_asked_about() if store is None or p not in store.finished]
        stop, budget = Stop(), Budget(experiment.job.budget.usd if experiment.job.budget else None)
        dispatchers = await stack.enter_async_context(
            open_dispatchers(
                experiment.job,
                unfinished,
                providers=sorted({experiment.job.models[name].provider for name in plan.models_left}),
                budget=budget,
                stop=stop,
                clock=loop.time,
            )
        )
        facts = await reach_models(experiment, plan, dispatchers)
        store = store or stack.enter_context(open_store(run_dir, experiment, fingerprint))
        budget.spent = store.journal.opened.cost_usd
        if budget.cap is not None:
            budget.keep(stack.enter_context(closing(Spending(run_dir / SPENDING, budget.spent))))
        if plan.models_left:
            stack.enter_context(store.room_for(experiment.job.places))
        on_record = JobOnRecord(run_dir)
        write_manifest(run_dir, experiment, plan, facts, dt.datetime.now(dt.UTC))
        stack.enter_context(run_log(run_dir / LOG))
        pool = await stack.enter_async_context(GraderPool(workers=1))
        run = _Run(
            experiment=experiment,
            plan=plan,
            store=store,
            pool=pool,
            dispatchers=dispatchers,
            stop=stop,
            budget=budget,
            grace_s=grace_s,
        )
        stack.enter_context(_signals(run.interrupt))
        stack.enter_context(_time_limit(stop, stop_after_s))
        await stack.enter_async_context(
            ProgressFile(run_dir / PROGRESS, run.progress.snapshot, on_error=display_failed)
        )
        await stack.enter_async_context(display(run.progress.snapshot))
        ending = await run.to_the_end()
        if isinstance(stop.reason, ChangedRequestError):
            on_record.put_back()
        return ending


async def _plan(
    experiment: Experiment, fingerprint: Fingerprint, manifest: Mapping[str, Any] | None, store: Store | None
) -> Plan:
    """The calls of the job, counted; finished problems are taken from the count of an earlier start."""
    now = fingerprint.of_plan()
    selected = experiment.problems.selected
    known = remembered_plan(manifest or {}, now)
    open_problems = [p for p in selected if p not in store.finished] if known and store else selected
    plan = await count_calls(experiment, open_problems, on_record=store.journal.is_answered if store else None)
    if known:
        plan.total, plan.graded = known.total, known.graded
    plan.fingerprint = now
    return plan


async def reach_models(
    experiment: Experiment, plan: Plan, dispatchers: Mapping[str, Dispatcher]
) -> dict[str, ModelFacts]:
    """Reach every provider that has calls to answer, and learn what it says of the job's models.

    Raises:
        ProviderRefusedError: one does not answer, or does not serve a model.
    """
    facts: dict[str, ModelFacts] = {}
    for provider, dispatcher in dispatchers.items():
        names = {n: m.model for n, m in experiment.job.models_of(provider).items() if n in plan.models_left}
        told = await dispatcher.backend.reach(sorted(set(names.values())))
        facts |= {name: told[model] for name, model in names.items()}
    return facts


class _Run:
    """The part of a run in which calls are made."""

    def __init__(
        self,
        *,
        experiment: Experiment,
        plan: Plan,
        store: Store,
        pool: GraderPool,
        dispatchers: Mapping[str, Dispatcher],
        stop: Stop,
        budget: Budget,
        grace_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        job = experiment.job
        began, at = dt.datetime.now(dt.UTC).timestamp(), loop.time()
        # As many problems as there are places, so that every place finds a call while others wait for hints.
        window = max(_LEAST_WINDOW, job.places) if job.window == "auto" else job.window
        self._experiment = experiment
        self._store = store
        self._journal = store.journal
        self._book = store.book
        self._pool = pool
        self._dispatchers = dispatchers
        self._stop = stop
        self._grace_s = grace_s
        self._window = asyncio.Semaphore(window)
        self._leave = asyncio.Event()
        self._grading: dict[str, list[asyncio.Task[None]]] = {}
        self._failing: set[str] = set()
        self._calls = RunCalls(
            job,
            journal=store.journal,
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
            window=window,
            paid=[name for name, model in job.models.items() if model.price],
            budget=budget,
            clock=loop.time,
            now=lambda: dt.datetime.now(dt.UTC),
            arms=lambda: store.book.arms,
            dispatchers=list(dispatchers.values()),
        )

    async def to_the_end(self) -> Ending:
        """Make every call, or as many as can be until something stops the run."""
        opened = self._journal.opened
        log("run begins", on_record=len(self._journal), torn_bytes_cut=opened.torn_bytes)
        services = [asyncio.create_task(d.capacity.run()) for d in self._dispatchers.values()]
        services.append(asyncio.create_task(self._journal.sync_forever()))
        services.append(asyncio.create_task(self._checkpoint_forever()))
        work = asyncio.create_task(self._all_problems())
        asked = asyncio.create_task(self._stop.asked())
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

    async def _all_problems(self) -> None:
        async with asyncio.TaskGroup() as group:
            for problem in self._experiment.problems.selected:
                if problem in self._store.finished:
                    self.progress.problems_done += 1
                    continue
                await self._window.acquire()
                group.create_task(self._problem(problem))

    async def _problem(self, problem: Problem) -> None:
        self.progress.problems_active += 1
        try:
            context = self._experiment.context(problem, self._calls)
            await self._experiment.protocol.run(problem, context, self._experiment.params)
            await asyncio.gather(*self._grading.pop(problem.id, ()))
            self.progress.problems_done += 1
            if problem.id not in self._failing:
                self._store.finish(problem)
        except Exception as error:  # noqa: BLE001 (ends the run in order: other problems' calls in flight come home)
            self._stop.ask(first_of(error))
        finally:
            self.progress.problems_active -= 1
            self._calls.forget(problem)
            self._window.release()

    def _observe(self, done: Answered) -> None:
        """A call has its record: count it, and see to its verdict if it is an answer."""
        call, reply = done.call, done.reply
        self.progress.answered(done)
        if done.error is not None:
            self._failing.add(call.owner.id)
            log("call failed", level=logging.WARNING, key=call.key, **done.error)
        if call.step not in self._experiment.protocol.GRADED:
            return
        verdict = self._book.verdict(call.key)
        if not reply.ok:
            if verdict is None:
                self._book.add_failed(call.key, call.problem.answer)
        elif not done.replayed or verdict is None or verdict == FAILED:
            self._grading.setdefault(call.owner.id, []).append(asyncio.create_task(self._grade(call, reply)))

    async def _grade(self, call: Asked, reply: Recorded) -> None:
        self.progress.grades_waiting += 1
        try:
            verdict = await self._pool.grade(reply.text, call.problem.answer)
        finally:
            self.progress.grades_waiting -= 1
        self._book.add(call.key, call.problem.answer, verdict)

    async def _checkpoint_forever(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_INTERVAL_S)
            self._store.checkpoint()

    async def _come_home(self) -> None:
        """Wait until every call in flight is on disk, or somebody is in a hurry."""
        self.progress.state = "draining"
        self.progress.reason = _sentence(self._stop.reason)
        log("run stops", level=logging.WARNING, reason=self.progress.reason, in_flight=self._stop.in_flight)
        home = asyncio.create_task(self._stop.all_home())
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
            self._store.checkpoint()
        log("run ends", state=progress.state, exit_code=progress.exit_code, failures=dict(progress.failures))
        return Ending(progress.exit_code, progress.reason, progress.calls_done, progress.calls_total, progress.failures)


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


@contextmanager
def _time_limit(stop: Stop, seconds: float | None) -> Iterator[None]:
    """Stop the run after so many seconds; None: never."""
    if seconds is None:
        yield
        return
    over = TimeUpError("stopped by --stop-after: its time is over")
    timer = asyncio.get_running_loop().call_later(seconds, stop.ask, over)
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _signals(handler: Callable[[signal.Signals], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in INTERRUPTED:
        loop.add_signal_handler(number, handler, number)
    try:
        yield
    finally:
        for number in INTERRUPTED:
            loop.remove_signal_handler(number)
