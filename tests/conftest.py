"""What holds for every test."""

from __future__ import annotations

import asyncio


def pytest_configure() -> None:
    # Otherwise the plugins' question "which loop is current?" makes one in the first test that has none,
    # nobody closes it, and its ResourceWarning fails whichever test runs when it is collected.
    asyncio.set_event_loop(None)
