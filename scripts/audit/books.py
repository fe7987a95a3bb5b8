"""The books of an audit: a run's records against the servers' ledger and against a run never interrupted.

Must not know: how runs are started or stopped. Everything here is a pure function of files and times.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

IN_THE_SOCKET_S: Final = 0.05
"""A reply that went out so shortly before the end may not have been read, or not been written down, by then."""

_SPOILING: Final = frozenset({"garbage", "lost", "hang"})
"""Faults after which there is no answer, though the work was done. A late reply is one, unless nobody waited for it."""


class Entry(NamedTuple):
    """One line of the ledger; see `eli5b_batch/simulated/ledger.py`."""

    t: float
    server: str
    key: str
    peer: int
    status: int
    delivered: bool
    tokens: int
    fault: str | None

    @property
    def worked(self) -> bool:
        """Whether the server did the work, and would have billed it."""
        return self.tokens > 0


class Start(NamedTuple):
    """One start of the runner, unix seconds; `ended`: it was told to end (None: it was not), `gone`: it had.

    `unread` are its ports at which something lay in the kernel's buffers when it ended; None where that is unknown.
    `kept_waiting_s` is how long it had waited for a CPU lately: on a busy machine it does late what it would have done.
    """

    began: float
    ended: float | None
    gone: float
    unread: frozenset[int] | None = None
    kept_waiting_s: float = 0.0


class Again(NamedTuple):
    """Work that was done and asked for again, by what had become of the first reply."""

    delivered: list[str]
    """It was with the runner in good time: keys. Nothing excuses this."""
    in_hand: list[str]
    """It went out shortly before the end and was read, as far as one can know, but not written down."""
    in_the_socket: list[str]
    """It went out shortly before the end and was not read."""
    undelivered: list[str]
    """It was finished after the end, or when nobody was there any more."""
    spoilt: Counter[str]
    """It was made to go wrong on its way, by kind of fault."""


def read_ledger(path: Path) -> list[Entry]:
    """The ledger's lines, by time."""
    return sorted((Entry(**orjson.loads(line)) for line in whole_lines(path)), key=lambda entry: entry.t)


def asked_again(ledger: Sequence[Entry], starts: Sequence[Start]) -> Again:
    """Sort the work that was asked for again; `ledger` and `starts` of one run, by time."""
    again = Again([], [], [], [], Counter())
    by_key: dict[str, list[Entry]] = defaultdict(list)
    for entry in ledger:
        by_key[entry.key].append(entry)
    for key, entries in by_key.items():
        for entry in entries[:-1]:
            if not entry.worked:
                continue
            start = max((s for s in starts if s.began <= entry.t), key=lambda s: s.began)
            if entry.fault is not None and (entry.fault in _SPOILING or not entry.delivered):
                again.spoilt[entry.fault] += 1
            elif not entry.delivered:
                again.undelivered.append(key)
            elif start.ended is None or entry.t < start.ended - IN_THE_SOCKET_S - start.kept_waiting_s:
                again.delivered.append(key)
            elif entry.t >= start.ended:
                again.undelivered.append(key)
            elif start.unread and entry.peer in start.unread:
                again.in_the_socket.append(key)
            else:
                again.in_hand.append(key)
    return again


def whole_lines(path: Path) -> list[bytes]:
    """The complete lines of a file that may be missing, or end torn."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def lost(before: Iterable[bytes], after: Iterable[bytes]) -> int:
    """Records that were there and are not, or not as they were."""
    return len(Counter(before) - Counter(after))


def answered(lines: Iterable[bytes]) -> Counter[str]:
    """How often each key has a success on record."""
    records = (orjson.loads(line) for line in lines)
    return Counter(record["key"] for record in records if record["status"] == "ok")


def results(folder: Path) -> list[dict[str, Any]]:
    """The rows of results.jsonl in a fixed order, without the one column that is a time."""
    rows = [orjson.loads(line) for line in whole_lines(folder / "results.jsonl")]
    return sorted(
        ({k: v for k, v in row.items() if k != "latency_s"} for row in rows), key=lambda row: str(row["call"])
    )


def torn_tails(folder: Path) -> int:
    """How often the run log says that a torn last line was cut off."""
    rows = (orjson.loads(line) for line in whole_lines(folder / "run.log"))
    return sum(row.get("torn_bytes_cut", 0) > 0 for row in rows)


def sentence_problems(text: str) -> list[str]:
    """What keeps the words on stderr from being one clear sentence and where the run stands."""
    said = [line for line in text.splitlines() if line.strip()]
    wrong = []
    if "Traceback" in text or "Error:" in text:
        wrong.append("a traceback is printed")
    if sum(line.startswith("eli5b-batch: ") and "is not logged" not in line for line in said) != 1:
        wrong.append("not exactly one sentence says why")
    return wrong
