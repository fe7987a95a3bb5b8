from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.job.load import load_job
from eli5b_batch.run.plan import Experiment, load_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"


@pytest.fixture(scope="session")
def quickstart() -> Callable[..., Experiment]:
    """The quickstart job with values of its own, on its first problems."""

    def load(*overrides: str, limit: int | None = 6) -> Experiment:
        return load_experiment(load_job(QUICKSTART, overrides=overrides, limit=limit), "quickstart.yaml")

    return load
