"""One rehearsal: the engine of a run, on a virtual clock, against modelled servers, writing to memory.

Must not know: what its figures are used for.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import BudgetError, ProviderError
from eli5b_batch.forecast.memory import MemoryJournal, MemoryRecords, NoGrader
from eli5b_batch.forecast.network import ModelledNetwork
from eli5b_batch.forecast.virtual_clock import run_virtual
from eli5b_batch.log import LOGGER
from eli5b_batch.run.engine import Ending, Engine
from eli5b_batch.run.judging import STEP as JUDGE
from eli5b_batch.run.plan import count_calls, providers_left
from eli5b_batch.run.providers import open_dispatchers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eli5b_batch.forecast.memory import Row
    from eli5b_batch.forecast.network import SentRequest
    from eli5b_batch.forecast.past import PastRun
    from eli5b_batch.progress.snapshot import Snapshot
    from eli5b_batch.run.plan import Experiment, Plan


GIVE_UP_AFTER_S: Final = 1800.0
"""What `run` takes without `--give-up-after`: a provider that is down for so long ends the run."""


@dataclass(frozen=True)
class Rehearsal:
    """What one rehearsal came to. `seconds` are of the virtual clock, `real_s` of this machine's; money is USD."""

    ending: Ending
    plan: Plan
    seconds: float
    rows: list[Row]
    sendings: list[SentRequest]
    snapshot: Snapshot
    spent_usd: float
    real_s: float


def rehearse(
    experiment: Experiment,
    past: PastRun,
    *,
    budget_usd: float | None = None,
    tell: Callable[[int], None] = lambda _: None,
    network: Callable[[Experiment, PastRun], ModelledNetwork] = ModelledNetwork,
) -> Rehearsal:
    """Make every call of a job, from the first to the last; the same arguments always come to the same.

    Args:
        experiment: the job.
        past: what is known of the models of real providers.
        budget_usd: the cap; None: none.
        tell: told after each call how many have been made.
        network: makes the servers.

    Raises:
        JobError: a prompt can't be made.
    """
    with _quiet():
        return run_virtual(_rehearse(experiment, past, budget_usd, tell, network))


async def _rehearse(
    experiment: Experiment,
    past: PastRun,
    budget_usd: float | None,
    tell: Callable[[int], None],
    make_network: Callable[[Experiment, PastRun], ModelledNetwork],
) -> Rehearsal:
    began, clock = time.perf_counter(), asyncio.get_running_loop().time
    job = experiment.job
    plan = await count_calls(experiment)
    journal = MemoryJournal({*experiment.protocol.GRADED, JUDGE}, clock, tell)
    stop, budget, network = Stop(), Budget(budget_usd), make_network(experiment, past)
    async with open_dispatchers(
        job,
        (),
        providers=providers_left(job, plan),
        budget=budget,
        stop=stop,
        clock=clock,
        give_up_after_s=GIVE_UP_AFTER_S,
        network=network,
    ) as dispatchers:
        engine = Engine(
            experiment,
            plan,
            records=MemoryRecords(journal),
            grader=NoGrader(),
            dispatchers=dispatchers,
            stop=stop,
            budget=budget,
        )
        ending = await engine.to_the_end()
        if isinstance(stop.reason, BaseException) and not isinstance(stop.reason, (BudgetError, ProviderError)):
            raise stop.reason  # a mistake in the job, or ours: no way for a run to end
        return Rehearsal(
            ending=ending,
            plan=plan,
            seconds=clock(),
            rows=journal.rows,
            sendings=network.sendings,
            snapshot=engine.progress.snapshot(),
            spent_usd=budget.spent,
            real_s=time.perf_counter() - began,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """A rehearsal has no run.log: what the engine logs goes nowhere."""
    before, LOGGER.disabled = LOGGER.disabled, True
    try:
        yield
    finally:
        LOGGER.disabled = before
