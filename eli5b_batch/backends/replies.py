"""A reply that was read: its words and thoughts apart, whether it may count as an answer, what is kept if it may not.

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
"""Calls of tools: with one, a reply is whole without any text."""


def apart(reply: ChatReply, thoughts: Iterable[str]) -> ChatReply:
    """The reply, whose text is its content as it came, with its words and its thoughts apart.

    Args:
        reply: as it was read.
        thoughts: what came beside the content, in whatever fields; the same thought twice counts once.
    """
    beside = [thought for thought in map(str.strip, thoughts) if thought]
    words = words_of(reply.text, half_marks=not beside)
    own = dict.fromkeys((*beside, words.thoughts))
    reply.thinking = "\n\n".join(filter(None, own))
    if words.words != reply.text:
        reply.text, reply.raw = words.words, reply.text
    return reply


def as_recorded(reply: ChatReply) -> dict[str, Any]:
    """What of a reply stands in its record; what there is none of is left out."""
    rest = {"thinking": reply.thinking, "raw": reply.raw, "refusal": reply.refusal}
    words = {"text": reply.text, "finish_reason": reply.finish_reason, "finish": reply.finish}
    return words | {name: text for name, text in rest.items() if text} | reply.extra


def partial(reply: ChatReply) -> dict[str, Any]:
    """What did arrive of a failed reply, for `CallError.partial`."""
    return {"usage": reply.usage, "reply": as_recorded(reply)}


def answered(reply: ChatReply, response: Response, field: str) -> ChatReply:
    """The reply, if it is one: it has come to its end, and has a text, a call of a tool, or a reason to have none.

    A model that spent all its tokens on thoughts, shown or hidden, or was cut off before its first word, has answered,
    and has no text: asked again with the same seed it would do the same, and be paid again.

    Args:
        reply: as it was read.
        response: what it was read from, for messages.
        field: where its host says how it ended.

    Raises:
        RetryableError: class `broken`: it ended in the middle.
        BadReplyError: class `empty_reply`.
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
