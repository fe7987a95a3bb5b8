"""One picture of a run: lays the head and the blocks out for the width and height there are.

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
"""Height from which every block gets a frame, which costs two lines each."""
_ORDINARY: Final = 8
"""Lines up to which a block is shown whole before a longer one gets more than the least."""
_WIDEST: Final = 140
"""Wider, the figures of a line stand too far apart to be read as one."""
_BORDER_LINES, _BORDER_COLUMNS = 2, 4

_STATE_STYLES: Final[dict[State, str]] = {
    "running": "cyan",
    "draining": "yellow",
    "done": "green",
    "stopped": "yellow",
    "failed": "red",
}


def render(snapshot: Snapshot, *, height: int | None = None, note: str = "") -> RenderableType:
    """The dashboard of a run, for the width at which it is printed.

    Args:
        snapshot: how the run stands.
        height: lines it may take; the less important is cut first. None: as many as it needs.
        note: one sentence about the run that the snapshot can't know, such as that its process is gone.
    """
    return _Frame(snapshot, height, note)


def share(wants: Sequence[int], room: int) -> list[int]:
    """Deal `room` lines out to parts that want so many each, top first.

    Everyone gets `FLOOR` (or its want, if that is less) before anyone gets more; parts at the end that
    can't have that get none, and are left out of the result. Then those of ordinary size are filled, top
    first; the others get equal parts of what is left.
    """
    given: list[int] = []
    for want in wants:
        least = min(want, FLOOR)
        if sum(given) + least > room:
            break
        given.append(least)
    left = room - sum(given)
    for i, got in enumerate(given):
        more = min(left, wants[i] - got) if wants[i] <= _ORDINARY else 0
        given[i] += more
        left -= more
    while left > 0 and (hungry := [i for i, got in enumerate(given) if got < wants[i]]):
        for i in hungry[:left]:
            given[i] += 1
        left -= min(left, len(hungry))
    return given


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
        given = share(wants, room)
        airy = not boxed and room >= sum(wants) + len(parts)

        style = "yellow" if self.snapshot["simulated"] else _STATE_STYLES[self.snapshot["state"]]
        drawn = [_boxed(title, Group(*lines), style) if boxed else Group(title, *lines)]
        for part, part_height in zip(parts, given, strict=False):  # the last parts may get no room
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
    """What matters most, a line each: problems, money, and what went wrong."""
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
