"""rehearsal/clock.py: time that passes only while nothing can run."""

from __future__ import annotations

import asyncio

import pytest

from eli5b_batch.forecast.virtual_clock import StuckError, run_virtual


def test_a_week_of_sleep_is_over_at_once_and_every_waker_sees_its_own_moment() -> None:
    seen: list[tuple[float, int]] = []

    async def wake(after: float, number: int) -> None:
        await asyncio.sleep(after)
        seen.append((asyncio.get_running_loop().time(), number))

    async def main() -> float:
        async with asyncio.TaskGroup() as group:
            for number, after in enumerate((7 * 86_400.0, 0.1, 0.3, 0.1)):
                group.create_task(wake(after, number))
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 7 * 86_400
    assert seen == [(0.1, 1), (0.1, 3), (0.3, 2), (7 * 86_400, 0)]


def test_work_takes_no_time() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 0.0


def test_waiting_for_what_never_comes_is_an_error_and_no_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(StuckError):
        run_virtual(main())
