from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.capacity import Need, Waiting
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.errors import CallError, RateLimitedError, RetryableError
from eli5b_batch.forecast.virtual_clock import VirtualLoop
from eli5b_batch.job.schema import PREFETCH, Limits, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from eli5b_batch.dispatch.capacity import Capacity, Place

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

ORDERS = st.lists(st.integers(0, 3), min_size=1, max_size=6)
FAILURES = [
    None,
    RateLimitedError("429", retry_after=None),
    RetryableError("connection", "dropped"),
    RetryableError("connection", "can't connect", unsent=True),
]
SETTLED_S = 200.0
"""Seconds that are longer than any pause in these tests."""


def new_gate(limits: Limits) -> Gate:
    clock = asyncio.get_running_loop().time
    return Gate([Account("http://api", limits, clock)], clock)


class Caller:
    """A caller that does as the dispatcher: it waits for a place, holds it, and gives it back whatever happens."""

    def __init__(self, capacity: Capacity, order: int) -> None:
        self.holds = False
        self.place: Place | None = None
        self.answer: asyncio.Future[CallError | None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._call(capacity, Need("m", order, 1.0)))

    async def _call(self, capacity: Capacity, need: Need) -> None:
        self.place = place = await capacity.acquire(need)
        failure: CallError | None = None
        tokens: int | None = None
        self.holds = True
        try:
            failure = await self.answer
            tokens = 1
        finally:
            self.holds = False
            capacity.release(place, tokens=tokens, failure=failure)


class Places(RuleBasedStateMachine):
    """Callers come, are answered, and are cancelled at any moment; no place may be lost or given out twice."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.callers: list[Caller] = []
        self.granted_places: list[Place] = []

    def make(self, places: int) -> Capacity:
        raise NotImplementedError

    def bounds(self, wanted: int) -> tuple[int, int]:
        """Return the least and the most calls that may hold a place, of `wanted` calls."""
        return min(self.places, wanted), min(self.places, wanted)

    @initialize(places=st.integers(1, 4))
    def begin(self, places: int) -> None:
        async def main() -> None:
            self.capacity = self.make(places)
            self.work = asyncio.create_task(self.capacity.run())

        self.runner.run(main())
        self.places = self.capacity.snapshot()["concurrency"]

    def settle(self) -> None:
        self.runner.run(asyncio.sleep(SETTLED_S))
        self.granted_places += [caller.place for caller in self.callers if caller.place]
        self.callers = [caller for caller in self.callers if not caller.task.done()]

    @rule(orders=ORDERS)
    def some_ask(self, orders: list[int]) -> None:
        async def main() -> None:
            self.callers += [Caller(self.capacity, order) for order in orders]

        self.runner.run(main())
        self.settle()

    @precondition(lambda self: self.callers)
    @rule(failure=st.sampled_from(FAILURES), turns=st.integers(0, 6), data=st.data())
    def one_is_answered_and_one_cancelled_some_turns_later(
        self, failure: CallError | None, turns: int, data: st.DataObject
    ) -> None:
        answered = data.draw(st.sampled_from([caller for caller in self.callers if caller.holds]))
        cancelled = data.draw(st.sampled_from([None, *self.callers]))

        async def main() -> None:
            answered.answer.set_result(failure)
            for _ in range(turns):
                await asyncio.sleep(0)
            if cancelled is not None:
                cancelled.task.cancel()

        self.runner.run(main())
        self.settle()

    @invariant()
    def every_place_that_is_wanted_is_held_and_counted(self) -> None:
        if hasattr(self, "work"):
            holding = sum(caller.holds for caller in self.callers)
            least, most = self.bounds(len(self.callers))
            if any(
                map(self.capacity.is_down, self.granted_places)
            ):  # while a server is down, only a probe has to be under way
                least = min(1, least)
            assert least <= holding <= most
            assert self.capacity.snapshot()["in_flight"] == holding
            assert not self.work.done()

    def teardown(self) -> None:
        self.runner.close()


class GatePlaces(Places):
    def make(self, places: int) -> Capacity:
        return new_gate(Limits(concurrency=places, adaptive=False))


class PacedGatePlaces(Places):
    def make(self, places: int) -> Capacity:
        limits = Limits(concurrency=places, adaptive=False, requests_per_minute=600, tokens_per_minute=6000)
        return new_gate(limits)


class SlotPlaces(Places):
    def make(self, places: int) -> Capacity:
        slots = [Slot(gpu=i, url=f"http://gpu{i}", parallel=places) for i in range(2)]
        return SlotPool(slots, asyncio.get_running_loop().time)

    def bounds(self, wanted: int) -> tuple[int, int]:
        """Return the bounds: the second slot is used only where many calls wait."""
        of_slot = self.places // 2 + PREFETCH
        return min(of_slot, wanted), min(2 * of_slot, wanted)


BOUNDS = settings(max_examples=20, stateful_step_count=15)
TestGatePlaces = GatePlaces.TestCase
TestGatePlaces.settings = BOUNDS
TestPacedGatePlaces = PacedGatePlaces.TestCase
TestPacedGatePlaces.settings = BOUNDS
TestSlotPlaces = SlotPlaces.TestCase
TestSlotPlaces.settings = BOUNDS


@pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)
@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("kind", ["gate", "slots"])
async def test_a_caller_cancelled_in_the_turn_in_which_it_is_let_through_leaves_its_place_to_the_next(
    kind: str, turns: int
) -> None:
    clock = asyncio.get_running_loop().time
    gate, slots = new_gate(Limits(concurrency=1)), SlotPool([Slot(gpu=0, url="http://gpu0")], clock)
    capacity: Capacity = gate if kind == "gate" else slots
    held = [await capacity.acquire(Need("m", 0, 0.0)) for _ in range(1 if kind == "gate" else 1 + PREFETCH)]
    cancelled, after = (asyncio.create_task(capacity.acquire(Need("m", i, 0.0))) for i in range(2))
    await asyncio.sleep(1)
    capacity.release(held[0], tokens=0, failure=None)
    for _ in range(turns):  # the caller is let through in one of these turns and wakes up in the next
        await asyncio.sleep(0)
    if cancelled.cancel():
        await asyncio.wait_for(after, 1)
        assert cancelled.cancelled()
    assert capacity.snapshot()["in_flight"] == len(held)


@given(callers=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_the_oldest_call_comes_first_and_those_whose_caller_has_gone_are_passed_over(
    virtual: Virtual, callers: list[tuple[int, bool]]
) -> None:
    async def main() -> None:
        waiting = Waiting()
        futures = [waiting.join(Need("m", order, 0.0)) for order, _ in callers]
        for future, (_, leaves) in zip(futures, callers, strict=True):
            if leaves:
                future.cancel()
        served = []
        while waiting.first() is not None:
            need, future = waiting.pop()
            served.append((need.order, futures.index(future)))
        assert served == sorted((order, i) for i, (order, leaves) in enumerate(callers) if not leaves)
        assert len(waiting) == 0

    virtual(main())
