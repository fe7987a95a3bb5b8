"""Files that are replaced as a whole: whoever reads one sees the old file or the new one, never half of either.

Must not know: what is in a file, or who reads it. Nothing is synced to disk: that is for records that can't be made
again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eli5b_batch.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside `path` that takes its place when the block ends well, and is gone otherwise.

    Two processes that replace the same file do not meet: each has a draft of its own.

    Raises:
        StorageError: the draft could not be written or moved; the old file stands.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            yield draft
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: can't be written: {error.strerror or error}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`.

    Raises:
        StorageError: the disk refused; the old file stands.
    """
    with replacing(path) as draft:
        draft.write_bytes(data)
