"""rehearsal/network.py: the servers in this process answer as those on loopback do."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.journal import read_records
from eli5b_batch.rehearsal.past import Past
from eli5b_batch.rehearsal.stage import rehearse
from eli5b_batch.run import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eli5b_batch.plan import Experiment


def told(record: dict[str, Any]) -> tuple[int, int, float, str | None]:
    usage = record["usage"] or {"input_tokens": 0, "output_tokens": 0}
    error = record["error"]
    return usage["input_tokens"], usage["output_tokens"], record["cost_usd"], error and error["class"]


@pytest.mark.parametrize("faults", ["", "empty_rate: 0.2, error_rate: 0.2"])
async def test_a_run_on_simulated_servers_has_the_tokens_and_costs_that_were_rehearsed(
    quickstart: Callable[..., Experiment], tmp_path: Path, faults: str
) -> None:
    experiment = quickstart(f"providers.gpus.simulation={{latency_s: 0.01, {faults}}}", limit=3)
    await execute(experiment, tmp_path / "run", display=lambda _: nullcontext())
    real = {record["key"]: told(record) for record in read_records(tmp_path / "run" / "calls.jsonl")}
    rehearsed = await in_thread(experiment)
    assert {row[0]: row[1:] for row in rehearsed} == real


async def in_thread(experiment: Experiment) -> list[tuple[str, int, int, float, str | None]]:
    """A rehearsal has a loop of its own, which no other may run around."""
    import asyncio  # noqa: PLC0415 (only here)

    rehearsal = await asyncio.to_thread(rehearse, experiment, Past())
    return [(r.key, r.input_tokens, r.output_tokens, r.cost_usd or 0.0, r.error) for r in rehearsal.rows]
