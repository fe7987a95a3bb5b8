from __future__ import annotations

import asyncio

import pytest

from eli5b_batch.backends.simulated.slot import Loaded, Slot

A, B = Loaded("a", 4096), Loaded("b", 4096)


async def hold(slot: Slot, wanted: Loaded, seconds: float) -> tuple[float, float, float]:
    """When the call began and ended, in seconds, and how long it loaded."""
    loop = asyncio.get_running_loop()
    async with slot.turn(wanted) as load_s:
        began = loop.time()
        await asyncio.sleep(seconds)
    return round(began, 3), round(loop.time(), 3), round(load_s, 3)


@pytest.mark.looptime
async def test_at_most_parallel_calls_run_and_the_first_one_loads() -> None:
    slot = Slot(2, load_s=3)
    calls = await asyncio.gather(*(hold(slot, A, 1) for _ in range(5)))
    assert calls == [(3, 4, 3), (3, 4, 0), (4, 5, 0), (4, 5, 0), (5, 6, 0)]
    assert slot.loaded == A


@pytest.mark.looptime
async def test_another_model_or_window_waits_for_the_running_calls_and_loads() -> None:
    slot = Slot(4, load_s=3)
    wider = A._replace(num_ctx=8192)
    calls = await asyncio.gather(*(hold(slot, wanted, 1) for wanted in (A, B, A, A, wider)))
    assert calls == [(3, 4, 3), (7, 8, 3), (11, 12, 3), (11, 12, 0), (15, 16, 3)]


@pytest.mark.looptime
async def test_a_caller_that_leaves_gives_up_its_place() -> None:
    slot = Slot(1, load_s=3)
    loading, waiting, staying = (asyncio.create_task(hold(slot, A, 1)) for _ in range(3))
    await asyncio.sleep(1)
    waiting.cancel()
    loading.cancel()
    assert await staying == (4, 5, 3)
    assert (await asyncio.gather(loading, waiting, return_exceptions=True)).count(1) == 0
    running = asyncio.create_task(hold(slot, A, 100))
    await asyncio.sleep(1)
    running.cancel()
    assert (await hold(slot, A, 1))[1] == 7


@pytest.mark.looptime
async def test_a_place_given_in_the_moment_of_leaving_is_not_lost() -> None:
    slot = Slot(1, load_s=0)
    first = asyncio.create_task(hold(slot, A, 1))
    second = asyncio.create_task(hold(slot, A, 1))
    first.add_done_callback(lambda _: second.cancel())
    third = asyncio.create_task(hold(slot, A, 1))
    assert (await third)[1] == 2
    assert second.cancelled()


@pytest.mark.looptime
async def test_unloading_frees_an_idle_slot_only() -> None:
    slot = Slot(1, load_s=1)
    running = asyncio.create_task(hold(slot, A, 5))
    await asyncio.sleep(2)
    slot.unload("a")
    assert slot.loaded == A
    await running
    slot.unload("b")
    assert slot.loaded == A
    slot.unload("a")
    assert slot.loaded is None
