"""One run, from a checked job to an exit code: wires the parts, owns every task, and stops in order.

Must not know: any single protocol, how a display draws. Read `execute` first: it is the whole life of a run.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import logging
import math
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from eli5b_batch.backends.keys import read_secrets
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import ChangedRequestError, ProviderRefusedError, TimeUpError
from eli5b_batch.grading.apart import GraderPool, cores
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.log import display_failed, log, run_log
from eli5b_batch.progress.file import PROGRESS, ProgressFile
from eli5b_batch.records.folder import LOG, SPENDING, mark_complete, read_manifest, redo_of
from eli5b_batch.records.spending import Spending
from eli5b_batch.run.engine import COMPLETE, INTERRUPTED, Ending, Engine
from eli5b_batch.run.finished import Fingerprint
from eli5b_batch.run.manifest import JobOnRecord, check_same_job, write_manifest
from eli5b_batch.run.plan import Plan, count_calls, providers_left, remembered_plan
from eli5b_batch.run.providers import manners_of, open_dispatchers
from eli5b_batch.run.store import CHECKPOINT_INTERVAL_S, open_store
from eli5b_batch.servers.fleet import SERVERS, end_leftovers, find_program, managed, managed_servers
from eli5b_batch.servers.gpus import with_detected_slots

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from eli5b_batch.backends.base import ModelFacts
    from eli5b_batch.data.problem import Problem
    from eli5b_batch.dispatch.dispatcher import Dispatcher
    from eli5b_batch.job.schema import Job
    from eli5b_batch.progress.snapshot import Snapshot
    from eli5b_batch.run.plan import Experiment
    from eli5b_batch.run.store import Store

    Display = Callable[[Callable[[], Snapshot]], AbstractAsyncContextManager[object]]
    Regrade = Callable[[Path], Awaitable["RegradeSummary | None"]]


class RegradeSummary(Protocol):
    """What came of grading a run's answers again: by whom, by whom before, and how many verdicts changed."""

    @property
    def grader(self) -> str:
        """Name and version of who decides now."""
        ...

    @property
    def before(self) -> object:
        """Names and versions of who decided before."""
        ...

    @property
    def changed(self) -> object:
        """Verdicts that are others now."""
        ...


async def execute(
    experiment: Experiment,
    run_dir: Path,
    *,
    display: Display,
    grace_s: float = 30.0,
    stop_after_s: float | None = None,
    give_up_after_s: float = math.inf,
    regrade: Regrade | None = None,
) -> Ending:
    """Run a job, or finish it: a folder with records in it is resumed.

    Args:
        experiment: the checked job.
        run_dir: the run folder; made if missing, after every provider has answered, or before servers are started.
        display: makes the display from a source of snapshots.
        grace_s: seconds that calls in flight get after SIGTERM or SIGHUP.
        stop_after_s: seconds after which no new call goes out.
        give_up_after_s: seconds that every server of a provider may be down before the run ends.
        regrade: makes verdicts of another grader or version anew before the run begins; gives None where there was
            nothing to do.

    Raises:
        Eli5bError: the run could not begin: bad folder, missing key, a provider that refuses.
    """
    manifest = read_manifest(run_dir)
    regraded = None
    if manifest is not None:
        check_same_job(run_dir, manifest, experiment)
        regraded = await regrade(run_dir) if regrade is not None else None
    async with AsyncExitStack() as stack:
        folder = _Folder(stack, run_dir, experiment, redo_of(manifest))
        if manifest is not None:
            await folder.opened()
        plan = await _plan(folder, manifest)
        needed = providers_left(experiment.job, plan)
        experiment = replace(experiment, job=with_detected_slots(experiment.job, needed))
        if _can_start_servers(experiment.job, needed):  # their logs go into the folder
            await folder.opened()
        fleet = await stack.enter_async_context(managed_servers(experiment.job, needed, run_dir / SERVERS))
        stop, budget = Stop(), Budget(experiment.job.budget.usd if experiment.job.budget else None)
        dispatchers = await stack.enter_async_context(
            open_dispatchers(
                fleet.job,
                folder.unfinished(),
                providers=needed,
                budget=budget,
                stop=stop,
                clock=asyncio.get_running_loop().time,
                give_up_after_s=give_up_after_s,
            )
        )
        facts = await reach_models(experiment, plan, dispatchers)
        store = await folder.opened()
        _note_remarks(dispatchers)
        _keep_books(stack, run_dir, budget, store)
        if plan.models_left:
            stack.enter_context(store.room_for(experiment.job.places))
        on_record = JobOnRecord(run_dir)
        write_manifest(run_dir, experiment, plan, facts, dt.datetime.now(dt.UTC))
        engine = Engine(
            experiment,
            plan,
            records=store,
            grader=await stack.enter_async_context(_graders(experiment.job)),
            dispatchers=dispatchers,
            stop=stop,
            budget=budget,
            upkeep=(store.journal.sync_forever, partial(_checkpoint_forever, store)),
            grace_s=grace_s,
        )
        stack.enter_context(_signals(engine.interrupt))
        stack.enter_context(_time_limit(stop, stop_after_s))
        snapshot = engine.progress.snapshot
        await stack.enter_async_context(ProgressFile(run_dir / PROGRESS, snapshot, on_error=display_failed))
        await stack.enter_async_context(display(snapshot))
        if regraded is not None:
            log("graded again", by=regraded.grader, before=regraded.before, changed=regraded.changed)
        log("run begins", on_record=len(store.journal), torn_bytes_cut=store.journal.opened.torn_bytes)
        gc.collect()
        gc.freeze()  # what is there when calling begins stays to the end, and need not be walked over
        ending = await engine.to_the_end()
        _keep_what_the_manifest_says(run_dir, ending, stop, on_record)
        return ending


class _Folder:
    """The run folder of this start: made and opened once, when the first part of the run needs it.

    Args:
        stack: what is opened is closed with it.
        run_dir: where it is.
        experiment: the job with all it refers to.
        redo: of the manifest.
    """

    def __init__(self, stack: AsyncExitStack, run_dir: Path, experiment: Experiment, redo: Mapping[str, int]) -> None:
        self.experiment = experiment
        self.fingerprint = Fingerprint(experiment, redo)
        self.store: Store | None = None
        self._stack = stack
        self._run_dir = run_dir

    async def opened(self) -> Store:
        """Lock the folder, open its records and its log, and end the servers that a killed run has left there."""
        if self.store is None:
            self.store = self._stack.enter_context(open_store(self._run_dir, self.experiment, self.fingerprint))
            self._stack.enter_context(run_log(self._run_dir / LOG))
            await end_leftovers(self._run_dir / SERVERS)
        return self.store

    def unfinished(self) -> list[Problem]:
        """The problems that may still be asked about."""
        everything = self.experiment.everything_asked_about()
        return [p for p in everything if self.store is None or p not in self.store.finished]


def _note_remarks(dispatchers: Mapping[str, Dispatcher]) -> None:
    for remark in (remark for dispatcher in dispatchers.values() for remark in dispatcher.remarks):
        log("provider reached", level=logging.WARNING, remark=remark)


def _keep_books(stack: AsyncExitStack, run_dir: Path, budget: Budget, store: Store) -> None:
    """What was spent before this start counts; with a cap, what is set aside is written down as well."""
    budget.spent = store.journal.opened.cost_usd
    if budget.cap is not None:
        budget.keep(stack.enter_context(closing(Spending(run_dir / SPENDING, budget.spent))))


def _graders(job: Job) -> GraderPool:
    rules = GRADERS[job.rules]
    workers = max(1, cores() - 1)  # the event loop needs one
    return GraderPool(workers, decide=rules.decide, grade=rules.grade)


def _keep_what_the_manifest_says(run_dir: Path, ending: Ending, stop: Stop, on_record: JobOnRecord) -> None:
    """The run came to its end; or its job turned out to be another, which leaves no trace."""
    if ending.exit_code in COMPLETE:
        mark_complete(run_dir)
    if isinstance(stop.reason, ChangedRequestError):
        on_record.put_back()


def _can_start_servers(job: Job, needed: Collection[str]) -> bool:
    """Whether there are servers to start; what is sure to stop the run is said before anything is made.

    Raises:
        JobError: an API key or a program is missing.
    """
    providers = managed(job, needed)
    if providers:
        read_secrets(job, needed)
    for name, provider in providers.items():
        find_program(name, provider)
    return bool(providers)


async def _plan(folder: _Folder, manifest: Mapping[str, Any] | None) -> Plan:
    """The calls of the job, counted; finished problems are taken from the count of an earlier start."""
    now, store, selected = folder.fingerprint.of_plan(), folder.store, folder.experiment.problems.selected
    known = remembered_plan(manifest or {}, now)
    open_problems = [p for p in selected if p not in store.finished] if known and store else selected
    plan = await count_calls(
        folder.experiment,
        open_problems,
        on_record=store.journal.is_answered if store else None,
        outdated=store.journal.is_outdated if store else None,
    )
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
        told = await dispatcher.reach(sorted(set(names.values())))
        for name, model in names.items():
            try:
                manners = manners_of(
                    dispatcher, model, experiment.job.models[name].sampling.model_dump(exclude_none=True)
                )
            except ProviderRefusedError as error:
                raise ProviderRefusedError(f"models.{name}.sampling.thinking: {error}") from None
            facts[name] = told[model]._replace(by_default=next(manner.by_default for manner in manners.values()))
    return facts


async def _checkpoint_forever(store: Store) -> None:
    while True:
        await asyncio.sleep(CHECKPOINT_INTERVAL_S)
        store.checkpoint()


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
