from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.simulated.model_facts import describe
from eli5b_batch.simulated.slot import ON_CPU, Loaded, SimulatedSlot

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = Loaded("a", 4096), Loaded("b", 4096), Loaded("c", 4096)
ONE_B, THREE_B, EIGHT_B = (Loaded(name, 4096) for name in ("llama3.2:1b", "llama3.2:3b", "llama3.1:8b"))
GB = 1e9


def takes(seconds: float) -> Callable[[str], float]:
    """Loading takes any model so long."""
    return lambda _: seconds


async def hold(slot: SimulatedSlot, wanted: Loaded, seconds: float) -> tuple[float, float, float]:
    """When the call began and ended, in seconds, and how long it loaded."""
    loop = asyncio.get_running_loop()
    async with slot.turn(wanted) as load_s:
        began = loop.time()
        await asyncio.sleep(seconds)
    return round(began, 3), round(loop.time(), 3), round(load_s, 3)


@pytest.mark.looptime
async def test_at_most_parallel_calls_run_and_the_first_one_loads() -> None:
    slot = SimulatedSlot(2, takes(3))
    calls = await asyncio.gather(*(hold(slot, A, 1) for _ in range(5)))
    assert calls == [(3, 4, 3), (3, 4, 0), (4, 5, 0), (4, 5, 0), (5, 6, 0)]
    assert slot.residents == [A]


@pytest.mark.looptime
async def test_another_model_or_window_waits_for_the_running_calls_and_loads() -> None:
    slot = SimulatedSlot(4, takes(3))
    wider = A._replace(num_ctx=8192)
    calls = await asyncio.gather(*(hold(slot, wanted, 1) for wanted in (A, B, A, A, wider)))
    assert calls == [(3, 4, 3), (7, 8, 3), (11, 12, 3), (11, 12, 0), (15, 16, 3)]


@pytest.mark.looptime
async def test_a_caller_that_leaves_gives_up_its_place() -> None:
    slot = SimulatedSlot(1, takes(3))
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
    slot = SimulatedSlot(1, takes(0))
    first = asyncio.create_task(hold(slot, A, 1))
    second = asyncio.create_task(hold(slot, A, 1))
    first.add_done_callback(lambda _: second.cancel())
    third = asyncio.create_task(hold(slot, A, 1))
    assert (await third)[1] == 2
    assert second.cancelled()


@pytest.mark.looptime
async def test_unloading_frees_an_idle_slot_only() -> None:
    slot = SimulatedSlot(1, takes(1))
    running = asyncio.create_task(hold(slot, A, 5))
    await asyncio.sleep(2)
    slot.unload("a")
    assert slot.residents == [A]
    await running
    slot.unload("b")
    assert slot.residents == [A]
    slot.unload("a")
    assert slot.residents == []


async def after(seconds: float, slot: SimulatedSlot, wanted: Loaded, lasts: float) -> tuple[float, float, float]:
    await asyncio.sleep(seconds)
    return await hold(slot, wanted, lasts)


@pytest.mark.looptime
async def test_two_models_in_memory_run_beside_each_other_with_places_each() -> None:
    slot = SimulatedSlot(1, takes(3), most=2)
    calls = await asyncio.gather(*(hold(slot, wanted, 10) for wanted in (A, B, A, B)))
    assert calls == [(3, 13, 3), (6, 16, 3), (13, 23, 0), (16, 26, 0)]
    assert slot.residents == [A, B]


@pytest.mark.looptime
async def test_loading_one_more_drives_out_the_idle_model_whose_last_call_began_longest_ago() -> None:
    slot = SimulatedSlot(1, takes(0), most=2)
    for wanted in (A, B, A, C):
        await hold(slot, wanted, 1)
    assert slot.residents == [A, C]
    running = asyncio.create_task(hold(slot, A, 10))
    await asyncio.sleep(0)
    assert (await hold(slot, B, 1))[0] == 4  # C goes at once: it is idle, and A is not
    assert slot.residents == [A, B]
    await running


@pytest.mark.looptime
async def test_a_load_waits_for_a_busy_model_which_takes_no_later_calls_while_others_pass() -> None:
    slot = SimulatedSlot(2, takes(1), most=2)
    await hold(slot, A, 0)
    await hold(slot, B, 0)
    calls = [(0, A, 10), (1, B, 10), (2, C, 1), (3, A, 1), (4, B, 3)]
    ended = await asyncio.gather(*(after(when, slot, wanted, lasts) for when, wanted, lasts in calls))
    assert ended == [
        (2, 12, 0),
        (3, 13, 0),
        (13, 14, 1),  # loads in place of A, at 12
        (14, 15, 1),  # came after C did: A is loaded anew when C is, in place of B
        (6, 9, 0),  # passes: B stays
    ]


@pytest.mark.looptime
async def test_no_model_waits_for_ever_while_another_is_asked_for_all_the_time() -> None:
    slot = SimulatedSlot(2, takes(1))
    stream = [asyncio.create_task(after(i * 0.5, slot, A, 1)) for i in range(40)]
    began, _, _ = await after(3.2, slot, B, 1)
    assert began < 7
    await asyncio.gather(*stream)


@pytest.mark.looptime
async def test_models_stay_in_memory_together_as_far_as_they_fit() -> None:
    slot = SimulatedSlot(1, takes(1), most=3, memory=6 * GB)
    for wanted in (ONE_B, THREE_B):  # 1.3 and 1.9 GB
        await hold(slot, wanted, 0)
    assert slot.residents == [ONE_B, THREE_B]
    await hold(slot, EIGHT_B, 0)  # 4.9 GB: not even with the smallest
    assert slot.residents == [EIGHT_B]
    wider = ONE_B._replace(num_ctx=8192)
    slot = SimulatedSlot(1, takes(1), most=3)
    for wanted in (ONE_B, THREE_B, wider):
        await hold(slot, wanted, 0)
    assert slot.residents == [THREE_B, wider]  # another window loads anew, whatever room there is


@pytest.mark.looptime
async def test_models_at_work_slow_each_other_and_one_that_does_not_fit_is_slow() -> None:
    slot = SimulatedSlot(2, takes(1), most=2)
    async with slot.turn(A):
        assert slot.slowdown(A) == 1
        loading = asyncio.create_task(hold(slot, B, 5))
        await asyncio.sleep(0.5)
        assert slot.slowdown(A) == 1  # B is not at work yet
        await asyncio.sleep(1)
        assert slot.slowdown(A) == slot.slowdown(B) == 2
        await loading
        assert slot.slowdown(A) == 1
    alone = SimulatedSlot(2, takes(1), most=2, shared=False)
    async with alone.turn(A), alone.turn(B):
        assert alone.slowdown(B) == 1
    small = SimulatedSlot(1, takes(0), memory=describe(EIGHT_B.model).size - 1)
    async with small.turn(EIGHT_B):
        assert small.slowdown(EIGHT_B) == ON_CPU


@pytest.mark.looptime
async def test_a_load_that_is_given_up_leaves_its_room_to_the_next() -> None:
    slot = SimulatedSlot(1, takes(5), most=2)
    await hold(slot, A, 0)
    loading = asyncio.create_task(hold(slot, B, 1))
    waiting = asyncio.create_task(hold(slot, C, 1))
    await asyncio.sleep(1)
    assert (await hold(slot, A, 1))[0] == 6  # beside the load
    loading.cancel()
    assert await waiting == (12, 13, 5)
    assert slot.residents == [A, C]
