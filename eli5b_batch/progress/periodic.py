"""What every display of a run has in common: one task that shows the run at intervals, and once at the end.

Must not know: what is shown, or where. Time is the event loop's.
"""

from __future__ import annotations

import asyncio
import select
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Periodic(ABC):
    """Async context manager that calls `_tick` on entry and every `interval_s` seconds, and `_close` on exit.

    A run that costs money must not end because it can't be displayed. So any error of a tick is passed to `on_error`,
    and the next tick tries again. An error that lasts is passed on once, and once more if it still occurs at the end.

    Args:
        interval_s: seconds between two ticks.
        on_error: called with the error of a tick; must not raise.
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
        finally:  # also when the run itself is being cancelled: the terminal must be restored
            self._failing = False
            self._guarded(self._close)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self._guarded(self._tick)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is passed on, and must not end the run: see the class
            if not self._failing:
                self._on_error(error)
            self._failing = True
        else:
            self._failing = False

    def _open(self) -> None:  # noqa: B027 - most displays have nothing to open
        """Open the file or terminal of the display. An error ends the run, which has not begun yet."""

    @abstractmethod
    def _tick(self) -> None:
        """Show how the run stands."""

    @abstractmethod
    def _close(self) -> None:
        """Show how the run ended, and close the file or terminal of the display."""


def takes_writes(stream: IO[str]) -> bool:
    """True if a short write to `stream` would return at once.

    A write to a terminal stopped with Ctrl-S, or to a pipe whose reader pages, would stop the whole event loop, and
    with it the run. Streams without a file descriptor always take writes.
    """
    try:
        descriptor = stream.fileno()
    except OSError:  # io.UnsupportedOperation: a StringIO
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
