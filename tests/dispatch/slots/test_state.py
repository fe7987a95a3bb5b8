"""state.py: one slot's books on a clock set by hand."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.dispatch.capacity import Need, Place
from eli5b_batch.dispatch.slots.state import LOAD_S, SlotState
from eli5b_batch.errors import CallError, RetryableError
from eli5b_batch.job.schema import PREFETCH, Slot

REFUSED = RetryableError("connection", "can't connect", unsent=True)
DROPPED = RetryableError("connection", "dropped")
BAD = CallError("bad_request", "400")
MODELS = ["1b", "3b", "8b"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """One slot on a clock set by hand."""

    def __init__(self, parallel: int = 2, models: list[str] | None = None) -> None:
        self.clock = Clock()
        slot = Slot(gpu=0, url="http://gpu0", parallel=parallel, models=models or [])
        self.server = SlotState(slot, self.clock)

    def start(self, model: str = "1b", times: int = 1) -> list[Place]:
        return [self.server.start(Need(model, 0, 0.0)) for _ in range(times)]

    def answer(self, place: Place, load_s: float = 0.0) -> None:
        self.server.finish(place, 10, None, load_s)

    def fail(self, place: Place, failure: CallError = DROPPED) -> None:
        self.server.finish(place, 0, failure, 0.0)

    def after(self, seconds: float) -> SlotState:
        self.clock.now += seconds
        return self.server

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each kind that are not 0."""
        shown = self.server.snapshot({})
        return {name: shown[name] for name in ("busy_s", "loading_s", "idle_s", "down_s") if shown[name]}

    def load(self, model: str = "1b", load_s: float = 4.0) -> None:
        """Load a model by a call that takes no other time."""
        (place,) = self.start(model)
        self.after(load_s)
        self.answer(place, load_s)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start"] * 4 + ["answer"] * 4 + ["drop", "refuse", "400", "unsent", "dead", "alive", "check"]),
        st.floats(0, 20),
        st.sampled_from(MODELS),
        st.sampled_from([0.0, 0.0, 0.01, 1.0, 5.0, 1e4]),
        st.integers(0),
    ),
    max_size=60,
)


@given(events=EVENTS, parallel=st.integers(1, 4))
@settings(max_examples=200)
def test_every_second_is_busy_loading_idle_or_down(
    events: list[tuple[str, float, str, float, int]], parallel: int
) -> None:
    """Calls start, are answered, fail and are given back; the server dies and comes back; any call reports a load."""
    bench = Bench(parallel)
    server, began, places = bench.server, bench.clock.now, list[Place]()
    for event, passed, model, load_s, pick in events:
        bench.after(passed)
        if event == "start" and server.has_room() and (model in server.resident or not places):
            places += bench.start(model)
        elif event == "dead":
            server.take_out()
        elif event == "alive":
            server.breaker.reachable()
        elif event == "check":
            server.set_loaded({model: 1.0})
        elif places and event != "start":
            place = places.pop(pick % len(places))
            failure = {"drop": DROPPED, "refuse": REFUSED, "400": BAD}.get(event)
            server.finish(place, None if event == "unsent" else 1, failure, load_s if event == "answer" else 0.0)
        seconds = bench.seconds()
        assert min(seconds.values(), default=0.0) >= 0
        assert sum(seconds.values()) == pytest.approx(bench.clock.now - began, abs=0.01)
        assert server.in_flight == len(places) <= parallel + PREFETCH
    assert server.snapshot({})["busy_share"] <= 1


@pytest.mark.parametrize(
    ("reported_s", "loading_s", "loads"),
    [
        ([4.0, 0.0, 0.0], 4.0, 1),
        ([0.0, 4.0, 0.0], 4.0, 1),
        ([4.0, 4.0, 4.0], 4.0, 1),
        ([3.5, 4.0, 3.0], 4.0, 1),
        ([0.0, 0.0, 0.0], 0.0, 0),
        ([0.05, 0.01, 0.05], 0.0, 0),
    ],
)
def test_a_load_counts_once_whichever_of_the_calls_that_waited_for_it_report_it(
    reported_s: list[float], loading_s: float, loads: int
) -> None:
    bench = Bench()
    places = bench.start(times=3)
    bench.after(6.0)
    for place, load_s in zip(places, reported_s, strict=True):
        bench.answer(place, load_s)
    shown = bench.server.snapshot({})
    assert (shown["loading_s"], shown["busy_s"], shown["loads"]) == (loading_s, 6.0 - loading_s, loads)


def test_a_reload_that_several_calls_report_counts_once_and_takes_its_share_of_each_place() -> None:
    bench = Bench(parallel=4)
    bench.load()
    places = bench.start(times=1)  # the server has dropped the model by itself; one of four places is in use
    bench.after(3.0)
    places += bench.start(times=2)
    bench.after(5.0)
    for place, load_s in zip(places, (4.0, 1.0, 1.0), strict=True):
        bench.answer(place, load_s)
    assert bench.server.snapshot({})["loads"] == 2
    # 4 of the 8 s were loading; of the rest, all with three places in use
    assert bench.seconds() == {"loading_s": 8.0, "busy_s": 3.0, "idle_s": 1.0}


def test_calls_that_fail_on_a_loaded_server_are_no_loading() -> None:
    bench = Bench(parallel=1)
    bench.load()
    for _ in range(2):
        (place,) = bench.start()
        bench.after(60.0)
        bench.fail(place, RetryableError("timeout", "no answer in time"))
    assert bench.seconds() == {"loading_s": 4.0, "busy_s": 120.0}
    assert bench.server.resident == {"1b": True}


def test_each_load_counts() -> None:
    bench = Bench()
    for i in range(6):
        bench.load(MODELS[i % 3])
    assert (bench.server.snapshot({})["loads"], bench.seconds()) == (6, {"loading_s": 24.0})


def test_a_model_that_the_server_dropped_by_itself_and_loads_anew_counts() -> None:
    bench = Bench(parallel=1)
    bench.load()
    bench.load()
    assert (bench.server.snapshot({})["loads"], bench.seconds()) == (2, {"loading_s": 8.0})


def test_the_time_of_a_load_is_known_once_a_reply_reports_it() -> None:
    bench = Bench()
    first, _ = bench.start(times=2)
    bench.after(9.0)
    assert bench.seconds() == {"busy_s": 9.0}
    bench.answer(first, 4.0)
    assert bench.seconds() == {"loading_s": 4.0, "busy_s": 5.0}
    bench.after(10.0)  # one of two places
    assert bench.seconds() == {"loading_s": 4.0, "busy_s": 10.0, "idle_s": 5.0}


def test_the_prefetched_call_is_no_more_than_busy() -> None:
    bench = Bench(parallel=2)
    bench.load()
    bench.start(times=3)
    bench.after(10.0)
    assert bench.seconds() == {"loading_s": 4.0, "busy_s": 10.0}


def test_time_without_a_server_is_down_even_while_a_probe_is_out() -> None:
    bench = Bench()
    bench.load()
    (lost,) = bench.start()
    bench.after(3.0)
    bench.server.take_out()
    bench.fail(lost)
    bench.after(7.0)
    (probe,) = bench.start()
    bench.after(5.0)
    assert probe.loading  # it may have been started anew
    bench.answer(probe)
    bench.after(2.0)
    assert bench.seconds() == {"loading_s": 4.0, "busy_s": 1.5, "down_s": 12.0, "idle_s": 3.5}


def test_a_failure_that_does_not_open_the_breaker_is_no_time_without_a_server() -> None:
    bench = Bench(parallel=1)
    bench.load()
    (place,) = bench.start()
    bench.after(3.0)
    bench.fail(place)
    assert bench.after(1.0).snapshot({})["down_s"] == 0
    assert not bench.server.resident["1b"]  # but it may have been started anew


def test_a_model_pushes_out_what_it_had_and_ends_the_turn() -> None:
    bench = Bench()
    bench.load("1b")
    bench.server.turning_to = "8b"
    assert set(bench.server.held_models) == {"8b"}
    (place,) = bench.start("3b")
    assert bench.server.resident == {"3b": False}
    assert place.loading
    assert set(bench.server.held_models) == {"3b"}  # and not the model that it would have turned to


def test_a_server_that_is_down_holds_nothing() -> None:
    bench = Bench()
    bench.load()
    assert set(bench.server.held_models) == {"1b"}
    bench.server.take_out()
    assert not bench.server.held_models
    assert not bench.server.has_room()
    assert bench.after(1.0).has_room()
    bench.start()
    assert not bench.server.has_room()  # one probe at a time


def test_all_calls_until_the_first_answer_wait_for_the_load() -> None:
    bench = Bench()
    first, second = bench.start(times=2)
    bench.answer(first)
    (third,) = bench.start()
    assert (first.loading, second.loading, third.loading) == (True, True, False)


def test_the_models_that_the_server_names_are_taken_to_be_in_its_memory() -> None:
    bench = Bench(models=["1b", "3b"])
    bench.load("1b")
    bench.server.set_loaded({"1b": 1.0, "3b": 0.5, "8b": 0.9})
    assert bench.server.resident == {"1b": True, "3b": True}  # without the model that it may not serve
    assert bench.server.on_gpu == 0.5
    (both,) = bench.start("3b")
    assert not both.loading
    assert set(bench.server.resident) == {"1b", "3b"}
    bench.answer(both)
    bench.server.set_loaded({})  # after a while without calls
    assert not bench.server.resident
    assert bench.server.snapshot({})["on_gpu"] is None


def test_the_models_that_a_server_names_while_it_loads_are_ignored() -> None:
    bench = Bench()
    bench.load("1b")
    (place,) = bench.start("3b")
    bench.server.set_loaded({"1b": 1.0})
    bench.server.set_loaded({"1b": 1.0, "3b": 1.0})
    assert bench.server.resident == {"3b": False}
    bench.answer(place, 4.0)
    bench.start("3b")
    bench.server.set_loaded({"1b": 1.0})  # an answer from before the load, read after it
    assert bench.server.resident == {"3b": True}
    bench.server.set_loaded({"1b": 1.0, "3b": 1.0})
    assert bench.server.resident == {"1b": True, "3b": True}


def test_a_load_of_some_milliseconds_is_none() -> None:
    bench = Bench()
    (place,) = bench.start()
    bench.after(1.0)
    bench.answer(place, LOAD_S / 2)
    assert (bench.server.snapshot({})["loads"], bench.seconds()) == (0, {"busy_s": 0.5, "idle_s": 0.5})


@pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)
async def test_calls_in_flight_on_a_dead_server_come_back_at_once() -> None:
    loop = asyncio.get_running_loop()
    server = SlotState(Slot(gpu=0, url="http://gpu0", parallel=3), loop.time)
    unsent, *places = [server.start(Need("1b", 0, 0.0)) for _ in range(3)]

    async def hang(place: Place) -> float:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as place.lifeline:
                await asyncio.sleep(math.inf)
        return loop.time()

    async def quick(place: Place) -> None:
        async with asyncio.timeout(None) as place.lifeline:
            await asyncio.sleep(1)

    hanging = [asyncio.create_task(hang(place)) for place in places]
    await quick(unsent)
    server.finish(unsent, 1, None, 0.0)
    await asyncio.sleep(4)
    server.take_out()
    server.take_out()
    assert await asyncio.gather(*hanging) == [5, 5]
