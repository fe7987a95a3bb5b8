"""How far a command is: a bar on a terminal once it takes longer than a second, a line every five seconds elsewhere.

Must not know: what is waited for.
"""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, Final, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from eli5b_batch.text import percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

PATIENCE_S: Final = 1.0
"""Nothing is drawn before so many seconds."""
_REDRAW_S: Final = 0.1
_LINE_S: Final = 5.0
"""Seconds between two lines off a terminal."""


class ProgressBar:
    """Shows how far a command is, from `with` to its end.

    Args:
        console: where the bar is drawn, if it is a terminal.
        lines: where lines go off a terminal; None: nowhere.
        patience_s: seconds before the bar is drawn.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        console: Console,
        lines: IO[str] | None,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._task = self._bar.add_task("", total=1.0)
        self._lines = lines
        self._draws = console.is_terminal
        self._clock = clock
        self._next = clock() + (patience_s if self._draws else _LINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:  # stopped without, it would write an empty line
            self._bar.stop()

    def show(self, what: str, share: float) -> None:
        """Move the bar or write a line, unless that was just done: `what` is done to this share (0..1)."""
        now = self._clock()
        if now < self._next:
            return
        if self._draws:
            self._bar.start()
            self._bar.update(self._task, description=what, completed=share)
            self._bar.refresh()
        elif self._lines is not None:
            self._lines.write(f"eli5b-batch: {what}, {percent(share)}\n")
            self._lines.flush()
        self._next = now + (_REDRAW_S if self._draws else _LINE_S)
