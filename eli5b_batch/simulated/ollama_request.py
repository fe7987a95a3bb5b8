"""What a request to the simulated GPU server asks for, or why it is refused, in the words of an Ollama server.

Must not know: what is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from eli5b_batch.simulated.faults import RefusedError, read_call
from eli5b_batch.simulated.model import CHARS_PER_TOKEN, count_tokens
from eli5b_batch.simulated.model_facts import thinks, thinks_always

if TYPE_CHECKING:
    from aiohttp import web

    from eli5b_batch.records.keys import CallName

DEFAULT_NUM_CTX: Final = 4096

_NUM_PREDICT_WINDOWS: Final = 10  # without num_predict a reply ends after this many windows
_INTEGERS: Final = frozenset({"num_ctx", "num_predict", "num_batch", "num_keep", "seed", "top_k", "repeat_last_n"})
_FLOATS: Final = frozenset({"temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty"})
_LEVELS: Final = frozenset({"low", "medium", "high", "max"})
_GO_NAMES: Final = {
    str: "string",
    int: "number",
    float: "number",
    bool: "bool",
    list: "array",
    dict: "object",
}


class Chat(NamedTuple):
    """A chat request that has passed every check; `prompt` is what is left of the messages in the window.

    `thinks`: whether the model thinks before it answers.
    """

    model: str
    prompt: str
    num_ctx: int
    max_tokens: int | None
    thinks: bool
    stream: bool
    raw: bytes
    key: str
    call: CallName | None


def refused(status: int, message: str) -> RefusedError:
    """A refusal as Ollama writes it."""
    return RefusedError(status, {"error": message})


def parse(raw: bytes, kind: str) -> dict[str, Any]:
    """A request's body, which names a model; what is wrong with it here and below raises a `RefusedError`."""
    if not raw:
        raise refused(400, "missing request body")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        torn = "end of data" in str(error)
        raise refused(400, "unexpected EOF" if torn else f"invalid character: {error}") from None
    if not isinstance(body, dict):
        raise refused(400, f"json: cannot unmarshal {_go_name(body)} into Go value of type api.{kind}")
    model = body.get("model") or ""
    if not isinstance(model, str):
        raise refused(400, _mismatch(model, f"{kind}.model", "string"))
    if not model:
        raise refused(400, "model is required")
    return body


def read_texts(body: dict[str, Any]) -> list[str]:
    """The contents of the messages."""
    messages = body.get("messages") or []
    if not isinstance(messages, list):
        raise refused(400, _mismatch(messages, "ChatRequest.messages", "[]api.Message"))
    texts = []
    for message in messages:
        if not isinstance(message, dict):
            raise refused(400, _mismatch(message, "ChatRequest.messages", "api.Message"))
        content = message.get("content", "")
        if not isinstance(content, str):
            raise refused(400, _mismatch(content, "ChatRequest.messages.content", "string"))
        texts.append(content)
    return texts


def read_options(body: dict[str, Any]) -> dict[str, Any]:
    """The options of a request; those that Ollama does not know are ignored, as it does."""
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise refused(400, _mismatch(options, "ChatRequest.options", "map[string]interface {}"))
    for name, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None:
            continue
        if name in _INTEGERS and not is_number:
            raise refused(500, f'option "{name}" must be of type integer')
        if name in _FLOATS and not is_number:
            raise refused(500, f'option "{name}" must be of type float32')
        if name == "stop" and not isinstance(value, list):
            raise refused(500, 'option "stop" must be of type array')
    return options


def read_chat(
    request: web.Request, raw: bytes, body: dict[str, Any], options: dict[str, Any], texts: list[str]
) -> Chat:
    """A request that has passed the checks above, with its call key and what is left of its prompt in the window."""
    try:
        key, call = read_call(request)
    except ValueError as error:
        raise refused(400, str(error)) from None
    prompt = "\n".join(texts)
    num_ctx = int(options.get("num_ctx") or DEFAULT_NUM_CTX)
    if count_tokens(prompt) > num_ctx:
        if body.get("truncate") is False:
            raise refused(400, "the prompt is longer than the context length currently available to the model")
        prompt = prompt[-num_ctx * CHARS_PER_TOKEN :]  # as the real one: silently, and the end stays
    predict = options.get("num_predict")
    limit = _NUM_PREDICT_WINDOWS * num_ctx if predict is None or predict < 0 else int(predict)
    return Chat(
        model=body["model"],
        prompt=prompt,
        num_ctx=num_ctx,
        max_tokens=limit or None,  # num_predict 0 is no limit at all
        thinks=_thinks(body),
        stream=body.get("stream") is not False,
        raw=raw,
        key=key,
        call=call,
    )


def _thinks(body: dict[str, Any]) -> bool:
    """Whether the model thinks: as asked; where nothing is said, if it can. gpt-oss does in any case."""
    think, model = body.get("think"), body["model"]
    if isinstance(think, str) and think not in _LEVELS:
        raise refused(400, f'invalid think value: "{think}" (must be "high", "medium", "low", "max", true, or false)')
    if think and not thinks(model):
        raise refused(400, f'"{model}" does not support thinking')
    return thinks(model) and (think is not False or thinks_always(model))


def _mismatch(value: object, field: str, wanted: str) -> str:
    return f"json: cannot unmarshal {_go_name(value)} into Go struct field {field} of type {wanted}"


def _go_name(value: object) -> str:
    return _GO_NAMES.get(type(value), "null")
