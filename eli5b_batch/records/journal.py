"""The journal: one append-only `calls.jsonl`, and an index over it that holds no texts.

Must not know: models, protocols, what a record means beyond the head of its line.

A line starts `{"key":"...","status":"ok","request_hash":"...","cost_usd":...,`: the index is built from these
bytes alone (lines of another layout, as older versions or other tools write them, are parsed). Which record of a key
counts is said in `records.reader`. A torn last line is cut off when the file is opened.
Appending is one `write` on an unbuffered descriptor, so a killed process loses nothing that was appended;
`sync_forever` makes it safe against power loss, in groups and off the event loop.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from eli5b_batch.errors import JournalDamagedError, StorageError
from eli5b_batch.records import make_key
from eli5b_batch.records.index import Entry, Index
from eli5b_batch.records.lines import JsonLines, Mark
from eli5b_batch.records.reader import Redo, head_of, heads, is_outdated, supersedes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from eli5b_batch.records.reserve import Reserve

SYNC_INTERVAL_S: Final = 0.05
"""Longest time an appended record waits before it is synced to disk."""


class Opened(NamedTuple):
    """What was found when the journal was opened."""

    records: int
    torn_bytes: int
    cost_usd: float


class Journal:
    """The file, and an index of the calls of open problems: memory does not grow with the number of records.

    One writer; the caller holds the run folder's lock.

    Args:
        path: the file; made if missing.
        closed: problems that nobody will ask about: their calls are counted and not indexed.
        checkpoint: what `checkpoint()` of an earlier start gave, if the file still begins with what it covers.
        redo: step -> offset: records of that step before it do not count any more, because they are asked again.

    Raises:
        JournalDamagedError: a complete line can't be read; the message names it.
        StorageError: the file can't be opened or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        closed: Collection[str] = (),
        checkpoint: Mapping[str, Any] | None = None,
        redo: Mapping[str, int] | None = None,
    ) -> None:
        self.path = path
        self._redo = Redo(redo)
        self._index = Index()
        self._closed = {problem_key(problem) for problem in closed}
        self._counts: dict[bytes, list[int]] = {}
        self._appended = 0
        self._spent = 0.0
        self._file = JsonLines(path)
        try:
            self.opened = self._load(checkpoint)
        except BaseException:
            self._file.close()
            raise

    def _load(self, checkpoint: Mapping[str, Any] | None) -> Opened:
        """Index the file, from the checkpoint on where there is one; the usual head is read where it must stand."""
        start, lines, cost = 0, 0, 0.0
        if checkpoint is not None and self._file.has(mark := Mark(*checkpoint["mark"])):
            start, lines, cost = mark.end, checkpoint["records"], checkpoint["cost_usd"]
            self._counts = {kind.encode(): counts for kind, counts in checkpoint["counts"].items()}
            for key, *entry in checkpoint["open"]:
                if (problem := problem_of(key.encode())) not in self._closed:
                    self._index.calls_of(problem)[key.encode()] = Entry(*entry)
                elif not entry[1]:  # made good after the mark: the answer counts
                    self._counts[key.encode()[key.find("|") :]][0] -= 1
        for offset, head in heads(self._file.scan(start), self.path, lines):
            lines += 1
            cost += head.cost_usd
            self._note(head.key, Entry(offset, head.ok, head.request_hash))
        return Opened(lines, self._file.torn_bytes, cost)

    def _note(self, key: bytes, entry: Entry) -> None:
        if self._redo.is_outdated(key, entry.offset):
            return
        bar = key.find(b"|")
        counts = self._counts.setdefault(key[bar:], [0, 0])
        problem = key[:bar]
        if problem in self._closed:  # every call of it is answered in the end: its failures were made good
            counts[1] += entry.ok
            return
        calls = self._index.calls_of(problem)
        known = calls.get(key)
        if known is None:
            counts[entry.ok] += 1
        elif not supersedes(known.ok, entry.ok):
            return
        elif known.ok != entry.ok:
            counts[0] -= 1
            counts[1] += 1
        calls[key] = entry

    def close_problem(self, problem: str) -> None:
        """Nobody will ask about the calls of this problem any more: they leave the index and stay counted."""
        name = problem_key(problem)
        self._closed.add(name)
        self._index.drop(name)

    @property
    def open_calls(self) -> int:
        """Calls of open problems: what a checkpoint holds one by one."""
        return len(self._index)

    def checkpoint(self) -> dict[str, Any]:
        """What a later start needs in order not to read the file from its beginning; JSON-ready."""
        return {
            "mark": list(self._file.mark()),
            "records": self.opened.records + self._appended,
            "cost_usd": self.opened.cost_usd + self._spent,
            "counts": {kind.decode(): list(counts) for kind, counts in self._counts.items()},
            "open": [[key.decode(), *entry] for key, entry in self._index],
        }

    @property
    def answered(self) -> int:
        """Distinct calls with an answer on record."""
        return sum(answered for _, answered in self._counts.values())

    def __len__(self) -> int:
        """Distinct calls on record."""
        return sum(failed + answered for failed, answered in self._counts.values())

    def find(self, key: str) -> Entry | None:
        """The record that counts for `key`: the newest success, else the newest error."""
        name = key.encode()
        problem = problem_of(name)
        if problem in self._closed:
            self._reopen(problem)
        return self._index.find(problem, name)

    def _reopen(self, problem: bytes) -> None:
        """Index a closed problem again.

        It reads the whole file, and no protocol that keeps to `ctx.partner` needs it.
        """
        self._closed.discard(problem)
        for offset, head in heads(self._file.scan(), self.path):
            if problem_of(head.key) != problem or self._redo.is_outdated(head.key, offset):
                continue
            calls = self._index.calls_of(problem)
            known = calls.get(head.key)
            if known is None or supersedes(known.ok, head.ok):
                calls[head.key] = Entry(offset, head.ok, head.request_hash)

    def is_answered(self, key: str) -> bool:
        """Whether `key` has a success on record."""
        entry = self.find(key)
        return entry is not None and entry.ok

    def is_outdated(self, key: str, built_on: Collection[str]) -> bool:
        """Whether the answer to `key` is older than a reply it is built on, or one of these has no answer now."""
        return is_outdated(self.find, key, built_on)

    def read(self, key: str, entry: Entry) -> dict[str, Any]:
        """The whole record at `entry`, read from the file.

        Raises:
            JournalDamagedError: the line is no longer that record.
        """
        try:
            record: dict[str, Any] = orjson.loads(self._file.line_at(entry.offset))
        except orjson.JSONDecodeError as error:
            raise JournalDamagedError(
                f"{self.path}: the record of {key} at byte {entry.offset} is damaged ({error}); "
                "run again with --repair to set such lines aside"
            ) from None
        if record.get("key") != key:
            raise JournalDamagedError(
                f"{self.path}: byte {entry.offset} holds no record of {key}: was the file edited?"
            )
        return record

    def append(self, record: Mapping[str, Any]) -> Entry:
        """Write one record; when this returns, a kill of the process can't lose it.

        Raises:
            StorageError: the disk refused; the file ends with the last whole record (this one, with a reserve).
        """
        offset, refused = self._file.end, None
        try:
            self._file.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        except StorageError as error:
            if self._file.end == offset:
                raise
            refused = error  # the reserve took it: it counts, or a checkpoint would pass over it
        entry = Entry(offset, record["status"] == "ok", record["request_hash"])
        self._note(record["key"].encode(), entry)
        self._appended += 1
        self._spent += record.get("cost_usd") or 0.0
        if refused is not None:
            raise refused
        return entry

    def hold(self, reserve: Reserve) -> None:
        """Have space to give up when the disk is full."""
        self._file.reserve = reserve

    async def sync_forever(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Sync in groups, one sync at a time, off the event loop; no caller of `append` waits for it."""
        while True:
            await sleep(SYNC_INTERVAL_S)
            if self._file.dirty:
                await asyncio.to_thread(self._file.sync)

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()


def problem_key(problem: str) -> bytes:
    """How a key names this problem."""
    return problem_of(make_key(problem, "", "", {}).encode())


def problem_of(key: bytes) -> bytes:
    """The part of a key that names its problem."""
    return key[: key.find(b"|")]


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


def repair(path: Path) -> list[tuple[int, int]]:
    """Set the damaged lines of a journal aside into `<name>.damaged` beside it; the good lines stay in their order.

    The journal is replaced as a whole, after the damaged lines are safe on disk.

    Returns:
        The lines that were set aside: where each began, and its length in bytes.

    Raises:
        StorageError: the disk refused; the journal is as it was.
    """
    aside = path.with_name(path.name + ".damaged")
    draft = path.with_name(f".{path.name}.repaired")
    cut, offset = [], 0
    try:
        with path.open("rb") as file, draft.open("wb") as good, aside.open("ab") as bad:
            for line in file:
                whole = line.endswith(b"\n") and head_of(line) is not None
                if not whole:
                    cut.append((offset, len(line)))
                offset += len(line)
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
    return cut
