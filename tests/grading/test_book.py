"""grading/book.py: verdicts on disk, one byte a call in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.grading.book import Arm, GradeBook
from eli5b_batch.grading.verdict import Verdict
from eli5b_batch.records import make_key

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [make_key("0-a", "answer", model, {"hint": "none", "sample": n}) for model in ("1b", "3b") for n in (0, 1)]
ROWS = {key: row for row, key in enumerate(KEYS)}
RIGHT = Verdict("correct", "4", "boxed/text", 0.001)
WRONG = Verdict("no_answer", None, "none", 0.001)


def row(key: str | bytes) -> int | None:
    return ROWS.get(key if isinstance(key, str) else key.decode())


def test_verdicts_and_counts_are_the_same_after_reopening(tmp_path: Path) -> None:
    book = GradeBook(tmp_path / "grades.jsonl", row)
    book.add(KEYS[3], "4", RIGHT)
    book.add(KEYS[0], "4", WRONG)
    book.add_failed(KEYS[1], "4")
    for _ in range(2):
        assert [book.verdict(key) for key in KEYS] == ["no_answer", "failed", None, "correct"]
        assert book.graded == 3
        none = (("hint", "none"),)
        assert book.arms == {Arm("3b", none): [1, 1], Arm("1b", none): [2, 0]}
        book.close()
        book = GradeBook(tmp_path / "grades.jsonl", row)
    book.close()


def test_the_newest_verdict_counts_once(tmp_path: Path) -> None:
    book = GradeBook(tmp_path / "grades.jsonl", row)
    book.add_failed(KEYS[0], "4")
    book.add(KEYS[0], "4", RIGHT)
    book.add(KEYS[0], "4", RIGHT)
    assert (book.graded, list(book.arms.values())) == (1, [[1, 1]])
    book.add(KEYS[0], "4", WRONG)
    assert (book.graded, list(book.arms.values())) == (1, [[1, 0]])
    book.close()


def test_a_grade_of_a_call_that_is_not_on_record_is_ignored(tmp_path: Path) -> None:
    stranger = make_key("9-z", "answer", "1b", {})
    book = GradeBook(tmp_path / "grades.jsonl", row)
    book.add(stranger, "4", RIGHT)
    assert (book.graded, book.verdict(stranger)) == (0, None)
    book.close()


@pytest.mark.parametrize("damage", [b"x\n", b"{}\n", b'{"key":"a","verdict":"splendid","correct":true}\n'])
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "grades.jsonl"
    path.write_bytes(damage)
    with pytest.raises(JournalDamagedError, match=r"grades\.jsonl:1: this line is not a grade"):
        GradeBook(path, row)


def test_a_torn_tail_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "grades.jsonl"
    book = GradeBook(path, row)
    book.add(KEYS[0], "4", RIGHT)
    book.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key":"')
    GradeBook(path, row).close()
    assert path.read_bytes() == whole
