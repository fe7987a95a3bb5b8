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
from eli5b_batch.dispatch.slots.pool import SlotPool
from eli5b_batch.errors import CallError, ProviderDownError, RetryableError
from eli5b_batch.job.schema import PREFETCH, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from eli5b_batch.dispatch.capacity import Place

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)

REFUSED = RetryableError("connection", "can't connect", unsent=True)
DROPPED = RetryableError("connection", "dropped")
MODELS = ["1b", "3b", "8b"]


def now() -> float:
    return asyncio.get_running_loop().time()


def new_pool(*slots: tuple[int, list[str]], give_up_after_s: float = math.inf) -> SlotPool:
    """Return a pool of slots, each given as its number of places and the models that it serves."""
    of_job = [
        Slot(gpu=i, url=f"http://gpu{i}:11434/", parallel=n, models=models) for i, (n, models) in enumerate(slots)
    ]
    return SlotPool(of_job, now, give_up_after_s=give_up_after_s)


def ask(pool: SlotPool, model: str, order: int = 0) -> asyncio.Task[Place]:
    return asyncio.create_task(pool.acquire(Need(model, order, 0.0)))


def free(pool: SlotPool, place: Place, failure: CallError | None = None, load_s: float = 0.0) -> None:
    pool.release(place, tokens=10, failure=failure, load_s=load_s)


class Witness:
    """Makes calls and records every place that they get."""

    def __init__(self, pool: SlotPool) -> None:
        self.pool = pool
        self.in_flight: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.most: Counter[str] = Counter()
        self.loaded: dict[str, str] = {}
        self.loads: list[tuple[str, str]] = []
        self.served: list[tuple[str, str]] = []
        self.left: set[str] = set()
        self.served_after_left = 0

    async def call(
        self, model: str, work_s: float, *, delay_s: float = 0.0, load_s: float = 0.0, order: int = 0
    ) -> None:
        await asyncio.sleep(delay_s)
        place = await self.pool.acquire(Need(model, order, 0.0))
        slot = place.slot or ""
        in_flight = self.in_flight[slot]
        loads = self.loaded.get(slot) != model
        if loads:
            assert not in_flight.total()
            self.left.add(self.loaded.get(slot, ""))
            self.loaded[slot] = model
            self.loads.append((slot, model))
        in_flight[model] += 1
        self.most[slot] = max(self.most[slot], in_flight.total())
        self.served.append((slot, model))
        self.served_after_left += model in self.left
        await asyncio.sleep(work_s + loads * load_s)
        in_flight[model] -= 1
        free(self.pool, place, load_s=loads * load_s)


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
@settings(max_examples=80)
def test_every_call_is_served_by_a_slot_that_has_its_model_and_a_place(
    virtual: Virtual,
    slots: list[tuple[int, list[str]]],
    calls: list[tuple[str, float, float, int]],
) -> None:
    async def main() -> None:
        everywhere: tuple[int, list[str]] = (2, [])  # serves every model, so that each call has somewhere to go
        pool = new_pool(*slots, everywhere)
        witness = Witness(pool)
        async with asyncio.TaskGroup() as group:
            for model, delay_s, work_s, order in calls:
                group.create_task(witness.call(model, work_s, delay_s=delay_s, load_s=1.0, order=order))
        assert len(witness.served) == len(calls)
        for i, (parallel, models) in enumerate([*slots, everywhere]):
            assert witness.most[f"gpu{i}"] <= parallel + PREFETCH
            assert {model for slot, model in witness.served if slot == f"gpu{i}"} <= set(models or MODELS)
        assert pool.snapshot()["in_flight"] == pool.snapshot()["queued"] == 0

    virtual(main())


@given(
    calls=st.lists(st.sampled_from(MODELS), min_size=1, max_size=80),
    slots=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
@settings(max_examples=50)
def test_a_slot_leaves_a_model_only_when_no_call_waits_for_it(
    virtual: Virtual, calls: list[str], slots: list[int]
) -> None:
    async def main() -> None:
        pool = new_pool(*((parallel, []) for parallel in slots))
        witness = Witness(pool)
        async with asyncio.TaskGroup() as group:
            for i, model in enumerate(calls):
                group.create_task(witness.call(model, 1 + i % 7 / 7, load_s=3.0))
        assert witness.served_after_left == 0  # all calls come at once, so a model that a slot leaves is finished

    virtual(main())


async def test_a_batch_of_three_models_on_two_slots_is_loaded_four_times() -> None:
    pool = new_pool((4, []), (4, []))
    witness = Witness(pool)
    async with asyncio.TaskGroup() as group:
        for i in range(300):  # calls of each model in turn, as the arms of an experiment make them
            group.create_task(witness.call(MODELS[i % 3], 1.0, load_s=5.0, order=i // 3))
    assert len(witness.loads) == 4
    assert now() < 300 / 8 * 1.0 + 3 * 5.0


async def test_calls_that_come_over_time_are_grouped_too() -> None:
    pool = new_pool((4, []), (4, []))
    witness = Witness(pool)
    async with asyncio.TaskGroup() as group:
        for i in range(1200):
            group.create_task(witness.call(MODELS[i % 3], 1.0, delay_s=i * 0.08, load_s=3.0, order=i // 3))
    assert len(witness.loads) <= 12
    assert now() < 1200 / 10 * 1.0 + 30


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


async def in_flight_of(pool: SlotPool, calls: int) -> Counter[str | None]:
    """Make so many calls of one model at once; return how many are in flight by slot, then answer all."""
    waiting = [ask(pool, "1b") for _ in range(calls)]
    await asyncio.sleep(0.01)
    in_flight = Counter(call.result().slot for call in waiting if call.done())
    while waiting:
        for call in [call for call in waiting if call.done()]:
            waiting.remove(call)
            free(pool, call.result())
        await asyncio.sleep(0.01)
    return in_flight


async def test_a_slot_is_sent_one_call_more_than_it_has_places() -> None:
    pool = new_pool((2, []))
    assert await in_flight_of(pool, 10) == {"gpu0": 2 + PREFETCH}


async def test_an_empty_slot_helps_where_the_work_lasts_longer_than_a_call() -> None:
    # A call is assumed to take 5 s: on 2 places, three or more waiting calls take longer than one call.
    assert await in_flight_of(new_pool((2, []), (2, [])), 3 + 2) == {"gpu0": 3}
    assert await in_flight_of(new_pool((2, []), (2, [])), 3 + 3) == {"gpu0": 3, "gpu1": 3}


async def test_slots_with_the_same_model_share_its_calls() -> None:
    pool = new_pool((2, []), (2, []))
    await in_flight_of(pool, 100)
    assert await in_flight_of(pool, 2) == {"gpu0": 1, "gpu1": 1}


@pytest.mark.parametrize(
    ("load_s", "waiting", "worth"), [(9.0, 5, False), (9.0, 6, True), (1.0, 1, False), (1.0, 2, True)]
)
async def test_a_slot_changes_to_help_by_the_measured_cost_of_calls_and_loads(
    load_s: float, waiting: int, *, worth: bool
) -> None:
    pool = new_pool((1, []), (1, []))
    for model in ("3b", "1b"):
        for loaded_s in (load_s, 0.0):
            place = await pool.acquire(Need(model, 0, 0.0))
            await asyncio.sleep(loaded_s + 2)
            free(pool, place, load_s=loaded_s)
    assert len(await in_flight_of(pool, 1 + PREFETCH + waiting)) == 1 + worth


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
    again = await pool.acquire(Need("1b", 9, 0.0))  # calls of the loaded model still come first
    free(pool, second)
    free(pool, again)
    assert (await other).need.model == "3b"


async def test_a_call_for_another_model_has_its_turn_however_busy_the_slot_is_kept() -> None:
    """Its turn comes after four rounds, each 64 times as long as one change to each model."""
    pool = new_pool((2, []))
    for model in ("8b", "1b"):
        place = await pool.acquire(Need(model, 0, 0.0))
        await asyncio.sleep(5.0)
        free(pool, place, load_s=4.0)

    async def keep_busy() -> None:
        while True:
            place = await pool.acquire(Need("1b", 0, 0.0))
            await asyncio.sleep(1.0)
            free(pool, place)

    async with asyncio.TaskGroup() as group:
        busy = [group.create_task(keep_busy()) for _ in range(6)]
        await asyncio.sleep(100)
        joined_at = now()
        place = await pool.acquire(Need("8b", 9, 0.0))
        patience = 4 * 64 * 2 * (1 + 4)
        assert patience <= now() - joined_at <= patience + 2
        await asyncio.sleep(2)
        assert pool.snapshot()["in_flight"] == 1  # the call has the slot for itself until it is answered
        free(pool, place)
        await asyncio.sleep(30)  # longer than the slot hesitates
        assert pool.snapshot()["slots"][0]["model"] == "1b"
        for task in busy:
            task.cancel()


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
    working, *_ = [await pool.acquire(Need("1b", 0, 0.0)) for _ in range(1 + PREFETCH)]
    assert (broken.slot, working.slot, now()) == ("gpu0", "gpu1", 0)
    assert (pool.is_down(broken), pool.is_down(working)) == (True, False)
    back = await pool.acquire(Need("1b", 0, 0.0))
    assert back.slot == "gpu0"
    assert now() == pytest.approx(1)
    free(pool, back)
    assert not pool.is_down(back)


async def test_one_dropped_connection_takes_no_slot_out() -> None:
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


async def test_a_probe_that_no_waiting_call_needs_sets_no_timer() -> None:
    pool = new_pool((1, ["1b"]), (1, ["3b"]))
    free(pool, await pool.acquire(Need("1b", 0, 0.0)), REFUSED)
    busy, *_ = [await pool.acquire(Need("3b", 0, 0.0)) for _ in range(1 + PREFETCH)]
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
    first, second, _ = [await pool.acquire(Need("1b", 0, 0.0)) for _ in range(3)]
    await asyncio.sleep(5)
    free(pool, first, load_s=4.0)
    free(pool, second)
    await asyncio.sleep(5)
    ask(pool, "3b").cancel()
    more = [ask(pool, "1b") for _ in range(3)]
    for _ in range(2):
        await asyncio.sleep(0)
    shown = pool.snapshot()
    for task in more:
        task.cancel()
    assert (shown["in_flight"], shown["concurrency"], shown["queued"], shown["down_s"]) == (3, 3, 1, None)
    assert shown["slots"][0] == {
        "slot": "gpu0", "url": "http://gpu0:11434", "model": "1b", "resident": ["1b"], "in_flight": 3, "parallel": 2,
        "queued": 1, "busy_s": 3.5, "loading_s": 4.0, "idle_s": 2.5, "down_s": 0.0, "busy_share": 0.35,
        "tokens_per_s": 2.2, "calls": 2, "loads": 1, "on_gpu": None, "down": False,
    }  # fmt: skip
    assert {n: v for n, v in shown["slots"][1].items() if v} == {
        "slot": "gpu1", "url": "http://gpu1:11434", "parallel": 1, "idle_s": 10.0,
    }  # fmt: skip


async def test_slots_that_turn_in_the_same_moment_turn_to_different_models() -> None:
    pool = new_pool((2, []), (2, []), (2, []), (2, []))
    calls = [ask(pool, "1b", i) for i in range(60)]
    await asyncio.sleep(1)
    held = [call.result() for call in calls if call.done()]
    assert {place.slot for place in held} == {"gpu0", "gpu1", "gpu2", "gpu3"}
    for call in calls:
        call.cancel()
    waiting = [ask(pool, model, 100 + i) for i in range(300) for model in ("3b", "8b")]
    await asyncio.sleep(1)
    for n in range(4):  # each slot has room, and calls of the old model in flight: it decides now and loads later
        held.remove(first := next(place for place in held if place.slot == f"gpu{n}"))
        free(pool, first)
    await asyncio.sleep(1)
    for place in held:
        free(pool, place)
    await asyncio.sleep(1)
    models = Counter(call.result().need.model for call in waiting if call.done())
    assert models == dict.fromkeys(("3b", "8b"), 2 * (2 + PREFETCH))
    for call in waiting:
        call.cancel()
