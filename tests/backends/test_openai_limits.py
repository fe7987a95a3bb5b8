"""The limits that an API tells: in the headers of a reply, in the body of a 429, in the headers of a 429."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from eli5b_batch.backends.base import Advice, ChatReply, ChatRequest
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]

COMPLETION: dict[str, Any] = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "2"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 25, "completion_tokens": 8},
}


def handler_of(body: object, headers: dict[str, str], status: int = 200) -> Handler:
    """Return a handler that always gives this answer."""

    async def handler(_request: web.BaseRequest) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(body, status=status, headers=named)

    return handler


async def answer(url: str, connect: Connect) -> ChatReply:
    client = OpenAIBackend("together", url, key_env=None, transport=connect(), trace=False)
    request = ChatRequest("p|answer", "m", [{"role": "user", "content": "1 + 1?"}], {"max_tokens": 10}, 7)
    return await client.chat(request, url)


async def limited(url: str, connect: Connect) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        await answer(url, connect)
    return caught.value


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, 0.0),
        ({"x_ratelimit_reset": "2"}, 2.0),
        ({"X_RateLimit_Reset": "2"}, 2.0),
        ({"retry_after": "1", "x_ratelimit_reset": "2"}, 1.0),
        ({"retry_after": "Sat, 21 Nov 2026 02:00:05 GMT", "date": "Sat, 21 Nov 2026 02:00:00 GMT"}, 5.0),
        ({"retry_after": "Sat, 21 Nov 2026 01:00:00 GMT", "date": "Sat, 21 Nov 2026 02:00:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "1e999", "x_ratelimit_reset": "2"}, 2.0),
    ],
)
async def test_a_429_carries_the_seconds_that_the_server_advises(
    headers: dict[str, str], advice: float | None, host: Host, connect: Connect
) -> None:
    body = {"error": {"message": "too many requests", "type": "rate_limit", "code": None}}
    error = await limited(await host(handler_of(body, headers, 429)), connect)
    assert (error.kind, error.status, error.retry_after) == ("rate_limited", 429, advice)
    assert str(error) == "together answered 429: too many requests"


@pytest.mark.parametrize(
    ("body", "scope"),
    [
        ({"error": {"message": "slow down", "type": "rate_limit", "code": None}}, None),
        ({"error": {"message": "slow down", "type": "dynamic_request_limited"}}, "requests"),
        ({"error": {"message": "slow down", "code": "dynamic_token_limited"}}, "tokens"),
        ({"error": {"message": "slow down"}, "error_type": "dynamic_token_limited"}, "tokens"),
        ({"error": "slow down", "error_type": "request_limited"}, "requests"),
        ({"error": "slow down", "error_type": ["token_limited"]}, None),
        ({"error": "slow down, you are token_limited"}, None),
        (["token_limited"], None),
    ],
)
async def test_a_429_says_what_there_was_too_much_of_where_the_server_does(
    body: object, scope: str | None, host: Host, connect: Connect
) -> None:
    assert (await limited(await host(handler_of(body, {}, 429)), connect)).scope == scope


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({}, None),
        ({"x_ratelimit_limit": "10"}, Advice(10.0, None)),
        ({"X_RateLimit_Limit": "10", "X_TokenLimit_Limit": "3000.5"}, Advice(10.0, 3000.5)),
        ({"x_tokenlimit_limit": "3000"}, Advice(None, 3000.0)),
        ({"x_ratelimit_limit": "10", "x_ratelimit_limit_dynamic": "4"}, Advice(4.0, None)),
        ({"x_tokenlimit_limit": "10", "x_tokenlimit_limit_dynamic": "40"}, Advice(None, 10.0)),
        ({"x_ratelimit_limit": "0"}, None),
        ({"x_ratelimit_limit": "-3"}, None),
        ({"x_ratelimit_limit": "nan"}, None),
        ({"x_ratelimit_limit": "inf"}, None),
        ({"x_ratelimit_limit": "ten"}, None),
        ({"x_ratelimit_limit": "1e999", "x_ratelimit_limit_dynamic": "4"}, Advice(4.0, None)),
        ({"x_ratelimit_remaining": "10"}, None),
    ],
)
async def test_the_headers_of_a_reply_name_limits_per_second(
    headers: dict[str, str], advice: Advice | None, host: Host, connect: Connect
) -> None:
    assert (await answer(await host(handler_of(COMPLETION, headers)), connect)).advice == advice
