from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.report.build import build_report
from eli5b_batch.report.thinking import holds_thoughts, notes
from eli5b_batch.thoughts import may_hold, words_of
from tests.report.test_build import shown
from tests.test_thoughts import MARKS, SIBLINGS

if TYPE_CHECKING:
    from tests.report.conftest import RunFolder

THOUGHT = "Let me see."
OLDER = {"model": "m", "provider": "gpus", "price": None, "digest": "", "quantization": ""}


def told(thinking: object, by_default: str = "") -> dict[str, Any]:
    """What a manifest says of a model."""
    return {**OLDER, "thinking": thinking, "by_default": by_default, "thinks": None}


def row(model: str, asked: object, replies: int, thought: int) -> dict[str, Any]:
    return {"model": model, "asked": asked, "replies": replies, "thought": thought}


@pytest.mark.parametrize(
    ("reply", "usage", "holds"),
    [
        ({"text": "5", "thinking": THOUGHT}, {}, True),
        ({"text": "5", "reasoning_content": THOUGHT}, {}, True),
        ({"text": "5"}, {"reasoning_tokens": 9}, True),
        ({"text": "5"}, {"reasoning_tokens": 0}, False),
        ({"text": "5", "thinking": ""}, {"output_tokens": 9}, False),
    ],
)
def test_thoughts_are_seen_where_they_are_shown_or_counted(
    reply: dict[str, Any], usage: dict[str, Any], *, holds: bool
) -> None:
    assert holds_thoughts(reply, usage) is holds


def test_answers_with_thoughts_and_without_words_are_marked_in_the_results_and_counted_by_arm(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", hint="none", thinking=THOUGHT)
    run.answer("p2", "1b", "correct", hint="none", reasoning_tokens=7)
    run.answer("p3", "1b", "no_answer", hint="none", thinking=THOUGHT, text=" ", finish="cut")
    run.answer("p4", "1b", "no_answer", hint="none", text="", finish="filtered")
    run.answer("p5", "1b", "failed", hint="none")
    run.answer("p6", "1b", "correct", hint="none")
    (arm,) = build_report(run.path).summary["arms"]
    marks = [(found["thought"], found["wordless"]) for found in run.results()]
    assert marks == [(True, False), (True, False), (True, True), (False, False), (False, False), (False, False)]
    assert (arm["thought"], arm["wordless"], arm["truncated"], arm["filtered"], arm["failed"]) == (3, 1, 1, 1, 1)
    assert arm["lost"] == 3


def test_an_arm_with_wordless_answers_is_named_among_those_that_lost_answers(run: RunFolder) -> None:
    for at in range(100):
        lost: dict[str, Any] = {"text": "", "thinking": THOUGHT, "finish": "cut"} if at < 12 else {}
        run.answer(f"p{at}", "1b", "no_answer" if lost else "correct", hint="none", hint_for="any", **lost)
        run.answer(f"p{at}", "1b", "correct", hint="generic", hint_for="any", finish="cut" if at < 2 else "whole")
    report = build_report(run.path)
    assert (
        "More than 1% of the answers are cut off, without a word or failed in 2 of 2 arms: 1b: hint none,"
        " hint_for any, 12 of 100 (12 without a word); 1b: hint generic, hint_for any, 2 of 100."
    ) in report.summary["notes"]
    page = (run.path / "report" / "summary.md").read_text()
    assert ("## Answers cut off, without a word or failed\n\n| arm | answers | cut off | without a word |\n") in page
    assert "| 1b: hint none, hint_for any | 100 | 12 (12.0%) | 12 (12.0%) |" in page


def test_what_was_asked_and_what_was_seen_stand_side_by_side(run: RunFolder) -> None:
    run.manifest(models={"1b": told("off"), "3b": told(None), "maverick": told({"tokens": 2048}), "8b": told("off")})
    run.call("p1", "maverick", step="hint", hint="generic", reasoning_tokens=30)
    run.call("p1", "maverick", step="hint", hint="generic", thinking=THOUGHT)  # asked again
    run.call("p2", "maverick", step="hint", hint="generic")
    for problem in ("p1", "p2"):
        run.answer(problem, "1b", "correct", hint="generic", thinking=THOUGHT if problem == "p1" else "")
        run.answer(problem, "3b", "correct", hint="generic", thinking=THOUGHT)
    report = build_report(run.path)
    assert report.summary["thinking"] == [
        row("1b", "off", 2, 1),
        row("3b", None, 2, 2),
        row("maverick", {"tokens": 2048}, 2, 1),
    ]
    page = (run.path / "report" / "summary.md").read_text()
    assert "| model | thinking asked | replies | with thoughts |" in page
    assert "| maverick | 2,048 tokens | 2 | 1 (50.0%) |" in page
    assert "Thinking is off, and thoughts came all the same: 1b, 1 of 2 replies." in " ".join(shown(report).split())


def test_a_reply_asked_again_counts_as_it_stands_now(run: RunFolder) -> None:
    run.manifest(models={"1b": told("off")})
    run.call("p1", "1b", hint="none", thinking=THOUGHT)
    run.call("p1", "1b", hint="none")
    run.call("p1", "1b", hint="none", ok=False)
    assert build_report(run.path).summary["thinking"] == [row("1b", "off", 1, 0)]


def test_each_kind_of_difference_is_one_note() -> None:
    found = notes(
        [
            *(row(f"off{n}", "off", 10, n) for n in range(5)),
            *(row(name, asked, 1500, 0) for name, asked in [("a", "on"), ("b", "high"), ("c", {"tokens": 9})]),
            *(row("d", None, 10, n) for n in (0, 4)),
            row("e", "max", 10, 1),
        ]
    )
    assert found == [
        (
            "Thinking is off, and thoughts came all the same: off1, 1 of 10 replies; off2, 2 of 10 replies;"
            " off3, 3 of 10 replies; and 1 more."
        ),
        (
            "Thinking is asked for, and no reply shows thoughts or counts them: a (on, 1,500 replies); b (high, 1,500"
            " replies); c (9 tokens, 1,500 replies)."
        ),
        "sampling.thinking is left out, and these models thought: d, 4 of 10 replies.",
    ]


def test_a_folder_of_an_older_version_gets_no_note_of_thinking(run: RunFolder) -> None:
    run.manifest(models={"1b": OLDER})
    for at in range(30):
        run.answer(f"p{at}", "1b", "correct", hint="none", thinking=THOUGHT)
    summary = build_report(run.path).summary
    assert summary["thinking"] == []
    assert summary["notes"] == []
    assert "## Thinking" not in (run.path / "report" / "summary.md").read_text()


def test_hints_whose_text_holds_thoughts_are_counted_and_named(run: RunFolder) -> None:
    tags: dict[str, Any] = {"hint": "generic", "hint_for": "any"}
    for at in range(3):
        text = "<think>Hm.</think> Draw it." if at < 2 else "If a < b, then \\[b > a\\]."
        key = run.call(f"p{at}", "maverick", step="hint", text=text, **tags)
        run.answer(f"p{at}", "1b", "correct", built_on=[key], text="<think>Hm.</think> 7", **tags)
    run.call("p0", "maverick", step="hint", text="Draw it.", **tags)  # asked again
    report = build_report(run.path)
    (built_on,) = report.summary["built_on"]
    assert (built_on["replies"], built_on["holding_thoughts"]) == (3, 1)
    assert any(
        note.startswith("Prompts hold thoughts of the models") and "hint by maverick: hint generic" in note
        for note in report.summary["notes"]
    )
    page = (run.path / "report" / "summary.md").read_text()
    assert "| hint | maverick: hint generic, hint_for any | 3 | 0 | 0 | 1 (33.3%) |\n" in page


@pytest.mark.parametrize(
    "text",
    [
        *(f"a {mark} b" for pair in MARKS for mark in pair),
        *(text for text, _ in SIBLINGS),
        "<|channel|>analysis<|message|>Hm.",
        "analysisWe need 5.assistantfinal5",
        "Here is my thought process: hm. Here is my response: 5",
    ],
)
def test_no_form_of_thoughts_is_passed_over(text: str) -> None:
    assert may_hold(text) or not words_of(text).thoughts


PIECES = [
    *("<think>", "</think>", "<THINK >", "[THINK]", "[/think]", "◁think▷", "<|channel|>", "<|message|>", "final"),
    *("<|im_start|>assistant\n", "<s>", "[INST]", "<|eot_id|>", "analysis", "analysisWe", "assistantfinal", "5"),
    *("here is my thought process:", "here is my response:", "<", "[", " ", "\n", "a < b", "\\[x\\]", "<unused95>"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_whatever_is_passed_over_holds_no_thoughts(text: str) -> None:
    assert may_hold(text) or not words_of(text).thoughts


def test_a_text_without_marks_is_passed_over() -> None:
    assert not may_hold("If a < b and [a, b] is closed, think of \\[x <y\\]: the analysis is short.")
