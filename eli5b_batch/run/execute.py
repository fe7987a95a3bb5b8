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
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.grading.pool import GraderPool, cores
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
from eli5b_batch.servers.gpus import with_slots_found

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from eli5b_batch.backends.base import ModelFacts
    from eli5b_batch.dispatch.dispatcher import Dispatcher
    from eli5b_batch.job.schema import Job
    from eli5b_batch.progress.snapshot import Snapshot
    from eli5b_batch.run.plan import Experiment
    from eli5b_batch.run.store import Store

    Display = Callable[[Callable[[], Snapshot]], AbstractAsyncContextManager[object]]
    Regrade = Callable[[Path], Awaitable["Regraded | None"]]


class Regraded(Protocol):
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
    loop = asyncio.get_running_loop()
    manifest = read_manifest(run_dir)
    regraded = None
    if manifest is not None:
        check_same_job(run_dir, manifest, experiment)
        regraded = await regrade(run_dir) if regrade is not None else None
    fingerprint = Fingerprint(experiment, redo_of(manifest))
    async with AsyncExitStack() as stack:
        store = await _open(stack, run_dir, experiment, fingerprint) if manifest is not None else None
        plan = await _plan(experiment, fingerprint, manifest, store)
        needed = providers_left(experiment.job, plan)
        experiment = replace(experiment, job=with_slots_found(experiment.job, needed))
        if store is None and _can_start_servers(experiment.job, needed):  # their logs go into the folder
            store = await _open(stack, run_dir, experiment, fingerprint)
        fleet = await stack.enter_async_context(managed_servers(experiment.job, needed, run_dir / SERVERS))
        unfinished = [p for p in experiment.everything_asked_about() if store is None or p not in store.finished]
        stop, budget = Stop(), Budget(experiment.job.budget.usd if experiment.job.budget else None)
        dispatchers = await stack.enter_async_context(
            open_dispatchers(
                fleet.job,
                unfinished,
                providers=needed,
                budget=budget,
                stop=stop,
                clock=loop.time,
                give_up_after_s=give_up_after_s,
            )
        )
        facts = await reach_models(experiment, plan, dispatchers)
        store = store or await _open(stack, run_dir, experiment, fingerprint)
        for remark in (remark for dispatcher in dispatchers.values() for remark in dispatcher.remarks):
            log("provider reached", level=logging.WARNING, remark=remark)
        budget.spent = store.journal.opened.cost_usd
        if budget.cap is not None:
            budget.keep(stack.enter_context(closing(Spending(run_dir / SPENDING, budget.spent))))
        if plan.models_left:
            stack.enter_context(store.room_for(experiment.job.places))
        on_record = JobOnRecord(run_dir)
        write_manifest(run_dir, experiment, plan, facts, dt.datetime.now(dt.UTC))
        rules = GRADERS[experiment.job.rules]
        workers = max(1, cores() - 1)  # the event loop needs one
        pool = await stack.enter_async_context(GraderPool(workers, decide=rules.decide, grade=rules.grade))
        engine = Engine(
            experiment,
            plan,
            records=store,
            grader=pool,
            dispatchers=dispatchers,
            stop=stop,
            budget=budget,
            upkeep=(store.journal.sync_forever, partial(_checkpoint_forever, store)),
            grace_s=grace_s,
        )
        stack.enter_context(_signals(engine.interrupt))
        stack.enter_context(_time_limit(stop, stop_after_s))
        await stack.enter_async_context(
            ProgressFile(run_dir / PROGRESS, engine.progress.snapshot, on_error=display_failed)
        )
        await stack.enter_async_context(display(engine.progress.snapshot))
        if regraded is not None:
            log("graded again", by=regraded.grader, before=regraded.before, changed=regraded.changed)
        log("run begins", on_record=len(store.journal), torn_bytes_cut=store.journal.opened.torn_bytes)
        gc.collect()
        gc.freeze()  # what is there when calling begins stays to the end, and need not be walked over
        ending = await engine.to_the_end()
        _keep_what_the_manifest_says(run_dir, ending, stop, on_record)
        return ending


def _keep_what_the_manifest_says(run_dir: Path, ending: Ending, stop: Stop, on_record: JobOnRecord) -> None:
    """The run came to its end; or its job turned out to be another, which leaves no trace."""
    if ending.exit_code in COMPLETE:
        mark_complete(run_dir)
    if isinstance(stop.reason, ChangedRequestError):
        on_record.put_back()


async def _open(stack: AsyncExitStack, run_dir: Path, experiment: Experiment, fingerprint: Fingerprint) -> Store:
    """Lock the folder, open its records and its log, and end the servers that a killed run has left there."""
    store = stack.enter_context(open_store(run_dir, experiment, fingerprint))
    stack.enter_context(run_log(run_dir / LOG))
    await end_leftovers(run_dir / SERVERS)
    return store


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


async def _plan(
    experiment: Experiment, fingerprint: Fingerprint, manifest: Mapping[str, Any] | None, store: Store | None
) -> Plan:
    """The calls of the job, counted; finished problems are taken from the count of an earlier start."""
    now = fingerprint.of_plan()
    selected = experiment.problems.selected
    known = remembered_plan(manifest or {}, now)
    open_problems = [p for p in selected if p not in store.finished] if known and store else selected
    plan = await count_calls(
        experiment,
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
