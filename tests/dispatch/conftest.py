"""A virtual clock: tests here wait for hours of it, and none of them for real time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import looptime
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.fixture(scope="session")
def virtual() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine on a loop and a virtual clock of its own, as each example of a property needs one.

    Waiting for what can never come ends at once, with looptime's IdleTimeoutError.
    """

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(noop_cycles=0, idle_timeout=0.1)) as runner:
            runner.run(main)

    return run
