"""run.log: one JSON object per line, for people who look into a run afterwards.

Must not know: what is logged. Keys of APIs never reach it: no header and no environment is ever logged.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGGER: Final = logging.getLogger("eli5b_batch")


class _File(logging.FileHandler):
    """A log that can't be written, as on a full disk, must not end the run or fill the terminal with tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        """Say it once; the journal, which matters, reports the disk in its own way."""
        if not self._told:
            self._told = True
            sys.stderr.write(
                f"eli5b-batch: {self.baseFilename} can't be written; {record.getMessage()!r} is not logged\n"
            )

    _told = False


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, event and its fields; a traceback where there is one."""
        row: dict[str, Any] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(row, default=str).decode()


@contextmanager
def run_log(path: Path) -> Iterator[None]:
    """Send the package's log to `path` while a run goes on; afterwards it goes where it went before."""
    before = LOGGER.level, LOGGER.propagate
    handler = _File(path, encoding="utf-8")
    handler.setFormatter(_JsonLine())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        level, LOGGER.propagate = before
        LOGGER.setLevel(level)
        with suppress(OSError):  # what is still buffered for a full disk; `handleError` has said so
            handler.close()


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: object) -> None:
    """Write one event with its fields."""
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=error)


def display_failed(error: Exception) -> None:
    """A display or progress.json could not be drawn or written: the run goes on, and the log says so."""
    log("display failed", level=logging.WARNING, error=error)
