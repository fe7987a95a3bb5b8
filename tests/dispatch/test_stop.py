from __future__ import annotations

import asyncio
import gc
from signal import SIGINT, SIGTERM

import pytest

from eli5b_batch.dispatch.stop import Stop

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)


async def test_calls_go_out_until_the_run_is_stopped_and_never_afterwards() -> None:
    stop = Stop()
    await stop.may_send()
    stop.ask(SIGINT)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stop.may_send(), 1_000_000)


async def test_the_first_reason_stays() -> None:
    stop = Stop()
    waiting = asyncio.create_task(stop.stopped())
    await asyncio.sleep(1)
    assert not waiting.done()
    error = RuntimeError("first")
    stop.ask(error)
    stop.ask(SIGTERM)
    await waiting
    assert stop.reason is error


async def test_a_run_is_drained_when_the_last_call_has_ended_or_none_is_in_flight() -> None:
    stop = Stop()
    await stop.drained()

    async def call(seconds: float) -> None:
        with stop.call_in_flight():
            await asyncio.sleep(seconds)

    calls = [asyncio.create_task(call(seconds)) for seconds in (1, 5, 3)]
    await asyncio.sleep(0)
    assert stop.in_flight == 3
    await stop.drained()
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    await asyncio.gather(*calls)
    assert stop.in_flight == 0


async def test_a_call_that_fails_or_is_cancelled_is_no_longer_in_flight() -> None:
    stop = Stop()
    with pytest.raises(RuntimeError), stop.call_in_flight():
        raise RuntimeError
    with pytest.raises(TimeoutError), stop.call_in_flight():
        await asyncio.wait_for(asyncio.Event().wait(), 1)
    await stop.drained()


async def test_a_parked_call_that_nobody_holds_is_not_lost_to_the_garbage_collector() -> None:
    stop = Stop()
    stop.ask(SIGINT)
    parked = asyncio.create_task(stop.may_send())
    name = parked.get_name()
    await asyncio.sleep(0)
    del parked
    gc.collect()
    assert name in {task.get_name() for task in asyncio.all_tasks()}
