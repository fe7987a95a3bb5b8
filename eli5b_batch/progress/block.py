"""What every block of the dashboard is made of: a table that is drawn in the lines there are.

Must not know: what is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.progress_bar import ProgressBar
from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import JustifyMethod, RenderableType

FLOOR: Final = 3
"""Lines in which every block can be drawn: its column heads, one row, one line for the rest."""
LEFT: Final = "left"


class Block(NamedTuple):
    """One part of the screen; `build(lines)` fits into `lines`, of which it needs `min(want, FLOOR)`."""

    title: str
    want: int
    build: Callable[[int], RenderableType]


def bar(done: float, total: float, style: str = "cyan") -> ProgressBar:
    """A bar that is full when `done` reaches `total`, and when there is nothing to do."""
    return ProgressBar(total=total, completed=done, complete_style=style, finished_style="green")


def grid(*columns: Column, head: bool = True) -> Table:
    """A table without rules over the whole width, a line per row; columns with a ratio take what is left."""
    table = Table(
        *columns,
        box=None,
        expand=True,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_header=head,
        header_style="dim",
    )
    for one in columns:
        one.no_wrap = True
    return table


def column(name: str, justify: JustifyMethod = "right", *, ratio: int | None = None) -> Column:
    """A column of figures, or one of words on the `LEFT`."""
    return Column(name, justify=justify, ratio=ratio)


def rows_drawn(rows: int, room: int) -> int:
    """How many of `rows` are drawn one by one in `room` lines; the last line stands for the others."""
    return rows if rows <= room else max(room - 1, 0)
