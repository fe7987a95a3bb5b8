"""`check JOB`: what a job will ask, take and cost, and what would stop it. No model is asked anything.

Must not know: journals' inner workings, how calls are sent. Counts are exact: they come from the protocol itself.
Tokens, cost and time are estimates, and say from what.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from eli5b_batch.backends.ollama import pull
from eli5b_batch.dispatch.budget import Budget, cost
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import Eli5bError, JobError
from eli5b_batch.folder import CALLS, check_same_job, read_manifest
from eli5b_batch.job import OllamaProvider, OpenAIProvider
from eli5b_batch.journal import read_records
from eli5b_batch.plan import count_calls
from eli5b_batch.providers import open_dispatchers

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from eli5b_batch.backends.base import ModelFacts
    from eli5b_batch.job import Job, Model
    from eli5b_batch.plan import Experiment, Plan

Slot = tuple[str, str]
"""(step, model)"""

BYTES_PER_TOKEN: Final = 4.0
"""English with LaTeX in a Llama tokeniser; recorded runs replace it by what was measured."""
ASSUMED_TOKENS_PER_S: Final = 60.0
_RECORD_OVERHEAD_BYTES: Final = 900
_FULLY: Final = 0.999


class Seen(NamedTuple):
    """What a run's records say of one (step, model), per call."""

    calls: int
    input_tokens: float
    output_tokens: float
    seconds: float


@dataclass
class Estimate:
    """Tokens, money (USD) and time (seconds) of the calls of one (step, model)."""

    calls: int
    left: int
    input_tokens: float
    output_tokens: float
    usd: float | None
    worst_usd: float | None
    seconds: float
    measured: bool


@dataclass
class Findings:
    """What `check` found: facts by model, what would stop the run, what is worth knowing."""

    facts: dict[str, ModelFacts] = field(default_factory=dict)
    stops: list[Eli5bError] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


async def check_job(experiment: Experiment, run_dir: Path, console: Console, *, pull: bool = False) -> int:
    """Print what a job will ask, take and cost, and what would stop it.

    Args:
        experiment: the job, already validated.
        run_dir: its run folder; records in it make the estimates better.
        console: where to print.
        pull: download missing models to the Ollama servers first.

    Returns:
        The exit code a run would end with at once: 0, 2 or 5.
    """
    findings = Findings()
    manifest = read_manifest(run_dir)
    if manifest is not None:
        try:
            check_same_job(run_dir, manifest, experiment)
        except Eli5bError as error:
            findings.stops.append(error)
    seen, answered = _look_back(run_dir)
    plan = await count_calls(
        experiment, on_record=answered.__contains__, reply_length=_reply_lengths(experiment.job, seen)
    )
    if pull:
        await _pull_all(experiment.job, console)
    await _reach(experiment, plan, findings)
    estimates = {slot: _estimate(experiment.job, slot, plan, seen.get(slot)) for slot in plan.total}
    _judge(experiment.job, run_dir, plan, estimates, findings)
    _print(experiment, run_dir, estimates, findings, console)
    return findings.stops[0].exit_code if findings.stops else 0


def _look_back(run_dir: Path) -> tuple[dict[Slot, Seen], set[str]]:
    """Means per (step, model) over a run's records, and the keys answered."""
    calls: Counter[Slot] = Counter()
    sums: dict[Slot, list[float]] = {}
    answered: set[str] = set()
    if (run_dir / CALLS).exists():
        for record in read_records(run_dir / CALLS):
            if record["status"] != "ok":
                continue
            slot = (record["step"], record["model"])
            answered.add(record["key"])
            calls[slot] += 1
            total = sums.setdefault(slot, [0.0, 0.0, 0.0])
            total[0] += record["usage"]["input_tokens"]
            total[1] += record["usage"]["output_tokens"]
            total[2] += record["timing"]["latency"]
    return {slot: Seen(n, *(value / n for value in sums[slot])) for slot, n in calls.items()}, answered


def _reply_lengths(job: Job, seen: dict[Slot, Seen]) -> dict[Slot, int]:
    """Bytes that a reply is taken to have, where later prompts quote it: as recorded, else half of max_tokens."""
    lengths = {}
    for (step, model), s in seen.items():
        lengths[step, model] = round(s.output_tokens * BYTES_PER_TOKEN)
    for name, model_ in job.models.items():
        lengths.setdefault(("", name), round(model_.sampling.max_tokens / 2 * BYTES_PER_TOKEN))
    return lengths


def _estimate(job: Job, slot: Slot, plan: Plan, seen: Seen | None) -> Estimate:
    model = job.models[slot[1]]
    left = plan.left[slot]
    per_input = seen.input_tokens if seen else plan.input_bytes[slot] / plan.total[slot] / BYTES_PER_TOKEN
    per_output = seen.output_tokens if seen else model.sampling.max_tokens / 2
    per_call_s = seen.seconds if seen else per_output / ASSUMED_TOKENS_PER_S
    return Estimate(
        calls=plan.total[slot],
        left=left,
        input_tokens=per_input * left,
        output_tokens=per_output * left,
        usd=_usd(model, per_input * left, per_output * left),
        worst_usd=_usd(model, plan.input_bytes[slot] * left / plan.total[slot], model.sampling.max_tokens * left),
        seconds=_seconds(job, model, left, left * (per_input + per_output), per_call_s),
        measured=seen is not None,
    )


def _usd(model: Model, input_tokens: float, output_tokens: float) -> float | None:
    if model.price is None:
        return 0.0
    if isinstance(model.price, str):
        return None
    return cost(model.price, {"input_tokens": input_tokens, "output_tokens": output_tokens})


def _seconds(job: Job, model: Model, calls: int, tokens: float, per_call_s: float) -> float:
    """The longest of what each limit allows for these calls alone."""
    provider = job.providers[model.provider]
    limits, slots = provider.shape
    if limits is None:
        places = sum(s.parallel for s in slots if not s.models or model.model in s.models)
        return calls * per_call_s / max(1, places)
    times = [calls * per_call_s / limits.concurrency]
    if limits.requests_per_minute:
        times.append(calls / limits.requests_per_minute * 60)
    if limits.tokens_per_minute:
        times.append(tokens / limits.tokens_per_minute * 60)
    return max(times)


async def _pull_all(job: Job, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:
        for name, provider in job.providers.items():
            if not isinstance(provider, OllamaProvider):
                continue
            for slot in provider.slots:
                for model in sorted({m.model for m in job.models_of(name).values()}):
                    if slot.models and model not in slot.models:
                        continue
                    bar = bars.add_task(f"{slot.name} {model}", total=None)

                    def show(
                        status: str, done: int, total: int, bar: int = bar, what: str = f"{slot.name} {model}"
                    ) -> None:
                        bars.update(
                            bars.task_ids[bar],
                            description=f"{what}: {status}",
                            completed=done,
                            total=total or None,
                        )

                    await pull(slot.url or "", model, show)


async def _reach(experiment: Experiment, plan: Plan, findings: Findings) -> None:
    """Ask every provider what it serves; each one's refusal is a finding of its own."""
    job = experiment.job
    loop = asyncio.get_running_loop()
    for provider in sorted({job.models[model].provider for _, model in plan.total}):
        names = {n: m.model for n, m in job.models_of(provider).items() if any(n == model for _, model in plan.total)}
        try:
            async with AsyncExitStack() as stack:
                dispatchers = await stack.enter_async_context(
                    open_dispatchers(job, (), providers=[provider], budget=Budget(None), stop=Stop(), clock=loop.time)
                )
                told = await dispatchers[provider].backend.reach(sorted(set(names.values())))
        except Eli5bError as error:
            findings.stops.append(error)
        else:
            findings.facts |= {name: told[model] for name, model in names.items()}


def _judge(job: Job, run_dir: Path, plan: Plan, estimates: dict[Slot, Estimate], findings: Findings) -> None:
    """What the figures and facts mean for the run."""
    usd = [e.usd for e in estimates.values()]
    if job.budget and all(u is not None for u in usd):
        expected = sum(u or 0.0 for u in usd)
        if expected > job.budget.usd:
            findings.remarks.append(
                f"the estimated cost of ${expected:.2f} is above budget.usd {job.budget.usd:g}: "
                "the run would stop early, resumable"
            )
    for name, facts in findings.facts.items():
        if facts.on_gpu is not None and facts.on_gpu < _FULLY:
            findings.remarks.append(
                f"models.{name}: only {facts.on_gpu:.0%} of {job.models[name].model} is in GPU memory: "
                "it will be slow; lower num_ctx or the slot's parallel, or use a smaller quantisation"
            )
    for name, model in job.models.items():
        if isinstance(job.provider_of(name), OpenAIProvider) and model.sampling.num_ctx:
            findings.remarks.append(f"models.{name}.sampling.num_ctx is for Ollama only and is not sent")
    need = _disk_bytes(plan, estimates)
    place = next(p for p in (run_dir, *run_dir.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if need > free:
        findings.stops.append(
            JobError(f"{place}: the run needs about {_size(need)} of disk and {_size(free)} are free")
        )


def _disk_bytes(plan: Plan, estimates: dict[Slot, Estimate]) -> float:
    texts = sum(plan.input_bytes[s] + e.output_tokens * BYTES_PER_TOKEN for s, e in estimates.items())
    return 1.1 * texts + _RECORD_OVERHEAD_BYTES * sum(e.left for e in estimates.values())


def _print(
    experiment: Experiment,
    run_dir: Path,
    estimates: dict[Slot, Estimate],
    findings: Findings,
    console: Console,
) -> None:
    job, data = experiment.job, experiment.problems
    title = (
        f"{job.name}{' (SIMULATED)' if job.simulated else ''}: protocol {job.protocol}, {len(data.selected)} problems"
    )
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("step", "model"):
        table.add_column(column, no_wrap=True)
    for column in ("calls", "to make", "in, tokens", "out, tokens", "cost", "at most", "alone"):
        table.add_column(column, justify="right", no_wrap=True)
    for (step, name), e in sorted(estimates.items(), key=lambda item: item[0][0], reverse=True):
        table.add_row(
            step,
            name,
            f"{e.calls:,}",
            f"{e.left:,}",
            _count(e.input_tokens),
            _count(e.output_tokens),
            _money(e.usd),
            _money(e.worst_usd),
            _time(e.seconds),
        )
    console.print(table)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    total = sum(e.calls for e in estimates.values())
    left = sum(e.left for e in estimates.values())
    basis = (
        "recorded calls of this run"
        if any(e.measured for e in estimates.values())
        else (
            f"assumptions: replies of half max_tokens, {BYTES_PER_TOKEN:g} bytes a token, "
            f"{ASSUMED_TOKENS_PER_S:g} tokens/s a call"
        )
    )
    say(f"{total:,} calls, {left:,} of them still to make; tokens, cost and time from {basis}.")
    if data.duplicates_dropped:
        say(f"{data.path}: {data.rows:,} rows, {data.duplicates_dropped} with a problem already there, dropped.")
    for name, facts in findings.facts.items():
        known = [v for v in (facts.server, facts.parameter_size, facts.quantization, facts.digest[:12]) if v]
        say(f"models.{name}: served{': ' + ', '.join(known) if known else ''}")
    say(f"run folder: {run_dir}")
    for remark in findings.remarks:
        say(f"note: {remark}")
    for error in findings.stops:
        say(f"would stop the run: {error}")
    if not findings.stops:
        say("nothing would stop the run.")


def _count(n: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= limit:
            return f"{n / limit:.1f} {unit}"
    return f"{n:.0f}"


def _size(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"  # noqa: PLR2004


def _money(usd: float | None) -> str:
    return "unknown" if usd is None else "free" if not usd else f"${usd:.2f}"


def _time(seconds: float) -> str:
    few = 100  # of a unit, before the next one reads better
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < few else f"{minutes} min" if minutes < few else f"{minutes / 60:.1f} h"
