"""A gate against an account that measures as real ones do: how much of its limit is used, and at what cost."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from eli5b_batch.backends.base import Advice
from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.capacity import Need
from eli5b_batch.errors import RateLimitedError, RetryableError
from eli5b_batch.job.schema import Limits
from eli5b_batch.simulated.rate import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from eli5b_batch.dispatch.capacity import Place

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

LIMIT: Final = 50.0
TOKEN_LIMIT: Final = 10_000.0
ROUND_TRIP_S: Final = 0.002
HIDDEN: Final = Limits(concurrency=256)
GIVEN: Final = Limits(concurrency=256, requests_per_minute=60 * LIMIT)


@dataclass
class Server:
    """A modelled host: requests or tokens are metered, and calls over the limit are refused.

    Args:
        limits: limits per second, each after the second from which it holds.
        latency_s: seconds until a reply, give or take a fifth; a refusal comes after one round trip.
        headers: replies name the limit, and refusals how long to wait, in whole seconds.
        of_tokens: tokens are metered, not requests.
        storm: so many 429s in a row, without any reason, from this second on.
        outage: from when to when every call is answered 503.
    """

    limits: Sequence[tuple[float, float]] = ((0.0, LIMIT),)
    latency_s: float = 0.2
    headers: bool = False
    of_tokens: bool = False
    storm: tuple[float, int] = (math.inf, 0)
    outage: tuple[float, float] = (math.inf, math.inf)
    seed: int = 1
    taken: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._meter = Meter(60 * self.limits[0][1], now)
        self._random = random.Random(self.seed)

    async def chat(self, tokens: float) -> Advice | None:
        at = now()
        self._meter.per_second = self._limit(at)
        if self.outage[0] <= at < self.outage[1]:
            await asyncio.sleep(ROUND_TRIP_S)
            self.failed.append(at)
            raise RetryableError("server_error", "503", status=503)
        stormy = at >= self.storm[0] and len([t for t in self.refused if t >= self.storm[0]]) < self.storm[1]
        wait = self._meter.wait_s()
        if stormy or wait:
            self.refused.append(at)
            await asyncio.sleep(ROUND_TRIP_S)
            raise RateLimitedError("429", retry_after=math.ceil(wait) if self.headers and wait else None)
        amount = tokens if self.of_tokens else 1.0
        self._meter.take(amount)
        self.taken.append((at, amount))
        await asyncio.sleep(self.latency_s * self._random.uniform(0.8, 1.2))
        return Advice(requests_per_s=self._meter.per_second) if self.headers else None

    def _limit(self, at: float) -> float:
        return [limit for since, limit in self.limits if at >= since][-1]

    def goodput(self, last: int | None = None) -> float:
        """Return what was taken, as a share of what the limits allowed; of the `last` calls or of all."""
        done = self.taken[-last:] if last else self.taken
        began, ended = done[0][0], done[-1][0]
        edges = [began, *(since for since, _ in self.limits if began < since < ended), ended]
        allowed = sum(self._limit(a) * (b - a) for a, b in itertools.pairwise(edges))
        return sum(amount for _, amount in done[1:]) / allowed

    @property
    def refused_share(self) -> float:
        return len(self.refused) / (len(self.refused) + len(self.taken))


def now() -> float:
    return asyncio.get_running_loop().time()


def small(_: random.Random) -> float:
    return 100.0


def any_size(rng: random.Random) -> float:
    return math.exp(rng.uniform(math.log(100), math.log(10_000)))


async def send(
    server: Server,
    limits: Limits,
    calls: int,
    *,
    tokens: Callable[[random.Random], float] = small,
    estimate: tuple[float, float] = (1.0, 1.0),
    gate: Gate | None = None,
) -> Counter[int]:
    """Send calls as a dispatcher does until each is answered; return how often each call was answered.

    Args:
        server: the host.
        limits: the limits in the job.
        calls: how many calls to send.
        tokens: draws the tokens of one call.
        estimate: the least and the largest estimate of a call's tokens, as a share of them.
        gate: a gate that was used before; None: a new one.
    """
    gate = gate or Gate([Account("http://api", limits, now)], now)
    rng = random.Random(server.seed)
    answers: Counter[int] = Counter()

    async def call(i: int, used: float, expected: float) -> None:
        while not answers[i]:
            place: Place = await gate.acquire(Need("m", i, expected))
            try:
                advice = await server.chat(used)
            except RetryableError as failure:
                gate.release(place, tokens=0, failure=failure)
            else:
                answers[i] += 1
                gate.release(place, tokens=round(used), advice=advice)

    async with asyncio.TaskGroup() as group:
        for i in range(calls):
            used = tokens(rng)
            group.create_task(call(i, used, used * rng.uniform(*estimate)))
    assert gate.snapshot()["in_flight"] == gate.snapshot()["queued"] == 0
    return answers


def all_once(answers: Counter[int], calls: int) -> bool:
    return answers == Counter(range(calls))


@pytest.mark.parametrize("latency_s", [0.2, 2.0])
def test_a_limit_in_the_job_is_used_up_and_not_exceeded(virtual: Virtual, latency_s: float) -> None:
    async def main() -> None:
        server = Server(latency_s=latency_s)
        assert all_once(await send(server, GIVEN, 1500), 1500)
        assert server.goodput() >= 0.98
        assert not [at for at in server.refused if at > 1]

    virtual(main())


@pytest.mark.parametrize("latency_s", [0.2, 2.0])
def test_a_limit_that_headers_name_is_used_up(virtual: Virtual, latency_s: float) -> None:
    async def main() -> None:
        server = Server(headers=True, latency_s=latency_s)
        assert all_once(await send(server, HIDDEN, 1500), 1500)
        assert server.goodput() >= 0.97
        assert server.refused_share < 0.01

    virtual(main())


@pytest.mark.parametrize(("latency_s", "limit"), [(0.2, 5.0), (0.2, LIMIT), (2.0, 5.0), (2.0, LIMIT), (2.0, 400.0)])
def test_a_limit_that_nobody_names_is_found_with_few_refusals(virtual: Virtual, latency_s: float, limit: float) -> None:
    async def main() -> None:
        calls = round(60 * limit)
        server = Server(((0.0, limit),), latency_s=latency_s)
        assert all_once(await send(server, Limits(concurrency=2000), calls), calls)
        assert server.goodput() >= 0.95
        assert len(server.refused) <= max(10, 0.01 * calls)

    virtual(main())


@pytest.mark.parametrize("latency_s", [0.2, 2.0])
@pytest.mark.parametrize("first_s", [17.0, 20.0, 23.0])
def test_a_limit_that_halves_and_doubles_is_followed(virtual: Virtual, first_s: float, latency_s: float) -> None:
    async def main() -> None:
        server = Server(((0.0, LIMIT), (first_s, LIMIT / 2), (first_s + 30, LIMIT)), latency_s=latency_s)
        assert all_once(await send(server, HIDDEN, 3000), 3000)
        assert server.goodput() >= 0.9
        assert server.refused_share < 0.01

    virtual(main())


def test_a_provider_that_was_idle_for_long_is_not_met_by_a_burst(virtual: Virtual) -> None:
    async def main() -> None:
        server = Server()
        gate = Gate([Account("http://api", HIDDEN, now)], now)
        assert all_once(await send(server, HIDDEN, 1, gate=gate), 1)
        await asyncio.sleep(600)
        assert all_once(await send(server, HIDDEN, 1500, gate=gate), 1500)
        assert server.refused_share < 0.01
        assert server.goodput(1500) >= 0.95
        await asyncio.sleep(600)
        assert all_once(await send(server, HIDDEN, 1500, gate=gate), 1500)
        assert server.refused_share < 0.01

    virtual(main())


@pytest.mark.parametrize("limits", [GIVEN, HIDDEN], ids=["given", "hidden"])
def test_a_storm_of_429s_loses_nothing_and_is_recovered_from(virtual: Virtual, limits: Limits) -> None:
    async def main() -> None:
        server = Server(storm=(10.0, 400))
        assert all_once(await send(server, limits, 2000), 2000)
        assert len(server.refused) >= 400
        assert server.goodput(500) >= 0.9

    virtual(main())


@pytest.mark.parametrize("limits", [GIVEN, HIDDEN], ids=["given", "hidden"])
def test_an_outage_is_waited_out_by_a_few_probes_and_recovered_from(virtual: Virtual, limits: Limits) -> None:
    async def main() -> None:
        server = Server(outage=(10.0, 70.0))
        assert all_once(await send(server, limits, 3000), 3000)
        probes = [at for at in server.failed if at > 12]
        first = min(at for at, _ in server.taken if at > 70)
        assert len(probes) <= 6
        assert first < 70 + 31
        assert server.refused_share < 0.01
        assert server.goodput(1000) >= 0.95

    virtual(main())


@pytest.mark.parametrize("off", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_a_limit_of_tokens_in_the_job_is_used_up_by_prompts_of_all_sizes(
    virtual: Virtual, seed: int, off: float
) -> None:
    async def main() -> None:
        server = Server(((0.0, TOKEN_LIMIT),), of_tokens=True, seed=seed)
        limits = Limits(concurrency=256, tokens_per_minute=60 * TOKEN_LIMIT)
        assert all_once(await send(server, limits, 3000, tokens=any_size, estimate=(1 - off, 1 + off)), 3000)
        assert server.goodput() >= 0.97
        assert server.refused_share < 0.01

    virtual(main())
