from __future__ import annotations

import asyncio
import gc
from signal import SIGINT, SIGTERM

import pytest

from eli5b_batch.dispatch.stop import Stop

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)


async def test_calls_go_out_until_somebody_asks_and_never_afterwards() -> None:
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


async def test_everything_is_home_when_the_last_call_has_landed_or_none_is_out() -> None:
    stop = Stop()
    await stop.all_home()

    async def fly(seconds: float) -> None:
        with stop.in_the_air():
            await asyncio.sleep(seconds)

    flights = [asyncio.create_task(fly(seconds)) for seconds in (1, 5, 3)]
    await asyncio.sleep(0)
    assert stop.in_flight == 3
    await stop.all_home()
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    await asyncio.gather(*flights)
    assert stop.in_flight == 0


async def test_a_call_that_fails_or_is_cancelled_lands_too() -> None:
    stop = Stop()
    with pytest.raises(RuntimeError), stop.in_the_air():
        raise RuntimeError
    with pytest.raises(TimeoutError), stop.in_the_air():
        await asyncio.wait_for(asyncio.Event().wait(), 1)
    await stop.all_home()


async def test_a_parked_call_that_nobody_holds_is_not_lost_to_the_garbage_collector() -> None:
    stop = Stop()
    stop.ask(SIGINT)
    parked = asyncio.create_task(stop.may_send())
    name = parked.get_name()
    await asyncio.sleep(0)
    del parked
    gc.collect()
    assert name in {task.get_name() for task in asyncio.all_tasks()}
