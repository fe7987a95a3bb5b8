"""Which event loop runs a coroutine from the command line.

Must not know: what runs on it. uvloop takes less CPU per call than asyncio's own loop, and reads sockets into one
buffer: asyncio's allocates 256 KiB for every read, and the heap frays (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """Run `main` to its end, on uvloop where there is one (not on Windows)."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 (not on every platform)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
