"""More quirks of the same kinds, which are on nobody's list: a client that knows the other tables by heart fails them.

Must not know: which calls meet them.
"""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import orjson

from eli5b_batch.simulated.quirks.base import (
    BOTH,
    HERE,
    HTML,
    Quirk,
    Scene,
    SentResponse,
    ends,
    put,
    refuses,
    says,
    sent,
    torn,
    with_choice,
    with_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE: Final = "<html><head><title>Service unavailable</title></head><body>SIMULATED: back soon</body></html>"
_GROQ_TOO_LARGE: Final = (
    "Request too large for model `{model}` in organization `org_SIMULATED` service tier `on_demand` on tokens per"
    " minute (TPM): Limit 6000, Requested 12328, please reduce your message size and try again."
)
_DEPTH: Final = 3000
_DIGITS: Final = 400


def _overloaded_until(scene: Scene) -> SentResponse:
    date = formatdate(round(scene.now + scene.wait_s), usegmt=True)
    return refuses(529, "Overloaded", "overloaded_error", Retry_After=date)(scene)


def _events(scene: Scene) -> SentResponse:
    """The reply as a stream that nobody asked for."""
    delta = {"index": 0, "delta": {"role": "assistant", "content": scene.text}, "finish_reason": "stop"}
    chunk = {**scene.reply, "object": "chat.completion.chunk", "choices": [delta]}
    body = b"data: " + orjson.dumps(chunk) + b"\n\ndata: [DONE]\n\n"
    return sent(scene, body)._replace(headers={**scene.headers, "Content-Type": "text/event-stream"})


def _no_gzip(scene: Scene) -> SentResponse:
    return sent(scene, b"SIMULATED, not gzip")._replace(headers={**scene.headers, "Content-Encoding": "gzip"})


def _declared_latin1(scene: Scene) -> SentResponse:
    marked = orjson.loads(put(HERE)(scene).body)
    body = json.dumps(marked).encode().replace(HERE, "é".encode("latin-1"))
    return sent(scene, body)._replace(headers={**scene.headers, "Content-Type": "application/json; charset=iso-8859-1"})


def _inserted(fields: bytes) -> Callable[[Scene], SentResponse]:
    """Makes the ordinary reply with more fields, written as they are, at the beginning of the body."""

    def make(scene: Scene) -> SentResponse:
        return sent(scene, b"{" + fields + b"," + sent(scene, scene.reply).body[1:])

    return make


def _no_finish_reason(scene: Scene) -> SentResponse:
    choice = {name: value for name, value in scene.reply["choices"][0].items() if name != "finish_reason"}
    return sent(scene, {**scene.reply, "choices": [choice]})


def _choice_error(scene: Scene) -> SentResponse:
    error = {"code": 502, "message": "SIMULATED upstream hung up"}
    empty = with_message(scene, content="")
    return sent(scene, with_choice(scene._replace(reply=empty), error=error, finish_reason="error"))


def _kept(about: str, make: Callable[[Scene], SentResponse]) -> Quirk:
    return Quirk(about, "made up", make, "reply")


def _passes(about: str, make: Callable[[Scene], SentResponse]) -> Quirk:
    return Quirk(about, "made up", make, lasts="passes")


SIBLINGS: Final[dict[str, Quirk]] = {
    "sibling_529_date": Quirk("529 until the date in `Retry-After`", "made up", _overloaded_until, lasts="wait"),
    "sibling_empty_200": _passes("200 with an empty body, once or twice", says(200, "")),
    "sibling_403_type": Quirk(
        "403 whenever it is sent, of an unknown type and without a sentence",
        "made up",
        says(403, {"error": {"type": "edge_policy_7", "code": "E-7"}}),
    ),
    "sibling_451": Quirk(
        "451 whenever it is sent", "made up", refuses(451, "Unavailable for legal reasons", "legal_hold")
    ),
    "sibling_413": Quirk(
        "413 whenever it is sent: one request over the tokens per minute",
        "Groq: ha-groq-cloud-api#27",
        refuses(413, _GROQ_TOO_LARGE, "tokens", "rate_limit_exceeded"),
    ),
    "sibling_429_at_once": Quirk(
        "429 whenever it is sent, with `Retry-After: 0`",
        "made up",
        refuses(429, "SIMULATED: try again now.", "busy", Retry_After="0"),
    ),
    "sibling_429_page": _passes("429 with a page, once or twice", says(429, _PAGE, HTML)),
    "sibling_429_month": Quirk(
        "429 whenever it is sent: the tokens of a month are used up, without a time",
        "made up",
        refuses(429, "You have reached your monthly quota of tokens for this plan.", "quota_exceeded"),
    ),
    "sibling_500": Quirk("500 whenever it is sent", "made up", refuses(500, "SIMULATED: this prompt crashes it")),
    "sibling_503_page": Quirk(
        "503 with a page, once or twice", "made up", says(503, _PAGE, HTML), lasts="passes", wires=BOTH
    ),
    "sibling_error_text": _passes(
        "200 with an error that is a bare text, once or twice", says(200, {"error": "upstream connect error"})
    ),
    "sibling_error_null": _kept("the reply, and `error: null`", _inserted(b'"error":null')),
    "sibling_error_of_choice": Quirk(
        "an error in the choice and no text, once or twice", "OpenRouter", _choice_error, "reply", "passes"
    ),
    "sibling_choices_empty": Quirk(
        "`choices: []`, once or twice", "made up", lambda s: sent(s, {**s.reply, "choices": []}), "reply", "passes"
    ),
    "sibling_stream": Quirk(
        "a stream of events that nobody asked for, once or twice", "made up", _events, "reply", "passes"
    ),
    "sibling_no_gzip": Quirk("a body that claims to be gzip, once or twice", "made up", _no_gzip, "reply", "passes"),
    "sibling_truncated": Quirk(
        "the body ends in the middle of the text, whenever it is sent", "made up", torn, "reply"
    ),
    "sibling_usage_null": _kept("`usage: null`", lambda s: sent(s, {**s.reply, "usage": None})),
    "sibling_no_finish_reason": _kept("no `finish_reason`", _no_finish_reason),
    "sibling_finish_stop": _kept("`finish_reason: STOP`", lambda s: sent(s, with_choice(s, finish_reason="STOP"))),
    "sibling_finish_length": Quirk("half a text with the end `Length`", "made up", ends("Length"), "reply"),
    "sibling_double_keys": _kept(
        "two fields of the body twice, at first as null", _inserted(b'"choices":null,"usage":null')
    ),
    "sibling_huge_number": _kept("a number of 400 digits", _inserted(b'"created":' + b"9" * _DIGITS)),
    "sibling_deep": _kept("a field 3,000 levels deep", _inserted(b'"trace":' + b"[" * _DEPTH + b"]" * _DEPTH)),
    "sibling_nul": _kept("the character U+0000 in the text", put(rb"\u0000")),
    "sibling_leading_space": _kept(
        "blank lines before the body", lambda s: sent(s, b"\n\n   \n" + sent(s, s.reply).body)
    ),
    "sibling_declared_latin1": _kept("a body in Latin-1, which its type declares", _declared_latin1),
    "sibling_content_object": _kept(
        "the content is one part, not in a list",
        lambda s: sent(s, with_message(s, content={"type": "text", "text": s.text})),
    ),
}
"""By name."""
