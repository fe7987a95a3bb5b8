"""thoughts.py: thoughts are separated in every form, and a text without any stays as it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.thoughts import FORMS, Split, split, words_of

MARKS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thoughts>"),
    ("<seed:think>", "</seed:think>"),
    ("<think_fast>", "</think_fast>"),
    ("<scratch_pad>", "</scratch_pad>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|think_start|>", "<|think_end|>"),
    ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("[unused16]", "[unused17]"),
    ('<details type="reasoning">', "</details>"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
]
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>[]◁▷|&`"), max_size=40).filter(
    lambda text: "assistantfinal" not in text and not text.startswith("analysis")
)
NAMED = pytest.mark.parametrize(("begin", "end"), MARKS, ids=[begin.strip() for begin, _ in MARKS])


def test_every_form_has_an_example_here() -> None:
    assert [
        bool(re.fullmatch(f.begin, b.strip()) and re.fullmatch(f.end, e))
        for f, (b, e) in zip(FORMS, MARKS, strict=True)
    ] == [True] * len(FORMS)


@NAMED
@given(thoughts=PLAIN, words=PLAIN)
def test_what_stands_between_marks_is_thought(begin: str, end: str, thoughts: str, words: str) -> None:
    assert split(f"{begin}{thoughts}{end}{words}") == Split(words.strip(), thoughts.strip())
    assert split(f"\n {begin.upper()}{thoughts}{end.upper()}{words}") == Split(words.strip(), thoughts.strip())


@NAMED
@given(thoughts=PLAIN, words=PLAIN)
def test_a_mark_may_be_missing_at_either_side(begin: str, end: str, thoughts: str, words: str) -> None:
    assert split(f"{thoughts}{end}{words}") == Split(words.strip(), thoughts.strip())
    assert split(f"{words}{begin}{thoughts}") == Split(words.strip(), thoughts.strip())


@given(PLAIN, PLAIN, PLAIN, PLAIN)
def test_thoughts_may_come_in_between(a: str, b: str, c: str, d: str) -> None:
    thoughts = "\n".join(filter(None, (a.strip(), c.strip())))
    assert split(f"<think>{a}</think>{b}[THINK]{c}[/THINK]{d}") == Split(f"{b}{d}".strip(), thoughts)


@given(PLAIN)
def test_a_text_without_thoughts_stays_as_it_is(text: str) -> None:
    assert words_of(text) == Split(text, "")


@given(st.lists(st.sampled_from([mark for pair in MARKS for mark in pair] + ["a", " 5", "<|channel|>", "final"])))
def test_the_words_hold_no_more_thoughts(parts: list[str]) -> None:
    words = words_of("".join(parts)).words
    assert words_of(words) == Split(words, "")


@pytest.mark.parametrize(
    ("text", "words", "thoughts"),
    [
        ("<think>a</think>b</think>c", "c", "a\nb"),
        ("<think>a</think>b</think>\n", "b", "a"),
        ("<thinking>a</think>b", "b", "a"),
        ("<think>a <think> b</think>c", "c", "a <think> b"),
        ('<think time="3">a</think>b', "b", "a"),
        ("a</think>", "", "a"),
        ("<think></think>\n\n5", "5", ""),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>5<|end_of_solution|>", "5", "a"),
        ("<think>a</think><response>5</response>", "5", "a"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>5<|return|>", "5", "a"),
        ("a<|end|><|start|>assistant<|channel|>final<|message|>5", "5", "a<|end|>"),
        ("<|channel|>analysis<|message|>a", "", "a"),
        ("<|channel|>commentary<|message|>a<|end|><|channel|>final <|constrain|>json<|message|>5", "5", "a"),
        ("analysisWe add.assistantfinalThe sum is 5", "The sum is 5", "We add."),
        ("analysisWe add.assistantcommentary hm assistantfinal5", "5", "We add.assistantcommentary hm"),
        ("analysisWe add", "", "We add"),
        ("Here is my thought process:\na\n\nHere is my response:\n5", "5", "a"),
    ],
)
def test_thoughts_of_irregular_forms_are_separated_from_the_words(text: str, words: str, thoughts: str) -> None:
    assert split(text) == Split(words, thoughts)


@pytest.mark.parametrize(
    "text",
    [
        "I think that $a<b$ and 0<|x|<5.",
        "analysis of the problem",
        "analysis: We add.",
        "Here's my thought process: first, add.",
        "The final answer is [5].",
        "Models write `<think>` first and `</think>` last. 5",
        "<think about it> 5",
        "analysis$=$ 5",
        "  with blanks around \n",
    ],
)
def test_ordinary_texts_hold_no_thoughts(text: str) -> None:
    assert words_of(text) == Split(text, "")


SIBLINGS = [
    # macprovider#743: the words begin with a small letter
    ('analysisWe need "four".assistantfinalfour', "four"),
    ("analysiswe needassistantfinalX", "X"),
    ("We needassistantfinalX", "X"),
    ("commentaryWe needassistantfinalX", "X"),
    ("<|think|>T<|end|><|begin|>assistant<|content|>X", "X"),
    ("/think\nT<|im_end|>\n<|im_start|>assistant\nX", "X"),
    ("analysis<|message|>T<|end|><|start|>assistantfinal<|message|>X", "X"),
    ("<think>T</think\n\n>X", "X"),
    ("<think>T<//think>X", "X"),
    ("<think_faster>T</think_faster>X", "X"),
    ("<ifm|think>T</ifm|think>X", "X"),
    ("[unused16]T[unused17]X", "X"),
    ("<antThinking>T</antThinking>X", "X"),
    ("<thoughts>T</thoughts>X", "X"),
    ("<REASONING_SCRATCHPAD>T</REASONING_SCRATCHPAD>X", "X"),
    ("<|begin_of_thinking|>T<|end_of_thinking|>X", "X"),
    ("Thinking...\nT\n...done thinking.\n\nX", "X"),
    ("**Here's my thought process:**\nT\n**Here's my response:**\nX", "X"),
    ("&lt;think&gt;T&lt;/think&gt;X", "X"),
    ('<details type="reasoning" done="true">T</details>X', "X"),
    ("<|START_THINKING|>T<|END_THINKING|><|START_TEXT|>X<|END_TEXT|>", "X"),
    ("<think>T</think><|begin_of_box|>X<|end_of_box|>", "X"),
    (
        "<|channel|>analysis<|message|>T<|end|><|start|>assistant<|channel|>final<|message|>X<|return|><|start|>user",
        "X",
    ),
    ("<|channel|>final<|message|>X<|return|><|start|>user<|end|><|start|>assistant<|channel|>final<|message|>Y", "X"),
    ("<think>T</think>analysisWe go", ""),
    ("<think>T</think>X<|EOT|>more", "X"),
    ("<think>T</think>X[|endofturn|]more", "X"),
    ("<think>T</think>X<|im_assistant|>more", "X"),
    ("<|assistant|><think>T</think>X<|user|>more", "X"),
]
"""Forms of thoughts beside those of the table: recorded from models and servers, or made up."""


@pytest.mark.parametrize(("text", "words"), SIBLINGS)
def test_siblings_leak_no_thought_and_no_token(text: str, words: str) -> None:
    assert words_of(text).words == words


@pytest.mark.parametrize("text", ["X\n</think>", "</think>X", "<think>X", "X <think>"])
def test_a_stray_mark_makes_no_thoughts_where_the_host_told_them_apart(text: str) -> None:
    apart = words_of(text, half_marks=False)
    assert apart.thoughts == ""
    assert "X" in apart.words


@pytest.mark.parametrize(
    "text",
    [
        "<|start|>" + " " * 200_000 + "<|channel|>",
        "<|channel|>final<|message|>5<|start|>" + "\n" * 200_000,
        "<|channel|>" * 20_000,
        "<" * 200_000,
        "<think " + " " * 200_000,
        "<think>" * 30_000,
        "</think>" * 30_000,
        "<|im_end|><|im_start|>assistant" * 10_000,
        "assistantfinal" * 20_000,
        "analysisA" * 30_000,
        "`<" * 100_000,
        "here is my thought process:" * 10_000,
        "Thinking...\n" * 20_000,
        "<|im_start|>assistant\n" * 20_000,
        "<s>" * 60_000,
        "</s> " * 50_000,
    ],
    ids=lambda text: text[:24].strip() or "blanks",
)
@pytest.mark.timeout(30)
def test_no_text_of_a_model_hangs_anything(text: str) -> None:
    words_of(text)


@pytest.mark.parametrize(
    ("text", "words", "thoughts"),
    [
        ("<think>a</think>5<|im_end|>", "5", "a"),
        ("5<|im_end|>\n<|im_start|>user\nmore<|im_end|><think>b</think>6", "5", ""),
        ("5<|eot_id|>b</think>6", "5", ""),
        ("<think>a <|im_end|> b</think>5", "5", "a <|im_end|> b"),
        ("<|im_start|>assistant\n<think>a</think>\n5</s>", "5", "a"),
        ("<|im_end|>", "", ""),
    ],
)
def test_special_tokens_end_the_words(text: str, words: str, thoughts: str) -> None:
    assert words_of(text) == Split(words, thoughts)
