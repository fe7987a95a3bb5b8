"""The network of a rehearsal: the simulated servers called in this process, on the loop's clock, without sockets.

Must not know: the engine. The servers are those of `simulated`, so a job on simulated providers gets here,
call by call, the replies and the times that they would give. Real providers are modelled by the same servers with what
is known of their models (`past`), without limits of their own: the job's limits are taken to be the account's.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

import orjson

from eli5b_batch.backends.http import CONTROL_TIMEOUT_S, Response, Transport
from eli5b_batch.errors import RetryableError
from eli5b_batch.forecast.past import ASSUMED_LOAD_S, PastModel
from eli5b_batch.job.schema import OpenAIProvider, SimulatedProvider, Simulation
from eli5b_batch.simulated.model import BookEntry, SimulatedModel
from eli5b_batch.simulated.ollama import SimulatedOllama
from eli5b_batch.simulated.openai import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from eli5b_batch.forecast.past import PastRun
    from eli5b_batch.run.plan import Experiment


class SentRequest(NamedTuple):
    """One request: where to (an account's name, "" for the only one, or a slot's), and when, on the loop's clock.

    `status` is 0 where no answer came.
    """

    provider: str
    place: str
    started: float
    ended: float
    status: int


class VirtualServer(Protocol):
    """Answers chat requests."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat request."""
        ...


@runtime_checkable
class VirtualControl(VirtualServer, Protocol):
    """Tells of itself, too."""

    async def tell(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a GET of `path`."""
        ...


class _Connection:
    """The part of a connection that a server closes to drop a request."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class _Request:
    """What the servers read of a request."""

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        self._body = body
        self.headers = headers
        self.transport = _Connection()

    async def read(self) -> bytes:
        return self._body


class ModelledTransport(Transport):
    """Carries requests to servers in this process.

    Args:
        provider: its name, for the books.
        servers: by address, each with the name of its place.
        timeout_s: longest time for one request.
        sendings: every request is noted there.
    """

    def __init__(
        self,
        provider: str,
        servers: Mapping[str, tuple[str, VirtualServer]],
        timeout_s: float,
        sendings: list[SentRequest],
    ) -> None:
        # Not the parent's constructor, which opens a session: nothing here has a socket.
        self._provider = provider
        self._servers = servers
        self._timeout_s = timeout_s
        self._sendings = sendings

    async def post(
        self,
        url: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        deadline_s: float = math.inf,
    ) -> Response:
        """See `Transport.post`."""
        loop = asyncio.get_running_loop()
        started, status = loop.time(), 0
        request = _Request(orjson.dumps(body), headers or {})
        (place, server), _ = self._find(url)
        try:
            response = await _carry(url, request, server.answer, min(deadline_s, self._timeout_s))
            status = response.status
        finally:
            self._sendings.append(SentRequest(self._provider, place, started, loop.time(), status))
        return response

    async def get(self, url: str, deadline_s: float = CONTROL_TIMEOUT_S) -> Response:
        """See `Transport.get`. Only slots tell anything."""
        (_, server), path = self._find(url)
        if not isinstance(server, VirtualControl):
            return Response(404, {}, url.encode())
        return await _carry(url, _Request(b"", {}), partial(server.tell, path=path), deadline_s)

    def _find(self, url: str) -> tuple[tuple[str, VirtualServer], str]:
        """The server that a request goes to, with its place, and the path there."""
        address = next(address for address in self._servers if url.startswith(f"{address}/"))
        return self._servers[address], url[len(address) :]

    async def close(self) -> None:
        """Nothing is open."""


async def _carry(
    url: str,
    request: _Request,
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    deadline_s: float,
) -> Response:
    try:
        async with asyncio.timeout(deadline_s):
            response = await answer(cast("web.Request", request))
    except TimeoutError:
        raise RetryableError("timeout", f"{url}: no answer in time") from None
    if request.transport.closed:
        raise RetryableError("connection", f"{url}: the connection broke: SIMULATED")
    return Response(response.status, response.headers, cast("bytes", cast("web.Response", response).body))


class ModelledNetwork:
    """Servers for every provider of a job; made inside the loop whose clock they run on. See `providers.Network`.

    Args:
        experiment: the job, with the problems that simulated models know the answers of.
        past: what is known of the models of real providers.
    """

    def __init__(self, experiment: Experiment, past: PastRun) -> None:
        self._job = experiment.job
        self._past = past
        self._book = {p.id: BookEntry(p.text, p.answer, p.difficulty) for p in experiment.everything_asked_about()}
        self.sendings: list[SentRequest] = []
        self.servers: dict[tuple[str, str], VirtualServer] = {}
        """By provider and place."""
        self.urls: dict[str, list[str]] = {}
        """By provider: one per slot, or one for an API that has no address of its own."""
        clock = asyncio.get_running_loop().time
        for name, provider in self._job.providers.items():
            _, slots = provider.shape
            mind, simulation = self._mind(name)
            self.urls[name] = [f"http://{name}/{n}" for n in range(len(slots) or 1)]
            for slot in slots:
                served = slot.models or mind.models
                self.servers[name, slot.name] = SimulatedOllama(
                    mind, simulation, served, slot.parallel, loaded=slot.loaded, name=slot.name, clock=clock
                )
            if not slots:
                limits = provider.limits if isinstance(provider, SimulatedProvider) else None
                for account in self._accounts(name):
                    self.servers[name, account] = SimulatedAPI(mind, simulation, limits, clock=clock)

    def transport(self, provider: str, account: str) -> Transport:
        """Carries the requests to one account of a provider, or to all its slots."""
        settings = self._job.providers[provider]
        _, slots = settings.shape
        if slots:
            places = zip(self.urls[provider], slots, strict=True)
            servers = {url: (slot.name, self.servers[provider, slot.name]) for url, slot in places}
        else:  # an API is found by the client that asks, whatever its address is: accounts may share one
            one = (account, self.servers[provider, account])
            servers = {"http:": one, "https:": one}
        return ModelledTransport(provider, servers, settings.timeout_s, self.sendings)

    def _accounts(self, name: str) -> list[str]:
        provider = self._job.providers[name]
        return [member.name for member in provider.accounts] if isinstance(provider, OpenAIProvider) else [""]

    def _mind(self, name: str) -> tuple[SimulatedModel, Simulation]:
        """Who answers at a provider, and with what faults and load time."""
        provider = self._job.providers[name]
        models = {own: model.model for own, model in self._job.models_of(name).items()}
        if isinstance(provider, SimulatedProvider):
            return SimulatedModel(self._book, models, provider.simulation, self._job.seed), provider.simulation
        known = any(model in models for _, model in self._past.calls)
        load_s = self._past.load_s.get(name, 0.0) if known else ASSUMED_LOAD_S
        simulation = Simulation(load_s=load_s, shared=not known)  # what calls took tells of sharing already
        return PastModel(self._past, models, self._job.seed, simulation), simulation
