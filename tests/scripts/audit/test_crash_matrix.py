"""crash_matrix.py: its quick form, as CI runs it; and its audit, against books with planted defects."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
import pytest

from books import Again, Entry, Start, answered, asked_again, lost, sentence_problems, whole_lines
from crash_proc import Waits

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "audit" / "crash_matrix.py"


def entry(
    t: float,
    key: str = "k",
    *,
    peer: int = 5000,
    status: int = 200,
    delivered: bool = True,
    tokens: int = 5,
    fault: str | None = None,
) -> Entry:
    return Entry(t, "api", key, peer, status, delivered, tokens, fault)


def again(*entries: Entry, kept_waiting_s: float = 0.0) -> Again:
    killed = Start(0.0, 10.0, 10.02, frozenset({5001}), kept_waiting_s)
    return asked_again(entries, [killed, Start(11.0, None, 20.0)])


def test_a_reply_that_was_there_in_time_and_is_asked_again_is_found() -> None:
    found = again(entry(5.0), entry(6.0, "other"), entry(12.0))
    assert (found.delivered, found.in_the_socket, found.undelivered) == (["k"], [], [])
    assert again(entry(5.0), entry(6.0, "other")).delivered == []
    assert again(entry(12.0), entry(13.0)).delivered == ["k"], "asked twice by a start that nobody ended"


def test_replies_at_the_moment_of_a_kill_are_counted_apart() -> None:
    assert again(entry(9.94), entry(12.0)).delivered == ["k"]
    assert again(entry(9.94, peer=5001), entry(12.0)).delivered == ["k"]
    assert again(entry(9.96), entry(12.0)).in_hand == ["k"]
    assert again(entry(9.96, peer=5001), entry(12.0)).in_the_socket == ["k"]
    assert again(entry(10.01, peer=5001), entry(12.0)).undelivered == ["k"]
    assert again(entry(9.0, delivered=False), entry(12.0)).undelivered == ["k"]


def test_a_runner_that_waited_for_a_cpu_had_so_much_less_time_for_a_reply() -> None:
    assert again(entry(9.5), entry(12.0), kept_waiting_s=0.5).in_hand == ["k"]
    assert again(entry(9.5, peer=5001), entry(12.0), kept_waiting_s=0.5).in_the_socket == ["k"]
    assert again(entry(9.5), entry(12.0), kept_waiting_s=0.4).delivered == ["k"]


def test_how_long_a_process_waited_for_a_cpu_is_read_from_look_to_look(tmp_path: Path) -> None:
    waits = Waits(os.getpid())
    waits._path = tmp_path / "schedstat"
    waits.look()
    assert waits.lately_s == 0.0, "nothing is counted"
    for waited in (1.5, 2.0, 4.0):
        waits._path.write_text(f"7 {waited * 1e9:.0f} 3\n")
        waits.look()
    waits._path.unlink()
    waits.look()
    assert waits.lately_s == pytest.approx(2.5)


def test_what_a_fault_spoilt_is_counted_by_fault_and_what_was_never_done_is_not() -> None:
    lost = entry(1.0, delivered=False, fault="lost")
    garbage = entry(2.0, fault="garbage")
    hung = entry(3.0, status=499, delivered=False, fault="hang")
    broken = entry(4.0, status=500, tokens=0, fault="broken")
    left = entry(5.0, status=499, delivered=False, tokens=0)
    found = again(lost, garbage, hung, broken, left, entry(6.0))
    assert found.spoilt == Counter(lost=1, garbage=1, hang=1)
    assert (found.delivered, found.in_the_socket, found.undelivered) == ([], [], [])


def test_a_record_that_changed_or_went_is_lost() -> None:
    assert lost([b"a", b"b"], [b"a", b"b", b"c"]) == 0
    assert lost([b"a", b"b"], [b"a", b"B"]) == 1


def test_torn_and_missing_files_are_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    assert whole_lines(path) == []
    path.write_bytes(b'{"key":"a","status":"ok"}\n{"key":"b","status":"error"}\n{"key":"a","sta')
    assert answered(whole_lines(path)) == Counter(a=1)


@pytest.mark.parametrize(
    ("said", "clear"),
    [
        ("eli5b-batch: the disk is full\n3 of 9 calls are on record.\n", True),
        ("eli5b-batch: /x/run.log can't be written; 'run ends' is not logged\neli5b-batch: the disk is full\n", True),
        ("", False),
        ("eli5b-batch: one\neli5b-batch: two\n", False),
        ("Traceback (most recent call last):\neli5b-batch: the disk is full\n", False),
    ],
)
def test_one_clear_sentence_is_asked_for(said: str, *, clear: bool) -> None:
    assert (sentence_problems(said) == []) is clear


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_run_killed_three_times_passes_the_audit(tmp_path: Path) -> None:
    script = str(SCRIPT)
    # This seed kills once at 0.7 s and twice in mid-run.
    command = [sys.executable, script, "--first-seed", "10", "--seeds", "1", "--kills", "3", "--problems", "3"]
    done = subprocess.run(  # noqa: S603 (our own script)
        [*command, "--json", str(tmp_path / "rows.json"), "--work", str(tmp_path / "work")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every target met" in done.stdout
    rows = orjson.loads((tmp_path / "rows.json").read_bytes())
    assert sum(row["figures"]["kills"] for row in rows) >= 3
    assert all(row["figures"]["calls"] > 100 and row["figures"]["equal"] == "yes" for row in rows)
    assert sum(start["code"] == -9 for row in rows for start in row["starts"]) >= 3
