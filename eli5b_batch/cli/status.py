"""`status`: how a run stands, seen from another process through its `progress.json`.

Must not know: how the run works; it talks to the run through the file only.
"""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Console

from eli5b_batch.progress.file import is_alive, read_progress
from eli5b_batch.progress.frame import render
from eli5b_batch.progress.live import can_live, live_display
from eli5b_batch.progress.plain import Trouble, plain_line
from eli5b_batch.progress.snapshot import ENDED, Snapshot
from eli5b_batch.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_S: Final = 1.0
"""Seconds between two looks; the run writes no more often."""
_PLAIN_EVERY: Final = 5
"""Looks between two lines when the screen can't be redrawn."""
_STALE_S: Final = 30.0
"""Age from which a running run's progress is worth a remark; it is rewritten every second."""


class _Look(NamedTuple):
    snapshot: Snapshot
    note: str
    over: bool


def status_view(
    run_dir: Path,
    console: Console,
    *,
    watch: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> None:
    """Print how the run in `run_dir` stands; with `watch`, until it has ended or Ctrl-C.

    Off a terminal it writes plain text without control characters or colour.

    Args:
        run_dir: the run folder.
        console: where to print.
        watch: look again every second.
        sleep: waits so many seconds.
        now: the time, seconds since 1970.

    Raises:
        RunFolderError: see `read_progress`.
    """
    look = _look(run_dir, now)
    if look.over or not watch:
        _print(look, console)
        return
    with contextlib.suppress(KeyboardInterrupt):  # how a watch is left; nothing went wrong
        if can_live(console):
            _watch_live(run_dir, console, look, sleep, now)
        else:
            _print(_watch_plain(run_dir, console, look, sleep, now), console)


def _look(run_dir: Path, now: Callable[[], float]) -> _Look:
    snapshot = read_progress(run_dir)
    if snapshot["state"] in ENDED:
        return _Look(snapshot, "", over=True)
    if not is_alive(snapshot):
        # It may have written its last word between our reading and our asking; now it can't any more.
        snapshot = read_progress(run_dir)
        if snapshot["state"] in ENDED:
            return _Look(snapshot, "", over=True)
        note = f"state {snapshot['state']}, but process {snapshot['pid']} is gone: resume with the same command"
        return _Look(snapshot, note, over=True)
    age = now() - datetime.fromisoformat(snapshot["updated_at"]).timestamp()
    note = f"no news from process {snapshot['pid']} for {duration(age)}" if age > _STALE_S else ""
    return _Look(snapshot, note, over=False)


def _watch_live(
    run_dir: Path, console: Console, look: _Look, sleep: Callable[[float], None], now: Callable[[], float]
) -> None:
    with live_display(console) as live:
        while True:
            live.update(render(look.snapshot, height=console.size.height - 1, note=look.note), refresh=True)
            if look.over:
                return
            sleep(_LOOK_S)
            look = _look(run_dir, now)


def _watch_plain(
    run_dir: Path, console: Console, look: _Look, sleep: Callable[[float], None], now: Callable[[], float]
) -> _Look:
    looks, trouble = 0, Trouble()
    while not look.over:
        if looks % _PLAIN_EVERY == 0:
            console.file.writelines(f"{line}\n" for line in (_plain(look), *trouble.lines(look.snapshot)))
            console.file.flush()
        looks += 1
        sleep(_LOOK_S)
        look = _look(run_dir, now)
    return look


def _plain(look: _Look) -> str:
    return f"{plain_line(look.snapshot)} | {look.note}" if look.note else plain_line(look.snapshot)


def _print(look: _Look, console: Console) -> None:
    if can_live(console):
        console.print(render(look.snapshot, note=look.note))
    elif console.encoding.startswith("utf"):
        plain = Console(file=console.file, force_terminal=False, color_system=None, width=console.width)
        plain.print(render(look.snapshot, note=look.note))
    else:
        console.file.writelines(f"{line}\n" for line in (_plain(look), *Trouble().lines(look.snapshot)))
