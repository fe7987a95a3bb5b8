"""grading/book.py: verdicts on disk, one byte a call in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.grading.verdict import Verdict
from eli5b_batch.records import make_key
from eli5b_batch.records.grades import Arm, GradeBook

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [make_key("0-a", "answer", model, {"hint": "none", "sample": n}) for model in ("1b", "3b") for n in (0, 1)]
GRADER = "math/3"
RIGHT = Verdict("correct", "4", "boxed/text", 0.001)
WRONG = Verdict("no_answer", None, "none", 0.001)


def on_record(key: str) -> bool:
    return key in KEYS


def test_verdicts_and_counts_are_the_same_after_reopening(tmp_path: Path) -> None:
    book = GradeBook(tmp_path / "grades.jsonl", on_record)
    book.add(KEYS[3], "4", RIGHT, GRADER)
    book.add(KEYS[0], "4", WRONG, GRADER)
    book.add_failed(KEYS[1], "4", GRADER)
    for _ in range(2):
        assert [book.verdict(key) for key in KEYS] == ["no_answer", "failed", None, "correct"]
        assert book.graded == 3
        none = (("hint", "none"),)
        assert book.arms == {Arm("3b", none): [1, 1], Arm("1b", none): [2, 0]}
        book.close()
        book = GradeBook(tmp_path / "grades.jsonl", on_record)
    book.close()


def test_the_newest_verdict_counts_once(tmp_path: Path) -> None:
    book = GradeBook(tmp_path / "grades.jsonl", on_record)
    book.add_failed(KEYS[0], "4", GRADER)
    book.add(KEYS[0], "4", RIGHT, GRADER)
    book.add(KEYS[0], "4", RIGHT, GRADER)
    assert (book.graded, list(book.arms.values())) == (1, [[1, 1]])
    book.add(KEYS[0], "4", WRONG, GRADER)
    assert (book.graded, list(book.arms.values())) == (1, [[1, 0]])
    book.close()


def test_a_grade_of_a_call_that_is_not_on_record_is_ignored(tmp_path: Path) -> None:
    stranger = make_key("9-z", "answer", "1b", {})
    book = GradeBook(tmp_path / "grades.jsonl", on_record)
    book.add(stranger, "4", RIGHT, GRADER)
    assert (book.graded, book.verdict(stranger)) == (0, None)
    book.close()


def test_closed_problems_stay_counted_and_leave_memory(tmp_path: Path) -> None:
    book = GradeBook(tmp_path / "grades.jsonl", on_record)
    book.add_failed(KEYS[0], "4", GRADER)
    book.add(KEYS[0], "4", RIGHT, GRADER)
    book.add(KEYS[1], "4", WRONG, GRADER)
    arms = {arm: list(counts) for arm, counts in book.arms.items()}
    book.close_problem("0-a")
    assert book.verdict(KEYS[0]) is None
    checkpoint = orjson.loads(orjson.dumps(book.checkpoint()))
    assert checkpoint["open"] == []
    book.close()
    for known in (None, checkpoint):
        book = GradeBook(tmp_path / "grades.jsonl", on_record, closed=["0-a"], checkpoint=known)
        assert book.arms == arms
        book.close()


@pytest.mark.parametrize("damage", [b"x\n", b"{}\n", b'{"key":"a","verdict":"splendid","correct":true}\n'])
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "grades.jsonl"
    path.write_bytes(damage)
    with pytest.raises(JournalDamagedError, match=r"grades\.jsonl:1: this line is not a grade"):
        GradeBook(path, on_record)


def test_a_torn_tail_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "grades.jsonl"
    book = GradeBook(path, on_record)
    book.add(KEYS[0], "4", RIGHT, GRADER)
    book.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key":"')
    GradeBook(path, on_record).close()
    assert path.read_bytes() == whole


def test_the_grader_stands_beside_every_verdict(tmp_path: Path) -> None:
    book = GradeBook(tmp_path / "grades.jsonl", on_record)
    book.add(KEYS[0], "4", RIGHT, "math/7")
    book.add_failed(KEYS[1], "4", "number/3")
    book.close()
    rows = [orjson.loads(line) for line in (tmp_path / "grades.jsonl").read_bytes().splitlines()]
    assert [(row["key"], row["grader"]) for row in rows] == [(KEYS[0], "math/7"), (KEYS[1], "number/3")]
