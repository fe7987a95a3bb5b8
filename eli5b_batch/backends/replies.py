"""What follows the reading of a reply: its words and thoughts separated, its check as an answer, its record.

Must not know: protocols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.errors import BadReplyError, RetryableError
from eli5b_batch.thoughts import words_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eli5b_batch.backends.base import ChatReply
    from eli5b_batch.backends.http import Response

TOOL_CALL_FIELDS: Final = ("tool_calls", "function_call")
"""Fields for calls of tools; a reply with such a call is an answer without any text."""


def separated(reply: ChatReply, thoughts: Iterable[str]) -> ChatReply:
    """Return the reply with its words in `text`, its thoughts in `thinking`, its content, where that is more, in `raw`.

    Args:
        reply: the reply, whose `text` is its content as it came; it is changed.
        thoughts: the thoughts from fields beside the content; the same thought twice counts once.
    """
    from_fields = [thought for thought in map(str.strip, thoughts) if thought]
    split = words_of(reply.text, half_marks=not from_fields)
    distinct = dict.fromkeys((*from_fields, split.thoughts))
    reply.thinking = "\n\n".join(filter(None, distinct))
    if split.words != reply.text:
        reply.text, reply.raw = split.words, reply.text
    return reply


def as_recorded(reply: ChatReply) -> dict[str, Any]:
    """Return the fields of a reply that stand in its record; empty texts beside `text` are left out."""
    texts = {"thinking": reply.thinking, "raw": reply.raw, "refusal": reply.refusal}
    always = {"text": reply.text, "finish_reason": reply.finish_reason, "finish": reply.finish}
    return always | {name: text for name, text in texts.items() if text} | reply.extra


def partial(reply: ChatReply) -> dict[str, Any]:
    """Return what arrived of a failed reply, for `CallError.partial`."""
    return {"usage": reply.usage, "reply": as_recorded(reply)}


def checked(reply: ChatReply, response: Response, field: str) -> ChatReply:
    """Return the reply if it is an answer: it is complete, and has a text, a call of a tool, or a reason for none.

    A model that spent all its tokens on thoughts, shown or hidden, or was cut off before its first word, has answered
    without a text: asked again with the same seed it would do the same, and be paid again.

    Args:
        reply: the reply, its words and thoughts separated.
        response: the response that held the reply, for messages.
        field: the host's field for the end of a reply, for messages.

    Raises:
        RetryableError: class `broken`: the reply ended in the middle.
        BadReplyError: class `empty_reply`: the reply has no content and no reason for that.
    """
    word = f"{field} {response.quote(reply.finish_reason, 40) or 'not given'}"
    if reply.finish == "broken":
        raise RetryableError(
            "broken", f"the reply broke off in the middle ({word})", status=response.status, partial=partial(reply)
        )
    thought = reply.thinking or reply.usage.get("reasoning_tokens")
    spent = reply.finish == "cut" and reply.usage.get("output_tokens")
    declined = reply.finish == "filtered"
    if reply.text.strip() or thought or spent or declined or any(reply.extra.get(call) for call in TOOL_CALL_FIELDS):
        return reply
    raise BadReplyError("empty_reply", f"the reply has no content ({word})", partial=partial(reply))
