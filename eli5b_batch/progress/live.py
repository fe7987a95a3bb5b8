"""The dashboard on a terminal while the run goes on.

Must not know: which figures are drawn (`frame.py`), how the run works.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

from rich.control import Control
from rich.live import Live

from eli5b_batch.progress.frame import render
from eli5b_batch.progress.periodic import Periodic, takes_writes
from eli5b_batch.progress.snapshot import SLOT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from eli5b_batch.progress.snapshot import Snapshot

_REDRAW_S: Final = 0.25
"""Seconds between two ticks: at most four pictures are drawn a second."""
_CLOCK_S: Final = 1.0
"""Seconds until a new picture is drawn if only the clock has moved."""

_CLOCK_FIELDS: Final = frozenset(
    {
        "updated_at",
        "elapsed_s",
        "eta_s",
        "rate_per_s",
        "requests_per_minute",
        "tokens_per_minute",
        "tokens_per_s",
        "waiting_for",  # it names the time left to wait
        "last_error_s",
        "busy_share",
        *SLOT_SECONDS,  # providers have a `down_s` as well
    }
)
"""Fields that move with the clock even when nothing happens."""


def can_live(console: Console) -> bool:
    """True if `console` is a real terminal that can be redrawn and shows the characters of the frame.

    The file itself is asked, since environment variables that force colour make rich call a pipe a terminal.
    """
    return (
        console.file.isatty()
        and console.is_terminal
        and not console.is_dumb_terminal
        and console.encoding.startswith("utf")
    )


def live_display(console: Console) -> Live:
    """Return a rich `Live` that draws only on request.

    Text that other code prints to a standard stream is shown above the frame if that stream is a terminal. If the
    stream is redirected to a file, the text must arrive in the file.
    """
    return Live(
        console=console,
        auto_refresh=False,
        vertical_overflow="crop",
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),
    )


class LiveDashboard(Periodic):
    """Redraws the dashboard in place, at most four times a second; the last picture stays on the screen.

    A picture is drawn when a figure changed, and once a second when only the clock moved. Nothing is drawn while the
    terminal takes no output (Ctrl-S).

    Args:
        snapshot: returns the newest snapshot, a new object each time.
        console: a terminal (`can_live`).
        on_error: called with the error when drawing fails; the run goes on.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], console: Console, *, on_error: Callable[[Exception], None]
    ) -> None:
        super().__init__(_REDRAW_S, on_error)
        self._snapshot = snapshot
        self._console = console
        self._live = live_display(console)
        self._figures: Any = None
        self._size = console.size
        self._drawn_at = float("-inf")

    def _open(self) -> None:
        self._size = self._console.size
        self._live.start()

    def _tick(self) -> None:
        snapshot = self._snapshot()
        figures, size, now = without_clock(snapshot), self._console.size, asyncio.get_running_loop().time()
        if figures == self._figures and size == self._size and now - self._drawn_at < _CLOCK_S:
            return
        if not takes_writes(self._console.file):
            return
        if size != self._size:
            # The terminal has wrapped the old picture anew, so its height is unknown: only a wipe removes it.
            self._console.control(Control.home(), Control.clear())
        self._live.update(render(snapshot, height=size.height - 1), refresh=True)
        self._figures, self._size, self._drawn_at = figures, size, now

    def _close(self) -> None:
        try:
            self._live.update(render(self._snapshot(), height=self._console.size.height - 1))
            for stream in (sys.stdout, sys.stderr):
                stream.flush()  # a line begun while the streams were redirected
        finally:
            self._live.stop()


def without_clock(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a copy of the JSON `value` without the fields that move with the clock."""
    if isinstance(value, dict):
        return {name: without_clock(item) for name, item in value.items() if name not in _CLOCK_FIELDS}
    if isinstance(value, list):
        return [without_clock(item) for item in value]
    return value
