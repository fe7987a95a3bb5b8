"""A virtual clock: tests here wait for hours of it, and none of them for real time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import looptime
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from eli5b_batch.dispatch.capacity import Capacity


@pytest.fixture(scope="session")
def virtual() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine on a loop and a virtual clock of its own, as each example of a property needs one.

    Waiting for what can never come ends at once, with looptime's IdleTimeoutError.
    """

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(noop_cycles=0, idle_timeout=0.1)) as runner:
            runner.run(main)

    return run


@pytest.fixture(scope="session")
def working() -> Callable[[Capacity], AbstractAsyncContextManager[None]]:
    """Lets a capacity hand out places while the block runs; an error in its work is the test's."""

    @asynccontextmanager
    async def work(capacity: Capacity) -> AsyncIterator[None]:
        task = asyncio.create_task(capacity.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return work
