"""Variants of a job: on fewer problems, and with one limit doubled.

Must not know: what becomes of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.job.schema import OpenAIProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eli5b_batch.job.schema import Job, Limits
    from eli5b_batch.run.plan import Experiment

_LIMITS: Final = ("requests_per_minute", "tokens_per_minute", "concurrency")


class Variant(NamedTuple):
    """A job with one limit of a provider raised from `now` to `then`. `limit` is its key, `slots` for their number."""

    provider: str
    limit: str
    now: float
    then: float
    job: Job


def sampled(experiment: Experiment, n: int) -> Experiment:
    """The job on `n` of its problems, spread evenly over the run; each one's placebo comes from the next of them."""
    problems = experiment.problems
    everyone = problems.selected
    some = tuple(everyone[i * len(everyone) // n] for i in range(n))
    partners = {p.id: some[(i + 1) % n] for i, p in enumerate(some) if p.id in problems.partners}
    return replace(experiment, problems=replace(problems, selected=some, partners=partners))


def doublings(job: Job) -> Iterator[Variant]:
    """The job with each limit doubled, one at a time."""
    for name, provider in job.providers.items():
        limits, slots = provider.shape
        for limit in _LIMITS if limits else ():
            if now := getattr(limits, limit):
                yield Variant(name, limit, now, 2 * now, _with(job, name, **_doubled_limits(job, name, limit)))
        if slots:
            twins = [s.model_copy(update={"gpu": f"{s.gpu}-twin"}) for s in slots]
            yield Variant(name, "slots", len(slots), 2 * len(slots), _with(job, name, slots=[*slots, *twins]))
            wide = [s.model_copy(update={"parallel": 2 * s.parallel}) for s in slots]
            places = sum(s.parallel for s in slots)
            yield Variant(name, "parallel", places, 2 * places, _with(job, name, slots=wide))


def _doubled_limits(job: Job, name: str, limit: str) -> dict[str, object]:
    """A provider's limits, and those of its members, with one doubled."""
    provider = job.providers[name]
    own = getattr(provider, "limits", None)
    new: dict[str, object] = {"limits": _doubled(own, limit)}
    if isinstance(provider, OpenAIProvider):
        new["members"] = [m.model_copy(update={"limits": _doubled(m.limits, limit)}) for m in provider.members]
    return new


def _doubled(limits: Limits | None, limit: str) -> Limits | None:
    now = getattr(limits, limit, None)
    return limits.model_copy(update={limit: 2 * now}) if limits and now else limits


def _with(job: Job, name: str, **changes: object) -> Job:
    provider = job.providers[name].model_copy(update=changes)
    return job.model_copy(update={"providers": {**job.providers, name: provider}})
