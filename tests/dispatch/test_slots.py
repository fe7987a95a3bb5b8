from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.dispatch.capacity import Need
from eli5b_batch.dispatch.slots import SlotPool
from eli5b_batch.errors import CallError, ProviderDownError, RetryableError
from eli5b_batch.job import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from eli5b_batch.dispatch.capacity import Place

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

pytestmark = pytest.mark.looptime(idle_timeout=0.1)

REFUSED = RetryableError("connection", "can't connect", unsent=True)
DROPPED = RetryableError("connection", "dropped")
MODELS = ["1b", "3b", "8b"]


def now() -> float:
    return asyncio.get_running_loop().time()


def new_pool(*slots: tuple[int, list[str]], give_up_after_s: float = math.inf) -> SlotPool:
    """A pool of slots, each given by how many calls it takes and the models it serves."""
    made = [Slot(gpu=i, url=f"http://gpu{i}:11434/", parallel=n, models=models) for i, (n, models) in enumerate(slots)]
    return SlotPool(made, now, give_up_after_s=give_up_after_s)


def ask(pool: SlotPool, model: str, order: int = 0) -> asyncio.Task[Place]:
    return asyncio.create_task(pool.acquire(Need(model, order, 0.0)))


def free(pool: SlotPool, place: Place, failure: CallError | None = None) -> None:
    pool.release(place, tokens=10, failure=failure)


class Watch:
    """Makes calls, and looks at every place they get."""

    def __init__(self, pool: SlotPool) -> None:
        self.pool = pool
        self.here: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.most: Counter[str] = Counter()
        self.loaded: dict[str, str] = {}
        self.loads: list[tuple[str, str]] = []
        self.served: list[tuple[str, str]] = []
        self.left: set[str] = set()
        self.served_after_left = 0

    async def call(self, model: str, lasts: float, *, comes: float = 0.0, load_s: float = 0.0, order: int = 0) -> None:
        await asyncio.sleep(comes)
        place = await self.pool.acquire(Need(model, order, 0.0))
        slot = place.slot or ""
        here = self.here[slot]
        if self.loaded.get(slot) != model:
            assert not here.total()
            self.left.add(self.loaded.get(slot, ""))
            self.loaded[slot] = model
            self.loads.append((slot, model))
            lasts += load_s
        here[model] += 1
        self.most[slot] = max(self.most[slot], here.total())
        self.served.append((slot, model))
        self.served_after_left += model in self.left
        await asyncio.sleep(lasts)
        here[model] -= 1
        free(self.pool, place)


async def test_a_place_names_the_server_and_the_slot() -> None:
    pool = new_pool((1, []))
    place = await pool.acquire(Need("1b", 0, 0.0))
    assert (place.base_url, place.slot) == ("http://gpu0:11434", "gpu0")


@given(
    slots=st.lists(st.tuples(st.integers(1, 4), st.sets(st.sampled_from(MODELS)).map(sorted)), max_size=3),
    calls=st.lists(
        st.tuples(st.sampled_from(MODELS), st.floats(0, 10), st.floats(0, 3), st.integers(0, 5)), max_size=60
    ),
)
@settings(deadline=None, max_examples=80)
def test_every_call_is_served_by_a_slot_that_has_its_model_and_a_place(
    virtual: Virtual,
    slots: list[tuple[int, list[str]]],
    calls: list[tuple[str, float, float, int]],
) -> None:
    async def main() -> None:
        everywhere: tuple[int, list[str]] = (
            2,
            [],
        )  # one slot serves every model, so that each call has somewhere to go
        pool = new_pool(*slots, everywhere)
        watch = Watch(pool)
        async with asyncio.TaskGroup() as group:
            for model, comes, lasts, order in calls:
                group.create_task(watch.call(model, lasts, comes=comes, load_s=1.0, order=order))
        assert len(watch.served) == len(calls)
        for i, (parallel, models) in enumerate([*slots, everywhere]):
            assert watch.most[f"gpu{i}"] <= parallel
            assert {model for slot, model in watch.served if slot == f"gpu{i}"} <= set(models or MODELS)
        assert pool.snapshot()["in_flight"] == pool.snapshot()["queued"] == 0

    virtual(main())


@given(
    calls=st.lists(st.sampled_from(MODELS), min_size=1, max_size=80),
    slots=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=50)
def test_a_slot_leaves_a_model_only_when_nobody_waits_for_it(
    virtual: Virtual, calls: list[str], slots: list[int]
) -> None:
    async def main() -> None:
        pool = new_pool(*((parallel, []) for parallel in slots))
        watch = Watch(pool)
        async with asyncio.TaskGroup() as group:
            for i, model in enumerate(calls):
                group.create_task(watch.call(model, 1 + i % 7 / 7, load_s=3.0))
        assert watch.served_after_left == 0  # all ask at once, so what a slot leaves is finished

    virtual(main())


async def test_a_batch_of_three_models_on_two_slots_is_loaded_four_times() -> None:
    pool = new_pool((4, []), (4, []))
    watch = Watch(pool)
    async with asyncio.TaskGroup() as group:
        for i in range(300):  # the models asked for in turn, as the arms of an experiment are
            group.create_task(watch.call(MODELS[i % 3], 1.0, load_s=5.0, order=i // 3))
    assert len(watch.loads) == 4
    assert now() < 300 / 8 * 1.0 + 3 * 5.0


async def test_calls_that_come_over_time_are_grouped_too() -> None:
    pool = new_pool((4, []), (4, []))
    watch = Watch(pool)
    async with asyncio.TaskGroup() as group:
        for i in range(600):
            group.create_task(watch.call(MODELS[i % 3], 1.0, comes=i * 0.1, load_s=3.0, order=i // 3))
    assert len(watch.loads) <= 6


async def test_models_are_spread_over_the_slots_in_whatever_order_they_come() -> None:
    pool = new_pool((2, []), (2, []), (2, []))
    places = await asyncio.gather(*(ask(pool, model) for model in sorted(MODELS * 2)))
    assert len({place.slot for place in places}) == 3
    assert len({(place.slot, place.need.model) for place in places}) == 3


async def test_a_second_model_gets_a_slot_before_the_first_gets_two() -> None:
    pool = new_pool((1, []), (1, []))
    calls = [ask(pool, model) for model in ["1b"] * 4 + ["3b"] * 3]
    await asyncio.sleep(1)
    assert {call.result().need.model for call in calls if call.done()} == {"1b", "3b"}


async def test_slots_with_the_same_model_share_its_calls() -> None:
    pool = new_pool((2, []), (2, []))
    for place in await asyncio.gather(*(ask(pool, "1b") for _ in range(4))):
        free(pool, place)
    places = [await pool.acquire(Need("1b", 0, 0.0)) for _ in range(2)]
    assert {place.slot for place in places} == {"gpu0", "gpu1"}


async def test_a_model_with_much_work_takes_a_second_slot() -> None:
    pool = new_pool((2, []), (2, []))
    places = await asyncio.gather(*(ask(pool, "1b") for _ in range(4)))
    assert Counter(place.slot for place in places) == {"gpu0": 2, "gpu1": 2}


async def test_nothing_is_loaded_while_a_slot_that_has_the_model_has_a_free_place() -> None:
    pool = new_pool((2, []), (2, []))
    places = [await pool.acquire(Need("1b", 0, 0.0)) for _ in range(2)]
    assert [place.slot for place in places] == ["gpu0", "gpu0"]


async def test_an_empty_slot_is_loaded_before_a_loaded_one_is_emptied() -> None:
    pool = new_pool((1, []), (1, []))
    free(pool, await pool.acquire(Need("1b", 0, 0.0)))
    assert (await pool.acquire(Need("3b", 0, 0.0))).slot == "gpu1"
    assert (await pool.acquire(Need("1b", 0, 0.0))).slot == "gpu0"


async def test_a_slot_changes_its_model_only_when_it_is_idle() -> None:
    pool = new_pool((2, []))
    first, second = await asyncio.gather(ask(pool, "1b"), ask(pool, "1b"))
    other = ask(pool, "3b")
    free(pool, first)
    await asyncio.sleep(1)
    assert not other.done()
    again = await pool.acquire(Need("1b", 9, 0.0))  # work for what is loaded still comes first
    free(pool, second)
    free(pool, again)
    assert (await other).need.model == "3b"


async def test_the_oldest_call_of_a_model_comes_first() -> None:
    pool = new_pool((1, []))
    served = []

    async def call(order: int) -> None:
        place = await pool.acquire(Need("1b", order, 0.0))
        served.append(order)
        free(pool, place)

    taken = await pool.acquire(Need("1b", 0, 0.0))
    async with asyncio.TaskGroup() as group:
        for order in (3, 1, 2, 1):
            group.create_task(call(order))
        await asyncio.sleep(1)
        free(pool, taken)
    assert served == [1, 1, 2, 3]


async def test_a_slot_that_refuses_a_connection_is_left_alone_and_comes_back() -> None:
    pool = new_pool((1, []), (1, []))
    broken = await pool.acquire(Need("1b", 0, 0.0))
    free(pool, broken, REFUSED)
    working_one = await pool.acquire(Need("1b", 0, 0.0))
    assert (broken.slot, working_one.slot, now()) == ("gpu0", "gpu1", 0)
    assert (pool.is_down(broken), pool.is_down(working_one)) == (True, False)
    back = await pool.acquire(Need("1b", 0, 0.0))
    assert back.slot == "gpu0"
    assert now() == pytest.approx(1)
    free(pool, back)
    assert not pool.is_down(back)


async def test_one_dropped_connection_is_nothing() -> None:
    pool = new_pool((8, []))
    for place in [await pool.acquire(Need("1b", 0, 0.0)) for _ in range(8)]:
        free(pool, place, DROPPED)
        assert not pool.is_down(place)
    await pool.acquire(Need("1b", 0, 0.0))
    assert now() == 0


@pytest.mark.parametrize("kind", ["timeout", "connection", "server_error"])
async def test_a_slot_on_which_calls_fail_one_after_the_other_is_only_probed(kind: str) -> None:
    pool = new_pool((1, []), (1, []))
    served: Counter[str | None] = Counter()
    for _ in range(200):
        place = await pool.acquire(Need("1b", 0, 0.0))
        served[place.slot] += 1
        await asyncio.sleep(1)
        free(pool, place, RetryableError(kind, "failed") if place.slot == "gpu0" else None)
    assert served["gpu0"] < 20


async def test_probes_go_out_one_at_a_time_after_waits_that_double_until_one_is_answered() -> None:
    pool = new_pool((8, []))

    async def waits(count: int) -> list[float]:
        times = [now()]
        for _ in range(count):
            place, other = await pool.acquire(Need("1b", 0, 0.0)), ask(pool, "1b")
            times.append(now())
            await asyncio.sleep(0)
            assert not other.done()
            other.cancel()
            free(pool, place, REFUSED)
        return [b - a for a, b in itertools.pairwise(times)]

    free(pool, await pool.acquire(Need("1b", 0, 0.0)), REFUSED)
    assert await waits(7) == pytest.approx([1, 2, 4, 8, 16, 30, 30])
    free(pool, await pool.acquire(Need("1b", 0, 0.0)))
    free(pool, await pool.acquire(Need("1b", 0, 0.0)), REFUSED)
    assert await waits(2) == pytest.approx([1, 2])


async def test_a_night_of_refused_connections_is_survived() -> None:
    pool = new_pool((1, []))
    for _ in range(1100):
        free(pool, await pool.acquire(Need("1b", 0, 0.0)), REFUSED)
    assert now() == pytest.approx(1 + 2 + 4 + 8 + 16 + 1094 * 30)


async def test_a_probe_that_no_waiting_call_wants_waits_without_a_stir() -> None:
    pool = new_pool((1, ["1b"]), (1, ["3b"]))
    free(pool, await pool.acquire(Need("1b", 0, 0.0)), REFUSED)
    busy = await pool.acquire(Need("3b", 0, 0.0))
    waiting = ask(pool, "3b")
    await asyncio.sleep(1000)
    assert not waiting.done()
    free(pool, busy)
    await waiting
    assert now() == 1000
    assert (await pool.acquire(Need("1b", 0, 0.0))).slot == "gpu0"


async def test_a_slot_whose_calls_are_refused_for_what_they_are_works() -> None:
    pool = new_pool((1, []))
    free(pool, await pool.acquire(Need("1b", 0, 0.0)), REFUSED)
    probe = await pool.acquire(Need("1b", 0, 0.0))
    pool.release(probe, tokens=0, failure=CallError("bad_request", "400"))
    assert not pool.is_down(probe)


async def test_a_place_says_whether_the_model_must_be_loaded_until_a_call_was_answered() -> None:
    pool = new_pool((3, []))
    first, second = await pool.acquire(Need("1b", 0, 0.0)), await pool.acquire(Need("1b", 0, 0.0))
    assert (first.loading, second.loading) == (True, True)
    free(pool, first)
    third = await pool.acquire(Need("1b", 0, 0.0))
    assert not third.loading
    for place in (second, third):
        free(pool, place)
    other = await pool.acquire(Need("3b", 0, 0.0))
    assert other.loading
    free(pool, other)
    assert (await pool.acquire(Need("1b", 0, 0.0))).loading


async def test_a_server_that_failed_may_have_been_started_anew_and_must_load() -> None:
    pool = new_pool((1, []))
    free(pool, await pool.acquire(Need("1b", 0, 0.0)))
    free(pool, await pool.acquire(Need("1b", 0, 0.0)), DROPPED)
    assert (await pool.acquire(Need("1b", 0, 0.0))).loading


async def fail_until_given_up(pool: SlotPool, model: str) -> None:
    async def fail() -> None:
        while True:
            free(pool, await pool.acquire(Need(model, 0, 0.0)), REFUSED)

    failing = asyncio.create_task(fail())
    try:
        await pool.run()
    finally:
        failing.cancel()


async def test_when_every_slot_of_a_model_is_down_for_too_long_the_run_ends() -> None:
    pool = new_pool((1, ["1b"]), (1, ["3b"]), give_up_after_s=100)
    with pytest.raises(ProviderDownError, match="can't connect"):
        await fail_until_given_up(pool, "1b")
    assert 100 <= now() <= 131


async def test_a_slot_that_is_down_while_another_works_ends_nothing() -> None:
    pool = new_pool((1, []), (1, []), give_up_after_s=100)
    watching = asyncio.create_task(pool.run())
    while now() < 1000:
        place = await pool.acquire(Need("1b", 0, 0.0))
        await asyncio.sleep(1)
        free(pool, place, REFUSED if place.slot == "gpu0" else None)
    assert not watching.done()
    watching.cancel()


async def test_the_dashboard_sees_every_slot() -> None:
    pool = new_pool((2, []), (1, ["8b"]))
    first = await pool.acquire(Need("1b", 0, 0.0))
    await pool.acquire(Need("1b", 0, 0.0))
    waiting = ask(pool, "1b")
    await asyncio.sleep(5)
    free(pool, first)
    await waiting
    await asyncio.sleep(5)
    ask(pool, "3b").cancel()
    more = ask(pool, "1b")
    await asyncio.sleep(0)
    shown = pool.snapshot()
    more.cancel()
    assert (shown["in_flight"], shown["concurrency"], shown["queued"]) == (2, 3, 1)
    assert shown["slots"][0] == {
        "slot": "gpu0", "url": "http://gpu0:11434", "model": "1b", "in_flight": 2, "parallel": 2, "queued": 1,
        "busy_share": 1.0, "tokens_per_s": 1.1, "calls": 1,
    }  # fmt: skip
    assert shown["slots"][1]["model"] is None
    assert shown["slots"][1]["busy_share"] == 0
