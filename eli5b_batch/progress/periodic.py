"""What every display of a run has in common: one task that looks every so often, and once at the end.

Must not know: what is looked at, or where it is shown. Time is the event loop's.
"""

from __future__ import annotations

import asyncio
import select
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Periodic(ABC):
    """Async context manager: `_tick` on entry, then every `interval_s` seconds; `_close` on exit.

    A run that costs money must not end because it can't be displayed. So whatever goes wrong while
    showing it is handed to `on_error`, and the next tick tries again. A fault that lasts is told once,
    and once more if it still stands at the end.

    Args:
        interval_s: seconds between two ticks.
        on_error: called with what went wrong; must not raise.
    """

    def __init__(self, interval_s: float, on_error: Callable[[Exception], None]) -> None:
        self._interval_s = interval_s
        self._on_error = on_error
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._open()
        self._guarded(self._tick)
        self._task = asyncio.create_task(self._run(), name=type(self).__name__)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._task.cancel()
        try:
            await asyncio.wait([self._task])
        finally:  # also when the run itself is being cancelled: a terminal must be given back
            self._failing = False
            self._guarded(self._close)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self._guarded(self._tick)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - see the class: told, and never the end of a run
            if not self._failing:
                self._on_error(error)
            self._failing = True
        else:
            self._failing = False

    def _open(self) -> None:  # noqa: B027 - most displays have nothing to open
        """Take hold of what is needed; an error here does end the run, which has not begun yet."""

    @abstractmethod
    def _tick(self) -> None:
        """Show how things stand."""

    @abstractmethod
    def _close(self) -> None:
        """Show how things ended and let go of everything."""


def takes_writes(stream: IO[str]) -> bool:
    """Whether a short write to `stream` would return at once.

    A terminal stopped with Ctrl-S, or a pipe whose reader pages, would otherwise stop the whole event
    loop, and with it a run that only wanted to say how far it is. Streams without a file descriptor
    always take writes.
    """
    try:
        descriptor = stream.fileno()
    except OSError:  # io.UnsupportedOperation: a StringIO
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
