"""`check JOB`: what a job will ask, take and cost, and what would stop it. No model is asked anything but by `--probe`.

Must not know: journals' inner workings. Counts are exact: they come from the protocol itself.
Tokens, cost and time are estimates, and say from what.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from eli5b_batch.backends.keys import read_secrets, without_programs
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import Eli5bError, JobError, ProviderRefusedError, RunFolderError
from eli5b_batch.forecast import manners
from eli5b_batch.forecast.exposure import sent_in_the_clear
from eli5b_batch.forecast.probing import Probes
from eli5b_batch.forecast.pull import pull_all
from eli5b_batch.forecast.recorded import (
    ASSUMED_TOKENS_PER_S,
    BYTES_PER_TOKEN,
    estimate,
    look_back,
    reply_lengths,
    seconds,
    seconds_in_all,
)
from eli5b_batch.job.members import differences
from eli5b_batch.job.schema import CPU, OllamaProvider, OpenAIProvider
from eli5b_batch.records.folder import read_manifest, redo_of
from eli5b_batch.run.manifest import check_same_job, check_same_models
from eli5b_batch.run.plan import count_calls, providers_left
from eli5b_batch.run.providers import manners_of, open_dispatchers
from eli5b_batch.servers.fleet import managed, servers_for_a_look
from eli5b_batch.servers.gpus import with_detected_slots
from eli5b_batch.text import amount, cost, duration, size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from rich.console import Console

    from eli5b_batch.backends.base import ModelFacts
    from eli5b_batch.backends.dialects import Manner
    from eli5b_batch.dispatch.dispatcher import Dispatcher
    from eli5b_batch.forecast.recorded import Estimate, Slot
    from eli5b_batch.job.schema import Job
    from eli5b_batch.run.plan import Experiment, Plan

_RECORD_OVERHEAD_BYTES: Final = 900
_FULLY: Final = 0.999


@dataclass
class Findings:
    """What `check` found: facts by model, how models are spoken to, what would stop the run, what is worth knowing.

    `probes`: None where no model is to be asked anything. `may_stay`: answers on record among the calls to make, which
    stand where the replies that they are built on, asked again, come back the same.
    """

    facts: dict[str, ModelFacts] = field(default_factory=dict)
    stops: list[Eli5bError] = field(default_factory=list)
    manners: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    probes: Probes | None = None
    may_stay: int = 0


async def check_job(
    experiment: Experiment, run_dir: Path, console: Console, *, pull: bool = False, probe: bool = False
) -> int:
    """Print what a job will ask, take and cost, and what would stop it.

    Args:
        experiment: the job, already validated.
        run_dir: its run folder; records in it make the estimates better.
        console: where to print.
        pull: download missing models to the Ollama servers first.
        probe: ask one tiny call of each paid model.

    Returns:
        The exit code a run would end with at once: 0, 2 or 5.
    """
    findings = Findings(probes=Probes() if probe else None)
    manifest = None
    try:
        manifest = read_manifest(run_dir)
        if manifest is not None:
            check_same_job(run_dir, manifest, experiment)
    except Eli5bError as error:
        findings.stops.append(error)
    past = look_back(run_dir, redo_of(manifest))
    plan = await count_calls(
        experiment,
        on_record=past.standing.is_answered,
        outdated=past.standing.is_outdated,
        asked_again=past.is_asked_again,
        reply_length=reply_lengths(experiment.job, past.seen),
    )
    needed = providers_left(experiment.job, plan)
    reached = [*experiment.job.providers] if pull else needed
    job = with_detected_slots(experiment.job, reached)
    experiment = replace(experiment, job=job)
    findings.warnings += sent_in_the_clear(job, needed)
    async with _with_servers(job, reached, findings) as up:
        if pull:
            await pull_all(up, console)
        await _reach(up, [name for name in needed if name in up.providers], plan, findings)
    estimates = {slot: estimate(job, slot, plan, past.seen.get(slot)) for slot in plan.total}
    disk = _disk_bytes(plan, estimates)
    if job.budget:
        _judge_cost(job.budget.usd, past.spent_usd, estimates, findings)
    _judge_models(job, manifest, findings)
    _judge_windows(job, plan, findings)
    if findings.probes is not None:
        findings.stops += findings.probes.refusals
    _judge_place(run_dir, disk, findings)
    console.print(_table(experiment, estimates))
    findings.may_stay = plan.again.total()
    for line in _sentences(experiment, run_dir, estimates, disk, findings):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return min((error.exit_code for error in findings.stops), default=0)


@asynccontextmanager
async def _with_servers(job: Job, names: Collection[str], findings: Findings) -> AsyncIterator[Job]:
    """The job with the addresses of managed servers, which run for as long; without those that do not come up."""
    async with AsyncExitStack() as stack:
        for name in managed(job, names):
            try:
                job = (await stack.enter_async_context(servers_for_a_look(job, name))).job
            except Eli5bError as error:
                findings.stops.append(error)
                if isinstance(error, ProviderRefusedError):
                    findings.remarks.append(f"providers.{name}: its servers' logs are kept; delete them once read")
                job = job.model_copy(update={"providers": {n: p for n, p in job.providers.items() if n != name}})
        yield job


async def _reach(job: Job, providers: Collection[str], plan: Plan, findings: Findings) -> None:
    """Ask each of the providers what it serves, and with `--probe` a question; a refusal is a finding of its own."""
    for provider in providers:
        names = {n: m.model for n, m in job.models_of(provider).items() if n in plan.models_left}
        try:
            asked = job
            if findings.probes is None:
                read_secrets(job, [provider])
                asked = without_programs(job, provider)
            if provider in asked.providers:
                await _reach_one(asked, provider, names, findings)
            if asked is not job:
                findings.remarks.append(
                    f"providers.{provider}: where api_key_command prints the key, nobody was asked; a run and "
                    "check --probe call it"
                )
        except Eli5bError as error:
            findings.stops.append(error)


async def _reach_one(job: Job, provider: str, names: Mapping[str, str], findings: Findings) -> None:
    """Ask one provider for its models, by their names in the job."""
    clock = asyncio.get_running_loop().time
    async with open_dispatchers(
        job, (), providers=[provider], budget=Budget(None), stop=Stop(), clock=clock
    ) as dispatchers:
        dispatcher = dispatchers[provider]
        told = await dispatcher.reach(sorted(set(names.values())))
        findings.facts |= {name: told[model] for name, model in names.items()}
        findings.remarks += dispatcher.remarks
        possible = _judge_manners(job, provider, names, dispatcher, findings)
        if findings.probes is not None:
            await findings.probes.ask(job, provider, possible, dispatcher.backends)


def _judge_manners(
    job: Job, provider: str, names: Mapping[str, str], dispatcher: Dispatcher, findings: Findings
) -> list[str]:
    """Say how each account and model is spoken to; a way of thinking that can't be had would stop the run.

    Returns:
        The models that can be asked, by their names in the job.
    """
    spoken: dict[str, Manner] = {}
    said: list[str] = []
    possible = []
    for name, model in names.items():
        sampling = job.models[name].sampling
        try:
            spoken = manners_of(dispatcher, model, sampling.model_dump(exclude_none=True))
        except ProviderRefusedError as error:
            findings.stops.append(ProviderRefusedError(f"models.{name}.sampling.thinking: {error}"))
            continue
        said += manners.of_model(name, model, sampling, spoken)
        possible.append(name)
    findings.manners += [*manners.of_provider(provider, spoken), *said]
    return possible


def _judge_cost(budget_usd: float, spent_usd: float, estimates: Mapping[Slot, Estimate], findings: Findings) -> None:
    expected = _sum(e.usd for e in estimates.values())
    if expected and spent_usd + expected > budget_usd:
        so_far = f" and {cost(spent_usd)} spent already" if spent_usd else ""
        findings.remarks.append(
            f"the estimated cost of {cost(expected)}{so_far} is above budget.usd {budget_usd:g}: "
            "the run would stop early, resumable"
        )


def _judge_models(job: Job, manifest: Mapping[str, Any] | None, findings: Findings) -> None:
    try:
        check_same_models(manifest or {}, job, findings.facts)
    except RunFolderError as error:
        findings.stops.append(error)
    for name, facts in findings.facts.items():
        if facts.on_gpu is not None and facts.on_gpu < _FULLY:
            findings.remarks.append(
                f"models.{name}: only {facts.on_gpu:.0%} of {job.models[name].model} is in GPU memory: "
                "it will be slow; lower num_ctx or the slot's parallel, or use a smaller quantisation"
            )
    for name, provider in job.providers.items():
        started = isinstance(provider, OllamaProvider) and provider.manage and provider.slots != "auto"
        if started and any(slot.gpu == CPU for slot in provider.shape[1]):
            findings.remarks.append(f"providers.{name}: a server runs on the CPU, without a GPU: it will be slow")
    for name, model in job.models.items():
        if isinstance(job.provider_of(name), OpenAIProvider) and model.sampling.num_ctx:
            findings.remarks.append(f"models.{name}.sampling.num_ctx is for Ollama only and is not sent")


def _judge_windows(job: Job, plan: Plan, findings: Findings) -> None:
    """Say where a prompt, and a reply as long as it may be, do not go into a window together."""
    for (step, name), calls in plan.total.items():
        sampling = job.models[name].sampling
        prompt = plan.input_bytes[step, name] / calls / BYTES_PER_TOKEN
        if sampling.num_ctx and job.provider_of(name).shape[1] and prompt + sampling.max_tokens > sampling.num_ctx:
            findings.remarks.append(
                f"models.{name}.sampling.num_ctx: a window of {sampling.num_ctx} tokens does not hold a prompt of step "
                f"{step} ({prompt:.0f} tokens on average) and max_tokens {sampling.max_tokens}, thoughts included: "
                "long replies are cut off; raise num_ctx or lower max_tokens"
            )


def _judge_place(run_dir: Path, disk: float, findings: Findings) -> None:
    place = next(p for p in (run_dir, *run_dir.absolute().parents) if p.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        findings.stops.append(RunFolderError(f"{run_dir}: {place} can't be written to; choose another with --output"))
    elif disk > (free := shutil.disk_usage(place).free):
        findings.stops.append(JobError(f"{place}: the run needs about {size(disk)} of disk and {size(free)} are free"))


def _disk_bytes(plan: Plan, estimates: Mapping[Slot, Estimate]) -> float:
    texts = sum(
        plan.input_bytes[s] * e.left / e.calls + e.output_tokens * BYTES_PER_TOKEN for s, e in estimates.items()
    )
    return 1.1 * texts + _RECORD_OVERHEAD_BYTES * sum(e.left for e in estimates.values())


def _table(experiment: Experiment, estimates: Mapping[Slot, Estimate]) -> Table:
    """One row per step and model. It fits 80 columns; what is longer is folded, never cut."""
    job = experiment.job
    title = f"{job.name}{' (SIMULATED)' if job.simulated else ''}"
    title += f": protocol {job.protocol}, {len(experiment.problems.selected):,} problems"
    resumed = any(e.left < e.calls for e in estimates.values())
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    for column in ("step", "model"):
        table.add_column(column, overflow="fold")
    for column in ("calls", *(["left"] if resumed else []), "tokens in", "out", "cost", "at most", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for (step, name), e in estimates.items():
        table.add_row(
            step,
            name,
            f"{e.calls:,}",
            *([f"{e.left:,}"] if resumed else []),
            amount(e.input_tokens),
            amount(e.output_tokens),
            cost(e.usd),
            cost(e.worst_usd),
            duration(seconds(job, job.models[name].provider, {(step, name): e})),
        )
    return table


def _sentences(
    experiment: Experiment, run_dir: Path, estimates: Mapping[Slot, Estimate], disk: float, findings: Findings
) -> Iterator[str]:
    """What the table can't say, a line each."""
    job, data, rows = experiment.job, experiment.problems, estimates.values()
    usd, worst = _sum(e.usd for e in rows), _sum(e.worst_usd for e in rows)
    up_to = "up to " if findings.may_stay else ""
    yield (
        f"{sum(e.calls for e in rows):,} calls, {up_to}{sum(e.left for e in rows):,} of them still to make: "
        f"about {duration(seconds_in_all(job, estimates))}, {size(disk)} of disk; "
        f"cost: {cost(usd)}{f', at most {cost(worst)}' if worst else ''}."
    )
    if findings.may_stay:
        yield (
            f"{findings.may_stay:,} of them have an answer on record, built on a reply that is still to be asked for: "
            "where it comes back the same, the answer stands."
        )
    measured = (
        "recorded calls of this run"
        if any(e.measured for e in rows)
        else (
            f"assumptions: replies of half max_tokens, {BYTES_PER_TOKEN:g} bytes a token, "
            f"{ASSUMED_TOKENS_PER_S:g} tokens/s a call"
        )
    )
    yield f"time is that of a row's calls alone; tokens, cost and time are estimated from {measured}."
    if data.duplicates_dropped:
        yield f"{data.path}: {data.rows:,} rows, {data.duplicates_dropped} with a problem already there, dropped."
    for name, facts in findings.facts.items():
        known = [v for v in (facts.server, facts.parameter_size, facts.quantization, facts.digest[:12]) if v]
        yield f"models.{name}: served{': ' + ', '.join(known) if known else ''}"
    yield from findings.manners
    for name in job.models:
        yield from differences(job, name)
    yield f"run folder: {run_dir}"
    if findings.probes is not None:
        yield from findings.probes.sentences()
    yield from (f"warning: {warning}" for warning in findings.warnings)
    yield from (f"note: {note}" for note in (*data.notes, *findings.remarks))
    yield from (f"would stop the run: {error}" for error in findings.stops)
    if not findings.stops:
        yield "nothing would stop the run."


def _sum(amounts: Iterable[float | None]) -> float | None:
    """None as soon as one of them is unknown."""
    total = 0.0
    for one in amounts:
        if one is None:
            return None
        total += one
    return total
