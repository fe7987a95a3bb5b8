"""A virtual clock: the tests of dispatch wait for hours on it, and never in real time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.forecast.virtual_clock import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.fixture(scope="session")
def virtual() -> Callable[[Coroutine[Any, Any, None]], None]:
    """A function that runs a coroutine on its own loop and virtual clock, as each example of a property needs them.

    A wait for an event that can never come ends at once, with StuckError.
    """
    return run_virtual
