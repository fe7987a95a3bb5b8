"""grading/number.py: the final number of an answer, as GSM8K asks for it."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.grading.extract import LONGEST
from eli5b_batch.grading.number import decide

GSM8K = Path(__file__).parents[2] / "data" / "gsm8k_test.jsonl"


CASES = [  # reply, gold, right?, why
    ("So he has 18 eggs.\n#### 18", "18", True, "GSM8K's own last line"),
    ("#### 18", "He eats 9 + 9 = <<9+9=18>>18.\n#### 18", True, "the gold is a whole solution"),
    ("#### 9", "He eats 9 + 9 = <<9+9=18>>18.\n#### 18", False, "a number on the gold's way is not the gold"),
    ("A: 18", "18", True, "short label"),
    ("The answer is 18.", "18", True, "statement"),
    ("She makes 9 * 2 = $18 every day.", "18", True, "GSM8K's convention: the last number"),
    ("16 - 3 = 13 eggs, and 13 * 2 = 26", "13", False, "the last number, not one on the way"),
    ("I can't say.", "18", False, "no number at all"),
    (r"\boxed{18}, which is 6 times 3", "18", True, "a box wins over the last number"),
    ("The answer is 18. Check: 9 * 2 is 18, and 20 - 2 too.", "18", True, "so does a statement"),
    ("**Step 1:** 5 apples\nSo the total is 18", "18", True, "bold print marks steps"),
    ("5 apples\nIn all **18 apples** for 3 boxes", "18", True, "but on the last line the answer"),
    ("#### $18.00", "18", True, "currency, trailing zeros"),
    ("The answer is US$18", "18", True, "currency with its country"),
    ("the answer is 18€", "18", True, "currency behind"),
    (r"\boxed{\$1{,}234}", "1234", True, "LaTeX currency and thousands mark"),
    (r"\boxed{1\,234}", "1234", True, "thin space"),
    (r"\boxed{1 234}", "1234", True, "space, where nothing else is said"),
    ("the answer is 70,000", "70000", True, "thousands mark"),
    ("the answer is 1,00,000", "100000", True, "Indian grouping"),
    ("#### 5,6", "5", False, "a comma that marks no thousands joins two numbers"),
    (r"\boxed{18\text{ cm}^2}", "18", True, "a unit with an exponent"),
    ("area is 16 m\u00b2", "16", True, "the same in Unicode"),
    ("The answer is 25%", "25", True, "percent sign"),
    ("The answer is 25%", "0.25", True, "a percentage is a share, too"),
    ("The answer is 25", "0.25", False, "percent only where it is written"),
    ("The answer is 25%", "25%", True, "on both sides"),
    ("The answer is 2 million dollars", "2000000", True, "number words of scale"),
    (r"The answer is 1.5 \times 10^6", "1500000", True, "scientific"),
    ("The answer is 1.5e6", "1500000", True, "computer style"),
    (r"\boxed{\frac{1}{2}}", "0.5", True, "fraction"),
    (r"\boxed{3\frac12}", "3.5", True, "mixed number"),
    ("The answer is 3 1/2 hours", "3.5", True, "mixed number, plain"),
    ("The answer is 3\u00bd", "7/2", True, "one character"),
    ("The answer is 18/3", "6", True, "an exact quotient"),
    ("The answer is 0.333", "1/3", False, "rounded is not equal"),
    ("The answer is 10000.0000000000000000001", "10000", False, "nothing is a float"),
    ("The answer is 1" + "0" * 40 + "1", "1" + "0" * 41, False, "however large"),
    ("The answer is -5", "-5", True, "sign"),
    ("The answer is \u22125", "-5", True, "typographic minus"),
    ("The answer is -$5", "-5", True, "sign before the currency"),
    ("The answer is $-5", "-5", True, "and behind"),
    ("The answer is -5", "5", False, "sign counts"),
    ("The answer is 20 + 15 = 35.", "35", True, "what an equation comes to"),
    ("The answer is 20 + 15", "15", False, "not reckoned out"),
    ("The answer is x = 5", "5", True, "a name in front"),
    (r"\boxed{x=5, y=6}", "6", False, "two unknowns"),
    ("The answer is 12 or 13.", "12", False, "hedged"),
    ("The answer is 12 or 13.", "13", False, "either way"),
    ("He has 12-13 apples", "13", False, "a range"),
    ("The answer is between 3 and 5", "5", False, "a range in words"),
    ("The answer is 3 hours and 20 minutes", "20", False, "a sum of units"),
    ("The answer is 0.5 or 1/2", "0.5", True, "the same twice is no hedge"),
    ("Answer: $18 for 3 days", "18", True, "the number a statement begins with"),
    ("Answer: about 18 dollars for 3 days", "18", True, "`about` is no beginning"),
    ("Answer: in 3 days he makes 18 dollars", "18", True, "else its last"),
    ("Answer: 18 (that is, 1.5 dozen)", "18", True, "said again in other words"),
    ("He comes in as the 3rd, with 18 points", "18", True, "ordinals are no numbers"),
    ("18 points for the 3rd", "18", True, "wherever"),
    ("water is 18 parts H2O", "18", True, "nor are digits of a word"),
    (r"\boxed{\sqrt{16}}", "16", False, "part of a formula"),
    ("The answer is 2^3", "2", False, "likewise"),
    ("The answer is 2^3", "3", False, "likewise"),
    (r"\boxed{5!}", "5", False, "a factorial in a box"),
    ("The answer is 5!", "5", True, "an exclamation in a sentence"),
    (r"\boxed{2\pi}", "2", False, "part of a formula"),
    (r"\boxed{5x}", "5", False, "part of a formula"),
    ("The answer is 5/0", "5", False, "no number"),
    ("The answer is eighteen", "18", False, "number words are not read"),
    ("It's 18 eggs in the morning, so 9 * 2 = 18. Let me check whether 1", "18", False, "cut off: still the last one"),
]


@pytest.mark.parametrize(("reply", "gold", "right", "why"), CASES, ids=[case[3] for case in CASES])
def test_final_numbers(reply: str, gold: str, right: bool, why: str) -> None:  # noqa: FBT001
    assert decide(reply, gold).correct is right, why


@pytest.mark.parametrize(
    ("reply", "verdict", "answer", "rule"),
    [
        ("#### $18.00", "correct", "18.00", "statement/rational"),
        (r"\boxed{19}", "incorrect", "19", "boxed/rational"),
        ("so it is 18", "correct", "18", "last_number/rational"),
        ("it is 12 or 13", "incorrect", "12 or 13", "last_number/several"),
        ("the answer is 12 or 13", "incorrect", "12 or 13", "statement/several"),
        (r"\boxed{\sqrt{18}}", "incorrect", "18", "boxed/not_a_number"),
        (r"\boxed{x}", "incorrect", "x", "boxed/no_number"),
        ("no idea", "no_answer", None, "none"),
    ],
)
def test_a_verdict_says_what_was_found_and_what_decided(
    reply: str, verdict: str, answer: str | None, rule: str
) -> None:
    found = decide(reply, "18")
    assert (found.verdict, found.answer, found.rule) == (verdict, answer, rule)


@pytest.mark.parametrize("gold", ["a sentence", "", "3 and 4", r"\sqrt{2}", "2x + 1"])
def test_a_gold_that_is_no_number_is_an_error_and_not_the_models_fault(gold: str) -> None:
    found = decide("#### 3", gold)
    assert (found.verdict, found.rule) == ("error", "gold")


numbers = st.fractions(max_denominator=10**6) | st.integers(-(10**30), 10**30).map(Fraction)
frames = st.sampled_from(["#### {}", r"\boxed{{{}}}", "The answer is {}.", "so in all {} apples", "A: {}", "**{}**"])


def spellings(number: Fraction) -> st.SearchStrategy[str]:
    if number.denominator > 1:
        sign, over = "-" if number < 0 else "", abs(number.numerator)
        return st.sampled_from([str(number), f"{sign}\\frac{{{over}}}{{{number.denominator}}}"])
    whole = int(number)
    return st.sampled_from([str(whole), f"{whole:,}", f"{whole}.00", f"{whole:,}".replace(",", "{,}"), f"{whole}/1"])


@given(numbers.flatmap(lambda n: st.tuples(st.just(n), spellings(n), spellings(n))), frames)
def test_a_number_equals_itself_in_any_spelling(spelled: tuple[Fraction, str, str], frame: str) -> None:
    _, said, gold = spelled
    assert decide(frame.format(said), gold).correct
    assert decide(frame.format(said), f"Some steps.\n#### {gold}").correct


@given(numbers, numbers.filter(bool), frames)
def test_another_number_is_wrong_however_near(number: Fraction, by: Fraction, frame: str) -> None:
    for other in (number + by, number + by / 10**40):
        assert not decide(frame.format(other), str(number)).correct


@given(st.text(max_size=300), st.text(max_size=60))
def test_any_text_is_survived(reply: str, gold: str) -> None:
    assert decide(reply, gold).rule


HOSTILE = [
    "1" * 10,
    "1,",
    "1 ",
    "1/",
    "9^",
    "1.5e",
    "or 1 ",
    "#### 1,234",
    r"\boxed{",
    r"\frac{1}",
    "- ",
    "$",
    "\u00bd",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_million_characters_take_no_time(piece: str) -> None:
    text = piece * (10**6 // len(piece))
    began = time.process_time()
    decide(text, "1")
    decide(f"{text} 1", "1")
    decide("1", text)
    assert time.process_time() - began < 3
    assert len(text) > LONGEST


@pytest.mark.skipif(not GSM8K.exists(), reason="needs: python scripts/fetch_data.py gsm8k")
def test_every_solution_of_gsm8k_is_right_by_itself_and_wrong_for_another_number() -> None:
    for line in GSM8K.read_bytes().splitlines():
        solution = json.loads(line)["answer"]
        gold = Fraction(solution.rpartition("####")[2].replace(",", ""))
        assert decide(solution, solution).correct
        for other in (gold + 1, gold - 1, 10 * gold + 1, gold + Fraction(1, 10**9)):
            assert not decide(f"#### {other}", solution).correct
