"""What a run will take: one rehearsal of it, and one for each limit that could be raised.

Must not know: terminals. Large jobs are rehearsed on a sample of their problems and scaled; the prediction says so.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from eli5b_batch.forecast.raised_limits import doublings, sampled
from eli5b_batch.forecast.rehearsal import rehearse
from eli5b_batch.forecast.usage import Stage, Use, shares, stages, uses
from eli5b_batch.job.schema import SimulatedProvider
from eli5b_batch.run.engine import window_of
from eli5b_batch.run.plan import count_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.forecast.memory import Row
    from eli5b_batch.forecast.past import PastRun
    from eli5b_batch.forecast.rehearsal import Rehearsal
    from eli5b_batch.job.schema import Job
    from eli5b_batch.run.plan import Experiment

    Tell = Callable[[str, int, int], None]

PREDICTION_SCHEMA: Final = 1
WHOLE_CALLS: Final = 60_000
"""Calls up to which a job is rehearsed as a whole."""
LARGE_SAMPLE: Final = 30_000
SMALL_SAMPLE: Final = 12_000
"""Least calls of the sample that stands for a larger job, and of the one on which limits are doubled."""
SAMPLE_WINDOWS: Final = 3
"""Least problems of a sample, in windows."""
FEW_CALLS: Final = 15_000
DRAWS: Final = 5
"""A job of few calls is rehearsed this often, with other random draws: which slot changes its model when hangs on
moments, and sums of few calls show it."""


@dataclass(frozen=True, slots=True)
class StepForecast:
    """The calls of one step to one model, of the whole run; tokens are sums, times means in seconds.

    `source` is what replies are modelled on: simulation, records or assumptions.
    """

    step: str
    model: str
    calls: int
    input_tokens: float
    output_tokens: float
    usd: float | None
    latency_s: float
    queued_s: float
    source: str


@dataclass(frozen=True, slots=True)
class Doubled:
    """What the whole run would take, in seconds, with one limit of a provider raised from `now` to `then`."""

    provider: str
    limit: str
    now: float
    then: float
    seconds: float


@dataclass(frozen=True)
class Prediction:
    """What a run will come to. Nothing of it was measured: `prediction` is always true.

    `seconds` is the run's length, `between` the shortest and the longest of several draws (the same twice where there
    was one), `usd` its cost (None where a price is unknown). `rehearsed` problems of `problems`
    were gone through, and everything is scaled where that is fewer; `doubled_on` problems were for each doubling.
    `stages` are shares of the run's length. `loads` counts the models loaded, by slot. `ends_early` is one sentence
    where the run would stop by itself. `records` is the run folder of `--from`. `real_s` is what rehearsing took.
    """

    job: str
    simulated: bool
    problems: int
    rehearsed: int
    calls: int
    failed: int
    seconds: float
    between: list[float]
    usd: float | None
    budget_usd: float | None
    ends_early: str | None
    steps: list[StepForecast]
    stages: list[Stage]
    uses: list[Use]
    loads: dict[str, int]
    rate_limited: int
    retries: int
    doubled_on: int
    doubled: list[Doubled]
    records: str | None
    real_s: float
    prediction: bool = True
    schema: int = PREDICTION_SCHEMA


def predict(
    experiment: Experiment,
    past: PastRun,
    *,
    doubling: bool = True,
    tell: Tell = lambda _what, _done, _of: None,
) -> Prediction:
    """Rehearse a job.

    Args:
        experiment: the job.
        past: what is known of the models of real providers.
        doubling: also rehearse it with each limit doubled.
        tell: told what is being rehearsed, how many calls of it are made, and of how many.

    Raises:
        JobError: a prompt can't be made.
    """
    began = time.perf_counter()
    job = experiment.job
    total = asyncio.run(count_calls(experiment)).total
    whole, calls = len(experiment.problems.selected), total.total()

    def go(what: str, some: Experiment, budget_usd: float | None = None) -> Rehearsal:
        of = round(calls * len(some.problems.selected) / whole)
        return rehearse(some, past, budget_usd=budget_usd, tell=lambda done: tell(what, done, of))

    def sample(least_calls: int) -> Experiment:
        n = max(SAMPLE_WINDOWS * window_of(job, on_slots=False)[0], round(least_calls * whole / calls))
        return sampled(experiment, n) if n < whole else experiment

    budget = job.budget.usd if job.budget else None
    if calls > WHOLE_CALLS:
        draws = [go("the run", sample(LARGE_SAMPLE))]
    else:
        seeds = range(job.seed, job.seed + (DRAWS if calls <= FEW_CALLS else 1))
        several = [replace(experiment, job=job.model_copy(update={"seed": seed})) for seed in seeds]
        draws = [go("the run", one, budget) for one in several]
    in_order = sorted(draws, key=lambda draw: draw.seconds)
    # Simulated servers draw by the job's seed, too: that draw is the run's own. Real ones have none: the median stands.
    known = all(isinstance(provider, SimulatedProvider) for provider in job.providers.values())
    base = draws[0] if known else in_order[len(draws) // 2]
    doubled, few = [], sample(SMALL_SAMPLE)
    if doubling and base.ending.reason is None:
        before = go("a sample", few).seconds
        asked = {sending.provider for sending in base.sendings}
        for name, limit, now, then, raised in doublings(job):
            if name in asked:
                after = go(f"twice the {limit} of {name}", replace(few, job=raised)).seconds
                doubled.append(Doubled(name, limit, now, then, base.seconds * _times(base, whole) * after / before))
    return _prediction(
        experiment,
        past,
        base,
        total=total,
        between=[draw.seconds * _times(draw, whole) for draw in (in_order[0], in_order[-1])],
        doubled=doubled,
        doubled_on=len(few.problems.selected) if doubled else 0,
        real_s=time.perf_counter() - began,
    )


def _times(rehearsal: Rehearsal, problems: int) -> float:
    """How often the problems gone through go into the run's."""
    return problems / rehearsal.snapshot["problems"]["total"]


def _prediction(
    experiment: Experiment,
    past: PastRun,
    base: Rehearsal,
    *,
    total: Counter[tuple[str, str]],
    between: list[float],
    doubled: list[Doubled],
    doubled_on: int,
    real_s: float,
) -> Prediction:
    job, stopped = experiment.job, base.ending.reason
    whole = len(experiment.problems.selected)
    times = _times(base, whole)
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in base.rows:
        rows[row.step, row.model].append(row)
    # Where the run stops early, what was made is what there is; else each step's calls are counted exactly.
    calls = {key: len(rows[key]) if stopped else n for key, n in total.items()}
    steps = [_step(job, past, key, rows[key], n) for key, n in calls.items() if rows[key]]
    found = shares(job, base.seconds, base.sendings, base.rows)
    costs = [step.usd for step in steps]
    usd = None if None in costs else sum(filter(None, costs))
    budget = job.budget.usd if job.budget else None
    if stopped is None and budget is not None and usd is not None and usd > budget:
        stopped = f"the cost is above budget.usd {budget:g}: the run would stop before its end, resumable"
    return Prediction(
        job=job.name,
        simulated=job.simulated,
        problems=whole,
        rehearsed=base.snapshot["problems"]["total"],
        calls=sum(calls.values()),
        failed=round(sum(row.error is not None for row in base.rows) * times),
        seconds=base.seconds * times,
        between=between,
        usd=usd,
        budget_usd=budget,
        ends_early=stopped,
        steps=steps,
        stages=stages(found),
        uses=uses(job, found),
        loads={s: round(n * times) for s, n in _loads(base.rows).items()},
        rate_limited=round(sum(p["rate_limited"] for p in base.snapshot["providers"]) * times),
        retries=round(sum(p["retries"] for p in base.snapshot["providers"]) * times),
        doubled_on=doubled_on,
        doubled=doubled,
        records=str(past.folder) if past.folder else None,
        real_s=real_s,
    )


def _step(job: Job, past: PastRun, key: tuple[str, str], rows: list[Row], calls: int) -> StepForecast:
    step, model = key
    times = calls / len(rows)
    costs = [row.cost_usd for row in rows]
    if isinstance(job.provider_of(model), SimulatedProvider):
        source = "simulation"
    else:
        source = "records" if key in past.calls else "assumptions"
    return StepForecast(
        step=step,
        model=model,
        calls=calls,
        input_tokens=times * sum(row.input_tokens for row in rows),
        output_tokens=times * sum(row.output_tokens for row in rows),
        usd=None if None in costs else times * sum(filter(None, costs)),
        latency_s=sum(row.latency for row in rows) / len(rows),
        queued_s=sum(row.queued for row in rows) / len(rows),
        source=source,
    )


def _loads(rows: list[Row]) -> Counter[str]:
    """Models loaded, by slot; where loading takes no time, none is seen."""
    return Counter(row.slot for row in rows if row.slot is not None and row.load > 0.001)  # noqa: PLR2004 (a loaded one tells ns)
