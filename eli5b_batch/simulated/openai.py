"""The simulated API: OpenAI's chat completions protocol, with the rate limits and headers of Together.

Must not know: what a model answers (`mind`), Ollama's protocol.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from eli5b_batch.simulated.faults import (
    Fault,
    Faults,
    RefusedError,
    drop_connection,
    json_reply,
    read_call,
    text_reply,
)
from eli5b_batch.simulated.model import count_tokens
from eli5b_batch.simulated.quirks.fates import Fates
from eli5b_batch.simulated.quirks.thoughts import THOUGHT
from eli5b_batch.simulated.rate import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

    from eli5b_batch.job.schema import Limits, Simulation
    from eli5b_batch.simulated.model import SimulatedModel, SimulatedReply


class SimulatedAPI:
    """One API account.

    Args:
        mind: what its models answer.
        simulation: its faults and quirks.
        limits: requests and tokens per minute; None for no limit. Calls in flight are never limited.
        api_key: the key that every request must bring; None for no key.
        clock: seconds, for the limits.
    """

    def __init__(
        self,
        mind: SimulatedModel,
        simulation: Simulation,
        limits: Limits | None = None,
        *,
        api_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mind = mind
        self._models = frozenset(mind.models)
        self._faults = Faults(simulation.model_copy(update={"not_done_rate": 0.0}))
        self._fates = Fates(simulation.quirks, "openai", mind.fingerprint("quirks", b""), clock)
        self._authorization = None if api_key is None else f"Bearer {api_key}"
        requests = limits.requests_per_minute if limits else None
        tokens = limits.tokens_per_minute if limits else None
        self._requests = Meter(requests, clock) if requests else None
        self._tokens = Meter(tokens, clock) if tokens else None

    def app(self) -> web.Application:
        """The server's routes."""
        app = web.Application(middlewares=[self._refusals])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_route("*", "/{path:.*}", _unknown_path)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat request: what the route does, for a caller in this process."""
        return await self._refusals(request, self._chat)

    @web.middleware
    async def _refusals(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedError as refused:
            return json_reply(refused.body, refused.status, headers=self._rate_headers())

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self._check_key(request)
        return await self._fates.meet(request, partial(self._refusals, handler=self._answer))

    async def _list_models(self, request: web.Request) -> web.Response:
        self._check_key(request)
        rows = [{"id": m, "object": "model", "created": 0, "owned_by": "SIMULATED"} for m in self._mind.models]
        return json_reply({"object": "list", "data": rows})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            key, call = read_call(request)
        except ValueError as error:
            raise _refused(400, str(error)) from None
        body = _parse(raw)
        model = body.get("model")
        if not isinstance(model, str):
            raise _refused(400, "model must be text: the id of a model.")
        if model not in self._models:
            raise _refused(404, f"This account can't use the model {model}.", code="model_not_available")
        fingerprint = self._mind.fingerprint(key, raw)
        thought = THOUGHT if _thinks(body) else ""
        reply = self._mind.reply(fingerprint, call, model, _prompt(body), _max_tokens(body), thought=thought)
        self._count(reply)  # a request over the limit is no sending: it draws no fault
        fault = self._faults.draw(fingerprint)
        if fault is Fault.BROKEN:
            raise _refused(500, "SIMULATED: the server failed.", "server_error")
        if fault is Fault.OVERLOADED:
            raise _refused(503, "SIMULATED: the server is overloaded.", "server_error")
        if fault is Fault.DROP:
            return drop_connection(request)
        await asyncio.sleep(reply.latency_s + reply.generation_s)
        spoilt = await self._faults.spoil(request, fingerprint, fault, reply.input_tokens + reply.output_tokens)
        if spoilt is not None:
            return spoilt
        completion = _completion(fingerprint.hex(), model, reply, empty=fault is Fault.EMPTY)
        return json_reply(completion, headers=self._rate_headers())

    def _check_key(self, request: web.Request) -> None:
        if self._authorization is not None and request.headers.get("Authorization") != self._authorization:
            raise _refused(401, "No valid API key was sent.", code="invalid_api_key")

    def _count(self, reply: SimulatedReply) -> None:
        for meter, kind in (
            (self._requests, "dynamic_request_limited"),
            (self._tokens, "dynamic_token_limited"),
        ):
            if meter is not None and meter.wait_s() > 0:
                raise _refused(429, "SIMULATED: over this account's rate limit.", kind)
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(reply.input_tokens + reply.output_tokens)

    def _rate_headers(self) -> dict[str, str]:
        """Limits and what is left per second; `x-ratelimit-reset` in whole seconds to wait, 0 for none."""
        headers = {}
        wait = 0.0
        for meter, name in ((self._requests, "x-ratelimit"), (self._tokens, "x-tokenlimit")):
            if meter is not None:
                headers[f"{name}-limit"] = f"{meter.per_second:g}"
                headers[f"{name}-remaining"] = str(meter.left)
                wait = max(wait, meter.wait_s())
        if headers:
            headers["x-ratelimit-reset"] = str(math.ceil(wait))
        return headers


def _refused(status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> RefusedError:
    body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    if status == 429:  # noqa: PLR2004 (HTTP)
        body["error_type"] = kind
    return RefusedError(status, body)


async def _unknown_path(request: web.Request) -> web.Response:
    known = {"/v1/chat/completions", "/v1/models"}
    return text_reply("method not allowed", 405) if request.path in known else text_reply("not found", 404)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _refused(400, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise _refused(400, "The body is not a JSON object.")
    if body.get("stream"):
        raise _refused(400, "This simulated server does not stream: send stream: false.")
    return body


def _prompt(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _refused(400, "messages must be a list with at least one message.")
    if not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages):
        raise _refused(400, "Every message must have a role.")
    if not all(isinstance(m.get("content"), str) for m in messages):
        raise _refused(400, "Every message's content must be text.")
    return "\n".join(m["content"] for m in messages)


def _max_tokens(body: dict[str, Any]) -> int | None:
    limit = body.get("max_tokens", body.get("max_completion_tokens"))
    if limit is not None and (type(limit) is not int or limit < 1):
        raise _refused(400, "max_tokens must be a whole number above 0.")
    return limit


def _thinks(body: dict[str, Any]) -> bool:
    """Whether it is asked to think, in the way in which the dialect of simulated hosts asks."""
    reasoning = body.get("reasoning")
    return isinstance(reasoning, dict) and reasoning.get("effort") != "off"


def _completion(request_id: str, model: str, reply: SimulatedReply, *, empty: bool) -> dict[str, Any]:
    output_tokens = 0 if empty else reply.output_tokens
    thought = not empty and reply.thinking
    details = {"completion_tokens_details": {"reasoning_tokens": count_tokens(reply.thinking)}} if thought else {}
    message = {"role": "assistant", "content": "" if empty else reply.text}
    return {
        "id": f"chatcmpl-{request_id[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "SIMULATED",
        "choices": [
            {
                "index": 0,
                "message": {**message, "reasoning": reply.thinking} if thought else message,
                "finish_reason": "stop" if empty else reply.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": reply.input_tokens + output_tokens,
            **details,
        },
    }
