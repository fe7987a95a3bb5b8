"""window.py: how many problems are in flight, on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.run.problem_window import PAUSE_S, ProblemWindow

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.looptime(idle_timeout=0.1)


class Bench:
    """Problems that enter one after another, as far as they are let in."""

    def __init__(self, least: int, most: int, problems: int = 1000) -> None:
        self.wanted = 0
        """More problems than are in flight are wanted up to so many."""
        self.asked = 0
        self.begun: list[int] = []
        self.window = ProblemWindow(least, lambda: most, self.wants_more)
        self.entering = asyncio.create_task(self._enter(problems))

    def wants_more(self) -> bool:
        self.asked += 1
        return self.window.active < self.wanted

    async def _enter(self, problems: int) -> None:
        for i in range(problems):
            await self.window.enter()
            self.begun.append(i)

    async def settled(self) -> int:
        """Problems in flight when nothing moves any more."""
        await asyncio.sleep(1)
        assert self.begun == list(range(len(self.begun)))
        return self.window.active


async def test_the_least_enter_at_once_whatever_is_wanted() -> None:
    bench = Bench(least=8, most=100)
    for _ in range(3):
        await asyncio.sleep(0)
    assert bench.window.active == 8
    assert bench.asked == 0


async def test_beyond_them_as_many_enter_as_are_wanted() -> None:
    bench = Bench(least=8, most=100)
    bench.wanted = 30
    assert await bench.settled() == bench.window.size == 30


async def test_there_are_never_more_than_the_most() -> None:
    bench = Bench(least=8, most=20)
    bench.wanted = 1000
    assert await bench.settled() == 20
    bench.window.look()
    assert await bench.settled() == 20
    bench.window.leave()
    assert await bench.settled() == 20
    assert len(bench.begun) == 21


async def test_a_size_that_is_given_is_kept_to() -> None:
    bench = Bench(least=5, most=5)
    bench.wanted = 1000
    assert await bench.settled() == 5
    for _ in range(3):
        bench.window.leave()
    assert await bench.settled() == bench.window.size == 5
    assert bench.asked == 0


async def test_least_is_meant_even_where_most_is_less() -> None:
    assert await Bench(least=8, most=3).settled() == 8


async def test_while_nothing_is_wanted_it_waits_without_a_stir_until_it_is_told_to_look() -> None:
    bench = Bench(least=2, most=100)
    assert await bench.settled() == 2
    asked, bench.wanted = bench.asked, 4
    await asyncio.sleep(1e6)
    assert (bench.asked, bench.window.active) == (asked, 2)
    bench.window.look()
    assert await bench.settled() == 4


async def test_a_problem_that_leaves_makes_room_at_once_below_the_least() -> None:
    bench = Bench(least=2, most=100)
    bench.wanted = 5
    assert await bench.settled() == 5
    bench.wanted = 0
    for left in (4, 3, 2, 2):
        bench.window.leave()
        assert await bench.settled() == left
    assert len(bench.begun) == 6


async def test_what_is_wanted_a_moment_after_it_was_told_to_look_is_seen() -> None:
    """A call that was answered leaves its place a little later; the next one of the slot is taken out of the queue."""
    bench = Bench(least=2, most=100)
    await bench.settled()
    bench.window.look()
    await asyncio.sleep(PAUSE_S / 2)
    bench.wanted = 3
    assert await bench.settled() == 3


async def test_problems_that_all_leave_while_it_looks_are_followed_by_others() -> None:
    """As those of a resumed run do, whose calls are all on record."""
    bench = Bench(least=2, most=100)
    await asyncio.sleep(PAUSE_S / 2)
    for _ in range(2):
        bench.window.leave()
    assert await bench.settled() == 2
    assert len(bench.begun) == 4


async def test_the_calls_of_one_problem_are_counted_before_the_next_is_begun() -> None:
    """Each problem brings three calls, a few turns of the loop after it began; nine are wanted."""
    queued = 0

    async def problem() -> None:
        nonlocal queued
        for _ in range(3):
            await asyncio.sleep(0)
        queued += 3

    window = ProblemWindow(1, lambda: 100, lambda: queued < 9)
    async with asyncio.TaskGroup() as group:

        async def begin() -> None:
            for _ in range(100):
                await window.enter()
                group.create_task(problem())

        beginning = asyncio.create_task(begin())
        await asyncio.sleep(1)
        beginning.cancel()
    assert window.active == 3


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 6, PAUSE_S / 2, 1.0])
async def test_one_that_is_cancelled_while_it_waits_leaves_nothing_behind(at: float) -> None:
    bench = Bench(least=2, most=100)
    await bench.settled()
    bench.window.look()
    for _ in range(int(at)):
        await asyncio.sleep(0)
    await asyncio.sleep(at % 1)
    bench.entering.cancel()
    bench.wanted = 3
    assert await bench.settled() == 2
    entering = asyncio.create_task(bench.window.enter())
    await asyncio.sleep(1)
    assert entering.done()
    assert bench.window.active == 3


@given(
    least=st.integers(1, 8),
    most=st.integers(1, 20),
    events=st.lists(
        st.tuples(st.sampled_from(["leave", "look", "want"]), st.integers(0, 25), st.sampled_from([0, 0.01, 1])),
        max_size=40,
    ),
)
@settings(deadline=None, max_examples=50)
def test_whatever_happens_between_least_and_most_are_in_flight(
    least: int, most: int, events: list[tuple[str, int, float]]
) -> None:
    async def main() -> None:
        bench = Bench(least, most)
        await bench.settled()
        for event, wanted, pause in events:
            if event == "leave" and bench.window.active:
                bench.window.leave()
            elif event == "want":
                bench.wanted = wanted
                bench.window.look()
            else:
                bench.window.look()
            assert bench.window.active <= max(least, most)
            await asyncio.sleep(pause)
        bench.window.look()
        settled = await bench.settled()
        assert max(least, min(most, bench.wanted)) <= settled <= max(least, most)
        bench.entering.cancel()

    run_virtually(main)


def run_virtually(main: Callable[[], object]) -> None:
    """On a loop and a clock of its own."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(noop_cycles=0, idle_timeout=0.1)) as runner:
        runner.run(main())  # type: ignore[arg-type]
