"""reserve.py: room that is really there, and given up once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.errors import StorageError
from eli5b_batch.records.reserve import Reserve

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1 << 20


def test_the_room_is_allocated_and_given_up_once(tmp_path: Path) -> None:
    path = tmp_path / ".reserve"
    path.write_bytes(b"left by a killed run")
    reserve = Reserve(path, SIZE)
    assert path.stat().st_blocks * 512 >= SIZE
    assert [reserve.give_up(), reserve.give_up()] == [True, False]
    assert not path.exists()


def test_no_room_is_one_sentence_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    with pytest.raises(StorageError, match=r"no room for the replies.*1.0 MB \(No space left on device\)"):
        Reserve(tmp_path / ".reserve", SIZE)
    assert list(tmp_path.iterdir()) == []
