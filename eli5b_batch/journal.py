"""The journal: one append-only `calls.jsonl`, and an index over it that holds no texts.

Must not know: models, protocols, what a record means beyond the head of its line.

A line starts `{"key":"...","status":"ok","request_hash":"...","cost_usd":...,`: the index is built from these
bytes alone. A line counts once its newline is written; a torn last line is cut off when the file is opened.
Appending is one `write` on an unbuffered descriptor, so a killed process loses nothing that was appended;
`sync_forever` makes it safe against power loss, in groups and off the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.jsonl import JsonLines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

SYNC_INTERVAL_S: Final = 0.05
"""Longest time an appended record waits before it is synced to disk."""

_HEAD: Final = re.compile(
    rb'\{"key":"([^"\\]+)","status":"(ok|error)","request_hash":"([0-9a-f]{16})","cost_usd":([0-9.eE+-]+|null),'
)


class Entry(NamedTuple):
    """Where a call's record stands and what it says at its head."""

    offset: int
    ok: bool
    request_hash: int


@dataclass(frozen=True, slots=True)
class Opened:
    """What was found when the journal was opened."""

    records: int
    torn_bytes: int
    cost_usd: float


class Journal:
    """The file and its index. One writer; the caller holds the run folder's lock.

    Args:
        path: the file; made if missing.

    Raises:
        JournalDamagedError: a complete line can't be read; the message names it.
        StorageError: the file can't be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[int, int] = {}
        self._offsets = array("Q")
        self._hashes = array("Q")
        self._ok = bytearray()
        self._file = JsonLines(path)
        try:
            self.opened = self._load()
        except BaseException:
            self._file.close()
            raise

    def _load(self) -> Opened:
        lines, cost = 0, 0.0
        for offset, line in self._file.scan():
            lines += 1
            head = _HEAD.match(line)
            if head is None or not line.endswith(b"}\n"):
                raise JournalDamagedError(
                    f"{self.path}:{lines}: this line is damaged (it is not the record of a call); "
                    "move it to another file by hand, then run again"
                )
            self._note(head[1].decode(), offset, ok=head[2] == b"ok", hash_=int(head[3], 16))
            cost += 0.0 if head[4] == b"null" else float(head[4])
        return Opened(lines, self._file.torn_bytes, cost)

    def _note(self, key: str, offset: int, *, ok: bool, hash_: int) -> None:
        row = self._rows.setdefault(_digest(key), len(self._offsets))
        if row == len(self._offsets):
            self._offsets.append(offset)
            self._hashes.append(hash_)
            self._ok.append(ok)
        elif ok or not self._ok[row]:  # a success is never shadowed by a later error
            self._offsets[row], self._hashes[row], self._ok[row] = offset, hash_, ok

    def __len__(self) -> int:
        """Distinct calls on record."""
        return len(self._offsets)

    def find(self, key: str) -> Entry | None:
        """The record that counts for `key`: the newest success, else the newest error."""
        row = self._rows.get(_digest(key))
        if row is None:
            return None
        return Entry(self._offsets[row], bool(self._ok[row]), self._hashes[row])

    def is_answered(self, key: str) -> bool:
        """Whether `key` has a success on record."""
        row = self._rows.get(_digest(key))
        return row is not None and bool(self._ok[row])

    def read(self, key: str, entry: Entry) -> dict[str, Any]:
        """The whole record at `entry`, read from the file."""
        record: dict[str, Any] = orjson.loads(self._file.line_at(entry.offset))
        if record["key"] != key:  # two keys with one 64-bit digest: 3e-8 likely in a run of a million
            raise JournalDamagedError(f"{self.path}: the index confuses {key} with {record['key']}")
        return record

    def append(self, record: Mapping[str, Any]) -> Entry:
        """Write one record; when this returns, a kill of the process can't lose it.

        Raises:
            StorageError: the disk refused; the file ends with the last whole record.
        """
        offset = self._file.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        entry = Entry(offset, record["status"] == "ok", int(record["request_hash"], 16))
        self._note(record["key"], offset, ok=entry.ok, hash_=entry.request_hash)
        return entry

    async def sync_forever(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Sync in groups, one sync at a time, off the event loop; no caller of `append` waits for it."""
        while True:
            await sleep(SYNC_INTERVAL_S)
            if self._file.dirty:
                await asyncio.to_thread(self._file.sync)

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole record of a JSON-lines file, oldest first; a torn last line is passed over.

    Raises:
        JournalDamagedError: a complete line is not JSON.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise JournalDamagedError(f"{path}:{number}: this line is not JSON: {error}") from None


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, usedforsecurity=False).digest(), "big")
