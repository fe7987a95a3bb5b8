"""health.py: servers that hang, refuse or come back, and what they have in memory, on a virtual clock."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import TYPE_CHECKING, Any, Self

import pytest

from eli5b_batch.backends.base import ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.dialects import PLAIN, Manner
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.charges import Charges
from eli5b_batch.dispatch.dispatcher import Dispatcher, Outcome
from eli5b_batch.dispatch.slots.health import DOWN_INTERVAL_S, INTERVAL_S, Watch
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.dispatch.slots.state import SlotState
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import RetryableError
from eli5b_batch.job.schema import Slot
from eli5b_batch.log import LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)

HEALTH_S = 5.0
CALL_S = 2.0
TIMEOUT_S = 600.0


def now() -> float:
    return asyncio.get_running_loop().time()


class Gpu:
    """A server that answers each call after 2 s, loads a model in 8 s, and holds `fits` models.

    From `away[0]` to `away[1]`, seconds, it refuses connections or, by default, answers nothing: requests of that time
    and calls under way are lost.
    """

    def __init__(self, fits: int = 1, away: tuple[float, float] = (0.0, 0.0), *, refuses: bool = False) -> None:
        self.fits = fits
        self.away = away
        self.refuses = refuses
        self.memory: list[str] = []
        self.loads = 0
        self.answered: list[float] = []
        self.looked_at: list[float] = []
        self.on_gpu = 1.0

    async def _be_there(self, lasts_s: float) -> None:
        begins, ends = self.away
        if begins <= now() < ends and self.refuses:
            raise RetryableError("connection", "refused", unsent=True)
        if begins <= now() + lasts_s and now() < ends:
            await asyncio.sleep(math.inf)
        await asyncio.sleep(lasts_s)

    async def answer(self, model: str) -> float:
        """Answer a call; return the seconds of loading."""
        load_s = 0.0 if model in self.memory else 8.0
        if load_s:
            self.loads += 1
            self.memory = [*self.memory, model][-self.fits :]
        await self._be_there(load_s + CALL_S)
        self.answered.append(now())
        return load_s

    async def look(self) -> dict[str, float]:
        self.looked_at.append(now())
        try:
            async with asyncio.timeout(HEALTH_S):
                await self._be_there(0.0)
        except TimeoutError:
            raise RetryableError("timeout", "no answer in time") from None
        return dict.fromkeys(self.memory, self.on_gpu)


class Rack:
    """Servers, the pool of their slots, and its dispatcher."""

    def __init__(self, *gpus: Gpu, attempts: int = 1) -> None:
        self.silent: dict[str, str] = {}
        self.gpus = {f"http://gpu{i}": gpu for i, gpu in enumerate(gpus)}
        slots = [Slot(gpu=i, url=url, parallel=2) for i, url in enumerate(self.gpus)]
        self.pool = SlotPool(slots, now, look=self.look)
        self.desk = Dispatcher(
            "gpus",
            backends={"": self},
            capacity=self.pool,
            budget=Budget(None),
            stop=Stop(),
            attempts=attempts,
            timeout_s=TIMEOUT_S,
            clock=now,
            randomness=random.Random(1),
        )

    async def look(self, url: str) -> Mapping[str, float] | None:
        return await self.gpus[url].look()

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:
        try:
            async with asyncio.timeout(deadline_s):
                load_s = await self.gpus[base_url].answer(request.model)
        except TimeoutError:
            raise RetryableError("timeout", "no answer in time") from None
        return ChatReply("because", "stop", {"input_tokens": 20, "output_tokens": 40}, load_s=load_s)

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        raise NotImplementedError

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:  # noqa: ARG002 (as `Backend` has it)
        return Manner(PLAIN, "in a test", {}, "")

    async def close(self) -> None:
        raise NotImplementedError

    async def ask(self, model: str = "1b", order: int = 0, delay_s: float = 0.0) -> Outcome:
        await asyncio.sleep(delay_s)
        request = ChatRequest(f"{order}", model, [{"role": "user", "content": "Why?"}], {"max_tokens": 100}, 7)
        return await self.desk.send(request, order, Charges({"": None}), lambda outcome: outcome)

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self.pool.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages of the warnings logged so far."""
    events: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            events.append(record.getMessage())

    handler = Keep(logging.WARNING)
    LOGGER.addHandler(handler)
    yield events
    LOGGER.removeHandler(handler)


async def test_a_server_that_hangs_is_taken_out_and_its_calls_go_to_another_at_once(logged: list[str]) -> None:
    hung, well = Gpu(away=(15.0, math.inf)), Gpu()
    async with Rack(hung, well, attempts=1) as rack:
        outcomes = await asyncio.gather(*(rack.ask(order=i) for i in range(100)))
        assert all(outcome.reply for outcome in outcomes)
        second_miss = 20.0 + HEALTH_S + INTERVAL_S + HEALTH_S
        assert {second_miss - HEALTH_S, second_miss + DOWN_INTERVAL_S} <= set(hung.looked_at)
        again = [outcome for outcome in outcomes if outcome.attempts > 1]
        assert len(again) >= 3  # the calls that were in flight on the hung server, and then its probes
        assert {outcome.place.slot for outcome in again} == {"gpu1"}
        assert min(o.started for o in again) <= second_miss + CALL_S
        assert now() < 120
        assert max(hung.answered) < 15
        assert logged == ["slot taken out"]


async def test_a_single_slow_health_check_takes_no_server_out(logged: list[str]) -> None:
    slow = Gpu(away=(19.9, 19.9 + HEALTH_S + 1))
    async with Rack(slow) as rack:
        await rack.ask()
        await asyncio.sleep(50 - now())
        assert (await rack.ask()).attempts == 1
    assert logged == []


async def test_slow_health_checks_with_a_good_one_between_take_no_server_out(logged: list[str]) -> None:
    clock = asyncio.get_running_loop().time
    looks: list[float] = []

    async def look(_: str) -> None:
        looks.append(clock())
        if len(looks) % 2 == 0:
            await asyncio.sleep(HEALTH_S)
            raise RetryableError("timeout", "no answer in time")

    server = SlotState(Slot(gpu=0, url="http://gpu0"), clock, watched=True)
    watching = asyncio.create_task(Watch([server], look, lambda: None).run())
    await asyncio.sleep(20 * INTERVAL_S)
    watching.cancel()
    assert len(looks) > 10
    assert logged == []
    assert not server.breaker.is_open


async def test_a_server_that_hangs_delays_no_health_check_of_another() -> None:
    clock = asyncio.get_running_loop().time
    looks: list[tuple[str, float]] = []

    async def look(url: str) -> None:
        looks.append((url, clock()))
        if url == "http://hangs":
            await asyncio.sleep(1000)

    servers = [
        SlotState(Slot(gpu=i, url=url), clock, watched=True) for i, url in enumerate(("http://hangs", "http://well"))
    ]
    watch = Watch(servers, look, lambda: None)
    watching = asyncio.create_task(watch.run())
    await asyncio.sleep(12)
    watch.look_at(servers[1])
    await asyncio.sleep(11)
    watching.cancel()
    assert [at for url, at in looks if url == "http://well"] == [10, 12, 22]


async def test_probes_wait_for_a_good_health_check() -> None:
    """A server that was away may have come back with another model: its health is checked before it gets a call."""
    away = Gpu(away=(5.0, 100.0), refuses=True)
    async with Rack(away, attempts=6) as rack:
        outcomes = await asyncio.gather(*(rack.ask(order=i, delay_s=i) for i in range(30)))
    assert all(outcome.reply for outcome in outcomes)
    assert max(outcome.attempts for outcome in outcomes) <= 3
    good = min(at for at in away.looked_at if at >= 100)
    assert min(at for at in away.answered if at > 100) >= good


async def test_a_server_that_refuses_is_taken_out_at_the_next_health_check() -> None:
    gone = Gpu(away=(15.0, math.inf), refuses=True)
    async with Rack(gone, Gpu()) as rack:
        await rack.ask()
        for at, out in ((19.9, []), (20.1, ["gpu0"])):
            await asyncio.sleep(at - now())
            assert [slot["slot"] for slot in rack.pool.snapshot()["slots"] if slot["down"]] == out
        outcome = await rack.ask()
        assert (outcome.attempts, outcome.place.slot) == (1, "gpu1")


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_server_is_back_as_soon_as_it_answers(*, refuses: bool) -> None:
    """A probe that was sent while the server was away, and that is never answered, does not delay its return."""
    away = Gpu(away=(15.0, 300.0), refuses=refuses)
    async with Rack(away, attempts=6) as rack:
        outcomes = await asyncio.gather(*(rack.ask(order=i, delay_s=3.0 * i) for i in range(120)))
    assert all(outcome.reply for outcome in outcomes)
    checked_at = min(at for at in away.looked_at if at >= 300)
    assert checked_at <= 300 + DOWN_INTERVAL_S + HEALTH_S
    assert min(at for at in away.answered if at > 15) == pytest.approx(checked_at + CALL_S)


async def test_a_call_that_is_lost_with_its_server_uses_up_no_attempt() -> None:
    """However often a call is lost, it is sent to another server."""
    async with Rack(*(Gpu(away=(5.0 * i, math.inf)) for i in range(3)), Gpu()) as rack:
        outcomes = await asyncio.gather(*(rack.ask(order=i) for i in range(30)))
    assert all(outcome.reply for outcome in outcomes)
    assert max(outcome.attempts for outcome in outcomes) > 1


@pytest.mark.parametrize(("fits", "loads"), [(2, 2), (1, 20)])
async def test_two_models_that_fit_together_are_loaded_once_each(fits: int, loads: int) -> None:
    gpu = Gpu(fits)
    async with Rack(gpu) as rack:
        for i in range(20):
            await rack.ask(("1b", "3b")[i % 2])
            await asyncio.sleep(30)
    assert gpu.loads == loads


async def test_models_in_memory_are_worked_on_in_the_order_of_the_calls() -> None:
    gpu = Gpu(fits=2)
    async with Rack(gpu) as rack:
        for model in ("1b", "3b"):
            await rack.ask(model)
        await asyncio.sleep(1)
        began = now()
        outcomes = await asyncio.gather(*(rack.ask(("1b", "3b")[i // 2 % 2], order=i) for i in range(20)))
        assert rack.pool.snapshot()["slots"][0]["resident"] == ["1b", "3b"]
    assert gpu.loads == 2
    started = [outcome.started - began for outcome in outcomes]
    assert started == sorted(started)


async def test_memory_is_read_at_once_after_a_load() -> None:
    gpu = Gpu()
    async with Rack(gpu) as rack:
        await asyncio.sleep(5)
        await rack.ask("1b")
        await rack.ask("1b")
        await asyncio.sleep(0.1)
        assert gpu.looked_at == [INTERVAL_S, 5 + 8 + CALL_S]


async def test_loads_on_one_server_put_off_no_health_check_of_another() -> None:
    servers = [SlotState(Slot(gpu=i, url=f"http://gpu{i}"), now) for i in range(2)]
    looked_at: list[float] = []

    async def look(url: str) -> None:
        if url == servers[1].url:
            looked_at.append(now())

    watch = Watch(servers, look, lambda: None)
    watching = asyncio.create_task(watch.run())
    for _ in range(12):
        await asyncio.sleep(INTERVAL_S / 4)
        watch.look_at(servers[0])
    await asyncio.sleep(0.1)
    assert looked_at == [INTERVAL_S, 2 * INTERVAL_S, 3 * INTERVAL_S]
    watching.cancel()


async def test_a_model_partly_on_the_cpu_is_warned_of_once(logged: list[str]) -> None:
    gpu = Gpu(fits=2)
    gpu.on_gpu = 0.6
    async with Rack(gpu) as rack:
        await rack.ask("1b")
        await asyncio.sleep(300)
        assert rack.pool.snapshot()["slots"][0]["on_gpu"] == 0.6
        assert logged == ["model partly on the CPU"]
        await rack.ask("3b")
        await asyncio.sleep(300)
        assert logged == ["model partly on the CPU"] * 2  # the second is of another model


async def test_a_server_that_does_not_tell_its_memory_is_watched_all_the_same() -> None:
    gpu = Gpu(away=(15.0, 100.0))

    async def look(_: str) -> None:
        await gpu.look()

    pool = SlotPool([Slot(gpu=0, url="http://gpu0")], now, look=look)
    watching = asyncio.create_task(pool.run())
    for at, down in ((14, False), (60, True)):
        await asyncio.sleep(at - now())
        assert (pool.snapshot()["down_s"] is not None) == down
    assert pool.snapshot()["slots"][0]["on_gpu"] is None
    watching.cancel()


async def test_an_error_in_the_watch_ends_the_run() -> None:
    async def look(_: str) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await SlotPool([Slot(gpu=0, url="http://gpu0")], now, look=look).run()
    assert now() == INTERVAL_S
