"""What a job says of quirks, checked. Everything wrong here is a `JobError`.

Must not know: what a quirk answers.
"""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING

from eli5b_batch.errors import JobError
from eli5b_batch.job.schema import SimulatedProvider
from eli5b_batch.simulated.quirks import QUIRKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eli5b_batch.job.schema import Job


def check_quirks(job: Job, where: str) -> None:
    """Check the quirks of every simulated provider.

    Args:
        job: the job.
        where: the job file, for messages.

    Raises:
        JobError: with the place, what is wrong, and what would be right.
    """
    for name, provider in job.providers.items():
        if isinstance(provider, SimulatedProvider):
            place = f"{where}: providers.{name}.simulation.quirks"
            _check(provider.simulation.quirks, place, on_slots=bool(provider.shape[1]))


def _check(quirks: Mapping[str, float], place: str, *, on_slots: bool) -> None:
    kind, wire = ("slots", "ollama") if on_slots else ("an API", "openai")
    for name in quirks:
        if name not in QUIRKS:
            near = difflib.get_close_matches(name, [quirk for quirk in QUIRKS if wire in QUIRKS[quirk].wires], n=1)
            known = f"did you mean {near[0]!r}?" if near else "docs/job-file.md lists them"
            raise JobError(f"{place}: no quirk {name!r}; {known}")
        if wire not in QUIRKS[name].wires:
            raise JobError(f"{place}.{name}: {kind} can't have this quirk; leave it out")
    if (whole := math.fsum(quirks.values())) > 1:
        raise JobError(f"{place}: a call meets one of them, so their shares may add up to 1, not to {whole:g}")
