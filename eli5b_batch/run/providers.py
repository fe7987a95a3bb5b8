"""From the job's providers to dispatchers ready to send: clients, gates, slots, simulated servers.

Must not know: protocols, journals. This is the one place that knows which `api` means which client.
"""

from __future__ import annotations

import math
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from eli5b_batch.backends.dialects import DIALECTS, SIMULATED
from eli5b_batch.backends.http import Transport
from eli5b_batch.backends.keyed import KeyedTransport, RenewingBackend
from eli5b_batch.backends.keys import PrintedKey, Secrets, read_secrets
from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.dispatcher import Dispatcher
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.errors import ProviderRefusedError
from eli5b_batch.job.members import ids_at
from eli5b_batch.job.schema import Member, OllamaProvider, OpenAIProvider, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from eli5b_batch.backends.base import Backend
    from eli5b_batch.backends.dialects import Manner
    from eli5b_batch.data.problem import Problem
    from eli5b_batch.dispatch.budget import Budget
    from eli5b_batch.dispatch.capacity import Capacity
    from eli5b_batch.dispatch.stop import Stop
    from eli5b_batch.job.schema import Job, Limits, Slot


class Network(Protocol):
    """What stands in for the network where nothing may be sent, as in a rehearsal."""

    @property
    def urls(self) -> Mapping[str, list[str]]:
        """By provider: an address, or one per slot."""
        ...

    def transport(self, provider: str, account: str) -> Transport:
        """Carries the requests to one account of a provider ("" for the only one), or to all its slots."""
        ...


@asynccontextmanager
async def open_dispatchers(
    job: Job,
    problems: Sequence[Problem],
    *,
    providers: Collection[str],
    budget: Budget,
    stop: Stop,
    clock: Callable[[], float],
    give_up_after_s: float = math.inf,
    network: Network | None = None,
) -> AsyncIterator[dict[str, Dispatcher]]:
    """Clients for `providers`, with simulated servers running where the job wants them; closed at the end.

    Args:
        job: the resolved job.
        problems: what simulated models know the answers of.
        providers: the ones that have calls to answer.
        budget: the run's.
        stop: the run's.
        clock: the event loop's clock, seconds.
        give_up_after_s: seconds that a provider may be down, or answer nothing but 429s, before the run ends.
        network: in place of the real one; no key is read and no server started then.

    Raises:
        JobError: a key, or another variable or program that the job names, is missing.
        ProviderError: the simulated servers do not start.
    """
    secrets = {} if network else read_secrets(job, providers)
    async with AsyncExitStack() as stack:
        urls: Mapping[str, list[str]] = network.urls if network else {}
        if network is None and any(isinstance(job.providers[name], SimulatedProvider) for name in providers):
            from eli5b_batch.simulated.process import simulated_servers  # noqa: PLC0415 (not for real runs)

            urls = await stack.enter_async_context(simulated_servers(job, problems))
        dispatchers = {}
        for name in providers:
            provider = job.providers[name]
            if (limits := provider.shape[0]) is not None:
                backends, accounts = _api_clients(
                    job, name, limits, secrets=secrets, urls=urls.get(name), clock=clock, network=network
                )
                capacity: Capacity = Gate(accounts, clock, give_up_after_s=give_up_after_s)
            else:
                client, slots = _gpu_client(job, name, urls.get(name), network)
                backends = {"": client}
                capacity = SlotPool(slots, clock, give_up_after_s=give_up_after_s, look=client.loaded)
            for backend in backends.values():
                stack.push_async_callback(backend.close)
            dispatchers[name] = Dispatcher(
                name,
                backends=backends,
                capacity=capacity,
                budget=budget,
                stop=stop,
                attempts=provider.attempts,
                timeout_s=provider.timeout_s,
                clock=clock,
                randomness=random.Random(f"{job.seed}/{name}"),
                give_up_after_s=give_up_after_s,
            )
        yield dispatchers


def manners_of(dispatcher: Dispatcher, model: str, sampling: Mapping[str, Any]) -> dict[str, Manner]:
    """How each account, by name, or all slots together ask a model to think; see `Backend.manner`.

    Raises:
        ProviderRefusedError: one of them can't; it is named.
    """
    manners = {}
    for name, backend in dispatcher.backends.items():
        try:
            manners[name] = backend.manner(model, sampling)
        except ProviderRefusedError as error:
            raise ProviderRefusedError(f"member {name}: {error}" if name else str(error)) from None
    return manners


def _api_clients(
    job: Job,
    name: str,
    limits: Limits,
    *,
    secrets: Mapping[tuple[str, str], Secrets],
    urls: list[str] | None,
    clock: Callable[[], float],
    network: Network | None,
) -> tuple[dict[str, Backend], list[Account]]:
    """Clients by the name of the account they speak for ("" for the only one), and the accounts."""
    provider = job.providers[name]
    if isinstance(provider, OpenAIProvider):
        members = provider.accounts
    else:
        members = [Member(name="only").model_copy(update={"name": "", "base_url": f"{(urls or [''])[0]}/v1"})]
    backends: dict[str, Backend] = {}
    accounts = []
    for member in members:
        own, base_url = member.limits or limits, member.base_url or ""
        secret, key = secrets.get((name, member.name), Secrets()), None
        hidden = list(secret.all)
        if network:
            transport = network.transport(name, member.name)
        elif member.api_key_command:
            hidden = [text for every in secrets.values() for text in every.all]  # all that the program may know
            key = PrintedKey(member.api_key_command, f"providers.{name}.api_key_command", clock, hidden)
            transport = KeyedTransport(own.concurrency, provider.timeout_s, secret.headers, key)
        else:
            transport = Transport(own.concurrency, provider.timeout_s, secret.all_headers)
        client = OpenAIBackend(
            name,
            base_url,
            secrets=hidden,
            key_env="what api_key_command prints" if member.api_key_command else member.api_key_env,
            transport=transport,
            dialect=SIMULATED if urls else DIALECTS[member.dialect] if member.dialect else None,
            omit=member.omit or (),
            ids={} if network else ids_at(job, name, member),  # servers that stand in know the models' own
            trace=provider.trace or urls is not None,
        )
        backends[member.name] = RenewingBackend(client, key) if key else client
        several = len({model.model for model in job.models_of(name).values()}) > 1
        accounts.append(Account(base_url, own, clock, name=member.name, weight=member.weight, several_models=several))
    return backends, accounts


def _gpu_client(
    job: Job, name: str, urls: list[str] | None, network: Network | None
) -> tuple[OllamaBackend, list[Slot]]:
    """The client of all slots of a provider, and the slots with their addresses."""
    provider = job.providers[name]
    _, slots = provider.shape
    placed = [s.model_copy(update={"url": url}) for s, url in zip(slots, urls, strict=True)] if urls else slots
    places = sum(s.most_in_flight for s in slots) + len(slots)
    transport = network.transport(name, "") if network else Transport(places, provider.timeout_s)
    asked = sorted({m.model for m in job.models_of(name).values()})
    served = {s.url or "": [m for m in asked if s.serves(m)] for s in placed}
    own = provider.dialect if isinstance(provider, OllamaProvider) else None
    client = OllamaBackend(
        name,
        served,
        transport=transport,
        dialect=DIALECTS[own] if own else None,
        trace=provider.trace or urls is not None,
    )
    return client, placed
