from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.backends.contents import Content, read

THOUGHTS = [{"type": "text", "text": "1 and"}, {"type": "text", "text": " 1"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("2", Content("2", "", [], {})),
        (["a", "b"], Content("ab", "", [], {})),
        ([{"type": "text", "text": "the sum "}, {"type": "text", "text": "is 2"}], Content("the sum is 2", "", [], {})),
        ([{"type": "output_text", "text": "2"}, {"text": "3"}], Content("23", "", [], {})),
        ({"type": "text", "text": "2"}, Content("2", "", [], {})),
        # mistral: req_llm#742, inspect_ai#2389
        ([{"type": "thinking", "thinking": THOUGHTS}, "2"], Content("2", "", ["1 and 1"], {})),
        # googleapis/python-genai: parts of thoughts are marked so
        (
            [{"type": "text", "text": "hm", "thought": True}, {"type": "text", "text": "2"}],
            Content("2", "", ["hm"], {}),
        ),
        ([{"type": "reasoning", "text": "hm"}, "2"], Content("2", "", ["hm"], {})),
        ([{"type": "refusal", "refusal": "I can't."}], Content("", "I can't.", [], {})),
        (["2", IMAGE, 7], Content("2", "", [], {"parts": [IMAGE, 7]})),
        ({"a": 1}, Content("", "", [], {"parts": [{"a": 1}]})),
        (None, Content("", "", [], {})),
        (7, Content("7", "", [], {})),
        ([{"type": "text", "content": "2"}, {"type": "text", "text": {"value": "3"}}], Content("23", "", [], {})),
        ([{"type": "text", "text": ["2"]}], Content("", "", [], {"parts": [{"type": "text", "text": ["2"]}]})),
        ([], Content("", "", [], {})),
        ([{"type": "text", "text": None}], Content("", "", [], {})),
    ],
)
def test_texts_are_joined_and_the_rest_is_kept(content: object, expected: Content) -> None:
    assert read(content) == expected


@given(st.lists(st.text(max_size=9), max_size=5))
def test_a_text_in_parts_is_the_text(parts: list[str]) -> None:
    assert read(parts).text == read([{"type": "text", "text": part} for part in parts]).text == "".join(parts)
