"""How full each resource of a run was, over time, and which one the run waited for.

Must not know: how the figures came about. Resources are what a job can give more of: requests and tokens per minute and
concurrency of an account, the places of a slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from eli5b_batch.forecast.memory import Row
    from eli5b_batch.forecast.network import SentRequest
    from eli5b_batch.job.schema import Job

    Shares = npt.NDArray[np.float64]

WINDOWS: Final = 40
FULL: Final = 0.85
"""A resource that is used by more than this share is what the run waits for: pacing and replies of different lengths
leave a little of any resource unused."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run, from and to in shares of the whole: what it waits for, and how full that is.

    `bottleneck` is "provider resource", or "" where no limit is reached: replies take as long as they take.
    """

    begins: float
    ends: float
    bottleneck: str
    share: float


@dataclass(frozen=True, slots=True)
class Use:
    """One resource over the whole run: `share` is 0..1 of what there was."""

    provider: str
    resource: str
    limit: float
    share: float


def shares(
    job: Job, seconds: float, sendings: Sequence[SentRequest], rows: Sequence[Row]
) -> dict[tuple[str, str], Shares]:
    """By (provider, resource): the share of it in use, in each of `WINDOWS` equal parts of the run.

    The places of a slot are a resource of the slot's name.
    """
    edges = np.linspace(0.0, max(seconds, 1e-9), WINDOWS + 1)
    width = edges[1]
    found: dict[tuple[str, str], Shares] = {}
    for name, provider in job.providers.items():
        limits, slots = provider.shape
        sent = [s for s in sendings if s.provider == name]
        for slot in slots:
            here = [s for s in sent if s.place == slot.name]
            found[name, slot.name] = np.minimum(1.0, _in_flight(here, edges) / slot.parallel)  # more is prefetch
        if limits is None or not sent:
            continue
        starts = np.histogram([s.started for s in sent], edges)[0] / width * 60
        if limits.requests_per_minute:
            found[name, "requests_per_minute"] = starts / limits.requests_per_minute
        if limits.tokens_per_minute:
            mine = [r for r in rows if r.provider == name]
            tokens = [float(r.input_tokens + r.output_tokens) for r in mine]
            ends = np.histogram([r.ended for r in mine], edges, weights=tokens)[0]
            found[name, "tokens_per_minute"] = ends / width * 60 / limits.tokens_per_minute
        found[name, "concurrency"] = _in_flight(sent, edges) / limits.concurrency
    return found


def stages(found: Mapping[tuple[str, str], Shares]) -> list[Stage]:
    """What the run waits for, one stage after another; a resource keeps its stage for as long as it is full."""
    result: list[Stage] = []
    window = 0
    while window < WINDOWS:
        lengths = {key: _full_for(share, window) for key, share in found.items()}
        # Of several that are full, the one that stays so for longest.
        key = max(lengths, key=lambda k: (lengths[k], found[k][window]), default=None)
        if key is not None and lengths[key]:
            end = window + lengths[key]
            name, used = " ".join(key), min(1.0, float(found[key][window:end].mean()))
        else:
            end = next((w for w in range(window, WINDOWS) if any(s[w] >= FULL for s in found.values())), WINDOWS)
            name, used = "", 0.0
        result.append(Stage(window / WINDOWS, end / WINDOWS, name, used))
        window = end
    return result


def uses(job: Job, found: Mapping[tuple[str, str], Shares]) -> list[Use]:
    """Every resource over the whole run."""
    result = []
    for (name, resource), share in found.items():
        limits, slots = job.providers[name].shape
        limit = getattr(limits, resource) if limits else next(s.parallel for s in slots if s.name == resource)
        result.append(Use(name, resource, float(limit), float(share.mean())))
    return result


def _in_flight(sent: Sequence[SentRequest], edges: Shares) -> Shares:
    """The mean number of requests in flight in each window."""
    starts, ends = np.array([s.started for s in sent]), np.array([s.ended for s in sent])
    # Up to a moment t, a request has been in flight for clip(t - start, 0, end - start).
    starts.sort()
    ends.sort()
    upto = _past(starts, edges) - _past(ends, edges)
    return np.diff(upto) / np.diff(edges)


def _past(moments: Shares, edges: Shares) -> Shares:
    """Seconds that have gone by since each of these sorted moments, in all, at each edge."""
    sums = np.concatenate(([0.0], np.cumsum(moments)))
    before = np.searchsorted(moments, edges)
    return before * edges - sums[before]


def _full_for(share: Shares, window: int) -> int:
    """Windows from this one on in which a resource is full."""
    rest = np.flatnonzero(share[window:] < FULL)
    return int(rest[0]) if len(rest) else len(share) - window
