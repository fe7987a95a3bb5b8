"""jsonl.py: append-only lines, torn tails, and disks that refuse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.errors import StorageError
from eli5b_batch.records.lines import JsonLines
from eli5b_batch.records.reserve import Reserve

if TYPE_CHECKING:
    from pathlib import Path

LINES = st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b), max_size=8)


def lines_in(path: Path) -> list[bytes]:
    file = JsonLines(path)
    found = [line for _, line in file.scan()]
    file.close()
    return found


@given(lines=LINES, cut=st.integers(min_value=0, max_value=400))
def test_a_crash_at_any_byte_gives_back_exactly_the_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    file = JsonLines(path)
    for line in lines:
        file.append(line + b"\n")
    file.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = whole[:cut].split(b"\n")[:-1]

    assert lines_in(path) == [line + b"\n" for line in kept]
    file = JsonLines(path)
    list(file.scan())
    offset = file.append(b"next\n")
    assert file.line_at(offset) == b"next"
    file.close()
    assert lines_in(path) == [*(line + b"\n" for line in kept), b"next\n"]


def test_unicode_line_separators_do_not_split_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    text = '"a\u2028b\u0085c\x0bd\x0ce\rf"\n'.encode()
    path.write_bytes(text + text)
    assert lines_in(path) == [text, text]


def test_a_line_longer_than_a_read_comes_back_whole(tmp_path: Path) -> None:
    file = JsonLines(tmp_path / "x.jsonl")
    file.append(b"short\n")
    offset = file.append(b"x" * 10_000_000 + b"\n")
    file.append(b"after\n")
    assert file.line_at(offset) == b"x" * 10_000_000
    file.close()


def test_a_refused_write_leaves_whole_lines_and_says_what_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    file.append(b"first\n")
    real_write = os.write

    def full_disk(fd: int, data: bytes) -> int:
        if len(data) > 3:
            return real_write(fd, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(StorageError, match=r"No space left on device.*every record before it is safe"):
        file.append(b"second\n")
    monkeypatch.setattr(os, "write", real_write)
    file.append(b"third\n")
    file.close()
    assert path.read_bytes() == b"first\nthird\n"


def test_a_full_disk_takes_what_is_in_flight_from_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jsonl"
    reserve = Reserve(tmp_path / ".reserve", 1 << 20)
    file = JsonLines(path)
    file.reserve = reserve
    file.append(b"first\n")
    real_write = os.write

    def full_disk(fd: int, data: bytes) -> int:
        if reserve.path.exists():
            raise OSError(28, "No space left on device")
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(StorageError, match=r"No space left on device.*every reply is safe"):
        file.append(b"second\n")
    file.append(b"third\n")
    reserve.path.touch()  # now the room that it gave up is used up, too
    with pytest.raises(StorageError, match="every record before it is safe"):
        file.append(b"fourth\n")
    monkeypatch.undo()
    file.close()
    assert lines_in(path) == [b"first\n", b"second\n", b"third\n"]


def test_a_file_in_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be opened for writing: No such file"):
        JsonLines(tmp_path / "missing" / "x.jsonl")


def test_a_file_cut_by_another_program_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    file = JsonLines(path)
    offset = file.append(b"line\n")
    path.write_bytes(b"li")
    with pytest.raises(StorageError, match="was cut at byte"):
        file.line_at(offset)
    file.close()


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    file = JsonLines(tmp_path / "x.jsonl")
    file.close()
    file.close()
