"""The journal: one append-only `calls.jsonl`, and an index over it that holds no texts.

Must not know: models, protocols, what a record means beyond the head of its line.

A line starts `{"key":"...","status":"ok","request_hash":"...","cost_usd":...,`: the index is built from these
bytes alone (lines of another layout, as older versions or other tools write them, are parsed). A line counts
once its newline is written; a torn last line is cut off when the file is opened.
Appending is one `write` on an unbuffered descriptor, so a killed process loses nothing that was appended;
`sync_forever` makes it safe against power loss, in groups and off the event loop.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from eli5b_batch.errors import JournalDamagedError, StorageError
from eli5b_batch.jsonl import JsonLines
from eli5b_batch.records import parse_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

SYNC_INTERVAL_S: Final = 0.05
"""Longest time an appended record waits before it is synced to disk."""

_KEY: Final = b'{"key":"'
_KEY_AT: Final = len(_KEY)
_ANSWERED: Final = b'","status":"ok","request_hash":"'
_COST: Final = b'","cost_usd":'
_FREE: Final = (b"0.0", b"null")
_HASH_DIGITS: Final = 16


class Entry(NamedTuple):
    """Where a call's record stands and what it says at its head."""

    offset: int
    ok: bool
    request_hash: str


class Head(NamedTuple):
    """What the index needs of a line."""

    key: bytes
    ok: bool
    request_hash: bytes
    cost_usd: float


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
        self._hashes = bytearray()
        self._ok = bytearray()
        self._counts: dict[bytes, list[int]] = {}
        self._file = JsonLines(path)
        try:
            self.opened = self._load()
        except BaseException:
            self._file.close()
            raise

    def _load(self) -> Opened:
        """Index the file: about a microsecond a line, because the usual head is read where it must stand."""
        lines, cost = 0, 0.0
        rows, add_offset = self._rows, self._offsets.append
        for offset, line in self._file.scan():
            lines += 1
            quote = line.find(b'"', _KEY_AT)
            start = quote + len(_ANSWERED)
            end = start + _HASH_DIGITS
            usual = line[quote:start] == _ANSWERED and line[end : end + len(_COST)] == _COST
            if usual and line[:_KEY_AT] == _KEY and line[-2:] == b"}\n":
                key = hash(line[_KEY_AT:quote])
                if key not in rows:
                    price = line[end + len(_COST) : line.find(b",", end + len(_COST))]
                    if price not in _FREE:
                        cost += float(price)
                    rows[key] = len(rows)
                    add_offset(offset)
                    self._ok.append(1)
                    self._hashes += line[start:end]
                    self._tally(line[_KEY_AT:quote])[1] += 1
                    continue
            head = _read_head(line)
            if head is None:
                raise JournalDamagedError(
                    f"{self.path}:{lines}: this line is damaged: it is not the record of a call; "
                    "run again with --repair to set such lines aside"
                )
            cost += head.cost_usd
            self._note(head.key, offset, head.request_hash, ok=head.ok)
        return Opened(lines, self._file.torn_bytes, cost)

    def _note(self, key: bytes, offset: int, request_hash: bytes, *, ok: bool) -> None:
        row = self._rows.setdefault(hash(key), len(self._offsets))
        if row == len(self._offsets):
            self._offsets.append(offset)
            self._hashes += request_hash
            self._ok.append(ok)
            self._tally(key)[ok] += 1
        elif ok or not self._ok[row]:  # a success is never shadowed by a later error
            tally = self._tally(key)
            tally[self._ok[row]] -= 1
            tally[ok] += 1
            self._offsets[row], self._ok[row] = offset, ok
            self._hashes[row * _HASH_DIGITS : (row + 1) * _HASH_DIGITS] = request_hash

    def _tally(self, key: bytes) -> list[int]:
        """[failed, answered] of the calls that share all of `key` but its problem."""
        kind = key[key.find(b"|") :]
        tally = self._counts.get(kind)
        if tally is None:
            tally = self._counts[kind] = [0, 0]
        return tally

    @property
    def answered(self) -> int:
        """Distinct calls with an answer on record."""
        return sum(answered for _, answered in self._counts.values())

    def answered_by_step(self) -> dict[tuple[str, str], int]:
        """Distinct calls with an answer on record, by (step, model)."""
        totals: dict[tuple[str, str], int] = {}
        for kind, (_, answered) in self._counts.items():
            name = parse_key(kind.decode())
            totals[name.step, name.model] = totals.get((name.step, name.model), 0) + answered
        return totals

    def __len__(self) -> int:
        """Distinct calls on record."""
        return len(self._offsets)

    def find(self, key: str) -> Entry | None:
        """The record that counts for `key`: the newest success, else the newest error."""
        row = self.row(key)
        if row is None:
            return None
        request_hash = self._hashes[row * _HASH_DIGITS : (row + 1) * _HASH_DIGITS]
        return Entry(self._offsets[row], bool(self._ok[row]), request_hash.decode())

    def row(self, key: str | bytes) -> int | None:
        """The place of `key` in the index, 0-based in order of first mention; None where it is not on record."""
        return self._rows.get(hash(key.encode() if isinstance(key, str) else key))

    def is_answered(self, key: str) -> bool:
        """Whether `key` has a success on record."""
        row = self.row(key)
        return row is not None and bool(self._ok[row])

    def read(self, key: str, entry: Entry) -> dict[str, Any]:
        """The whole record at `entry`, read from the file."""
        try:
            record: dict[str, Any] = orjson.loads(self._file.line_at(entry.offset))
        except orjson.JSONDecodeError as error:
            raise JournalDamagedError(
                f"{self.path}: the record of {key} at byte {entry.offset} is damaged ({error}); "
                "run again with --repair to set such lines aside"
            ) from None
        if record["key"] != key:  # two keys with one 64-bit hash: 3e-8 likely in a run of a million
            raise JournalDamagedError(f"{self.path}: the index confuses {key} with {record['key']}")
        return record

    def append(self, record: Mapping[str, Any]) -> Entry:
        """Write one record; when this returns, a kill of the process can't lose it.

        Raises:
            StorageError: the disk refused; the file ends with the last whole record.
        """
        offset = self._file.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        entry = Entry(offset, record["status"] == "ok", record["request_hash"])
        self._note(record["key"].encode(), offset, entry.request_hash.encode(), ok=entry.ok)
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


def _read_head(line: bytes) -> Head | None:
    """The head of any record, whatever the order of its fields; None where the line is no record."""
    try:
        record = orjson.loads(line)
        key, status, hash_ = record["key"], record["status"], record["request_hash"]
        if status not in ("ok", "error") or len(hash_) != _HASH_DIGITS or not key:
            return None
        return Head(key.encode(), status == "ok", hash_.encode(), float(record.get("cost_usd") or 0.0))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


def repair(path: Path) -> int:
    """Set the damaged lines of a journal aside into `<name>.damaged` beside it; the good lines stay in their order.

    The journal is replaced as a whole, after the damaged lines are safe on disk.

    Returns:
        How many lines were set aside.

    Raises:
        StorageError: the disk refused; the journal is as it was.
    """
    aside = path.with_name(path.name + ".damaged")
    draft = path.with_name(f".{path.name}.repaired")
    moved = 0
    try:
        with path.open("rb") as file, draft.open("wb") as good, aside.open("ab") as bad:
            for line in file:
                whole = line.endswith(b"\n") and _read_head(line) is not None
                moved += not whole
                (good if whole else bad).write(line)
            for written in (bad, good):
                written.flush()
                os.fsync(written.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: can't be repaired: {error.strerror}; it is as it was") from error
    if not aside.stat().st_size:
        aside.unlink()
    return moved
