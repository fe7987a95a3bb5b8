"""grading/judge.py: what a judge's replies come to."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.grading.judge import Opinion, read, verdict_of
from eli5b_batch.grading.verdict import Verdict

BY_RULES = Verdict("incorrect", "1/2", "boxed/rational", 0.25)

YES, NO, NONE = "Same.\nVERDICT: EQUIVALENT", "Not the same.\nVERDICT: DIFFERENT", "VERDICT: NO ANSWER"


@pytest.mark.parametrize(
    ("reply", "opinion"),
    [
        (YES, "equivalent"),
        (NO, "different"),
        (NONE, "no_answer"),
        ("VERDICT: EQUIVALENT", "equivalent"),
        ("Both are 1/2.\n\n**VERDICT: EQUIVALENT**\n", "equivalent"),
        ("Both are 1/2.\n**Verdict:** Equivalent.", "equivalent"),
        ("> VERDICT: DIFFERENT", "different"),
        ("`VERDICT: no_answer`", "no_answer"),
        ("VERDICT: EQUIVALENT\nOr rather:\nVERDICT: DIFFERENT", "different"),
        ("VERDICT: EQUIVALENT\nI am sure of it.", None),
        ("VERDICT: EQUIVALENT or VERDICT: DIFFERENT", None),
        ("VERDICT: NOT EQUIVALENT", None),
        ("VERDICT: ...", None),
        ("EQUIVALENT", None),
        ("The verdict: they are equivalent", None),
        ("VERDICT: EQUIVALENTLY", None),
        ("", None),
    ],
)
def test_the_last_line_is_the_verdict_or_there_is_none(reply: str, opinion: Opinion | None) -> None:
    assert read(reply) == opinion


@given(st.text(max_size=200), st.sampled_from(["EQUIVALENT", "DIFFERENT", "NO ANSWER"]))
def test_what_is_said_before_the_last_line_changes_nothing(before: str, word: str) -> None:
    assert read(f"{before}\nVERDICT: {word}") == word.lower().replace(" ", "_")


@given(st.text(max_size=300))
def test_any_reply_is_read(reply: str) -> None:
    assert read(reply) in {None, "equivalent", "different", "no_answer"}


def test_a_long_reply_is_read_at_once() -> None:
    began = time.process_time()
    for text in ("*" * 10**6, "verdict" * 10**5, "VERDICT: " * 10**5, "\n" * 10**6 + YES):
        read(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("replies", "verdict", "rule"),
    [
        ([YES], "correct", "judge/equivalent"),
        ([NO], "incorrect", "judge/different"),
        ([YES, YES], "correct", "judge/equivalent"),
        ([NO, NO], "incorrect", "judge/different"),
        ([NONE, NONE], "no_answer", "judge/no_answer"),
        ([YES, NO], "incorrect", "judge/orders_disagree"),
        ([NO, YES], "incorrect", "judge/orders_disagree"),
        ([NONE, NO], "incorrect", "judge/orders_disagree"),
        ([YES, "Hm."], "error", "judge/unreadable"),
        (["Hm.", "Hm."], "error", "judge/unreadable"),
        ([YES, None], "error", "judge/failed"),
        ([None, "Hm."], "error", "judge/failed"),
    ],
)
def test_an_answer_is_correct_only_where_every_order_says_so(
    replies: list[str | None], verdict: str, rule: str
) -> None:
    assert verdict_of(replies, BY_RULES) == Verdict(verdict, "1/2", rule, 0.25)  # type: ignore[arg-type]
