"""Reads a chat completion: OpenAI's object and the shapes in which other hosts send it.

Must not know: HTTP, what errors mean.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eli5b_batch.backends import contents
from eli5b_batch.backends.base import ChatReply, recordable
from eli5b_batch.backends.finish import finish_of, finish_word
from eli5b_batch.backends.replies import TOOL_CALL_FIELDS, separated
from eli5b_batch.backends.values import as_count, as_list, as_object, as_text

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Fields of a message that hold thoughts. `reasoning_content`: vLLM and DeepSeek; `reasoning`: OpenRouter and Together;
`thinking`: gateways before Ollama; `reasoning_details`, a list of parts: OpenRouter. Several may hold the same text."""


class Completion(NamedTuple):
    """A reply, and the error that cut it off, as OpenRouter sends it; `error` is None where nothing cut it off."""

    reply: ChatReply
    error: object


def read(body: object) -> Completion | None:
    """Return the first choice of a chat completion; None if the body is no chat completion."""
    fields = as_object(body)
    choice = as_object(next(iter(as_list(fields.get("choices"))), None))
    word = finish_word(choice.get("finish_reason")) or finish_word(choice.get("native_finish_reason"))
    finish = finish_of(word)
    message = _message(choice, may_be_missing=finish == "filtered" or bool(choice.get("error")))
    if message is None:
        return None
    content = contents.read(message.get("content"))
    refusal = content.refusal or as_text(message.get("refusal"))
    if refusal.strip() or choice.get("stop_reason") == "refusal":  # `stop_reason`: Anthropic
        finish = "filtered"
    thoughts = [*content.thoughts, *(contents.plain(message.get(name)) for name in _THOUGHTS)]
    extra = (
        {name: value for name in TOOL_CALL_FIELDS if (value := message.get(name))} | content.extra | _sealed(message)
    )
    if choice.get("logprobs"):
        extra["logprobs"] = choice["logprobs"]
    usage = _usage(fields.get("usage"))
    reply = separated(
        ChatReply(content.text, word, usage, extra=recordable(extra), finish=finish, refusal=refusal), thoughts
    )
    return Completion(reply, choice.get("error") or (fields.get("error") if finish == "broken" else None))


def _message(choice: dict[str, Any], *, may_be_missing: bool) -> dict[str, Any] | None:
    """Return the message of a choice, which in a plain completion is a `text`; None if there is no message.

    Args:
        choice: a choice of a completion.
        may_be_missing: whether the choice says why there is no message; a missing one is then an empty one.
    """
    message = choice.get("message")
    if isinstance(message, dict):
        return message
    if message is None and isinstance(choice.get("text"), str):
        return {"content": choice["text"]}
    return {} if message is None and may_be_missing else None


def _sealed(message: dict[str, Any]) -> dict[str, Any]:
    """Return thoughts that are encrypted or signed, as they came; the host reads them again in a loop of tool calls."""
    details = as_list(message.get("reasoning_details"))
    sealed = any(as_object(part).get("data") or as_object(part).get("signature") for part in details)
    return {"reasoning_details": details} if sealed else {}


def _usage(value: object) -> dict[str, int]:
    """Return the tokens of a call by class, in the package's names; classes that the server does not tell are left out.

    Some hosts leave thoughts out of `completion_tokens` and count them in the total only (Gemini's OpenAI face, xAI).
    Thoughts are billed as output, so the output is the total less the prompt.
    """
    counts = as_object(value)
    prompt, completion = as_count(counts.get("prompt_tokens")), as_count(counts.get("completion_tokens"))
    output = max(completion, as_count(counts.get("total_tokens")) - prompt)
    usage = {"input_tokens": prompt, "output_tokens": output if completion or prompt else completion}
    details = {
        "cached_input_tokens": as_object(counts.get("prompt_tokens_details")).get("cached_tokens"),
        "reasoning_tokens": as_object(counts.get("completion_tokens_details")).get("reasoning_tokens")
        or counts.get("reasoning_tokens")
        or output - completion,
    }
    return usage | {name: tokens for name, value in details.items() if (tokens := as_count(value))}
