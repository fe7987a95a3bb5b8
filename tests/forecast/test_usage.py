"""rehearsal/usage.py: how full each resource was, and what the run waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from eli5b_batch.forecast.network import SentRequest
from eli5b_batch.forecast.usage import WINDOWS, Stage, shares, stages, uses

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.run.plan import Experiment


def test_shares_are_place_seconds_and_starts_of_what_there_was(quickstart: Callable[..., Experiment]) -> None:
    job = quickstart("providers.api.limits={requests_per_minute: 60, concurrency: 4}").job
    # gpu0 has four places: two are in use all the time, one in the first half. The API is asked twice a second.
    sent = [SentRequest("gpus", "gpu0", 0, 40, 200), SentRequest("gpus", "gpu0", 0, 40, 200)]
    sent += [SentRequest("gpus", "gpu0", 0, 20, 200)]
    sent += [SentRequest("api", "", n / 2, n / 2 + 1, 200) for n in range(80)]
    found = shares(job, 40.0, sent, [])
    assert found["gpus", "gpu0"] == pytest.approx([0.75] * (WINDOWS // 2) + [0.5] * (WINDOWS // 2))
    assert found["gpus", "gpu1"] == pytest.approx(np.zeros(WINDOWS))
    assert found["api", "requests_per_minute"] == pytest.approx(np.full(WINDOWS, 2.0))
    assert found["api", "concurrency"][1:] == pytest.approx(np.full(WINDOWS - 1, 0.5))
    used = {(u.provider, u.resource): u for u in uses(job, found)}
    assert used["gpus", "gpu0"].share == pytest.approx(0.625)
    assert (used["gpus", "gpu0"].limit, used["api", "requests_per_minute"].limit) == (4, 60)


def test_a_stage_lasts_as_long_as_its_resource_is_full() -> None:
    quarter = WINDOWS // 4
    found = {
        ("api", "requests_per_minute"): np.repeat([1.0, 1.0, 0.2, 0.0], quarter),
        ("gpus", "gpu0"): np.repeat([0.9, 0.5, 0.95, 0.1], quarter),
    }
    assert [(s.begins, s.ends, s.bottleneck, round(s.share, 6)) for s in stages(found)] == [
        (0.0, 0.5, "api requests_per_minute", 1.0),
        (0.5, 0.75, "gpus gpu0", 0.95),
        (0.75, 1.0, "", 0.0),
    ]


def test_where_nothing_was_sent_nothing_is_waited_for() -> None:
    assert stages({}) == [Stage(0.0, 1.0, "", 0.0)]
