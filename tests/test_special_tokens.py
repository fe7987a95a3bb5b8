"""special_tokens.py: a reply ends where a special token stands, and begins behind its own head."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.special_tokens import without

ENDS = (
    "<|eot_id|> <|eom_id|> <|eot|> <|end_of_text|> <|endoftext|> <|im_end|> <|end|> <|return|> <|user|> </s> <eos> "
    "<end_of_turn> <turn|> [/INST] [INST] <｜end▁of▁sentence｜> <｜User｜> <|END_OF_TURN_TOKEN|> <|im_start|> [e~["  # noqa: RUF001 (DeepSeek's own signs)
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
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>[]|"), max_size=40)


@pytest.mark.parametrize("token", ENDS)
@given(words=PLAIN.filter(str.strip), rest=st.text(max_size=40))
def test_what_runs_on_behind_a_token_is_cut_off(token: str, words: str, rest: str) -> None:
    assert without(f"{words}{token}{rest}") == words.strip()


@pytest.mark.parametrize("head", HEADS)
@given(PLAIN)
def test_a_head_is_taken_off(head: str, words: str) -> None:
    assert without(f"{head}{words}").strip() == words.strip()
    assert without(f" {head}{words}<|eot_id|>{head}more") == words.strip()


@given(PLAIN)
def test_a_text_without_any_stays_as_it_is(words: str) -> None:
    assert without(words) == words


@pytest.mark.parametrize("text", ["0<|x|<5", "a <|b|> c", "<sub>2</sub>", "</sup>", "[5]", "if x<|y| and z>|w|"])
def test_mathematics_and_markup_are_no_tokens(text: str) -> None:
    assert without(text) == text
