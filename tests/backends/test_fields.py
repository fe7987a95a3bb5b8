"""fields.py: the fields of a request under each protocol, and the places of a job's extra fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.backends.dialects import DIALECTS, NOT_THINKING, CantThinkSoError
from eli5b_batch.backends.fields import ollama_body, openai_body
from eli5b_batch.job.reserved_names import NEEDED, OPENAI

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
    body = ollama_body(request(extra=extra), NOT_THINKING)
    settings = {"num_predict" if name == "max_tokens" else name: value for name, value in EVERYTHING.items()}
    assert body["options"] == {**settings, "repeat_penalty": 1.1, "seed": 7}
    assert {name: body[name] for name in ("think", "format", "keep_alive")} == {
        "think": False,
        "format": {"type": "object"},
        "keep_alive": "2h",
    }
    assert ollama_body(request(), NOT_THINKING).keys() == {
        "model",
        "messages",
        "stream",
        "truncate",
        "shift",
        "keep_alive",
        "options",
    }


def test_thinking_is_sent_as_the_dialect_spells_it_and_stands_in_no_option() -> None:
    body = ollama_body(request(thinking="off"), DIALECTS["ollama_0_12_6"].family("qwen3:4b"))
    assert body["think"] is False
    assert "thinking" not in body["options"]
    mistral = openai_body(replace(request(thinking="high"), model="mistral-small-latest"), (), DIALECTS["mistral"])
    assert mistral["reasoning_effort"] == "high"
    assert mistral.keys().isdisjoint({"thinking", "seed"})


@pytest.mark.parametrize("omit", [["seed"], ["max_tokens"], ["seed", "max_tokens"]])
def test_a_field_that_has_another_name_is_left_off_by_ours(omit: list[str]) -> None:
    whole = openai_body(request(), (), DIALECTS["mistral"])
    names = {"seed": "random_seed", "max_tokens": "max_tokens"}
    assert whole.keys() - openai_body(request(), omit, DIALECTS["mistral"]).keys() == {names[name] for name in omit}


def test_a_field_that_switches_thinking_can_not_be_an_extra_as_well() -> None:
    with pytest.raises(CantThinkSoError, match="sent as reasoning_effort, which sampling"):
        openai_body(
            replace(request(thinking="high", extra={"reasoning_effort": "low"}), model="mistral-small-latest"),
            (),
            DIALECTS["mistral"],
        )
