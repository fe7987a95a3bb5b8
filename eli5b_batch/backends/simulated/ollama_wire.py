"""The simulated GPU server: Ollama's native protocol, one server per slot.

Must not know: what a model answers (`mind`), OpenAI's protocol. Statuses, fields and error texts are those
that an Ollama server was seen to send; durations are in nanoseconds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from aiohttp import web

from eli5b_batch.backends.simulated.library import MODIFIED_AT, LibraryModel, describe, full_name, show
from eli5b_batch.backends.simulated.mind import CHARS_PER_TOKEN, count_tokens
from eli5b_batch.backends.simulated.outages import Outages
from eli5b_batch.backends.simulated.service import (
    Fault,
    Faults,
    RefusedError,
    drop_connection,
    json_reply,
    read_call,
    text_reply,
)
from eli5b_batch.backends.simulated.slot import Loaded, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aiohttp.typedefs import Handler

    from eli5b_batch.backends.simulated.mind import Mind, Reply
    from eli5b_batch.job import Simulation
    from eli5b_batch.records import CallName

VERSION: Final = "0.33.0-SIMULATED"
DEFAULT_NUM_CTX: Final = 4096

_JSON: Final = "application/json; charset=utf-8"
_NDJSON: Final = "application/x-ndjson"
_NANO: Final = 1e9
_GIGA: Final = 1e9
_KEPT: Final = dt.timedelta(minutes=5)
_NUM_PREDICT_WINDOWS: Final = 10  # without num_predict a reply ends after this many windows
_INTEGERS: Final = frozenset({"num_ctx", "num_predict", "num_batch", "num_keep", "seed", "top_k", "repeat_last_n"})
_FLOATS: Final = frozenset({"temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty"})
_GO_NAMES: Final = {
    str: "string",
    int: "number",
    float: "number",
    bool: "bool",
    list: "array",
    dict: "object",
}


class _Chat(NamedTuple):
    """A chat request that has passed every check; `prompt` is what is left of the messages in the window."""

    model: str
    prompt: str
    num_ctx: int
    max_tokens: int | None
    stream: bool
    raw: bytes
    key: str
    call: CallName | None


class SimulatedOllama:
    """One Ollama server.

    Args:
        mind: what its models answer.
        simulation: its faults and outages, its memory, and the time to load a model.
        models: ids of the models it holds.
        parallel: calls at once, per model.
        loaded: models in memory at once.
        name: the slot's, by which `simulation` gives outages.
        clock: seconds, for outages; they are counted from here.
    """

    def __init__(
        self,
        mind: Mind,
        simulation: Simulation,
        models: Iterable[str],
        parallel: int,
        *,
        loaded: int | None = None,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mind = mind
        self._faults = Faults(simulation)
        self._outages = Outages(simulation.freezes.get(name, ()), simulation.refuses.get(name, ()), clock)
        self._models = {full_name(model): model for model in models}
        self._slot = Slot(
            parallel,
            mind.load_s,
            most=loaded or 1,
            memory=math.inf if simulation.memory_gb is None else simulation.memory_gb * _GIGA,
            shared=simulation.shared,
        )

    def app(self) -> web.Application:
        """The server's routes."""
        app = web.Application(middlewares=[self._outages.middleware, _refusals])
        app.router.add_post("/api/chat", self._chat)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_get("/api/version", _version)
        app.router.add_route("*", "/{path:.*}", _unknown_path)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat request: what the route does, for a caller in this process."""
        if self._outages.none:
            return await _refusals(request, self._chat)
        return await self._outages.middleware(request, partial(_refusals, handler=self._chat))

    async def tell(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a GET of `path`, for a caller in this process."""
        handlers = {"/api/tags": self._tags, "/api/ps": self._ps, "/api/version": _version}
        return await self._outages.middleware(request, handlers.get(path, _no_such_path))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        started = asyncio.get_running_loop().time()
        raw = await request.read()
        body = _parse(raw, "ChatRequest")
        model = self._find(body)
        if model is None:
            named = orjson.dumps(body["model"]).decode()
            raise _refused(404, f"model {named} not found, try pulling it first")
        options = _options(body)
        texts = _texts(body)
        if not texts:
            return await self._load(body, model, int(options.get("num_ctx") or DEFAULT_NUM_CTX))
        return await self._answer(request, _read_chat(request, raw, body, options, texts), model, started)

    async def _answer(self, request: web.Request, chat: _Chat, model: str, started: float) -> web.StreamResponse:
        fingerprint = self._mind.fingerprint(chat.key, chat.raw)
        fault = self._faults.draw(fingerprint)
        if fault is Fault.BROKEN:
            raise _refused(500, "an error was encountered while running the model: unexpected EOF")
        if fault is Fault.OVERLOADED:
            raise _refused(503, "server busy, please try again.  maximum pending requests exceeded")
        if fault is Fault.DROP:
            return drop_connection(request)
        reply = self._mind.reply(fingerprint, chat.call, model, chat.prompt, chat.max_tokens)
        wanted = Loaded(model, chat.num_ctx)
        async with self._slot.turn(wanted) as load_s:
            slowdown = self._slot.slowdown(wanted)
            await asyncio.sleep(slowdown * (reply.latency_s + reply.generation_s))
        spoilt = await self._faults.spoil(request, fingerprint, fault, reply.input_tokens + reply.output_tokens)
        if spoilt is not None:
            return spoilt
        head = {"model": chat.model, "created_at": _stamp()}
        if fault is Fault.NOT_DONE:  # as the real one after a token has come thirty times: no reason, no counts
            message = {"role": "assistant", "content": reply.text[: len(reply.text) // 2]}
            broken = {**head, "message": message, "done": False}
            return await _stream(request, [broken]) if chat.stream else json_reply(broken, content_type=_JSON)
        content = "" if fault is Fault.EMPTY else reply.text
        total_s = asyncio.get_running_loop().time() - started
        final = {
            "done_reason": "stop" if fault is Fault.EMPTY else reply.finish_reason,
            "done": True,
            **_metrics(reply, slowdown, load_s, total_s, empty=fault is Fault.EMPTY),
        }
        if not chat.stream:
            message = {"role": "assistant", "content": content}
            return json_reply({**head, "message": message, **final}, content_type=_JSON)
        first = {**head, "message": {"role": "assistant", "content": content}, "done": False}
        last = {**head, "message": {"role": "assistant", "content": ""}, **final}
        return await _stream(request, [first, last] if content else [last])

    async def _load(self, body: dict[str, Any], model: str, num_ctx: int) -> web.Response:
        """A chat without messages loads its model, or unloads it where it is not to be kept."""
        unload = body.get("keep_alive") in (0, "0", "0s")
        if unload:
            self._slot.unload(model)
        else:
            async with self._slot.turn(Loaded(model, num_ctx)):
                pass
        reply = {
            "model": body["model"],
            "created_at": _stamp(),
            "message": {"role": "assistant", "content": ""},
            "done_reason": "unload" if unload else "load",
            "done": True,
        }
        return json_reply(reply, content_type=_JSON)

    async def _show(self, request: web.Request) -> web.Response:
        body = _parse(await request.read(), "ShowRequest")
        model = self._find(body)
        if model is None:
            raise _refused(404, f"model '{body['model']}' not found")
        return json_reply(show(describe(model)), content_type=_JSON)

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = _parse(await request.read(), "PullRequest")
        model = describe(body["model"])
        self._models.setdefault(full_name(model.name), model.name)
        if body.get("stream") is False:
            return json_reply({"status": "success"}, content_type=_JSON)
        layer = {
            "status": f"pulling {model.digest[:12]}",
            "digest": f"sha256:{model.digest}",
            "total": model.size,
        }
        steps: list[dict[str, Any]] = [
            {"status": "pulling manifest"},
            *({**layer, "completed": model.size * part // 4} for part in range(1, 5)),
            *({"status": text} for text in ("verifying sha256 digest", "writing manifest", "success")),
        ]
        return await _stream(request, steps)

    async def _tags(self, _request: web.Request) -> web.Response:
        rows = [_row(describe(m)) | {"name": name, "model": name} for name, m in sorted(self._models.items())]
        return json_reply({"models": [{**row, "modified_at": MODIFIED_AT} for row in rows]}, content_type=_JSON)

    async def _ps(self, _request: web.Request) -> web.Response:
        models = [describe(loaded.model) for loaded in self._slot.residents]
        rows = [
            {**_row(m), "expires_at": _stamp(_KEPT), "size_vram": int(min(m.size, self._slot.memory))} for m in models
        ]
        return json_reply({"models": rows}, content_type=_JSON)

    def _find(self, body: dict[str, Any]) -> str | None:
        """The id of the model that a request names; None where the server holds no such model."""
        return self._models.get(full_name(body["model"]))


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refused:
        return json_reply(refused.body, refused.status, content_type=_JSON)


def _refused(status: int, message: str) -> RefusedError:
    return RefusedError(status, {"error": message})


async def _version(_request: web.Request) -> web.Response:
    return json_reply({"version": VERSION}, content_type=_JSON)


async def _unknown_path(request: web.Request) -> web.Response:
    methods = {info.method for info in request.app.router.routes() if _path_of(info) == request.path}
    if methods:
        return text_reply("405 method not allowed", 405, {"Allow": ", ".join(sorted(methods - {"HEAD"}))})
    return await _no_such_path(request)


async def _no_such_path(_request: web.Request) -> web.Response:
    return text_reply("404 page not found", 404)


def _path_of(route: web.AbstractRoute) -> str:
    return route.resource.canonical if route.resource is not None else ""


async def _stream(request: web.Request, lines: Sequence[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": _NDJSON, "Server": "SIMULATED"})
    await response.prepare(request)
    for line in lines:
        await response.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    await response.write_eof()
    return response


def _parse(raw: bytes, kind: str) -> dict[str, Any]:
    """A request's body, which names a model."""
    if not raw:
        raise _refused(400, "missing request body")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        torn = "end of data" in str(error)
        raise _refused(400, "unexpected EOF" if torn else f"invalid character: {error}") from None
    if not isinstance(body, dict):
        raise _refused(400, f"json: cannot unmarshal {_go_name(body)} into Go value of type api.{kind}")
    model = body.get("model") or ""
    if not isinstance(model, str):
        raise _refused(400, _mismatch(model, f"{kind}.model", "string"))
    if not model:
        raise _refused(400, "model is required")
    return body


def _texts(body: dict[str, Any]) -> list[str]:
    messages = body.get("messages") or []
    if not isinstance(messages, list):
        raise _refused(400, _mismatch(messages, "ChatRequest.messages", "[]api.Message"))
    texts = []
    for message in messages:
        if not isinstance(message, dict):
            raise _refused(400, _mismatch(message, "ChatRequest.messages", "api.Message"))
        content = message.get("content", "")
        if not isinstance(content, str):
            raise _refused(400, _mismatch(content, "ChatRequest.messages.content", "string"))
        texts.append(content)
    return texts


def _options(body: dict[str, Any]) -> dict[str, Any]:
    """The options of a request; those that Ollama does not know are ignored, as it does."""
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise _refused(400, _mismatch(options, "ChatRequest.options", "map[string]interface {}"))
    for name, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None:
            continue
        if name in _INTEGERS and not is_number:
            raise _refused(500, f'option "{name}" must be of type integer')
        if name in _FLOATS and not is_number:
            raise _refused(500, f'option "{name}" must be of type float32')
        if name == "stop" and not isinstance(value, list):
            raise _refused(500, 'option "stop" must be of type array')
    return options


def _read_chat(
    request: web.Request, raw: bytes, body: dict[str, Any], options: dict[str, Any], texts: list[str]
) -> _Chat:
    try:
        key, call = read_call(request)
    except ValueError as error:
        raise _refused(400, str(error)) from None
    prompt = "\n".join(texts)
    num_ctx = int(options.get("num_ctx") or DEFAULT_NUM_CTX)
    if count_tokens(prompt) > num_ctx:
        if body.get("truncate") is False:
            raise _refused(400, "the prompt is longer than the context length currently available to the model")
        prompt = prompt[-num_ctx * CHARS_PER_TOKEN :]  # as the real one: silently, and the end stays
    predict = options.get("num_predict")
    limit = _NUM_PREDICT_WINDOWS * num_ctx if predict is None or predict < 0 else int(predict)
    return _Chat(
        model=body["model"],
        prompt=prompt,
        num_ctx=num_ctx,
        max_tokens=limit or None,  # num_predict 0 is no limit at all
        stream=body.get("stream") is not False,
        raw=raw,
        key=key,
        call=call,
    )


def _metrics(reply: Reply, slowdown: float, load_s: float, total_s: float, *, empty: bool) -> dict[str, int]:
    """Tokens and nanoseconds; never 0, because a real server leaves a 0 out."""
    return {
        "total_duration": _nanoseconds(total_s),
        "load_duration": _nanoseconds(load_s),
        "prompt_eval_count": reply.input_tokens,
        "prompt_eval_duration": _nanoseconds(slowdown * reply.latency_s),
        "eval_count": 1 if empty else reply.output_tokens,
        "eval_duration": _nanoseconds(slowdown * reply.generation_s),
    }


def _nanoseconds(seconds: float) -> int:
    return max(1, int(seconds * _NANO))


def _row(model: LibraryModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "model": model.name,
        "size": model.size,
        "digest": model.digest,
        "details": model.details,
    }


def _mismatch(value: object, field: str, wanted: str) -> str:
    return f"json: cannot unmarshal {_go_name(value)} into Go struct field {field} of type {wanted}"


def _go_name(value: object) -> str:
    return _GO_NAMES.get(type(value), "null")


def _stamp(ahead: dt.timedelta = dt.timedelta()) -> str:
    return f"{dt.datetime.now(dt.UTC) + ahead:%Y-%m-%dT%H:%M:%S.%f}Z"
