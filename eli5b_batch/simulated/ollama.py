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
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from eli5b_batch.simulated.faults import (
    Fault,
    Faults,
    RefusedError,
    drop_connection,
    json_reply,
    text_reply,
)
from eli5b_batch.simulated.model_facts import MODIFIED_AT, LibraryModel, describe, full_name, show
from eli5b_batch.simulated.ollama_request import (
    DEFAULT_NUM_CTX,
    Chat,
    parse,
    read_chat,
    read_options,
    read_texts,
    refused,
)
from eli5b_batch.simulated.outages import Outages
from eli5b_batch.simulated.quirks.fates import Fates
from eli5b_batch.simulated.quirks.thoughts import THOUGHT
from eli5b_batch.simulated.slot import Loaded, SimulatedSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aiohttp.typedefs import Handler

    from eli5b_batch.job.schema import Simulation
    from eli5b_batch.simulated.model import SimulatedModel, SimulatedReply

VERSION: Final = "0.33.0-SIMULATED"

_JSON: Final = "application/json; charset=utf-8"
_NDJSON: Final = "application/x-ndjson"
_NANO: Final = 1e9
_GIGA: Final = 1e9
_KEPT: Final = dt.timedelta(minutes=5)


class SimulatedOllama:
    """One Ollama server.

    Args:
        mind: what its models answer.
        simulation: its faults, quirks and outages, its memory, and the time to load a model.
        models: ids of the models it holds.
        parallel: calls at once, per model.
        loaded: models in memory at once.
        name: the slot's, by which `simulation` gives outages.
        clock: seconds, for outages; they are counted from here.
    """

    def __init__(
        self,
        mind: SimulatedModel,
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
        self._fates = Fates(simulation.quirks, "ollama", mind.fingerprint("quirks", b""), clock)
        self._outages = Outages(simulation.freezes.get(name, ()), simulation.refuses.get(name, ()), clock)
        self._models = {full_name(model): model for model in models}
        self._slot = SimulatedSlot(
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
        return await self._fates.meet(request, partial(_refusals, handler=self._take))

    async def _take(self, request: web.Request) -> web.StreamResponse:
        started = asyncio.get_running_loop().time()
        raw = await request.read()
        body = parse(raw, "ChatRequest")
        model = self._find(body)
        if model is None:
            named = orjson.dumps(body["model"]).decode()
            raise refused(404, f"model {named} not found, try pulling it first")
        options = read_options(body)
        texts = read_texts(body)
        if not texts:
            return await self._load(body, model, int(options.get("num_ctx") or DEFAULT_NUM_CTX))
        return await self._answer(request, read_chat(request, raw, body, options, texts), model, started)

    async def _answer(self, request: web.Request, chat: Chat, model: str, started: float) -> web.StreamResponse:
        fingerprint = self._mind.fingerprint(chat.key, chat.raw)
        fault = self._faults.draw(fingerprint)
        if fault is Fault.BROKEN:
            raise refused(500, "an error was encountered while running the model: unexpected EOF")
        if fault is Fault.OVERLOADED:
            raise refused(503, "server busy, please try again.  maximum pending requests exceeded")
        if fault is Fault.DROP:
            return drop_connection(request)
        thought = THOUGHT if chat.thinks else ""
        reply = self._mind.reply(fingerprint, chat.call, model, chat.prompt, chat.max_tokens, thought=thought)
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
        content, thinking = ("", "") if fault is Fault.EMPTY else (reply.text, reply.thinking)
        total_s = asyncio.get_running_loop().time() - started
        final = {
            "done_reason": "stop" if fault is Fault.EMPTY else reply.finish_reason,
            "done": True,
            **_metrics(reply, slowdown, load_s, total_s, empty=fault is Fault.EMPTY),
        }
        if not chat.stream:
            return json_reply({**head, "message": _message(content, thinking), **final}, content_type=_JSON)
        parts = [_message("", thinking)] if thinking else []
        parts += [_message(content)] if content else []
        lines = [{**head, "message": part, "done": False} for part in parts]
        return await _stream(request, [*lines, {**head, "message": _message(""), **final}])

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
        body = parse(await request.read(), "ShowRequest")
        model = self._find(body)
        if model is None:
            raise refused(404, f"model '{body['model']}' not found")
        return json_reply(show(describe(model)), content_type=_JSON)

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = parse(await request.read(), "PullRequest")
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


def _message(content: str, thinking: str = "") -> dict[str, str]:
    return {"role": "assistant", "content": content, **({"thinking": thinking} if thinking else {})}


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refusal:
        return json_reply(refusal.body, refusal.status, content_type=_JSON)


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


def _metrics(reply: SimulatedReply, slowdown: float, load_s: float, total_s: float, *, empty: bool) -> dict[str, int]:
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


def _stamp(ahead: dt.timedelta = dt.timedelta()) -> str:
    return f"{dt.datetime.now(dt.UTC) + ahead:%Y-%m-%dT%H:%M:%S.%f}Z"
