"""run.log: one JSON object per line, for people who look into a run afterwards.

Must not know: what is logged. No header and no environment variable is ever logged, so no API key stands in run.log.
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
    """A log file whose failure, as on a full disk, neither ends the run nor fills the terminal with tracebacks."""

    _is_failure_reported = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        """Report the first failure on stderr; later ones are silent, as the journal reports a full disk itself."""
        if not self._is_failure_reported:
            self._is_failure_reported = True
            sys.stderr.write(
                f"eli5b-batch: {self.baseFilename} can't be written; {record.getMessage()!r} is not logged\n"
            )


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object: time (UTC), level, event, the event's fields, and the traceback of an error."""
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
    """Send the package's log to `path` until the context ends; then restore the former settings of the logger."""
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
        with suppress(OSError):  # a full disk refuses the buffered rest; `handleError` has reported it
            handler.close()


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: object) -> None:
    """Write one event with its fields, and with the traceback of `error` where given."""
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=error)


def display_failed(error: Exception) -> None:
    """Log that a display could not be drawn or progress.json not be written; the run goes on."""
    log("display failed", level=logging.WARNING, error=error)
