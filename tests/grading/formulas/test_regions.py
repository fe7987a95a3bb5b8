from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas import regions
from eli5b_batch.grading.formulas.reader import read
from eli5b_batch.grading.formulas.structure import equal
from eli5b_batch.grading.formulas.work import WorkBudget

TABLE = [  # ours, gold, right?, why
    ("[1, 2]", "[1, 2]", True, "an interval"),
    ("(1, 2]", "[1, 2)", False, "open and closed"),
    ("[1, 2)", "[1, 3)", False, "another end"),
    ("[1, 1/2+3/2)", "[1, 2)", True, "ends by value"),
    ("1 < x < 2", "(1, 2)", True, "as inequalities"),
    (r"2 > x \geq 1", "[1, 2)", True, "from above"),
    (r"x \in [1, 2)", r"1 \leq x < 2", True, "as a member"),
    ("x > 1, x < 2", "1 < x < 2", True, "two that hold together"),
    ("x > 1 and x < 2", "1 < x < 2", True, "in words"),
    ("x > 1 or x < 0", r"(-\infty, 0) \cup (1, \infty)", True, "either of two"),
    ("x < 0, x > 1", "x < 0 or x > 1", True, "two that cannot hold together are a union"),
    ("x > 1", r"(1, \infty)", True, "a half line"),
    ("1 < x", "x > 1", True, "written from the other side"),
    ("x > 1", r"[1, \infty)", False, "its end not in it"),
    ("x > 1", "x < 1", False, "the other half"),
    ("x > 1", "y > 1", False, "another letter"),
    ("X > 1", "x > 1", True, "the same in another case"),
    (r"x \neq 3", r"\mathbb{R} \setminus \{3\}", True, "all but one"),
    (r"x \neq 3", r"(-\infty, 3) \cup (3, \infty)", True, "as a union"),
    (r"x \neq 3, x \neq 5", r"\mathbb{R} \setminus \{3, 5\}", True, "all but two"),
    (r"\mathbb{R} - \{3\}", r"x \neq 3", True, "as a difference"),
    (r"\mathbb{R}", r"(-\infty, \infty)", True, "all"),
    ("all real numbers", r"\mathbb{R}", True, "in words"),
    (r"(-\infty, \infty)", r"(\infty, -\infty)", False, "the wrong way round"),
    (r"[1, 2] \cup [3, 4]", r"[3, 4] \cup [1, 2]", True, "in any order"),
    (r"[1, 2] \cup [2, 4]", "[1, 4]", True, "they touch"),
    (r"[1, 2) \cup [2, 4]", "[1, 4]", True, "one of them holds the point"),
    (r"[1, 2) \cup (2, 4]", "[1, 4]", False, "neither does"),
    (r"[1, 2) \cup \{2\} \cup (2, 4]", "[1, 4]", True, "a point between"),
    (r"[1, 3] \cup [2, 4]", "[1, 4]", True, "they overlap"),
    (r"[1, 4] \cup [2, 3]", "[1, 4]", True, "one within the other"),
    (r"[1, 2) \cup [1, 2]", "[1, 2]", True, "one but for its end"),
    (r"(1, \sqrt{4}] \cup [2, 3)", "(1, 3)", True, "they touch by value"),
    (r"(0, 1) \cup \{5\}", r"(0, 1)", False, "a point too many"),
    (r"[1, 4] \setminus \{2\}", r"[1, 2) \cup (2, 4]", True, "a point taken out"),
    (r"[1, 4] \setminus (2, 3)", r"[1, 2] \cup [3, 4]", True, "an interval taken out"),
    (r"[1, 4] \setminus [2, 3]", r"[1, 2) \cup (3, 4]", True, "a closed one"),
    (r"[1, 4] \setminus [2, \infty)", "[1, 2)", True, "a half line"),
    (r"|x| < 2", "(-2, 2)", True, "a size"),
    (r"|x| \geq 2", r"(-\infty, -2] \cup [2, \infty)", True, "a size from below"),
    (r"\{x : x > 1\}", r"(1, \infty)", True, "a set by a property"),
    (r"\{x \in \mathbb{R} : 1 < x < 2\}", "(1, 2)", True, "of reals"),
    ("(a, b]", "(a, b]", True, "letters for ends"),
    ("(a, 2a]", "(a, a+a]", True, "ends equal in letters"),
    ("(a, 2a]", "(a, 3a]", False, "ends that are not"),
    (r"(a, b] \cup [c, d)", r"[c, d) \cup (a, b]", True, "a union of them"),
    (r"\sqrt{2} < x", r"(\frac{2}{\sqrt{2}}, \infty)", True, "irrational ends"),
    ("5", r"[5, \infty)", False, "a number is no half line"),
    ("(1, 2)", "1, 2", True, "a point beside a list"),
]


@pytest.mark.parametrize(("ours", "gold", "right", "why"), TABLE)
def test_regions(ours: str, gold: str, right: bool, why: str) -> None:  # noqa: FBT001
    assert equal(read(ours), read(gold), WorkBudget()) is right, why


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2)",
        r"(1, \infty)",
        "x < 1",
        r"x \in [1, 2]",
        r"\{x < 1\}",
        r"[1, 2] \cup \{3\}",
        r"\mathbb{R}",
        r"\mathbb{R} - \{3\}",
    ],
)
def test_what_can_only_be_a_region(text: str) -> None:
    assert regions.describes(read(text))


@pytest.mark.parametrize("text", ["(1, 2)", "[1, 2]", r"\{1, 2\}", "5", "x = 1", "x - 3", r"(1, 2, \infty)"])
def test_what_can_be_something_else(text: str) -> None:
    assert not regions.describes(read(text))


@pytest.mark.parametrize("text", ["5", "(1, 2, 3)", "a < b < c < d", "1 < x > 0", r"\mathbb{Z}", r"|x| \neq 1"])
def test_what_is_no_region(text: str) -> None:
    assert regions.region(read(text), WorkBudget()) is None


def test_pieces() -> None:
    found = regions.region(read(r"1 \leq x < 2"), WorkBudget())
    assert found is not None
    (piece,) = found.pieces
    assert (found.letter, str(piece.low), piece.low_closed, str(piece.high), piece.high_closed) == (
        "x", "num 1", True, "num 2", False,
    )  # fmt: skip


def test_very_many_pieces_are_compared_as_they_stand() -> None:
    many = r" \cup ".join(f"[{n}, {n + 1}]" for n in range(80))
    assert equal(read(many), read(many + r" \cup [80, 81]"), WorkBudget()) is False
