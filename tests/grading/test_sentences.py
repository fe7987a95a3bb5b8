from __future__ import annotations

import pytest

from eli5b_batch.grading.sentences import conclusion, is_mathematics, stated

CONCLUSIONS = [  # text, value, why
    ("She has 3 bags of 4 apples.\nSo she has 12 apples.", "12", "the last sentence"),
    ("Thus there are $12$ ways.", "12", "a formula"),
    ("Hence $x = 5$.", "x = 5", "an equation"),
    ("Therefore the area is $2\\pi$ and we are done.", r"2\pi", "behind the verb"),
    ("So $x = 1$ or $x = 2$.", "x = 1 or x = 2", "two, joined"),
    ("So $a = 1$ and $b = 2$.", "a = 1, b = 2", "two, both of them"),
    ("The total cost is $18.50.", "$18.50", "money"),
    ("So he has 3 or 4 apples left.", "3 or 4", "an alternative"),
    ("$12$ is the smallest possible value.", "12", "the subject"),
    ("That makes 12.\n\n42", "42", "a value on a line of its own"),
    ("Total: 42 apples", "42", "a label and a unit"),
    ("We get\n\\begin{align*} x &= 3 + 4 \\\\ &= 7 \\end{align*}", "7", "the end of a chain"),
    ("The solutions are:\n- $x = 2$\n- $x = 3$", "x = 2, x = 3", "a list of solutions"),
    ("So she has 12 apples.\nThat is all there was to be said.", "12", "the conclusion before the last words"),
    ("The minimum is $4$, attained when $x = 2$.", "4", "not the condition behind"),
    ("So the point is (3, 4).", "(3, 4)", "a point"),
]  # fmt: skip
NONE = [
    ("", "nothing"),
    ("I don't know.", "no value"),
    ("So she has 12 app", "cut off"),
    ("So is it 12?", "a question"),
    ("We cannot determine whether it is 12.", "it gives up"),
    ("Let us try 12.", "it goes on"),
    ("The answer might be 12.", "a guess"),
    ("We need to find 12 numbers.", "the task"),
    ("It rained on 12 days in 30 weeks.", "two numbers, no verb that says which"),
]


@pytest.mark.parametrize(("text", "value", "why"), CONCLUSIONS)
def test_what_the_last_sentence_concludes(text: str, value: str, why: str) -> None:
    assert conclusion(text) == value, why


@pytest.mark.parametrize(("text", "why"), NONE)
def test_no_conclusion(text: str, why: str) -> None:
    assert conclusion(text) is None, why


def test_only_the_end_of_a_text_is_looked_at() -> None:
    padding = "and so on, as it was said before; " * 200
    assert conclusion(f"So she has 12 apples. {padding}.") is None
    assert conclusion(f"{padding}. So she has 12 apples.") == "12"


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("42", "42"),
        ("-3.5", "-3.5"),
        ("the sum is 42", "42"),
        ("the sum of 3 and 4 is 7", "7"),
        ("she pays 1,200 dollars", "1,200"),
        ("he ate 3/4 of it", "3/4"),
        ("they have at least 5", "at least 5"),
        ("the ratio equals 2 pi", "2 pi"),
        ("there is nothing", None),
        ("cats", None),
    ],
)
def test_what_a_sentence_states(sentence: str, value: str | None) -> None:
    assert stated(sentence) == value


@pytest.mark.parametrize(
    ("text", "mathematics"),
    [
        ("$x$ and $y$", True),
        ("so $x = 5$", True),
        ("it costs $5 and we pay the rest, $7", False),
        ("$5", False),
        ("no dollars", False),
    ],
)
def test_dollar_signs_round_formulas_and_before_sums_of_money(text: str, mathematics: bool) -> None:  # noqa: FBT001
    assert is_mathematics(text) is mathematics


@pytest.mark.parametrize("piece", ["$", "\\(", "is ", "- x = 1\n", "1,", "so ", "\\begin{align}", "(1,", ". ", "12 "])
def test_endless_repeats_come_to_an_end(piece: str) -> None:
    conclusion(piece * (1_000_000 // len(piece)))  # anything worse than linear meets the tests' watchdog
