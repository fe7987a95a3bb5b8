"""Disk space kept back during a run, so that paid replies in flight find room when the disk is full.

Must not know: what is written. The space is a hidden file beside the records, given up at the first refused write.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from eli5b_batch.errors import StorageError
from eli5b_batch.text import size as written

if TYPE_CHECKING:
    from pathlib import Path


class Reserve:
    """A file of `size` bytes that only holds room.

    Args:
        path: the file; one that a killed run left is taken over.
        size: bytes, at least 1.

    Raises:
        StorageError: the disk has not that much room: better to say so before anything is asked.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        try:
            with path.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.write(bytes(size))
            self._held = True
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"{path.parent}: no room for the replies of the calls in flight, {written(size)} "
                    f"({error.strerror}); make room and run the same command again"
                ) from None
            self._held = False  # says nothing of the room there is: go on without

    def give_up(self) -> bool:
        """Free the space; False where that was done before."""
        held, self._held = self._held, False
        with suppress(OSError):  # a disk that refuses even this is told of by the write that it refused
            self.path.unlink()
        return held
