"""journal.py: what is appended is found again, whatever happens in between."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.errors import JournalDamagedError, StorageError
from eli5b_batch.records.journal import Journal, read_records, repair
from eli5b_batch.records.reserve import Reserve

if TYPE_CHECKING:
    from pathlib import Path


NAMES = [f"{letter}|answer|model:m" for letter in "abc"]


def record(key: str, *, ok: bool = True, text: str = "x", cost: float | None = 0.0, hash_: int = 7) -> dict[str, Any]:
    return {
        "key": key,
        "status": "ok" if ok else "error",
        "request_hash": f"{hash_:016x}",
        "cost_usd": cost,
        "reply": {"text": text} if ok else None,
    }


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.text(max_size=20)), max_size=12),
    reopen_after=st.integers(min_value=0, max_value=12),
)
def test_the_newest_success_counts_else_the_newest_error(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, bool, str]], reopen_after: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "calls.jsonl"
    journal = Journal(path)
    expected: dict[str, tuple[bool, str]] = {}
    for number, (key, ok, text) in enumerate(events):
        if number == reopen_after:
            journal.close()
            journal = Journal(path)
        journal.append(record(key, ok=ok, text=text))
        if ok or not expected.get(key, (False, ""))[0]:
            expected[key] = (ok, text)
    journal.close()
    journal = Journal(path)
    assert len(journal) == len(expected)
    for key in NAMES:
        entry = journal.find(key)
        assert journal.is_answered(key) is expected.get(key, (False, ""))[0]
        if key not in expected:
            assert entry is None
            continue
        assert entry is not None
        assert entry.ok is expected[key][0]
        assert journal.read(key, entry)["reply"] == ({"text": expected[key][1]} if entry.ok else None)
    journal.close()


def test_a_torn_tail_is_cut_off_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    journal.append(record("a", cost=0.25))
    journal.append(record("b", cost=None))
    journal.close()
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"key":"c","status":"ok","requ')
    journal = Journal(path)
    assert (journal.opened.records, journal.opened.torn_bytes, journal.opened.cost_usd) == (2, 30, 0.25)
    assert journal.find("c") is None
    journal.close()
    assert path.stat().st_size == whole


@pytest.mark.parametrize(
    "damage",
    [
        b"\n",
        b"garbage\n",
        b'{"key":"x"}\n',
        b"[]\n",
        b'{"key":"x","status":"ok","request_hash":"7","cost_usd":0.0}\n',
        b'{"key":"x","status":"fine","request_hash":"0123456789abcdef","cost_usd":0.0}\n',
        b'{"key":"x","status":"error","request_hash":"0123456789abcdef","cost_usd":0.0,"text":"\xff"}\n',
    ],
)
def test_damage_before_the_end_stops_with_the_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    journal.append(record("a"))
    journal.close()
    good = path.read_bytes()
    path.write_bytes(good + damage + good)
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl:2: this line is damaged"):
        Journal(path)
    assert path.read_bytes() == good + damage + good


def test_texts_come_back_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    text = "a\u2028b\u0085c\x00d\ne" + "\U0001f600" * 3
    journal = Journal(path)
    entry = journal.append(record("a", text=text))
    assert journal.read("a", entry)["reply"]["text"] == text
    journal.close()
    assert [r["reply"]["text"] for r in read_records(path)] == [text]


def test_reading_records_passes_over_a_torn_tail_and_names_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":2')
    assert list(read_records(path)) == [{"a": 1}]
    path.write_bytes(b'{"a":1}\nno\n{"a":2}\n')
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl:2: this line is not JSON"):
        list(read_records(path))


@pytest.mark.looptime
async def test_syncs_come_in_groups_within_50_ms_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "calls.jsonl")
    syncs: list[float] = []
    loop = asyncio.get_running_loop()

    async def at_once(work: Any, *_: object) -> None:  # noqa: ANN401 (stands for a thread)
        syncs.append(loop.time())
        work()

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    task = asyncio.create_task(journal.sync_forever())
    for number in range(100):
        journal.append(record(f"k{number}"))
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    task.cancel()
    journal.close()
    assert 2 <= len(syncs) <= 4
    assert syncs[0] <= 0.05


def test_lines_of_another_layout_count_as_well(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    line = '{"status": "ok", "cost_usd": 0.5, "text": "a\\u2028b", "request_hash": "00000000000000ff", "key": "a"}\n'
    path.write_text(line)
    journal = Journal(path)
    assert journal.find("a") == (0, True, "00000000000000ff")
    assert journal.opened.cost_usd == 0.5
    journal.close()


@given(lines=st.lists(st.tuples(st.booleans(), st.binary(max_size=20)), max_size=10), torn=st.booleans())
def test_repair_sets_exactly_the_damaged_lines_aside(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[bool, bytes]],
    torn: bool,  # noqa: FBT001 (hypothesis)
) -> None:
    path = tmp_path_factory.mktemp("repair") / "calls.jsonl"
    good = b'{"key":"a","status":"ok","request_hash":"0123456789abcdef","cost_usd":0.0,"reply":{"text":"x"}}\n'
    written = [good if whole else junk.replace(b"\n", b"") + b"\n" for whole, junk in lines]
    tail = [b'{"key":"b","stat'] if torn else []
    path.write_bytes(b"".join(written + tail))
    bad = [line for line in written if line != good] + tail
    assert len(repair(path)) == len(bad)
    assert path.read_bytes() == good * written.count(good)
    aside = path.with_name("calls.jsonl.damaged")
    assert (aside.read_bytes() if aside.exists() else b"") == b"".join(bad)
    Journal(path).close()


KEYS = [f"{problem}|answer|model:{model}" for problem in ("0-a", "1-b") for model in ("m", "n")]


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=14),
    checkpoint_after=st.integers(min_value=0, max_value=14),
)
def test_a_checkpoint_changes_nothing_but_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, bool]], checkpoint_after: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "calls.jsonl"
    journal = Journal(path)
    checkpoint = journal.checkpoint()
    for number, (key, ok) in enumerate(events):
        if number == checkpoint_after:
            checkpoint = orjson.loads(orjson.dumps(journal.checkpoint()))
        journal.append(record(key, ok=ok, cost=0.5))
    whole = [journal.find(key) for key in KEYS]
    counts = (journal.answered, len(journal))
    journal.close()
    for known in (None, checkpoint):
        journal = Journal(path, checkpoint=known)
        assert [journal.find(key) for key in KEYS] == whole
        assert (journal.answered, len(journal)) == counts
        assert (journal.opened.records, journal.opened.cost_usd) == (len(events), 0.5 * len(events))
        journal.close()


def test_a_checkpoint_of_another_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    journal.append(record(KEYS[0]))
    journal.append(record(KEYS[1]))
    checkpoint = journal.checkpoint()
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[1] + lines[0].replace(b'"x"', b'"y"'))
    journal = Journal(path, checkpoint=checkpoint)
    first, second = journal.find(KEYS[0]), journal.find(KEYS[1])
    assert first is not None
    assert second is not None
    assert second.offset == 0
    assert journal.read(KEYS[0], first)["reply"]["text"] == "y"
    journal.close()


def test_a_closed_problem_leaves_memory_stays_counted_and_is_found_again_if_need_be(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    journal.append(record(KEYS[0], ok=False))
    for key in KEYS:
        journal.append(record(key, text=key))
    journal.close_problem("0-a")
    assert [key for key, *_ in journal.checkpoint()["open"]] == KEYS[2:]
    assert journal.answered == 4
    checkpoint = journal.checkpoint()
    journal.close()
    for known in (None, checkpoint):
        journal = Journal(path, closed=["0-a"], checkpoint=known)
        assert journal.answered == 4
        assert journal.is_answered(KEYS[3])
        entry = journal.find(KEYS[0])
        assert entry is not None
        assert journal.read(KEYS[0], entry)["reply"]["text"] == KEYS[0]
        journal.close()


def test_a_closed_problem_that_is_asked_about_again_has_no_records_from_before_a_redo(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    for key in KEYS[:2]:
        journal.append(record(key))
    journal.close()
    end = path.stat().st_size
    journal = Journal(path, closed=["0-a"], redo={KEYS[0].split("|")[1]: end})
    assert journal.find(KEYS[0]) is None
    journal.close()


def test_a_record_that_is_no_longer_where_it_was_is_said(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    entry = journal.append(record(KEYS[0]))
    path.write_bytes(path.read_bytes().replace(b"0-a", b"9-z"))
    with pytest.raises(JournalDamagedError, match="holds no record of"):
        journal.read(KEYS[0], entry)
    path.write_bytes(path.read_bytes().replace(b":", b";"))
    with pytest.raises(JournalDamagedError, match="is damaged"):
        journal.read(KEYS[0], entry)
    journal.close()


def test_a_record_that_the_reserve_took_counts_and_a_checkpoint_does_not_pass_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reserve, real_write = tmp_path / "calls.jsonl", Reserve(tmp_path / ".reserve", 1 << 20), os.write
    journal = Journal(path)
    journal.hold(reserve)

    def full_disk(fd: int, data: bytes) -> int:
        if reserve.path.exists():
            raise OSError(28, "No space left on device")
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(StorageError, match="every reply is safe"):
        journal.append(record(NAMES[0], cost=0.5))
    monkeypatch.undo()
    checkpoint = journal.checkpoint()
    journal.close()
    again = Journal(path, checkpoint=checkpoint)
    assert again.is_answered(NAMES[0])
    assert (again.opened.records, again.opened.cost_usd) == (1, 0.5)
    again.close()
