"""The answers in a calls.jsonl, read line by line.

Must not know: grading. A line that can't be read is damage, and is said with its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.records import make_key
from eli5b_batch.records.lines import whole_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from eli5b_batch.records.journal import Journal

_KEY: Final = b'{"key":"'


class AnswerOnRecord(NamedTuple):
    """One answer on record: its text, None where the call failed, and where in calls.jsonl it ends (share, 0..1)."""

    key: str
    text: str | None
    share: float


class Line(NamedTuple):
    """One line of calls.jsonl: where it begins (bytes), its key, and all of it."""

    offset: int
    key: str
    bytes: bytes


def replies(journal: Journal, steps: Collection[str]) -> Iterator[AnswerOnRecord]:
    """Every answer on record, once, by the line that counts, in the order of the file.

    Args:
        journal: says which line counts.
        steps: whose replies are answers.

    Raises:
        JournalDamagedError: a line that counts holds no reply.
    """
    size = journal.path.stat().st_size
    for line in answer_lines(journal.path, steps):
        entry = journal.find(line.key)
        if entry is not None and entry.offset == line.offset:
            text = reply_of(line, journal.path) if entry.ok else None
            yield AnswerOnRecord(line.key, text, (line.offset + len(line.bytes)) / size)


def answer_lines(path: Path, steps: Collection[str]) -> Iterator[Line]:
    """Every whole line about an answer, failed and outdated ones among them.

    Raises:
        JournalDamagedError: a line names no call.
    """
    graded = {step_of(make_key("", step, "", {})) for step in steps}
    with path.open("rb", buffering=1 << 20) as file:
        for number, (offset, line) in enumerate(whole_lines(file), 1):
            if line.startswith(_KEY):
                key = line[len(_KEY) : line.find(b'"', len(_KEY))].decode("ascii", "replace")
            else:
                key = _unusual_key(line, f"{path}:{number}")
            if step_of(key) in graded:
                yield Line(offset, key, line)


def step_of(key: str) -> str:
    """The part of a key that names its step."""
    return key.partition("|")[2].partition("|")[0]


def reply_of(line: Line, path: Path) -> str:
    """The text of the reply on a line of calls.jsonl.

    Raises:
        JournalDamagedError: it holds none.
    """
    try:
        return str(record_of(line, path)["reply"]["text"])
    except (KeyError, TypeError):
        raise JournalDamagedError(f"{path}: the record of {line.key} holds no reply: was the file edited?") from None


def record_of(line: Line, path: Path) -> dict[str, Any]:
    """All that a line of calls.jsonl says.

    Raises:
        JournalDamagedError: it is not JSON.
    """
    try:
        record: dict[str, Any] = orjson.loads(line.bytes)
    except orjson.JSONDecodeError as error:
        raise JournalDamagedError(
            f"{path}: the record of {line.key} is damaged ({error}); run the job with --repair to set such lines aside"
        ) from None
    return record


def _unusual_key(line: bytes, where: str) -> str:
    try:
        return str(orjson.loads(line)["key"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise JournalDamagedError(
            f"{where}: this line is damaged: it is not the record of a call; "
            "run the job with --repair to set such lines aside"
        ) from None
