"""fields.py: which fields a request has under each protocol, and where a job's extras go."""

from __future__ import annotations

from typing import Any

import pytest

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.backends.fields import NEEDED, OPENAI, ollama_fields, openai_body

MESSAGES = [{"role": "user", "content": "1 + 1?"}]
EVERYTHING: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 40,
    "max_tokens": 64,
    "stop": ["Q:"],
    "num_ctx": 4096,
}


def request(**sampling: object) -> ChatRequest:
    return ChatRequest("k", "org/m", MESSAGES, EVERYTHING | sampling, 7)


def test_without_extras_every_known_field_is_sent_and_num_ctx_is_not() -> None:
    body = openai_body(request(), ())
    assert tuple(body) == OPENAI
    assert body == {name: value for name, value in EVERYTHING.items() if name != "num_ctx"} | {
        "model": "org/m",
        "messages": MESSAGES,
        "seed": 7,
        "stream": False,
    }


def test_extras_stand_at_the_top_level_as_they_are() -> None:
    extra = {"min_p": 0.05, "reasoning": {"effort": "low", "exclude": None}, "logit_bias": {}}
    assert openai_body(request(extra=extra), ()) == openai_body(request(), ()) | extra


@pytest.mark.parametrize("field", [name for name in OPENAI if name not in NEEDED])
def test_a_field_that_a_host_does_not_take_is_left_off(field: str) -> None:
    whole = openai_body(request(), ())
    assert openai_body(request(), [field]) == {name: value for name, value in whole.items() if name != field}


def test_an_extra_can_be_left_off_too_and_a_field_be_sent_under_another_name() -> None:
    body = openai_body(request(extra={"max_completion_tokens": 64, "min_p": 0.1}), ["max_tokens", "min_p"])
    assert body["max_completion_tokens"] == 64
    assert {"max_tokens", "min_p"}.isdisjoint(body)


def test_ollamas_extras_are_options_but_for_the_fields_that_stand_beside_them() -> None:
    extra = {"repeat_penalty": 1.1, "think": False, "format": {"type": "object"}, "keep_alive": "2h"}
    options, beside = ollama_fields({"max_tokens": 9, "num_ctx": 4096, "extra": extra})
    assert options == {"max_tokens": 9, "num_ctx": 4096, "repeat_penalty": 1.1}
    assert beside == {"think": False, "format": {"type": "object"}, "keep_alive": "2h"}
    assert ollama_fields({"max_tokens": 9}) == ({"max_tokens": 9}, {})
