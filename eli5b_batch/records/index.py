"""Where the records of open problems stand: the journal's index, compact at any size.

Must not know: files, what a call means. A problem that has just been touched is a dict of its calls; the others are
packed into 29 bytes a call, so that a million open calls take tens of megabytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKED: Final = struct.Struct("<IQ?16s")
_AT_HAND: Final = 1024
"""Problems held as dicts: more than any window, so that a run packs nothing it is about to ask for."""


class Entry(NamedTuple):
    """Where a call's record stands and what it says at its head; `request_hash` has 16 digits."""

    offset: int
    ok: bool
    request_hash: str


class Index:
    """By problem, by key: the entry that counts. A key is `PROBLEM|KIND`; the kinds are few, and kept once."""

    def __init__(self) -> None:
        self._at_hand: dict[bytes, dict[bytes, Entry]] = {}
        self._packed: dict[bytes, bytes] = {}
        self._numbers: dict[bytes, int] = {}
        self._kinds: list[bytes] = []

    def __len__(self) -> int:
        """Calls."""
        packed = sum(len(blob) for blob in self._packed.values()) // _PACKED.size
        return packed + sum(len(calls) for calls in self._at_hand.values())

    def __iter__(self) -> Iterator[tuple[bytes, Entry]]:
        for calls in self._at_hand.values():
            yield from calls.items()
        for problem, blob in self._packed.items():
            yield from self._unpack(problem, blob)

    def calls_of(self, problem: bytes) -> dict[bytes, Entry]:
        """The calls of one problem, to be read and changed at once: a later look may make room for others."""
        calls = self._at_hand.get(problem)
        if calls is None:
            calls = self._at_hand[problem] = dict(self._unpack(problem, self._packed.pop(problem, b"")))
            if len(self._at_hand) > _AT_HAND:
                oldest = next(iter(self._at_hand))
                self._packed[oldest] = self._pack(self._at_hand.pop(oldest), len(oldest))
        return calls

    def find(self, problem: bytes, key: bytes) -> Entry | None:
        """The entry of one call."""
        known = problem in self._at_hand or problem in self._packed
        return self.calls_of(problem).get(key) if known else None

    def drop(self, problem: bytes) -> None:
        """Forget the calls of a problem."""
        self._at_hand.pop(problem, None)
        self._packed.pop(problem, None)

    def _pack(self, calls: dict[bytes, Entry], start: int) -> bytes:
        return b"".join(
            _PACKED.pack(self._number(key[start:]), offset, ok, request_hash.encode())
            for key, (offset, ok, request_hash) in calls.items()
        )

    def _unpack(self, problem: bytes, blob: bytes) -> Iterator[tuple[bytes, Entry]]:
        for number, offset, ok, request_hash in _PACKED.iter_unpack(blob):
            yield problem + self._kinds[number], Entry(offset, ok, request_hash.decode("utf-8", "replace"))

    def _number(self, kind: bytes) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self._kinds)
            self._kinds.append(kind)
        return number
