"""Which record of a call counts, and the reading of those that do from calls.jsonl, which is not changed by it.

Must not know: how calls are made, what a reply means. The rule: of the records of a key none counts that is older than
the last `--redo` of its step; of the others the newest success counts, else the newest error.

Where the record of each call stands takes 17 bytes a line while it is read, and 17 bytes a call afterwards.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol

import orjson

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.records.keys import make_key
from eli5b_batch.records.lines import whole_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

_KEY: Final = b'{"key":"'
_KEY_AT: Final = len(_KEY)
_ANSWERED: Final = b'","status":"ok","request_hash":"'
_COST: Final = b'","cost_usd":'
_FREE: Final = (b"0.0", b"null")
_HASH_DIGITS: Final = 16
_OK: Final = True  # by place: a call that names its arguments takes a third longer, for every line
_WATCH_LINES: Final = 1024


def supersedes(known_ok: bool, ok: bool, /) -> bool:  # noqa: FBT001 (two answers to one question)
    """Whether a record counts in place of an older one of its key: a success is never shadowed by a later error."""
    return ok or not known_ok


class Redo:
    """From where on in calls.jsonl the records of a step count.

    Args:
        offsets: by step, in bytes: the manifest's `redo`; a step that is not named counts from the beginning.
    """

    def __init__(self, offsets: Mapping[str, int] | None = None) -> None:
        self._offsets = {make_key("", step, "", {}).split("|")[1].encode(): at for step, at in (offsets or {}).items()}

    def is_outdated(self, key: bytes, offset: int) -> bool:
        """Whether the record of `key` at `offset` does not count any more, because its step is asked again."""
        if not self._offsets:
            return False
        return offset < self._offsets.get(key.split(b"|", 2)[1], 0)


class Head(NamedTuple):
    """What an index needs of a line."""

    key: bytes
    ok: bool
    request_hash: str
    cost_usd: float


def heads(lines: Iterable[tuple[int, bytes]], path: Path, number: int = 0) -> Iterator[tuple[int, Head]]:
    """The heads of whole lines, each with its offset.

    The usual head of an answered call is read where it must stand; any other line is parsed.

    Args:
        lines: with their offsets in bytes.
        path: the file, for messages.
        number: how many lines stand before.

    Raises:
        JournalDamagedError: a line is not the record of a call.
    """
    for offset, line in lines:
        number += 1
        quote = line.find(b'"', _KEY_AT)
        hash_at = quote + len(_ANSWERED)
        end = hash_at + _HASH_DIGITS
        usual = line[quote:hash_at] == _ANSWERED and line[end : end + len(_COST)] == _COST
        if usual and line[:_KEY_AT] == _KEY and line[-2:] == b"}\n":
            price = line[end + len(_COST) : line.find(b",", end + len(_COST))]
            paid = 0.0 if price in _FREE else float(price)
            yield offset, Head(line[_KEY_AT:quote], _OK, line[hash_at:end].decode(), paid)
            continue
        head = head_of(line)
        if head is None:
            raise JournalDamagedError(
                f"{path}:{number}: this line is damaged: it is not the record of a call; "
                "run again with --repair to set such lines aside"
            )
        yield offset, head


def head_of(line: bytes) -> Head | None:
    """The head of any record, whatever the order of its fields; None where the line is no record."""
    try:
        record = orjson.loads(line)
        key, status, hash_ = record["key"], record["status"], record["request_hash"]
        if status not in ("ok", "error") or len(hash_) != _HASH_DIGITS or not key:
            return None
        return Head(key.encode(), status == "ok", str(hash_), float(record.get("cost_usd") or 0.0))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


class _Place(Protocol):
    @property
    def offset(self) -> int: ...

    @property
    def ok(self) -> bool: ...


def is_outdated(find: Callable[[str], _Place | None], key: str, built_on: Collection[str]) -> bool:
    """Whether the answer to `key` is older than a reply it is built on, or one of these has no answer now.

    Args:
        find: gives the record of a call that counts.
        key: of the answer.
        built_on: keys of the replies.
    """
    answer = find(key)
    upstream = [find(name) for name in built_on]
    return answer is not None and any(up is None or not up.ok or up.offset > answer.offset for up in upstream)


class Counting(NamedTuple):
    """Where the record of a call that counts begins (bytes), and whether it is an answer."""

    offset: int
    ok: bool


class Standing:
    """Which record of each call counts.

    Args:
        hashes: of the calls' keys, ascending.
        offsets: where the record of each begins, bytes.
        ok: 1 where it is an answer, else 0.
    """

    def __init__(self, hashes: array[int], offsets: array[int], ok: array[int]) -> None:
        self._hashes = hashes
        self._offsets = offsets
        self._ok = ok

    def __len__(self) -> int:
        """Calls with a record that counts."""
        return len(self._hashes)

    def find(self, key: str) -> Counting | None:
        """The record of `key` that counts; None where none does."""
        name = hash(key.encode())
        at = bisect_left(self._hashes, name)
        if at == len(self._hashes) or self._hashes[at] != name:
            return None
        return Counting(self._offsets[at], bool(self._ok[at]))

    def is_answered(self, key: str) -> bool:
        """Whether the record of `key` that counts is an answer."""
        record = self.find(key)
        return record is not None and record.ok

    def is_outdated(self, key: str, built_on: Collection[str]) -> bool:
        """Whether the answer to `key` is older than a reply it is built on, or one of these has no answer now."""
        return is_outdated(self.find, key, built_on)

    def offsets(self) -> array[int]:
        """Where the records that count begin, in the order of the file."""
        return array("q", sorted(self._offsets))

    def failed(self) -> array[int]:
        """Where those begin of calls that have failed, in the order of the file."""
        return array("q", sorted(offset for offset, ok in zip(self._offsets, self._ok, strict=True) if not ok))


class Lines:
    """Takes the lines of calls.jsonl in their order and says in the end which of them count."""

    def __init__(self, redo: Redo) -> None:
        self._redo = redo
        self._hashes, self._offsets, self._ok = array("q"), array("q"), array("b")

    def add(self, key: bytes, offset: int, *, ok: bool) -> None:
        """Take the next line."""
        if not self._redo.is_outdated(key, offset):
            self._hashes.append(hash(key))
            self._offsets.append(offset)
            self._ok.append(ok)

    def standing(self) -> Standing:
        """Which lines count. `supersedes` for all at once: of each key the last by (answered, offset)."""
        if not self._hashes:
            return Standing(self._hashes, self._offsets, self._ok)
        import numpy as np  # noqa: PLC0415 (heavy; a simulated server imports this module for its keys)

        hashes, offsets, ok = np.asarray(self._hashes), np.asarray(self._offsets), np.asarray(self._ok)
        order = np.lexsort((offsets, ok, hashes))
        hashes = hashes[order]
        last = order[np.append(hashes[1:] != hashes[:-1], True)]
        columns = [array("q"), array("q"), array("b")]
        for column, lines in zip(columns, (self._hashes, self._offsets, self._ok), strict=True):
            column.frombytes(np.asarray(lines)[last].tobytes())
        return Standing(*columns)


def read_standing(file: BinaryIO, path: Path, redo: Redo, watch: Callable[[int], None] | None = None) -> Standing:
    """Which records of a calls.jsonl count; a torn last line is passed over.

    Args:
        file: open for reading, at its beginning.
        path: of the file, for messages.
        redo: which records are outdated.
        watch: told now and then how far the reading is, bytes.

    Raises:
        JournalDamagedError: a complete line is not the record of a call.
    """
    lines = Lines(redo)
    for number, (offset, head) in enumerate(heads(whole_lines(file), path)):
        if watch is not None and number % _WATCH_LINES == 0:
            watch(offset)
        lines.add(head.key, offset, ok=head.ok)
    return lines.standing()


def record_at(file: BinaryIO, offset: int, path: Path) -> dict[str, Any]:
    """The whole record that begins at `offset`.

    Raises:
        JournalDamagedError: it can't be read.
    """
    file.seek(offset)
    try:
        record: dict[str, Any] = orjson.loads(file.readline())
        record["key"], record["status"]
    except (ValueError, TypeError, KeyError) as error:
        raise JournalDamagedError(
            f"{path}: the record at byte {offset} can't be read ({error}); "
            "run the job again with --repair to set such lines aside"
        ) from None
    return record


def counting_records(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every record of a run folder that counts, one a call, in the order of the file, with its offset in bytes.

    A folder without a manifest has no `--redo`. What is appended meanwhile is left for the next time.

    Raises:
        RunFolderError: calls.jsonl or the manifest can't be read.
        JournalDamagedError: a complete line of calls.jsonl can't be read.
    """
    path, redo = calls_of(folder)
    try:
        with path.open("rb", buffering=1 << 20) as file:
            for offset in read_standing(file, path, redo).offsets():
                yield offset, record_at(file, offset, path)
    except OSError as error:
        raise RunFolderError(f"{path} can't be read: {error.strerror or error}") from error


def calls_of(folder: Path) -> tuple[Path, Redo]:
    """Where the calls of a run folder are on record, and which of these records are outdated.

    Raises:
        RunFolderError: the manifest can't be read.
    """
    from eli5b_batch.records.folder import CALLS, read_manifest, redo_of  # noqa: PLC0415 (it loads the schema of jobs)

    return folder / CALLS, Redo(redo_of(read_manifest(folder)))
