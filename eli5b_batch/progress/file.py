"""`progress.json`: writes the snapshot of a run where other programs can read it, and reads it back.

Must not know: how a run works, how a snapshot is displayed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from eli5b_batch.errors import RunFolderError
from eli5b_batch.progress.periodic import Periodic
from eli5b_batch.progress.snapshot import (
    SLOT_SECONDS,
    SNAPSHOT_SCHEMA,
    ProviderProgress,
    SlotProgress,
    Snapshot,
    StepProgress,
)
from eli5b_batch.records.disk import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRESS: Final = "progress.json"
"""The name of the file in the run folder."""

_SLOT_DEFAULTS: Final[dict[str, Any]] = {
    "resident": [],
    "on_gpu": None,
    "down": False,
    "loads": 0,
    **dict.fromkeys(SLOT_SECONDS, 0.0),
}
_ROWS: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "steps": (StepProgress, {"began_s": None, "ended_s": None}),
    "providers": (ProviderProgress, {"waiting_for": None, "last_error_s": None, "down_s": None, "limit_history": []}),
    "slots": (SlotProgress, _SLOT_DEFAULTS),
    "earlier_slots": (SlotProgress, _SLOT_DEFAULTS),
}
"""For each part that is a list: the type of its rows, and the defaults of the fields that earlier versions of the same
schema did not write."""


class ProgressFile(Periodic):
    """Rewrites the file with the newest snapshot on entry, every second, and on exit.

    A start without slots keeps the slots of the last start that had any in the file, for the report.

    Args:
        path: the file; its folder must exist.
        snapshot: returns the newest snapshot.
        on_error: called with a StorageError when the file system refuses. The run goes on, and the file is written
            again a second later (see `Periodic`).
        interval_s: seconds between two writes.
    """

    def __init__(
        self,
        path: Path,
        snapshot: Callable[[], Snapshot],
        *,
        on_error: Callable[[Exception], None],
        interval_s: float = 1.0,
    ) -> None:
        super().__init__(interval_s, on_error)
        self._path = path
        self._snapshot = snapshot
        self._earlier_slots: list[SlotProgress] = []

    def _open(self) -> None:
        try:
            self._earlier_slots = slots_used_last(read_progress(self._path.parent))
        except RunFolderError:  # the first start, or a file that can't be read: there is nothing to keep
            return

    def _tick(self) -> None:
        snapshot = self._snapshot()
        if self._earlier_slots and not snapshot["slots"]:
            snapshot = {**snapshot, "earlier_slots": self._earlier_slots}
        write_atomically(self._path, orjson.dumps(snapshot, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    def _close(self) -> None:
        self._tick()


def read_progress(run_dir: Path) -> Snapshot:
    """Return the newest snapshot of the run in `run_dir`.

    Raises:
        RunFolderError: there is no such folder, no `progress.json` in it, or no snapshot of this schema in the file.
    """
    path = run_dir / PROGRESS
    if not run_dir.is_dir():
        raise RunFolderError(f"{run_dir}: no such run folder; give one that a run made, such as outputs/NAME")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{run_dir}: no {PROGRESS} in it: no run has begun here, or it is not a run folder"
        ) from error
    except OSError as error:
        raise RunFolderError(f"{path}: can't be read: {error.strerror}") from error
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> Snapshot:
    try:
        snapshot = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RunFolderError(f"{path}: not JSON ({error}); resume the run to rewrite it") from error
    if not isinstance(snapshot, dict) or snapshot.get("schema") != SNAPSHOT_SCHEMA:
        raise RunFolderError(
            f"{path}: not progress of schema {SNAPSHOT_SCHEMA}: another version of eli5b_batch wrote it;"
            " resume the run to rewrite it"
        )
    snapshot.setdefault("earlier_slots", [])  # earlier versions of the same schema did not write it
    missing = set(Snapshot.__required_keys__ - snapshot.keys())
    for part, (kind, defaults) in _ROWS.items():
        rows = snapshot.get(part)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            missing.add(part)
            continue
        snapshot[part] = [{**defaults, **row} for row in rows]
        missing |= {f"{part}.{key}" for row in snapshot[part] for key in kind.__required_keys__ - row.keys()}
    if missing:
        raise RunFolderError(
            f"{path}: lacks {', '.join(sorted(missing))}: something else changed it; resume the run to rewrite it"
        )
    return cast("Snapshot", snapshot)


def slots_used_last(snapshot: Snapshot) -> list[SlotProgress]:
    """Return the slots of the last start that had any."""
    return snapshot["slots"] or snapshot["earlier_slots"]


def is_alive(snapshot: Snapshot) -> bool:
    """True if the process that wrote `snapshot` seems to live on this machine.

    A process of another machine that shares the folder counts as gone, and after a reboot, another process may have
    the pid. So the answer is a hint, to be taken together with the age of the snapshot. Only the lock of the run
    folder shows for sure whether a run goes on.
    """
    if snapshot["pid"] <= 0:  # kill() takes such a number for a group of processes
        return False
    try:
        os.kill(snapshot["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process is alive, and another user's
        return True
    return True
