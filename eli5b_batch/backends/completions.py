"""A chat completion, read: OpenAI's object and the shapes in which other hosts send it.

Must not know: HTTP, what errors mean.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eli5b_batch.backends import contents
from eli5b_batch.backends.base import ChatReply, keepable
from eli5b_batch.backends.finish import finish_of, finish_word
from eli5b_batch.backends.replies import TOOL_CALL_FIELDS, apart
from eli5b_batch.backends.values import as_count, as_list, as_object, as_text

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Fields of a message that hold thoughts: vLLM and DeepSeek; OpenRouter and Together; gateways before Ollama; a list of
parts: OpenRouter. Several of them may hold the same."""


class Completion(NamedTuple):
    """A reply as it came, and the error that cut it off, as OpenRouter tells it; None where there is none."""

    reply: ChatReply
    error: object


def read(body: object) -> Completion | None:
    """The first choice of a chat completion; None if the body is none."""
    fields = as_object(body)
    choice = as_object(next(iter(as_list(fields.get("choices"))), None))
    word = finish_word(choice.get("finish_reason")) or finish_word(choice.get("native_finish_reason"))
    finish = finish_of(word)
    message = _message(choice, excused=finish == "filtered" or bool(choice.get("error")))
    if message is None:
        return None
    content = contents.read(message.get("content"))
    refusal = content.refusal or as_text(message.get("refusal"))
    if refusal.strip() or choice.get("stop_reason") == "refusal":  # the latter: Anthropic's word
        finish = "filtered"
    thoughts = [*content.thoughts, *(contents.plain(message.get(name)) for name in _THOUGHTS)]
    extra = (
        {name: value for name in TOOL_CALL_FIELDS if (value := message.get(name))} | content.extra | _sealed(message)
    )
    if choice.get("logprobs"):
        extra["logprobs"] = choice["logprobs"]
    usage = _usage(fields.get("usage"))
    reply = apart(ChatReply(content.text, word, usage, extra=keepable(extra), finish=finish, refusal=refusal), thoughts)
    return Completion(reply, choice.get("error") or (fields.get("error") if finish == "broken" else None))


def _message(choice: dict[str, Any], *, excused: bool) -> dict[str, Any] | None:
    """The message of a choice; a plain completion has a `text` in its place, one with an excuse may have nothing."""
    message = choice.get("message")
    if isinstance(message, dict):
        return message
    if message is None and isinstance(choice.get("text"), str):
        return {"content": choice["text"]}
    return {} if message is None and excused else None


def _sealed(message: dict[str, Any]) -> dict[str, Any]:
    """Thoughts that are encrypted or signed, as they came: only the host can read them, within a loop of tool calls."""
    details = as_list(message.get("reasoning_details"))
    sealed = any(as_object(part).get("data") or as_object(part).get("signature") for part in details)
    return {"reasoning_details": details} if sealed else {}


def _usage(value: object) -> dict[str, int]:
    """Tokens by class, in our names; classes the server does not tell are left out.

    Some hosts leave thoughts out of `completion_tokens` and count them in the total only (Gemini's OpenAI face, xAI):
    they are billed as output, so the output is what the total holds beside the prompt.
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
