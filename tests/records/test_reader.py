"""records/reader.py: which record of a call counts, for everybody who asks."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.records import counting_records, make_key, read_calls
from eli5b_batch.records.journal import Journal
from eli5b_batch.records.reader import Redo, Standing, read_standing
from eli5b_batch.report.results import build_results
from tests.records.conftest import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

STEPS = ["hint", "answer", "ans wér|1"]
"""The last is quoted in keys."""


class Event(NamedTuple):
    """One record; `usual`: in the order of fields in which runs write."""

    problem: str
    step: str
    ok: bool
    usual: bool


EVENTS = st.builds(Event, st.sampled_from("pq"), st.sampled_from(STEPS), st.booleans(), st.booleans())


def standing_of(run: RunFolder, redo: dict[str, int]) -> Standing:
    with run.calls.open("rb") as file:
        return read_standing(file, run.calls, Redo(redo))


@settings(max_examples=80, deadline=None)
@given(events=st.lists(EVENTS, max_size=14), redo=st.dictionaries(st.sampled_from(STEPS), st.integers(0, 14)))
def test_everybody_agrees_on_which_record_counts(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], redo: dict[str, int]
) -> None:
    run = RunFolder(tmp_path_factory.mktemp("run"))
    begins = []
    for event in events:
        begins.append(run.end)
        run.record(event.problem, event.step, ok=event.ok, usual=event.usual)
    offsets = {step: begins[n] if n < len(begins) else run.end for step, n in redo.items()}
    run.redo(offsets)
    expected: dict[str, int] = {}  # the number of the record that counts, by key
    for number, event in enumerate(events):
        key = make_key(event.problem, event.step, "1b", {})
        known = expected.get(key)
        if number >= redo.get(event.step, 0) and (known is None or event.ok or not events[known].ok):
            expected[key] = number

    standing = standing_of(run, offsets)
    with closing(Journal(run.calls, redo=offsets)) as journal:
        for key in {make_key(problem, step, "1b", {}) for problem in "pq" for step in STEPS}:
            number = expected.get(key, -1)
            entry, place = journal.find(key), standing.find(key)
            counts = (begins[number], events[number].ok) if key in expected else None
            assert (entry and (entry.offset, entry.ok)) == counts
            assert place == counts
            assert journal.is_answered(key) is standing.is_answered(key) is bool(counts and counts[1])
    assert len(standing) == len(expected)
    assert [(at, r["timing"]["latency"]) for at, r in counting_records(run.path)] == [
        (begins[number], number) for number in sorted(expected.values())
    ]
    results = build_results(run.path, STEPS, redo=offsets).frame
    assert dict(results.select("call", "latency_s").iter_rows()) == expected
    assert {key: error is None for key, error in results.select("call", "error").iter_rows()} == {
        key: events[number].ok for key, number in expected.items()
    }
    frame = read_calls(run.path).collect()
    assert dict(zip(frame["key"], frame["timing"].struct.field("latency"), strict=True)) == expected


@pytest.mark.parametrize("redo", [{}, {"hint": 0}])
def test_an_answer_is_outdated_when_a_reply_it_is_built_on_is_younger_or_missing(
    run: RunFolder, redo: dict[str, int]
) -> None:
    for step in ("hint", "answer"):
        run.record("old hint", step)
    for step in ("answer", "hint"):
        run.record("new hint", step)
    run.record("failed hint", "hint", ok=False)
    run.record("failed hint", "answer")
    run.record("no hint", "answer")
    standing = standing_of(run, redo)
    with closing(Journal(run.calls, redo=redo)) as journal:
        for problem, outdated in {"old hint": False, "new hint": True, "failed hint": True, "no hint": True}.items():
            answer, hint = (make_key(problem, step, "1b", {}) for step in ("answer", "hint"))
            assert journal.is_outdated(answer, [hint]) is standing.is_outdated(answer, [hint]) is outdated
            assert journal.is_outdated(answer, []) is standing.is_outdated(answer, []) is False


def test_a_torn_last_line_does_not_count_and_stays_in_the_file(run: RunFolder) -> None:
    run.record("p")
    run.write(b'{"key":"q|answer|model:1b","status":"ok","request_hash":"00')
    before = run.calls.read_bytes()
    assert [record["problem"] for _, record in counting_records(run.path)] == ["p"]
    assert run.calls.read_bytes() == before


@pytest.mark.parametrize("line", [b"no JSON\n", b'{"key":1}\n', b'{"key":"a","status":"ok"}\n'])
def test_a_damaged_line_is_told_with_its_number_and_the_way_out(run: RunFolder, line: bytes) -> None:
    run.record("p")
    run.write(line)
    run.record("q")
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl:2: this line is damaged.*--repair"):
        list(counting_records(run.path))


def test_a_line_damaged_behind_its_head_is_told_with_its_place(run: RunFolder) -> None:
    run.record("p")
    at = run.end
    run.write(b'{"key":"q|answer|model:1b","status":"ok","request_hash":"0000000000000000","cost_usd":0.0,"reply":}\n')
    with pytest.raises(JournalDamagedError, match=rf"the record at byte {at} can't be read.*--repair"):
        list(counting_records(run.path))


def test_a_folder_without_calls_is_told_and_one_without_a_manifest_has_no_redo(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"calls\.jsonl can't be read: No such file"):
        list(counting_records(tmp_path / "none"))
    run.record("p")
    run.redo({"answer": run.end})
    assert list(counting_records(run.path)) == []
    (run.path / "manifest.json").unlink()
    assert len(list(counting_records(run.path))) == 1


def test_whoever_parses_a_key_loads_nothing_heavy() -> None:
    code = "import sys, eli5b_batch.records; print({'numpy', 'polars', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 (our own command)
    assert done.stdout == "set()\n"
