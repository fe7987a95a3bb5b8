from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas.reader import read
from eli5b_batch.grading.formulas.structure import equal
from eli5b_batch.grading.formulas.work import TooBigError, WorkBudget

UNITS = [  # ours, gold, right?, why
    ("5 cm", "5", True, "a unit that the gold leaves out"),
    ("5", "5 cm", True, "or the answer"),
    ("5 cm", "5 cm", True, "the same"),
    (r"500 \text{ cm}", r"5 \text{ m}", True, "other units"),
    (r"5 \text{ cm}", r"5 \text{ m}", False, "the number alone is not enough"),
    (r"5 \text{ cm}", r"5 \text{ cm}^2", False, "a length is no area"),
    (r"5 \text{ kg}", r"5 \text{ m}", False, "nor a mass"),
    ("90 minutes", "1.5 hours", True, "time"),
    ("1 hour 30 minutes", "90 minutes", True, "two measures"),
    ("5 apples", "5 pears", True, "remarks say nothing of the size"),
    ("5 m", "5", True, "a letter that can be a unit"),
    ("5m", "5", False, "or a variable"),
    (r"\$5", "5", True, "money"),
    ("50 cents", r"\$0.50", True, "smaller money"),
    (r"\$50", r"50\%", False, "money is no share"),
    ("5 dollars per day", r"\$5", True, "money per day is told by the question"),
    ("4:30 pm", "4:30 pm", True, "a time of day"),
    ("4:30 pm", "4:30 am", False, "another"),
    ("4:30 pm", "4:30", True, "morning or afternoon left out"),
    ("8:60 pm", "4:30 pm", False, "a time is no ratio"),
    ("at most 5", "5", False, "words that change the value"),
    ("5 or more", "5", False, "from behind"),
    ("at most 5", "at most 5", True, "both say so"),
    ("at most 5", "at least 5", False, "others"),
    ("40 degrees", r"40\degree", True, "degrees in words"),
    ("40", r"40\degree", True, "degrees left out"),
    (r"41\degree", r"40\degree", False, "another angle"),
    (r"\frac{\pi}{2}", r"90\degree", True, "an angle in radians"),
    (r"\frac{\pi}{2} \text{ radians}", r"90\degree", True, "in so many words"),
    (r"90 \text{ radians}", r"90\degree", False, "radians are no degrees"),
    ("5 million", "5000000", True, "a scale"),
]
SHARES = [
    (r"50\%", "50", True, "the sign left out"),
    (r"50\%", r"\frac{1}{2}", True, "a share"),
    (r"50\%", r"0.5\%", False, "both say per cent"),
    (r"50\%", r"\frac{100}{2}\%", True, "by value"),
    ("5", "500", False, "no factor of 100 without a sign"),
    ("2:3", "4:6", True, "a ratio"),
    ("2:3", r"\frac{2}{3}", True, "as a fraction"),
    ("2:3", "3:2", False, "the other way"),
]
COLLECTIONS = [
    ("(1, 2)", "(1, 2)", True, "a pair"),
    ("(2, 1)", "(1, 2)", False, "in order"),
    ("(1, 2, 3)", "(1, 2)", False, "too long"),
    ("(0.5, 2)", r"(\frac{1}{2}, 2)", True, "by value"),
    ("[1, 2]", "(1, 2)", False, "other brackets"),
    ("1, 2", "(1, 2)", True, "brackets left out"),
    ("x = 1, y = 2", "(1, 2)", True, "by name"),
    ("y = 2, x = 1", "(1, 2)", True, "by name, in any order"),
    ("(1, 2)", "x = 1, y = 2", True, "the names left out"),
    ("y = 2, x = 1", "x = 1, y = 2", True, "both by name"),
    ("x = 2, y = 1", "x = 1, y = 2", False, "changed over"),
    ("x = 1, z = 2", "x = 1, y = 2", False, "another name"),
    ("2, 1", "1, 2", True, "lists in any order"),
    (r"\{2, 1\}", r"\{1, 2\}", True, "sets in any order"),
    ("2, 1", r"\{1, 2\}", True, "without braces"),
    (r"\{1, 2\}", r"\{1, 2, 3\}", False, "one missing"),
    (r"\{1, 2, 3\}", r"\{1, 2\}", False, "one too many"),
    (r"\{1, 1, 2\}", r"\{1, 2\}", False, "one said twice"),
    (r"\{\sqrt{8}, 1\}", r"\{1, 2\sqrt{2}\}", True, "by value"),
    (r"(1, 2)", r"\{1, 2\}", False, "a pair is no set"),
    (r"\pm 5", "5, -5", True, "both signs"),
    (r"5, -5", r"\pm 5", True, "either way"),
    ("5", r"\pm 5", False, "one of them is not enough"),
    (r"x = \pm 5", r"\{-5, 5\}", True, "of a name"),
    (r"x = 1, x = 2", r"\{1, 2\}", True, "solutions one by one"),
    (r"x = 1 \text{ or } x = 2", "1, 2", True, "in words"),
    (r"\{5\}", "5", True, "a set of one"),
    ("5", r"\{5\}", True, "either way"),
    (r"\{(1, 2), (3, 4)\}", "(3, 4), (1, 2)", True, "pairs in any order"),
    (r"\{(2, 1), (3, 4)\}", "(3, 4), (1, 2)", False, "each of them in order"),
    (r"\frac{1}{2}", r"\frac{1}{2} \text{ or } 0.5", True, "one value in two forms"),
    ("0.5, 1/2", "0.5", True, "said twice"),
    ("5, 6", "5", False, "never one of two"),
    ("5", "5, 6", False, "either way"),
    (r"\emptyset", r"\{\}", True, "nothing"),
    ("no solution", r"\emptyset", True, "in words"),
    (r"\{0\}", r"\emptyset", False, "zero is something"),
    (r"1, 3, \ldots, 9", "1, 3, 5, 7, 9", True, "dots"),
]
MATRICES = [
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{bmatrix} 1 & 2 \end{bmatrix}", True, "other brackets"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", False, "row and column"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \end{pmatrix}", False, "another entry"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1, 2)", True, "a vector"),
    ("(1, 2)", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", True, "either way"),
    (r"\frac{1}{2}\begin{pmatrix} 2 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}", True, "a factor"),
    ("(1, 2, 3, 4)", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", False, "no vector"),
]
PROPERTIES = [
    (r"\{n : n > 2\}", r"\{k : k > 2\}", True, "another bound letter"),
    (r"\{n : n > 2\}", r"\{n : n > 3\}", False, "another property"),
    (r"\{2k : k \in \mathbb{Z}\}", r"\{2k : k \in \mathbb{Z}\}", True, "the same"),
    (r"\{2k : k \in \mathbb{Z}\}", r"\{3k : k \in \mathbb{Z}\}", False, "other members"),
    ("1 if n is even, 2 if n is odd", "2 if n is odd, 1 if n is even", True, "cases in any order"),
    ("1 if n is odd, 2 if n is even", "1 if n is even, 2 if n is odd", False, "cases changed over"),
]
WORDS = [
    ("Alice", "alice", True, "case"),
    ("Alice", "Bob", False, "another"),
    ("seven", "7", True, "a number in words"),
    ("seven", "8", False, "another number"),
    ("cats", "5", False, "no number"),
]


@pytest.mark.parametrize(
    ("ours", "gold", "right", "why"), [*UNITS, *SHARES, *COLLECTIONS, *MATRICES, *PROPERTIES, *WORDS]
)
def test_equal(ours: str, gold: str, right: bool, why: str) -> None:  # noqa: FBT001
    assert equal(read(ours), read(gold), WorkBudget()) is right, why


def test_the_same_item_must_be_there_twice() -> None:
    assert equal(read("1, 2, 2"), read("1, 1, 2"), WorkBudget()) is False


@pytest.mark.parametrize("gold", [r"\$18", "18 dollars per day"])
def test_money_per_something_is_one_unit(gold: str) -> None:
    assert equal(read(r"\$18/day"), read(gold), WorkBudget()) is True


def test_functions_in_plain_letters_are_no_words() -> None:
    assert equal(read("min(a, b)"), read("max(a, b)"), WorkBudget()) is not True


def test_what_cannot_be_said_is_not_said() -> None:
    assert equal(read("1/0"), read("5"), WorkBudget()) is None
    assert equal(read("(1/0, 1)"), read("(5, 1)"), WorkBudget()) is None
    assert equal(read("(1/0, 1)"), read("(5, 2)"), WorkBudget()) is False


def test_long_lists_of_numbers_are_sorted_and_others_compared_in_order() -> None:
    numbers = [str(n) for n in range(300)]
    assert equal(read("; ".join(reversed(numbers))), read("; ".join(numbers)), WorkBudget()) is True
    letters = [f"x_{n}" for n in range(60)]
    assert equal(read(", ".join(letters)), read(", ".join(letters)), WorkBudget()) is True
    assert equal(read(", ".join([*letters[1:], letters[0]])), read(", ".join(letters)), WorkBudget()) is False


def test_more_work_than_there_is_is_refused() -> None:
    with pytest.raises(TooBigError):
        equal(read("(10^9)!, 1"), read("1, 2"), WorkBudget())
    with pytest.raises(TooBigError):
        equal(read(r"\sqrt{2}+\sqrt{3}"), read(r"\sqrt{5}"), WorkBudget(10))
