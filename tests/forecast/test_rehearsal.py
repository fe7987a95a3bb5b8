"""rehearsal/stage.py: whole runs on the virtual clock, as a bed for seeded schedules with faults.

A failure is replayed by its seed: `-k 'faults and seed-3'`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.errors import RetryableError
from eli5b_batch.forecast.network import ModelledNetwork, VirtualControl, VirtualServer
from eli5b_batch.forecast.past import PastRun
from eli5b_batch.forecast.rehearsal import Rehearsal, rehearse

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from eli5b_batch.job.schema import Job
    from eli5b_batch.run.plan import Experiment

    Load = Callable[..., Experiment]

SEEDS = [pytest.param(seed, id=f"seed-{seed}") for seed in range(8)]
SLOW_GPUS = "providers.gpus.simulation={latency_s: 0.2, tokens_per_s: 100, load_s: 3}"


def assert_each_call_is_answered_once(rehearsal: Rehearsal) -> None:
    made = Counter((row.step, row.model) for row in rehearsal.rows)
    assert made == rehearsal.plan.total
    assert max(Counter(row.key for row in rehearsal.rows).values()) == 1
    assert rehearsal.ending.reason is None


def least_seconds(job: Job, rehearsal: Rehearsal) -> float:
    """No schedule can be shorter: the work of each provider's places, and its requests at the rate allowed."""
    bounds = []
    for name, provider in job.providers.items():
        limits, slots = provider.shape
        sent = [s for s in rehearsal.sendings if s.provider == name]
        places = limits.concurrency if limits else sum(slot.parallel for slot in slots)
        bounds.append(sum(s.ended - s.started for s in sent) / places)
        if limits and limits.requests_per_minute:
            bounds.append((len(sent) - 1) / limits.requests_per_minute * 60 - 1)  # a second's worth may come at once
    return max(bounds)


@pytest.mark.parametrize("seed", SEEDS)
def test_with_faults_every_call_is_answered_once_and_no_schedule_beats_its_bound(quickstart: Load, seed: int) -> None:
    faults = "error_rate: 0.1, drop_rate: 0.05, garbage_rate: 0.05, lost_rate: 0.05, late_rate: 0.05, late_s: 20"
    experiment = quickstart(
        f"seed={seed}",
        f"providers.api.simulation={{latency_s: 0.5, tokens_per_s: 200, {faults}}}",
        f"providers.gpus.simulation={{latency_s: 0.2, tokens_per_s: 100, load_s: 3, {faults}}}",
        "providers.gpus.attempts=20",
        "providers.api.attempts=20",
    )
    rehearsal = rehearse(experiment, PastRun())
    assert_each_call_is_answered_once(rehearsal)
    assert not rehearsal.ending.failures
    assert rehearsal.seconds >= least_seconds(experiment.job, rehearsal)
    assert len(rehearsal.sendings) > len(rehearsal.rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_hangs_is_left_when_its_time_is_over(quickstart: Load, seed: int) -> None:
    experiment = quickstart(
        f"seed={seed}",
        "providers.gpus.simulation={latency_s: 0.2, hang_rate: 0.1}",
        "providers.gpus.timeout_s=90",
        "providers.gpus.attempts=20",
    )
    rehearsal = rehearse(experiment, PastRun())
    assert_each_call_is_answered_once(rehearsal)
    assert rehearsal.seconds >= 60
    assert max(s.ended - s.started for s in rehearsal.sendings) <= 90.001


class Outage(ModelledNetwork):
    """Every GPU server refuses connections for a minute of the run."""

    FROM, TO = 5.0, 65.0

    def __init__(self, experiment: Experiment, past: PastRun) -> None:
        super().__init__(experiment, past)
        for place, server in self.servers.items():
            if place[0] == "gpus":
                self.servers[place] = self.Down(server)

    class Down:
        def __init__(self, server: VirtualServer) -> None:
            self._server = server

        async def answer(self, request: web.Request) -> web.StreamResponse:
            self._refuse()
            return await self._server.answer(request)

        async def tell(self, request: web.Request, path: str) -> web.StreamResponse:
            self._refuse()
            assert isinstance(self._server, VirtualControl)
            return await self._server.tell(request, path)

        @staticmethod
        def _refuse() -> None:
            if Outage.FROM <= asyncio.get_running_loop().time() < Outage.TO:
                raise RetryableError("connection", "refused", unsent=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_minute_without_servers_costs_a_minute_and_no_call(quickstart: Load, seed: int) -> None:
    experiment = quickstart(f"seed={seed}", SLOW_GPUS)
    undisturbed = rehearse(experiment, PastRun())
    rehearsal = rehearse(experiment, PastRun(), network=Outage)
    assert_each_call_is_answered_once(rehearsal)
    assert not rehearsal.ending.failures
    assert undisturbed.seconds + 40 <= rehearsal.seconds <= undisturbed.seconds + 120


@pytest.mark.parametrize("outage", ["freezes", "refuses"])
def test_a_slot_that_is_away_for_a_while_costs_no_call(quickstart: Load, outage: str) -> None:
    experiment = quickstart(SLOW_GPUS, f"providers.gpus.simulation.{outage}={{gpu0: [[10, 70]]}}")
    rehearsal = rehearse(experiment, PastRun())
    assert_each_call_is_answered_once(rehearsal)
    assert not rehearsal.ending.failures
    sent = [s for s in rehearsal.sendings if s.place == "gpu0"]
    assert not any(s.status == 200 and 10 <= s.ended < 70 for s in sent)
    assert any(s.status == 200 and 10 <= s.ended < 70 for s in rehearsal.sendings if s.place == "gpu1")


class Stingy(ModelledNetwork):
    """The account allows half of what the job says."""

    def __init__(self, experiment: Experiment, past: PastRun) -> None:
        job = experiment.job
        limits, _ = job.providers["api"].shape
        assert limits is not None
        half = limits.model_copy(update={"requests_per_minute": (limits.requests_per_minute or 0) / 2})
        provider = job.providers["api"].model_copy(update={"limits": half})
        changed = job.model_copy(update={"providers": {**job.providers, "api": provider}})
        super().__init__(replace(experiment, job=changed), past)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_account_that_answers_429_slows_the_run_and_fails_no_call(quickstart: Load, seed: int) -> None:
    limits = "{requests_per_minute: 240, concurrency: 8, adaptive: false}"
    experiment = quickstart(f"seed={seed}", f"providers.api.limits={limits}", limit=12)
    rehearsal = rehearse(experiment, PastRun(), network=Stingy)
    assert_each_call_is_answered_once(rehearsal)
    assert not rehearsal.ending.failures
    refused = sum(s.status == 429 for s in rehearsal.sendings)
    sent = sum(s.provider == "api" for s in rehearsal.sendings) - refused
    assert refused > 0
    assert rehearsal.seconds >= (sent - 4) / 120 * 60


def test_the_same_arguments_come_to_the_same_to_the_last_bit(quickstart: Load) -> None:
    experiment = quickstart("providers.gpus.simulation.error_rate=0.2", limit=4)
    first, second = rehearse(experiment, PastRun()), rehearse(experiment, PastRun())
    assert (first.seconds, first.rows, first.sendings) == (second.seconds, second.rows, second.sendings)


def test_a_budget_that_is_used_up_ends_the_rehearsal_as_it_would_the_run(quickstart: Load) -> None:
    rehearsal = rehearse(quickstart(), PastRun(), budget_usd=0.003)
    assert rehearsal.ending.exit_code == 4
    assert 0 < rehearsal.spent_usd <= 0.003


def test_servers_that_never_work_end_it(quickstart: Load) -> None:
    rehearsal = rehearse(quickstart("providers.gpus.simulation.drop_rate=1.0", limit=2), PastRun())
    assert rehearsal.ending.failures or rehearsal.ending.exit_code == 5
