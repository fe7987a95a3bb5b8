"""What a quirk is: one way in which a real host answers otherwise than its documents say; and what tables of them need.

Must not know: which calls meet a quirk (`fates`), the run. Only the standard library and orjson are imported, so that
the job file's check can read the names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Wire = Literal["openai", "ollama"]

JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"

TOO_MANY: Final = 429

HERE: Final = b"@HERE@"
"""A place in a reply's text where `put` sets bytes that no JSON writer would make."""


class Scene(NamedTuple):
    """What a quirk answers to.

    `status`, `headers` and `reply` are the ordinary answer; where a call is refused before any work, 200, none and {}.
    `now` is unix seconds; `wait_s` the seconds until the call is let through, where the quirk says so.
    """

    wire: Wire
    model: str
    now: float
    wait_s: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = {}
    reply: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        """The text of the ordinary reply."""
        message = self.reply["message"] if self.wire == "ollama" else self.reply["choices"][0]["message"]
        return str(message["content"])


class SentResponse(NamedTuple):
    """What goes out."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Quirk(NamedTuple):
    """One row of a table.

    Args:
        about: what is answered, in a line.
        source: who was seen to answer so.
        make: makes the answer.
        stage: `refusal`: before any work, and none is done. `reply`: made from an ordinary reply, after the work.
            `headers`: every answer, refusals for the account's limits too, has other headers.
        lasts: `always`: whenever the call is sent. `passes`: the first or the first two times. `wait`: until the told
            time. `spell`: all calls of a model, from its first for `SPELL_S` seconds.
        wires: the protocols it occurs in.
        field: only requests that hold this field meet it.
    """

    about: str
    source: str
    make: Callable[[Scene], SentResponse]
    stage: Literal["refusal", "reply", "headers"] = "refusal"
    lasts: Literal["always", "passes", "wait", "spell"] = "always"
    wires: frozenset[Wire] = frozenset({"openai"})
    field: str = ""


BOTH: Final[frozenset[Wire]] = frozenset({"openai", "ollama"})
OLLAMA: Final[frozenset[Wire]] = frozenset({"ollama"})


def failure(message: str, kind: str | None, code: object = None, **more: object) -> dict[str, Any]:
    """An error as OpenAI and most hosts write it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def says(status: int, body: object, kind: str = JSON, **headers: str) -> Callable[[Scene], SentResponse]:
    """Makes an answer that is always the same, but for `{model}`, where the model's id is put; a text is sent as it is.

    An underscore in the name of a header stands for a hyphen.
    """
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    named = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}

    def make(scene: Scene) -> SentResponse:
        return SentResponse(status, named, raw.replace(b"{model}", scene.model.encode()))

    return make


def refuses(
    status: int, message: str, kind: str | None = None, code: object = None, **headers: str
) -> Callable[[Scene], SentResponse]:
    """Makes a refusal with an error as OpenAI writes it; see `says`."""
    return says(status, failure(message, kind, code), **headers)


def halves(text: str) -> tuple[str, str]:
    """A text in two parts."""
    middle = len(text) // 2
    return text[:middle], text[middle:]


def with_choice(scene: Scene, **fields: object) -> dict[str, Any]:
    """The ordinary reply with other fields in its choice; OpenAI's protocol only."""
    return {**scene.reply, "choices": [{**scene.reply["choices"][0], **fields}]}


def with_message(scene: Scene, **fields: object) -> dict[str, Any]:
    """The ordinary reply with other fields in its message."""
    if scene.wire == "ollama":
        return {**scene.reply, "message": {**scene.reply["message"], **fields}}
    return with_choice(scene, message={**scene.reply["choices"][0]["message"], **fields})


def sent(scene: Scene, body: object) -> SentResponse:
    """The ordinary answer with another body: bytes as they are, anything else as JSON."""
    return SentResponse(scene.status, scene.headers, body if isinstance(body, bytes) else orjson.dumps(body))


def put(raw: bytes) -> Callable[[Scene], SentResponse]:
    """Makes the ordinary reply with `raw` in the middle of its text."""

    def make(scene: Scene) -> SentResponse:
        first, second = halves(scene.text)
        body = orjson.dumps(with_message(scene, content=first + HERE.decode() + second))
        return sent(scene, body.replace(HERE, raw))

    return make


def ends(finish: str) -> Callable[[Scene], SentResponse]:
    """Makes half of the ordinary reply, with this word for its end; OpenAI's protocol only."""

    def make(scene: Scene) -> SentResponse:
        half = with_message(scene, content=halves(scene.text)[0])
        return sent(scene, with_choice(scene._replace(reply=half), finish_reason=finish))

    return make


def torn(scene: Scene) -> SentResponse:
    """The ordinary reply up to the middle of its text."""
    return sent(scene, put(HERE)(scene).body.partition(HERE)[0])
