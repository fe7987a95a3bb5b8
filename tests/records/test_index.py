"""index.py: what is packed comes back as it was, whatever the order in which problems are looked at."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.records.index import Entry, Index

if TYPE_CHECKING:
    import pytest

ENTRIES = st.builds(Entry, st.integers(0, 2**60), st.booleans(), st.text("0123456789abcdef", min_size=16, max_size=16))
NOTES = st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([b"|hint", b"|answer", b"|x"]), ENTRIES), max_size=60)


@given(first=NOTES, crowd=st.integers(0, 2500), second=NOTES)
def test_it_holds_what_a_plain_dict_holds(
    first: list[tuple[int, bytes, Entry]], crowd: int, second: list[tuple[int, bytes, Entry]]
) -> None:
    index, plain = Index(), dict[bytes, Entry]()
    others = [(n, b"|crowd", Entry(n, ok=True, request_hash="0" * 16)) for n in range(crowd)]
    for number, kind, entry in [*first, *others, *second]:
        problem = b"%d-x" % number
        index.calls_of(problem)[problem + kind] = plain[problem + kind] = entry
    assert dict(index) == plain
    assert len(index) == len(plain)
    assert all(index.find(key.split(b"|")[0], key) == entry for key, entry in plain.items())
    assert index.find(b"0-x", b"0-x|never") is None
    index.drop(b"0-x")
    assert dict(index) == {key: entry for key, entry in plain.items() if not key.startswith(b"0-x|")}


def test_a_packed_call_takes_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eli5b_batch.records.index._AT_HAND", 8)  # so that calls which are not packed weigh nothing
    tracemalloc.start()
    index = Index()
    for n in range(1000):
        problem = b"%06d-abcdef" % n
        calls = index.calls_of(problem)
        for sample in range(20):
            key = problem + b"|answer|hint:tailored|hint_for:1b|model:1b|sample=%d" % sample
            calls[key] = Entry(n * 30_000 + sample, ok=True, request_hash=f"{n:016x}")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == 20_000
    assert taken / 20_000 < 45
