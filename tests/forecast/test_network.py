"""rehearsal/network.py: the servers in this process answer as those on loopback do."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.dispatch import dispatcher
from eli5b_batch.errors import RetryableError
from eli5b_batch.forecast.network import ModelledNetwork
from eli5b_batch.forecast.past import PastRun
from eli5b_batch.forecast.rehearsal import rehearse
from eli5b_batch.forecast.virtual_clock import run_virtual
from eli5b_batch.records.journal import read_records
from eli5b_batch.run.execute import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eli5b_batch.run.plan import Experiment


def told(record: dict[str, Any]) -> tuple[int, int, float, str | None]:
    usage = record["usage"] or {"input_tokens": 0, "output_tokens": 0}
    error = record["error"]
    return usage["input_tokens"], usage["output_tokens"], record["cost_usd"], error and error["class"]


@pytest.mark.parametrize("faults", ["", "empty_rate: 0.2, error_rate: 0.2"])
async def test_a_run_on_simulated_servers_has_the_tokens_and_costs_that_were_rehearsed(
    quickstart: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: str
) -> None:
    monkeypatch.setattr(dispatcher, "_BACKOFF_S", 0.01)  # the real run would wait for seconds
    # As often as it takes: which of many failures are excused, as those of an outage are, is a matter of moments.
    settings = (f"providers.gpus.simulation={{latency_s: 0.01, {faults}}}", "providers.gpus.attempts=100")
    experiment = quickstart(*settings, limit=3)
    await execute(experiment, tmp_path / "run", display=lambda _: nullcontext())
    real = {record["key"]: told(record) for record in read_records(tmp_path / "run" / "calls.jsonl")}
    rehearsed = await in_thread(experiment)
    assert {row[0]: row[1:] for row in rehearsed} == real


async def in_thread(experiment: Experiment) -> list[tuple[str, int, int, float, str | None]]:
    """A rehearsal has a loop of its own, which no other may run around."""
    rehearsal = await asyncio.to_thread(rehearse, experiment, PastRun())
    return [(r.key, r.input_tokens, r.output_tokens, r.cost_usd or 0.0, r.error) for r in rehearsal.rows]


def test_slots_tell_what_they_hold_and_a_frozen_one_does_not_answer_in_time(
    quickstart: Callable[..., Experiment],
) -> None:
    experiment = quickstart("providers.gpus.simulation={freezes: {gpu1: [[10, 100]]}}", limit=1)
    model = experiment.job.models["1b"].model

    async def visit() -> None:
        loop = asyncio.get_running_loop()
        network = ModelledNetwork(experiment, PastRun())
        transport = network.transport("gpus", "")
        first, second = network.urls["gpus"][:2]
        assert (await transport.get(f"{first}/api/ps")).json() == {"models": []}
        assert "SIMULATED" in (await transport.get(f"{first}/api/version")).json()["version"]
        assert (await transport.post(f"{first}/api/chat", {"model": model, "messages": []})).status == 200
        assert [row["name"] for row in (await transport.get(f"{first}/api/ps")).json()["models"]] == [model]
        assert (await transport.get(f"{second}/api/ps")).json() == {"models": []}
        assert (await transport.get(f"{first}/api/nope")).status == 404
        await asyncio.sleep(20 - loop.time())
        assert (await transport.get(f"{first}/api/ps")).status == 200
        with pytest.raises(RetryableError) as refused:
            await transport.get(f"{second}/api/ps", 5.0)
        assert (refused.value.kind, loop.time()) == ("timeout", 25.0)
        assert (await transport.get(f"{second}/api/ps", 90.0)).status == 200
        assert loop.time() == 100.0
        api = network.transport("api", "")
        assert (await api.get(f"{network.urls['api'][0]}/v1/models")).status == 404

    run_virtual(visit())


def test_a_refusing_slot_drops_connections(quickstart: Callable[..., Experiment]) -> None:
    experiment = quickstart("providers.gpus.simulation={refuses: {gpu0: [[0, 9]]}}", limit=1)

    async def visit() -> None:
        network = ModelledNetwork(experiment, PastRun())
        url = f"{network.urls['gpus'][0]}/api/version"
        transport = network.transport("gpus", "")
        assert (await transport.get(url)).status == 503
        with pytest.raises(RetryableError, match="the connection broke"):
            await transport.get(url)
        await asyncio.sleep(9)
        assert (await transport.get(url)).status == 200

    run_virtual(visit())
