"""A virtual clock: tests here wait for hours of it, and none of them for real time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.forecast.virtual_clock import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.fixture(scope="session")
def virtual() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine on a loop and a virtual clock of its own, as each example of a property needs one.

    Waiting for what can never come ends at once, with StuckError.
    """
    return run_virtual
