"""A chat completion, read: OpenAI's object and the shapes in which other hosts send it.

Must not know: HTTP, what errors mean.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eli5b_batch.backends import contents, ends
from eli5b_batch.backends.base import ChatReply, keepable
from eli5b_batch.backends.replies import CALLS
from eli5b_batch.backends.values import as_count, as_list, as_object, as_text

_THOUGHTS: Final = ("reasoning", "reasoning_content")


class Completion(NamedTuple):
    """A reply as it came, and the error that cut it off, as OpenRouter tells it; None where there is none."""

    reply: ChatReply
    error: object


def read(body: object) -> Completion | None:
    """The first choice of a chat completion; None if the body is none."""
    fields = as_object(body)
    choice = as_object(next(iter(as_list(fields.get("choices"))), None))
    word = ends.finish_word(choice.get("finish_reason")) or ends.finish_word(choice.get("native_finish_reason"))
    finish = ends.finish_of(word)
    message = _message(choice, excused=finish == "filtered" or bool(choice.get("error")))
    if message is None:
        return None
    content = contents.read(message.get("content"))
    refusal = content.refusal or as_text(message.get("refusal"))
    if refusal.strip() or choice.get("stop_reason") == "refusal":  # the latter: Anthropic's word
        finish = "filtered"
    extra = {name: value for name in (*CALLS, *_THOUGHTS) if (value := message.get(name))}
    extra |= {name: value for name, value in content.extra.items() if name not in extra}
    if choice.get("logprobs"):
        extra["logprobs"] = choice["logprobs"]
    reply = ChatReply(
        content.text, word, _usage(fields.get("usage")), extra=keepable(extra), finish=finish, refusal=refusal
    )
    return Completion(reply, choice.get("error") or (fields.get("error") if finish == "broken" else None))


def _message(choice: dict[str, Any], *, excused: bool) -> dict[str, Any] | None:
    """The message of a choice; a plain completion has a `text` in its place, one with an excuse may have nothing."""
    message = choice.get("message")
    if isinstance(message, dict):
        return message
    if message is None and isinstance(choice.get("text"), str):
        return {"content": choice["text"]}
    return {} if message is None and excused else None


def _usage(value: object) -> dict[str, int]:
    """Tokens by class, in our names; classes the server does not tell are left out."""
    counts = as_object(value)
    usage = {
        "input_tokens": as_count(counts.get("prompt_tokens")),
        "output_tokens": as_count(counts.get("completion_tokens")),
    }
    details = {
        "cached_input_tokens": as_object(counts.get("prompt_tokens_details")).get("cached_tokens"),
        "reasoning_tokens": as_object(counts.get("completion_tokens_details")).get("reasoning_tokens"),
    }
    return usage | {name: tokens for name, value in details.items() if (tokens := as_count(value))}
