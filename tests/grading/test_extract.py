from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.grading.extract import LONGEST, clean, extract, matching_brace, unclosed_braces

BOXED = [
    (r"\boxed{5}", "5", "plain"),
    (r"so $\boxed{5}$.", "5", "in a formula"),
    (r"\boxed {5}", "5", "space before the brace"),
    (r"\fbox{5}", "5", "the other box"),
    (r"\boxed{ 5 }", "5", "spaces inside"),
    (r"\\boxed{5}", "5", "backslash doubled by JSON"),
    (r"first \boxed{4}, then \boxed{5}", "5", "the last one counts"),
    (r"\boxed{5} and \boxed{", "5", "an unclosed last box is a reply cut short"),
    (r"\boxed{5} and \boxed{\frac{1}{2", "5", "cut short inside a fraction"),
    (r"\boxed{\boxed{5}}", "5", "nested: the innermost"),
    (r"\boxed{x = \boxed{5}}", "5", "nested with more"),
    (r"\boxed{5} \boxed{}", "5", "an empty box is no answer"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", "nested braces"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}", "escaped braces don't count"),
    (r"\boxed{\left\{ x \right] }", r"\left\{ x \right]", "an escaped brace without a partner"),
    (r"} } \boxed{5}", "5", "stray closing braces"),
    (r"{ { \boxed{5}", "5", "stray opening braces"),
    (r"\boxed{5}}}}", "5", "closing braces after it"),
    (r"\boxed{\text{Alice}}", "Alice", "words in the box"),
    (r"\boxed{\$18}", r"\$18", "money"),
    (r"\boxed{$18$}", "18", "dollars in the box"),
    (r"\boxed{5.}", "5", "a full stop"),
    (r"\boxed{0.5}", "0.5", "a decimal point is no full stop"),
    ("\\boxed{\n5\n}", "5", "lines in the box"),
    (r"\[ \boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}} \]", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "rows"),
    (r"The answer is 4. Wait: \boxed{5}", "5", "a box wins over a statement"),
    (r"\boxed{5}. So the answer is 4", "5", "also before it"),
    (r"\boxed{4}. Wait, that is wrong. The answer is 5.", "5", "unless that corrects it in so many words"),
    (r"$x = \boxed{1}$ or $x = \boxed{2}$", "x = 1 or x = 2", "two boxes joined are one answer"),
    (r"\boxed{1} and \boxed{2}", "1, 2", "joined by a word"),
    (r"\boxed{1}, \boxed{2}, \boxed{3}", "1, 2, 3", "joined by commas"),
    (r"\boxed{1}. Then \boxed{2}", "2", "not joined"),
    (r"so \boxed5", "5", "a box without braces"),
    (r"so \boxed{\frac{1}{2}", r"\frac{1}{2}", "nothing is missing but the box's own brace"),
    (r"<think>\boxed{4}</think> \boxed{5}", "5", "what is thought aloud does not count"),
    ("\x08oxed{5}", "5", "a backslash that JSON took"),
    ("<b>\\boxed{5}</b>", "5", "tags round it"),
]
STATEMENTS = [
    ("#### 18", "18", "GSM8K's own form"),
    ("#### 1\n#### 2", "2", "the last line"),
    ("Final answer: 5", "5", "colon"),
    ("**Final Answer:** 5", "5", "bold label"),
    ("**Final Answer**: 5", "5", "bold label, colon outside"),
    ("The final answer is $5$. I hope it is correct.", "5", "few-shot form"),
    ("the answer is: 5", "5", "is and colon"),
    ("The answer is **5**.", "5", "bold answer"),
    ("The answer is \\(\\frac{1}{2}\\), as wanted.", r"\frac{1}{2}", "inline formula with a tail"),
    ("The answer is\n$$\n5\n$$", "5", "formula on the next lines"),
    ("Answer:\n\\[ 5 \\]\nDone", "5", "display formula"),
    ("Answer: 3.5. That is all.", "3.5", "the sentence ends at the full stop, not at the point"),
    ("The correct answer to the problem is 7", "7", "words before is"),
    ("<answer>5</answer>", "5", "tag"),
    ("<answer> 5 </answer> <answer>6</answer>", "6", "the last tag"),
    ("<answer>5", "5", "a tag never closed"),
    ("The answer is $18 per day", "18 per day", "money without a partner is no formula"),
    ("The answer is 4.\nAnswer: 5", "5", "the last statement counts"),
    ("Answer: 5\nAnswer:", "5", "an empty one is passed over"),
    ("ANSWER: 5", "5", "capitals"),
    ('{"answer": "5"}', "5", "JSON"),
    ('{"answer": [1, 2]}', "1, 2", "a list in JSON"),
    ("Q: what?\nA: 5", "5", "an abbreviation"),
    ("The answer is 5, not 4.", "5", "what it is not"),
    ("The answer is $4$ or $5$.", "4  or  5", "a choice"),
    ("The answer is 5. If the answer is 4, we are lost.", "5", "a supposition"),
    ("<think>The answer is 4.</think>The answer is 5.", "5", "what is thought aloud does not count"),
    ("**7** is bold, but the answer is 5", "5", "a statement wins over bold"),
]
BOLD = [
    ("So there are **42** ways.", "42", "bold"),
    ("**Step 1:** we see\n**42**", "42", "headings end with a colon"),
    ("**42**\n\n**Note:** easy", "42", "a heading after it"),
]


CONCLUSIONS = [
    ("She has 3 and 4 apples.\nSo she has 7 apples.", "7", "the last sentence"),
    ("**3** and **4** are added far above." + " So it goes on." * 30 + " So she has 7 apples.", "7", "bold further up"),
]


@pytest.mark.parametrize(("text", "answer", "why"), BOXED)
def test_boxed(text: str, answer: str, why: str) -> None:
    assert extract(text) == (answer, "boxed"), why


@pytest.mark.parametrize(("text", "answer", "why"), STATEMENTS)
def test_statement(text: str, answer: str, why: str) -> None:
    assert extract(text) == (answer, "statement"), why


@pytest.mark.parametrize(("text", "answer", "why"), BOLD)
def test_bold(text: str, answer: str, why: str) -> None:
    assert extract(text) == (answer, "bold"), why


@pytest.mark.parametrize(("text", "answer", "why"), CONCLUSIONS)
def test_conclusion(text: str, answer: str, why: str) -> None:
    assert extract(text) == (answer, "conclusion"), why


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "I don't know.",
        r"\boxed{5",
        r"The answer is 4, as \boxed{5 shows",
        "<think>The answer is 4.",
        r"\boxed{}",
        r"\boxed",
        r"\boxedfoo{5}",
        "answer:",
        "**Step 1:**",
        "\x00",
        "\ud800",
    ],
)
def test_no_answer(text: str) -> None:
    assert extract(text) is None


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("$5$", "5"),
        ("$$5$$", "5"),
        (r"\(5\)", "5"),
        (r"\[5\]", "5"),
        ("**5**", "5"),
        ("`5`", "5"),
        ("{5}", "5"),
        (r"\text{5}", "5"),
        (r"\mathbf{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"**$\boxed{5}$.**", "5"),
        ("$1$ and $2$", "1  and  2"),
        ("$5 and then some more for $7", "$5 and then some more for $7"),
        (r"\text{a} + \text{b}", r"\text{a} + \text{b}"),
        ("{1}+{2}", "{1}+{2}"),
        ("  5 . ", "5"),
        ("$5", "5"),
        (r"1\,", r"1\,"),
    ],
)
def test_clean(text: str, bare: str) -> None:
    assert clean(text) == bare


def test_an_endless_answer_is_cut() -> None:
    found = extract(r"\boxed{" + "7" * 50_000 + "}")
    assert found is not None
    assert len(found.text) == LONGEST + 1


def test_braces() -> None:
    assert matching_brace(r"{a\}{b}}c", 0) == 7
    assert matching_brace("{{}", 0) == -1
    assert unclosed_braces(r"\frac{1}{2^{15}") == 1
    assert unclosed_braces(r"}}{\{") == 1


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "{",
        "\\",
        "{}",
        "**",
        "answer is ",
        "answer ",
        "answer: \n",
        "$",
        "<answer>",
        "####",
        " ",
        "\\boxed ",
    ],
)
def test_endless_repeats_come_to_an_end(piece: str) -> None:
    text = piece * (300_000 // len(piece))  # anything worse than linear meets the tests' watchdog
    extract(text)
    extract(r"\boxed{" + text)


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_is_survived(text: str) -> None:
    found = extract(text)
    assert found is None or found.text


PIECES = [
    "\\boxed{",
    "\\fbox {",
    "{",
    "}",
    "\\{",
    "\\}",
    "\\",
    "5",
    "$",
    "**",
    "answer is ",
    "\n",
    "####",
    "<answer>",
    " ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_mixture_of_marks_is_survived(text: str) -> None:
    found = extract(text)
    assert found is None or found.text == found.text.strip()


@given(st.text("abc{}\\ 0123", max_size=30).filter(lambda text: not unclosed_braces(text) and text.count("\\") == 0))
def test_balanced_content_comes_out_whole(content: str) -> None:
    depth = 0
    for character in content:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return
    if not content.strip(" {}"):
        return
    found = extract(f"so \\boxed{{{content}}} done")
    assert found == (clean(content), "boxed")
