"""Slots that fail: which are taken out, what goes on, what is logged, and when a run gives up."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.dispatch.capacity import Need
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.errors import CallError, ProviderDownError, RetryableError
from eli5b_batch.job.schema import Slot

if TYPE_CHECKING:
    from eli5b_batch.dispatch.capacity import Place

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)

TOO_LARGE = RetryableError("server_error", "model requires more system memory", status=500)
GARBAGE = RetryableError("bad_reply", "the reply is not a chat message")
REFUSED = RetryableError("connection", "can't connect", unsent=True)


def now() -> float:
    return asyncio.get_running_loop().time()


def new_pool(count: int, give_up_after_s: float = math.inf) -> SlotPool:
    slots = [Slot(gpu=i, url=f"http://gpu{i}") for i in range(count)]
    return SlotPool(slots, now, give_up_after_s=give_up_after_s)


async def make_call(pool: SlotPool, model: str, failure: CallError | None = None, work_s: float = 1.0) -> Place:
    place = await pool.acquire(Need(model, 0, 0.0))
    await asyncio.sleep(work_s)
    pool.release(place, tokens=10, failure=failure)
    return place


async def test_a_model_that_can_not_be_loaded_takes_no_slot_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    pool = new_pool(2)
    tried: list[float] = []

    async def large() -> None:
        while True:
            await make_call(pool, "8b", TOO_LARGE, work_s=0.1)
            tried.append(now())

    trying = [asyncio.create_task(large()) for _ in range(4)]
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            await make_call(pool, "1b")
    for task in trying:
        task.cancel()
    assert now() < 150
    assert len([at for at in tried if at > 20]) < 20  # probes at growing intervals
    assert {record.getMessage() for record in caplog.records} == {"model can't be loaded"}
    assert all(slot["down_s"] == 0 for slot in pool.snapshot()["slots"])


async def test_a_model_that_can_be_loaded_again_is() -> None:
    pool = new_pool(1)
    for _ in range(8):
        await make_call(pool, "8b", TOO_LARGE)
    await make_call(pool, "8b")
    assert now() < 60
    began = now()
    await make_call(pool, "8b")
    assert now() == began + 1


async def test_a_model_that_no_slot_can_load_ends_the_run_by_name() -> None:
    pool = new_pool(2, give_up_after_s=100)

    async def large() -> None:
        while True:
            await make_call(pool, "8b", TOO_LARGE)

    works = [asyncio.create_task(large()) for _ in range(8)]
    with pytest.raises(ProviderDownError, match="no slot that serves 8b has worked for 1m 40s"):
        await pool.run()
    for work in works:
        work.cancel()
    assert 100 <= now() < 130


async def test_a_slot_that_answers_garbage_is_taken_out() -> None:
    pool = new_pool(2)
    served: Counter[str | None] = Counter()

    async def ask() -> None:
        for _ in range(50):
            place = await pool.acquire(Need("1b", 0, 0.0))
            served[place.slot] += 1
            await asyncio.sleep(1)
            pool.release(place, tokens=10, failure=GARBAGE if place.slot == "gpu0" else None)

    await asyncio.gather(*(ask() for _ in range(4)))
    assert served["gpu0"] < 30


async def test_no_call_probes_a_slot_that_is_down_while_another_has_room() -> None:
    pool = new_pool(2)
    await make_call(pool, "8b", REFUSED)
    await asyncio.sleep(100)  # long after the next probe is due
    for _ in range(20):
        assert (await make_call(pool, "8b")).slot == "gpu1"
        assert (await make_call(pool, "1b")).slot == "gpu1"


async def test_a_slot_that_was_silent_at_the_start_is_down_from_then_on() -> None:
    pool = new_pool(2)
    pool.take_out(["http://gpu0"])
    watching = asyncio.create_task(pool.run())
    for _ in range(10):
        assert (await make_call(pool, "1b")).slot == "gpu1"
    silent, well = pool.snapshot()["slots"]
    assert (silent["down_s"], silent["busy_s"], well["busy_s"]) == (10, 0, 10)
    watching.cancel()


async def test_a_run_gives_up_in_time_even_while_a_probe_is_out() -> None:
    pool = new_pool(1, give_up_after_s=10)

    async def fail() -> None:
        await make_call(pool, "1b", REFUSED, work_s=0)
        await make_call(pool, "1b", REFUSED, work_s=1000)

    failing = [asyncio.create_task(fail()), asyncio.create_task(fail())]
    with pytest.raises(ProviderDownError, match="can't connect"):
        await pool.run()
    assert now() == pytest.approx(10)
    for task in failing:
        task.cancel()
