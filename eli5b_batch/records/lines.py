r"""An append-only file of JSON lines: opened with its torn tail cut off, written one line per write call.

Must not know: what a line means. Lines end with `\n` and nothing else: texts may hold any Unicode line separator.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from eli5b_batch.records.reserve import Reserve


_TAIL_BYTES: Final = 4096


def whole_lines(file: BinaryIO, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Every whole line of an open file from where it stands, byte `start`, with its offset; not a torn last one."""
    for line in file:
        if not line.endswith(b"\n"):
            return
        yield start, line
        start += len(line)


class Mark(NamedTuple):
    """An offset at which a line ends, and a hash over the bytes before it."""

    end: int
    tail: str


class JsonLines:
    """One writer's view of the file.

    Args:
        path: the file; made if missing.

    Raises:
        StorageError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dirty = False
        self.reserve: Reserve | None = None
        """Space to give up when the disk is full."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"{path}: the file can't be opened for writing: {error.strerror}") from error
        self._end = os.fstat(self._fd).st_size
        self.torn_bytes = 0

    @property
    def end(self) -> int:
        """Where the next line goes, bytes."""
        return self._end

    def mark(self) -> Mark:
        """Where the file ends now, to be recognised later."""
        return Mark(self._end, self._tail(self._end))

    def has(self, mark: Mark) -> bool:
        """Whether the file still holds what it held when `mark` was made, as far as its last bytes tell."""
        return 0 <= mark.end <= self._end and self._tail(mark.end) == mark.tail

    def _tail(self, end: int) -> str:
        start = max(0, end - _TAIL_BYTES)
        return hashlib.blake2b(os.pread(self._fd, end - start, start), digest_size=8).hexdigest()

    def scan(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Every whole line from byte `start` on, with its offset; cuts off a torn last line.

        Read it to the end before appending.
        """
        end = start
        with self.path.open("rb") as file:
            file.seek(start)
            for offset, line in whole_lines(file, start):
                yield offset, line
                end = offset + len(line)
        self.torn_bytes = self._end - end
        if self.torn_bytes:
            os.ftruncate(self._fd, end)
        self._end = end

    def line_at(self, offset: int) -> bytes:
        """The line that starts at `offset`, without its end.

        Raises:
            StorageError: the file ends before the line does.
        """
        parts = [os.pread(self._fd, 8192, offset)]
        while b"\n" not in parts[-1]:
            offset += len(parts[-1])
            parts.append(os.pread(self._fd, 1 << 20, offset))
            if not parts[-1]:
                raise StorageError(f"{self.path}: the file was cut at byte {offset} by another program")
        return b"".join(parts).split(b"\n", 1)[0]

    def append(self, line: bytes) -> int:
        """Write one line, newline included, and return its offset; a kill of the process can't lose it any more.

        Raises:
            StorageError: the disk refused. With a reserve, this line and those after it are on disk all the same;
                without, the file ends with the last whole line.
        """
        try:
            return self._write(line)
        except OSError as error:
            if self.reserve is not None and self.reserve.give_up():
                self._append_at_last(line)
                raise StorageError(
                    f"{self.path}: the disk refused a record ({error.strerror}); the reserve took it and takes those "
                    "in flight: every reply is safe. Mend the disk and run the same command again"
                ) from error
            raise self._refused(error) from error

    def _append_at_last(self, line: bytes) -> None:
        try:
            self._write(line)
        except OSError as error:
            raise self._refused(error) from error

    def _write(self, line: bytes) -> int:
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # a nearly full disk takes a part; the next write says why
                written += os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        offset, self._end = self._end, self._end + len(line)
        self.dirty = True
        return offset

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self.path}: the disk refused a record ({error.strerror}); every record before it is safe: "
            "mend the disk and run the same command again"
        )

    def clear(self) -> None:
        """Take everything out of the file."""
        os.ftruncate(self._fd, 0)
        self._end = 0

    def sync(self) -> None:
        """Ask the disk to keep what was appended (blocks: call it off the event loop).

        Raises:
            StorageError: the disk reports a fault.
        """
        self.dirty = False
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise StorageError(f"{self.path}: the disk reports a fault: {error.strerror}") from error

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        if self._fd >= 0:
            try:
                self.sync()
            finally:
                os.close(self._fd)
                self._fd = -1
