"""From the job's providers to dispatchers ready to send: clients, gates, slots, simulated servers.

Must not know: protocols, journals. This is the one place that knows which `api` means which client.
"""

from __future__ import annotations

import os
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.backends.transport import Transport
from eli5b_batch.dispatch.dispatcher import Dispatcher
from eli5b_batch.dispatch.gate import Gate
from eli5b_batch.dispatch.slots import SlotPool
from eli5b_batch.errors import JobError
from eli5b_batch.job import OpenAIProvider, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from eli5b_batch.backends.base import Backend
    from eli5b_batch.dispatch.budget import Budget
    from eli5b_batch.dispatch.capacity import Capacity
    from eli5b_batch.dispatch.stop import Stop
    from eli5b_batch.job import Job
    from eli5b_batch.problems import Problem


def read_keys(job: Job, providers: Collection[str]) -> dict[str, str]:
    """The API keys of these providers, from the environment.

    Raises:
        JobError: a variable is not set.
    """
    keys = {}
    for name in providers:
        variable = getattr(job.providers[name], "api_key_env", None)
        if variable is None:
            continue
        key = os.environ.get(variable, "").strip()
        if not key:
            raise JobError(
                f"providers.{name}.api_key_env: the environment has no {variable}; set it (export {variable}=...), "
                "or try the job without keys: --simulate"
            )
        if not (key.isascii() and key.isprintable()):
            raise JobError(f"providers.{name}.api_key_env: {variable} holds a character no key has (a line break?)")
        keys[name] = key
    return keys


@asynccontextmanager
async def open_dispatchers(
    job: Job,
    problems: Sequence[Problem],
    *,
    providers: Collection[str],
    budget: Budget,
    stop: Stop,
    clock: Callable[[], float],
) -> AsyncIterator[dict[str, Dispatcher]]:
    """Clients for `providers`, with simulated servers running where the job wants them; closed at the end.

    Args:
        job: the resolved job.
        problems: what simulated models know the answers of.
        providers: the ones that have calls to answer.
        budget: the run's.
        stop: the run's.
        clock: the event loop's clock, seconds.

    Raises:
        JobError: an API key is missing.
        ProviderError: the simulated servers do not start.
    """
    keys = read_keys(job, providers)
    async with AsyncExitStack() as stack:
        urls: dict[str, list[str]] = {}
        if any(isinstance(job.providers[name], SimulatedProvider) for name in providers):
            from eli5b_batch.backends.simulated.launch import simulated_servers  # noqa: PLC0415 (not for real runs)

            urls = await stack.enter_async_context(simulated_servers(job, problems))
        dispatchers = {}
        for name in providers:
            backend, capacity = _client(job, name, urls.get(name), keys.get(name, ""), clock)
            stack.push_async_callback(backend.close)
            dispatchers[name] = Dispatcher(
                name,
                backend=backend,
                capacity=capacity,
                budget=budget,
                stop=stop,
                attempts=job.providers[name].attempts,
                clock=clock,
                randomness=random.Random(f"{job.seed}/{name}"),
            )
        yield dispatchers


def _client(
    job: Job, name: str, urls: list[str] | None, key: str, clock: Callable[[], float]
) -> tuple[Backend, Capacity]:
    provider = job.providers[name]
    limits, slots = provider.shape
    trace = provider.trace or urls is not None
    if limits is not None:
        base_url = f"{urls[0]}/v1" if urls else getattr(provider, "base_url", "")
        headers = {"Authorization": f"Bearer {key}"} if key else None
        transport = Transport(limits.concurrency, provider.timeout_s, headers)
        key_env = provider.api_key_env if isinstance(provider, OpenAIProvider) else None
        backend = OpenAIBackend(name, base_url, key=key, key_env=key_env, transport=transport, trace=trace)
        return backend, Gate(base_url, limits, clock)
    placed = [s.model_copy(update={"url": url}) for s, url in zip(slots, urls, strict=True)] if urls else slots
    transport = Transport(sum(s.parallel for s in slots) + len(slots), provider.timeout_s)
    asked = sorted({m.model for m in job.models_of(name).values()})
    served = {s.url or "": [m for m in asked if s.serves(m)] for s in placed}
    return OllamaBackend(name, served, transport=transport, trace=trace), SlotPool(placed, clock)
