"""What every block of the dashboard is made of: a table that is drawn in as many lines as it gets.

Must not know: which figures are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.progress_bar import ProgressBar
from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import JustifyMethod, RenderableType

FLOOR: Final = 3
"""Lines that are enough for every block: its column heads, one row, one line for the rest."""
LEFT: Final = "left"


class Block(NamedTuple):
    """One part of the screen.

    Attributes:
        title: the title in its frame.
        want: how many lines it takes to show everything.
        build: draws the block in the given number of lines, at least `min(want, FLOOR)`.
    """

    title: str
    want: int
    build: Callable[[int], RenderableType]


def bar(done: float, total: float, style: str = "cyan") -> ProgressBar:
    """Return a bar that is full when `done` reaches `total`, also if both are 0."""
    return ProgressBar(total=total, completed=done, complete_style=style, finished_style="green")


def grid(*columns: Column, head: bool = True) -> Table:
    """Return a table without rules over the whole width, one line per row.

    Columns with a ratio share the width that the others leave.
    """
    table = Table(
        *columns,
        box=None,
        expand=True,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_header=head,
        header_style="dim",
    )
    for each in columns:
        each.no_wrap = True
    return table


def column(name: str, justify: JustifyMethod = "right", *, ratio: int | None = None) -> Column:
    """Return a column of figures, on the right; or of words, with `justify=LEFT`."""
    return Column(name, justify=justify, ratio=ratio)


def rows_drawn(rows: int, room: int) -> int:
    """Return how many of `rows` are drawn one by one in `room` lines, the last of which may sum up the others."""
    return rows if rows <= room else max(room - 1, 0)
