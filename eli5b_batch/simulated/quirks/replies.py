"""Quirks in which the work is done and the reply has an unusual form, or an unusual end.

Must not know: which calls meet them.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from eli5b_batch.simulated.quirks.base import (
    BOTH,
    OLLAMA,
    Quirk,
    Scene,
    SentResponse,
    ends,
    halves,
    put,
    says,
    sent,
    torn,
    with_choice,
    with_message,
)

_DECLINED: Final = "I'm sorry, a SIMULATED model can't help with that."
_NEXT_TURN: Final = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nSIMULATED: and another one?"
_TOOL_CALL: Final = {
    "id": "call_SIMULATED",
    "type": "function",
    "function": {"name": "calculator", "arguments": '{"expression": "6 * 7"}'},
}


def _parts(scene: Scene) -> SentResponse:
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "SIMULATED thoughts."}], "closed": True}
    texts = [{"type": "text", "text": half} for half in halves(scene.text)]
    return sent(scene, with_message(scene, content=[thoughts, *texts]))


def _declined(scene: Scene) -> SentResponse:
    return sent(scene, with_message(scene, content=None, refusal=_DECLINED))


def _tool_calls(scene: Scene) -> SentResponse:
    called = with_message(scene, content=None, tool_calls=[_TOOL_CALL])
    return sent(scene, with_choice(scene._replace(reply=called), finish_reason="tool_calls"))


def _not_a_number(scene: Scene) -> SentResponse:
    token: dict[str, Any] = {"token": "SIMULATED", "logprob": math.nan}
    tokens = [{**token, "top_logprobs": [{**token, "logprob": -math.inf}]}]
    ollama = scene.wire == "ollama"
    reply = {**scene.reply, "logprobs": tokens} if ollama else with_choice(scene, logprobs={"content": tokens})
    return sent(scene, json.dumps(reply).encode())


def _bom(scene: Scene) -> SentResponse:
    return sent(scene, b"\xef\xbb\xbf" + sent(scene, scene.reply).body)


def _run_on(scene: Scene) -> SentResponse:
    return sent(scene, with_message(scene, content=scene.text + _NEXT_TURN))


def _half_done(scene: Scene) -> SentResponse:
    """Without reason and counts."""
    half = with_message(scene, content=halves(scene.text)[0])
    return sent(scene, {**{name: half[name] for name in ("model", "created_at", "message")}, "done": False})


def _cut(finish: str, source: str) -> Quirk:
    return Quirk(f"half a text with the end `{finish}`", source, ends(finish), "reply")


def _broken(finish: str, source: str) -> Quirk:
    return Quirk(f"half a text with the end `{finish}`, once or twice", source, ends(finish), "reply", "passes")


REPLIES: Final[dict[str, Quirk]] = {
    "content_parts": Quirk(
        "the content is a list of parts: thoughts, and the text in two", "Mistral: inspect_ai#2389", _parts, "reply"
    ),
    "content_null_refusal": Quirk(
        "no content, and the words in which the model declines", "OpenAI", _declined, "reply"
    ),
    "content_null_tool_calls": Quirk("no content, and a tool call", "OpenAI", _tool_calls, "reply"),
    "surrogate": Quirk("half a surrogate pair in the text", "hermes-agent#44376", put(rb"\ud83d"), "reply", wires=BOTH),
    "nan_logprobs": Quirk(
        "NaN and -Infinity among the log-probabilities", "mlx-omni-server#56", _not_a_number, "reply", wires=BOTH
    ),
    "bom": Quirk("a byte order mark before the body", "made up", _bom, "reply", wires=BOTH),
    "latin1": Quirk("one byte of Latin-1 in the text", "made up", put(b"\xe9"), "reply", wires=BOTH),
    "truncated_json": Quirk(
        "the body ends in the middle of the text, once or twice", "made up", torn, "reply", "passes", BOTH
    ),
    "run_on": Quirk(
        "the text runs on, through a special token, into another turn",
        "langchain-aws#483, ollama#3759",
        _run_on,
        "reply",
        wires=BOTH,
    ),
    "finish_error": _broken("error", "OpenRouter: mini-swe-agent#902"),
    "finish_abort": _broken("abort", "SGLang, vLLM"),
    "finish_insufficient_system_resource": _broken("insufficient_system_resource", "DeepSeek"),
    "finish_max_tokens": _cut("MAX_TOKENS", "qwen-code#9884"),
    "finish_max_output_tokens": _cut("max_output_tokens", "made up"),
    "finish_model_length": _cut("model_length", "Mistral"),
    "finish_content_filter": _cut("content_filter", "OpenAI"),
    "repeat_limit_500": Quirk(
        "slots: 500 after the work, whenever it is sent: the text repeats itself",
        "ollama#18374",
        says(500, {"error": "prediction aborted, token repeat limit reached"}),
        "reply",
        wires=OLLAMA,
    ),
    "repeat_abort_200": Quirk(
        "slots: half a text with `done: false`: the text repeats itself",
        "ollama before 0.33",
        _half_done,
        "reply",
        wires=OLLAMA,
    ),
}
"""By name."""
