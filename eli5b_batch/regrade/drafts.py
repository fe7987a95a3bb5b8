"""The new grades.jsonl, written beside the old one and put in its place as a whole, and the list of what changed.

Must not know: what a verdict is. Killed at any moment, the old file or the new one stands; what is left of a draft is
written over, or removed, the next time. The caller holds the run folder's lock.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from eli5b_batch.errors import StorageError
from eli5b_batch.records.derived import forget_derived
from eli5b_batch.records.folder import GRADES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

REGRADED: Final = "report/regraded.jsonl"
"""The rows of grades.jsonl that the last regrade changed; derived, as all of report/ is."""


class Drafts:
    """Both files, open for writing; a block that ends without `put_in_place` leaves nothing behind.

    Args:
        run_dir: the run folder.

    Raises:
        StorageError: the disk refuses; the old files stand.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._grades = run_dir / f".{GRADES}.draft"
        self._changed = run_dir / ".regraded.jsonl.draft"
        with self._disk():
            self._files = [path.open("wb", buffering=1 << 20) for path in (self._grades, self._changed)]

    def write(self, row: Mapping[str, Any], *, changed: bool) -> None:
        """Append a row, to both where its verdict changed."""
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        with self._disk():
            for file in self._files if changed else self._files[:1]:
                file.write(line)

    def put_in_place(self) -> None:
        """Replace the old files, the list of changes only where there are some."""
        with self._disk():
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            forget_derived(self._run_dir, "grades")
            if self._changed.stat().st_size:
                changes = self._run_dir / REGRADED
                changes.parent.mkdir(exist_ok=True)
                self._changed.replace(changes)
            self._grades.replace(self._run_dir / GRADES)
            folder = os.open(self._run_dir, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            with suppress(OSError):  # what is still buffered for a full disk: the error that ends the block says so
                file.close()
        remove_leftovers(self._run_dir)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._run_dir / GRADES}: can't be written anew: {error.strerror}; the old verdicts stand"
            ) from error


def remove_leftovers(run_dir: Path) -> None:
    """Remove what a regrade that was killed has left."""
    for name in (f".{GRADES}.draft", ".regraded.jsonl.draft"):
        (run_dir / name).unlink(missing_ok=True)
