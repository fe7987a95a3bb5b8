from __future__ import annotations

import pytest

from eli5b_batch.backends.finish import WORDS, finish_of, finish_word


@pytest.mark.parametrize(("word", "finish"), [(word, row.finish) for row in WORDS for word in row.words.split()])
def test_every_known_word_is_read_in_any_spelling(word: str, finish: str) -> None:
    camel = word[0] + word.title().replace("_", "")[1:]
    for spelling in (word, word.lower(), word.upper(), word.replace("_", "-"), word.replace("_", " "), camel):
        assert finish_of(spelling) == finish
    assert finish_of(f"FinishReason.{word.upper()}") == finish


@pytest.mark.parametrize(
    "word", ["stop", "STOP", "eos", "end_turn", "tool_calls", "stop_sequence", "COMPLETE", "", "moon"]
)
def test_any_other_word_ends_a_whole_reply(word: str) -> None:
    assert finish_of(word) == "whole"


def test_no_word_has_two_meanings() -> None:
    words = [word.lower() for row in WORDS for word in row.words.split()]
    assert len(words) == len(set(words))
    assert all(row.source for row in WORDS)


@pytest.mark.parametrize(("value", "word"), [("length", "length"), ({"type": "length"}, "length"), (None, ""), (7, "")])
def test_a_word_may_stand_in_an_object(value: object, word: str) -> None:
    assert finish_word(value) == word
