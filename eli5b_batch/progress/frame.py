"""One picture of a run: lays the head and the blocks out for a given width and height.

Must not know: where the snapshot comes from, how often it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Column
from rich.text import Text

from eli5b_batch.progress.block import FLOOR, bar, grid
from eli5b_batch.progress.blocks import blocks
from eli5b_batch.progress.snapshot import ENDED
from eli5b_batch.text import clean, count, dollars, duration, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from eli5b_batch.progress.snapshot import CostProgress, Snapshot, State

_BOXED_FROM: Final = 34
"""Height, lines, from which every block gets a frame, which takes two lines each."""
_ORDINARY: Final = 8
"""A block of at most so many lines is shown whole before a longer block gets more than `FLOOR` lines."""
_WIDEST: Final = 140
"""Most columns of text: on a wider screen, the figures of one line would stand too far apart."""
_BORDER_LINES, _BORDER_COLUMNS = 2, 4

_STATE_STYLES: Final[dict[State, str]] = {
    "running": "cyan",
    "draining": "yellow",
    "done": "green",
    "stopped": "yellow",
    "failed": "red",
}


def render(snapshot: Snapshot, *, height: int | None = None, note: str = "") -> RenderableType:
    """Return the dashboard of a run, which fits the width at which it is printed.

    Args:
        snapshot: how the run stands.
        height: lines that the dashboard may take; the less important parts are cut first. None: as many as it needs.
        note: one sentence about the run that the snapshot can't hold, such as that its process is gone.
    """
    return _Frame(snapshot, height, note)


def share(wants: Sequence[int], room: int) -> list[int]:
    """Deal `room` lines out to parts that want `wants` lines, top first.

    Every part gets `FLOOR` lines (or the lines it wants, if those are fewer) before any part gets more. Parts at the
    end for which there are not so many get none and are left out of the result. Then the parts of ordinary size get
    all the lines they want, top first. The others get equal shares of the remaining lines.

    Returns:
        The lines of each part, from the top.
    """
    heights: list[int] = []
    for want in wants:
        least = min(want, FLOOR)
        if sum(heights) + least > room:
            break
        heights.append(least)
    left = room - sum(heights)
    for i, height in enumerate(heights):
        more = min(left, wants[i] - height) if wants[i] <= _ORDINARY else 0
        heights[i] += more
        left -= more
    while left > 0 and (hungry := [i for i, height in enumerate(heights) if height < wants[i]]):
        for i in hungry[:left]:
            heights[i] += 1
        left -= min(left, len(hungry))
    return heights


@dataclass(frozen=True, slots=True)
class _Frame:
    snapshot: Snapshot
    height: int | None
    note: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _WIDEST)
        boxed = self.height is None or self.height >= _BOXED_FROM
        border = _BORDER_LINES if boxed else 0
        title, lines = _title(self.snapshot), _head(self.snapshot, self.note)
        parts = blocks(self.snapshot, width - (_BORDER_COLUMNS if boxed else 0))
        wants = [part.want for part in parts]
        room = sum(wants)
        if self.height is not None:
            room = self.height - len(lines) - (border or 1) - border * len(parts)
        heights = share(wants, room)
        airy = not boxed and room >= sum(wants) + len(parts)

        style = "yellow" if self.snapshot["simulated"] else _STATE_STYLES[self.snapshot["state"]]
        drawn = [_boxed(title, Group(*lines), style) if boxed else Group(title, *lines)]
        for part, part_height in zip(parts, heights, strict=False):  # the last parts may get no room
            content = part.build(part_height)
            if boxed:
                drawn.append(_boxed(Text(part.title), content, "dim"))
            else:
                drawn.append(Group("", content) if airy else content)
        yield from console.render(Group(*drawn), options.update(width=width))


def _boxed(title: Text, content: RenderableType, style: str) -> RenderableType:
    return Panel(content, title=title, title_align="left", border_style=style)


def _title(snapshot: Snapshot) -> Text:
    title = Text(clean(snapshot["run"]), style="bold", no_wrap=True, overflow="ellipsis")
    if snapshot["simulated"]:
        title.append("  ").append(" SIMULATED ", style="bold black on yellow")
    state = snapshot["state"]
    title.append("  ").append(state, style=f"bold {_STATE_STYLES[state]}")
    title.append(f" {'after' if state in ENDED else 'for'} {duration(snapshot['elapsed_s'])}", style="not bold")
    if snapshot["exit_code"] is not None:
        title.append(f", exit code {snapshot['exit_code']}", style="not bold")
    return title


def _head(snapshot: Snapshot, note: str) -> list[RenderableType]:
    """Return the most important lines: problems, money, failures, and why the run ended."""
    lines = [_problems(snapshot), _money_and_grading(snapshot)]
    if snapshot["failures"]:
        lines.append(_failures(snapshot["failures"]))
    if snapshot["reason"]:
        lines.append(_line(Text(clean(snapshot["reason"]), style=_STATE_STYLES[snapshot["state"]])))
    if note:
        lines.append(_line(Text(clean(note), style="bold red")))
    return lines


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _problems(snapshot: Snapshot) -> RenderableType:
    problems = snapshot["problems"]
    table = grid(Column(), Column(ratio=1), Column(), Column(), Column(), Column(justify="right"), head=False)
    ended = snapshot["state"] in ENDED
    table.add_row(
        "problems",
        bar(problems["done"], problems["total"]),
        Text(f"{count(problems['done'])}/{count(problems['total'])}", style="bold"),
        Text(percent(problems["done"], problems["total"])),
        Text("" if ended else f"{count(problems['active'])} of {count(problems['window'])} in flight"),
        Text("" if ended else f"{duration(snapshot['eta_s'])} left", style="bold"),
    )
    return table


def _money_and_grading(snapshot: Snapshot) -> Text:
    text = _cost(snapshot["cost"])
    grading = snapshot["grading"]
    text.append(f"   graded {count(grading['done'])}, {count(grading['waiting'])} waiting")
    return _line(text)


def _cost(cost: CostProgress) -> Text:
    text = Text("cost      ").append(dollars(cost["spent_usd"]), style="bold")
    projected, budget = cost["projected_usd"], cost["budget_usd"]
    if projected is not None:
        over = budget is not None and projected > budget
        text.append(f", projected {dollars(projected)}", style="bold red" if over else "")
    text.append(f", budget {dollars(budget)}" if budget is not None else ", no budget")
    return text


def _failures(failures: dict[str, int]) -> Text:
    classes = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    text = Text("failed    ").append(count(sum(failures.values())), style="bold red")
    text.append(": " + ", ".join(f"{clean(name)} {count(number)}" for name, number in classes))
    return _line(text)
