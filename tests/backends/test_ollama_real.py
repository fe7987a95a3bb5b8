"""Tests with the Ollama server that ELI5B_OLLAMA_URL names, such as http://127.0.0.1:11434; skipped without one.

Any version and any model will do: the smallest model of the server is asked for short replies. Nothing is pulled or
removed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.errors import CallError, ProviderRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.backends.http import Transport

    Connect = Callable[..., Transport]

URL = os.environ.get("ELI5B_OLLAMA_URL", "").rstrip("/")
NUM_CTX = 512

pytestmark = [
    pytest.mark.ollama,
    pytest.mark.skipif(not URL, reason="ELI5B_OLLAMA_URL names no Ollama server"),
]


@pytest.fixture
async def model(connect: Connect) -> str:
    """The smallest model of the server that can chat."""
    transport = connect()
    models = (await transport.get(f"{URL}/api/tags")).json()["models"]
    for _, name in sorted((m["size"], m["name"]) for m in models):
        if "completion" in (await transport.post(f"{URL}/api/show", {"model": name})).json()["capabilities"]:
            return str(name)
    pytest.skip(f"the server at {URL} has no model that can chat")


def request(model: str, text: str = "hello", seed: int = 7) -> ChatRequest:
    sampling = {"temperature": 0.0, "max_tokens": 8, "num_ctx": NUM_CTX}
    return ChatRequest("key", model, [{"role": "user", "content": text}], sampling, seed)


async def chat(transport: Transport, question: ChatRequest) -> ChatReply:
    return await OllamaBackend("gpus", {URL: [question.model]}, transport=transport).chat(question, URL)


async def test_the_server_tells_its_version(connect: Connect) -> None:
    version = (await connect().get(f"{URL}/api/version")).json()["version"]
    assert version[0].isdigit()


async def test_reach_fills_every_fact_about_a_model(model: str, connect: Connect) -> None:
    facts = (await OllamaBackend("gpus", {URL: [model]}, transport=connect()).reach([model]))[model]
    assert len(facts.digest) == 64
    assert facts.quantization
    assert facts.parameter_size
    assert facts.server.startswith("ollama ")


async def test_a_chat_fills_every_field_of_a_reply_and_leaves_the_model_loaded(model: str, connect: Connect) -> None:
    transport = connect(timeout_s=300)
    reply = await chat(transport, request(model))
    assert reply.text
    assert reply.finish_reason in {"stop", "length"}
    assert 0 < reply.usage["input_tokens"] < NUM_CTX
    assert 0 < reply.usage["output_tokens"] <= 8
    assert 0 < reply.load_s < 300
    durations = reply.extra["durations"]
    assert set(durations) == {"total", "prompt_eval", "eval"}
    assert 0 < durations["prompt_eval"] <= durations["total"]
    assert 0 < durations["eval"] <= durations["total"]
    facts = await OllamaBackend("gpus", {URL: [model]}, transport=transport).reach([model])
    on_gpu = facts[model].on_gpu
    assert on_gpu is not None
    assert 0 <= on_gpu <= 1


async def test_the_same_seed_gives_the_same_reply(model: str, connect: Connect) -> None:
    transport = connect(timeout_s=300)
    texts = {(await chat(transport, request(model))).text for _ in range(3)}
    assert len(texts) == 1


async def test_a_prompt_longer_than_the_window_is_told(model: str, connect: Connect) -> None:
    with pytest.raises(CallError) as caught:
        await chat(connect(timeout_s=300), request(model, "word " * 4 * NUM_CTX))
    assert caught.value.kind == "context_overflow"
    assert "sampling.num_ctx" in str(caught.value)


async def test_an_unknown_model_is_refused_by_chat_and_reach(connect: Connect) -> None:
    transport = connect()
    with pytest.raises(ProviderRefusedError, match="ollama pull eli5b-no-such-model:1b"):
        await chat(transport, request("eli5b-no-such-model:1b"))
    with pytest.raises(ProviderRefusedError, match="has no model 'eli5b-no-such-model:1b'"):
        await OllamaBackend("gpus", {URL: ["eli5b-no-such-model:1b"]}, transport=transport).reach(
            ["eli5b-no-such-model:1b"]
        )
