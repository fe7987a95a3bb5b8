"""special_tokens.py: a reply begins after the head of its turn, and ends before the first other special token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.special_tokens import without

ENDS = (
    "<|eot_id|> <|eom_id|> <|eot|> <|end_of_text|> <|endoftext|> <|im_end|> <|end|> <|return|> "
    "<|user|> <|assistant|> <|EOT|> <|im_user|> <eos> <pad> <seed:eos> [|endofturn|] <|end_of_msg|> "
    "<end_of_turn> <turn|> [/INST] [INST] <｜end▁of▁sentence｜> <｜User｜> <|END_OF_TURN_TOKEN|> "  # noqa: RUF001 (DeepSeek's own signs)
    "<|im_start|> [e~["
).split()
HEADS = [
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|header_start|>assistant<|header_end|>\n\n",
    "<|im_start|>assistant\n",
    "<start_of_turn>model\n",
    "<|assistant|>",
    "<s>",
    "<|begin_of_text|>",
    "<s>[/INST] ",
]
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>[]|`"), max_size=40)


@pytest.mark.parametrize("token", ENDS)
@given(words=PLAIN.filter(str.strip), rest=PLAIN)
def test_the_text_after_a_special_token_is_removed(token: str, words: str, rest: str) -> None:
    assert without(f"{words}{token}{rest}") == words.strip()


@pytest.mark.parametrize("head", HEADS)
@given(PLAIN)
def test_the_head_of_a_turn_is_removed(head: str, words: str) -> None:
    assert without(f"{head}{words}").strip() == words.strip()
    assert without(f" {head}{words}<|eot_id|>{head}more") == words.strip()


@given(PLAIN)
def test_a_text_without_special_tokens_stays_as_it_is(words: str) -> None:
    assert without(words) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5</s>", "5"),
        ("5 </s>\n", "5"),
        ("5</s><s>[INST] more", "5"),
        ("5</s>\n[INST] more", "5"),
        ("<s>[INST]", ""),
        ("5<|im_end|", "5"),
        ("5<|eot_id", "5"),
        ("5<｜tool▁calls▁begin｜>", "5"),  # noqa: RUF001 (DeepSeek's own signs)
    ],
)
def test_a_reply_ends_before_a_special_token_of_any_form(text: str, words: str) -> None:
    assert without(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "The answer is <s>4</s> \\boxed{5}",
        "<s>4</s> is wrong, 5 is right.",
        "The token `<|endoftext|>` ends a text; `[INST]` begins a turn. 5",
        "0<|x|<5",
        "<|ab|> is a bracket",
        "5 <|begin_of_box|>6<|end_of_box|>",
    ],
)
def test_ordinary_texts_lose_nothing(text: str) -> None:
    assert without(text) == text


@pytest.mark.parametrize("text", ["0<|x|<5", "a <|b|> c", "<sub>2</sub>", "</sup>", "[5]", "if x<|y| and z>|w|"])
def test_mathematics_and_markup_are_no_tokens(text: str) -> None:
    assert without(text) == text
