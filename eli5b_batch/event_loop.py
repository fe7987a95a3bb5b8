"""The event loop that runs a command's coroutine: uvloop, or asyncio's own on Windows.

Must not know: what runs on the loop. uvloop takes less CPU per call than asyncio's loop, and reads sockets into one
buffer; asyncio's loop allocates 256 KiB for every read, which fragments the heap (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """Run `main` to its end and return its result; uvloop is used except on Windows."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 (not on every platform)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
