"""Whether a reply that was read may count as an answer, and what is kept of one that may not.

Must not know: protocols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.errors import BadReplyError, RetryableError

if TYPE_CHECKING:
    from eli5b_batch.backends.base import ChatReply
    from eli5b_batch.backends.transport import Response

CALLS: Final = ("tool_calls", "function_call")
"""Calls of tools: with one, a reply is whole without any text."""


def partial(reply: ChatReply) -> dict[str, Any]:
    """What did arrive of a failed reply, for `CallError.partial`."""
    words = {"text": reply.text, "finish_reason": reply.finish_reason, "finish": reply.finish}
    declined = {"refusal": reply.refusal} if reply.refusal else {}
    return {"usage": reply.usage, "reply": {**words, **declined, **reply.extra}}


def answered(reply: ChatReply, response: Response, field: str) -> ChatReply:
    """The reply, if it is one: it has come to its end, and has a text, a call of a tool, or a reason to have none.

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
    if reply.text.strip() or reply.finish == "filtered" or any(reply.extra.get(call) for call in CALLS):
        return reply
    raise BadReplyError("empty_reply", f"the reply has no content ({word})", partial=partial(reply))
