"""Every known refusal of hosts, and refusals like them, through a client: what each means for the run.

Each row names its source: seen (recorded by this project), a public thread (owner/repository#number), a document, or
made.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends import refusals
from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.host_words import Meaning
from eli5b_batch.backends.http import Response
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import (
    BadReplyError,
    CallError,
    ProviderError,
    ProviderRefusedError,
    QuotaError,
    RateLimitedError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]

MODEL = "openai/gpt-oss-120b"
DATE = "Tue, 01 Dec 2026 08:57:00 GMT"
MIDNIGHT_MS = 1_796_169_600_000
"""2026-12-02T00:00:00Z, 15 h 3 min after `DATE`."""


class Row(NamedTuple):
    """An answer of a host, and its outcome: the class of the failed call, or `stop` or `quota` for the run.

    After `rate_limited` follow the seconds to wait, what exceeded the limit, and `model` where the limit is the
    model's. `words` are a part of the error's message.
    """

    source: str
    status: int
    body: object
    outcome: str
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)
    words: str = ""


def error(message: str, **fields: object) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


LARGE = "Request too large for gpt-4 in organization org-B on tokens per min (TPM): Limit 30000, Requested 61337."
GROQ = "Rate limit reached for model `{}` in organization `org_0` service tier `on_demand` on {}: Limit {}, Used {}, "
PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>cookies</body></html>"
SUSPENDED = "Account acme is suspended, possibly due to reaching the monthly spending limit or failure to pay invoices."
FREE_DAY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
QUOTA_FAILURE = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [
        {
            "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": "gpt-oss-120b"},
        }
    ],
}
GOOGLE_DAY = {
    "code": 429,
    "message": "You exceeded your current quota, please check your plan and billing details.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [QUOTA_FAILURE],
}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
BAD_KEY = [
    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
]
NESTED = json.dumps({"error": {"code": "RateLimitReached", "message": "Rate limit of 50000 per 60s exceeded."}})
MODERATED = {"reasons": ["violence"], "flagged_input": "how to kill ... suspended", "provider_name": "OpenAI"}
END_OF_LIFE = f"The model '{MODEL}' has reached its end of life on 2026-07-27T00:00:00Z and is no longer available."

ONE_CALL = [
    Row("brave/pull-merge#100", 429, error(LARGE, type="tokens", code="rate_limit_exceeded"), "too_large"),
    Row("made: with commas", 429, error("Request too large: Limit 30,000, Requested 30,100"), "too_large"),
    Row("made: no figures", 429, error("Request too large for this model"), "too_large"),
    Row("made: typed only", 429, error("no", type="request_too_large"), "too_large"),
    Row("made: retry-after", 429, error("Limit 30000, Used 0, Requested 30100"), "too_large", {"Retry-After": "1"}),
    Row(
        "Groq, 413",
        413,
        error("Request too large ... Limit 6000, Requested 9000", code="rate_limit_exceeded"),
        "too_large",
    ),
    Row("freellmapi#426", 413, error("Max size: 8000 tokens.", code="tokens_limit_reached"), "too_large"),
    Row(
        "Anthropic: errors", 413, {"type": "error", "error": {"type": "request_too_large", "message": "x"}}, "too_large"
    ),
    Row("made: nginx", 413, "Request Entity Too Large", "too_large"),
    Row("OpenAI", 400, error("string too long", code="string_above_max_length"), "too_large"),
    Row(
        "claude-code#39948",
        429,
        error("Extra usage is required for long context requests.", type="rate_limit_error"),
        "refused",
    ),
    Row(
        "seen: llama-cpp-python 0.3.36",
        400,
        error("maximum context length is 512 tokens", code="context_length_exceeded"),
        "context_overflow",
    ),
    Row("Anthropic", 400, error("prompt is too long: 210000 tokens > 200000 maximum"), "context_overflow"),
    Row("llama.cpp#15780", 500, error("too long", type="exceed_context_size_error", code=500), "context_overflow"),
    Row("togethercomputer/skills", 403, error("over the context length"), "context_overflow"),
    Row("Azure", 400, {"error": {"code": "content_filter", "message": "triggered", "status": 400}}, "filtered"),
    Row(
        "Azure: innererror",
        400,
        error("no", code=None, innererror={"code": "ResponsibleAIPolicyViolation"}),
        "filtered",
    ),
    Row("OpenRouter: moderation", 403, error("flagged", code=403, metadata=MODERATED), "filtered"),
    Row("BettaFish#108", 400, error("Content Exists Risk", type="invalid_request_error"), "filtered"),
    Row("DeepSeek-V2#30", 400, {"detail": "Content Exists Risk"}, "filtered"),
    Row("claude-code#6195", 400, error("Output blocked by content filtering policy"), "filtered"),
    Row(
        "ollama#18374 at /v1",
        500,
        error("prediction aborted, token repeat limit reached", type="api_error"),
        "not_done",
    ),
    Row("langchain-azure#82", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}, "bad_request"),
    Row("openai-python#2046", 400, error("'max_tokens' is not supported with this model."), "bad_request"),
    Row("made: unknown", 400, error("the moon is full"), "bad_request"),
    Row("made: a field", 400, error("Invalid model parameters: top_k"), "bad_request"),
    Row("made: unknown", 403, error("the moon is full"), "refused"),
    Row("coarse#183", 403, error("prohibited due to a violation of provider Terms Of Service.", code=403), "refused"),
    Row("made: unknown", 412, error("the moon is full"), "refused"),
    Row("made: empty", 403, "", "refused"),
]

THE_RUN = [
    Row(
        "openai-scala-client#109", 400, error("API key not valid.", status="INVALID_ARGUMENT", details=BAD_KEY), "stop"
    ),
    Row("Google at /openai: a list", 400, [error("no", status="INVALID_ARGUMENT", details=BAD_KEY)], "stop"),
    Row("gemini-cli#25198", 400, error(json.dumps(error("no", details=BAD_KEY)), code=400), "stop"),
    Row("continue#10778", 400, {"code": "Client ...", "error": "Incorrect API key provided: na***ys."}, "stop"),
    Row("gemini-cli#1614", 400, error("User location ...", status="FAILED_PRECONDITION"), "stop"),
    Row("made: words only", 403, error("User location is not supported for the API use."), "stop"),
    Row("OpenAI", 403, error("Country, region, or territory not supported"), "stop"),
    Row("one-api#1764", 400, error("Organization has been restricted.", code="organization_restricted"), "stop"),
    Row("pollinations#12136", 412, error(SUSPENDED, code="PRECONDITION_FAILED", type="error"), "stop"),
    Row("warp#14867", 403, {"error": "Your team has either used all available credits or ..."}, "stop"),
    Row("sub2api#890", 403, {"code": "INSUFFICIENT_BALANCE", "message": "Insufficient account balance"}, "stop"),
    Row("modelscope#1691", 429, error("insufficient balance (1008)", type="insufficient_balance_error"), "stop"),
    Row("MiniMax-M2#62", 500, error("insufficient balance (1008)", type="api_error"), "stop"),
    Row("NextChat#3664", 429, error("You exceeded your current quota", code="insufficient_quota"), "stop"),
    Row("Anthropic", 400, error("Your credit balance is too low to access the API"), "stop"),
    Row("QCX#607", 429, error("* Quota exceeded for metric: requests, limit: 0, model: x. Retry in 50s"), "stop"),
    Row("3code#2", 410, {"type": "about:blank", "status": 410, "detail": END_OF_LIFE}, "stop", words=END_OF_LIFE),
    Row("llm-groq#15", 400, error("has been decommissioned", code="model_decommissioned"), "stop"),
    Row("made: words only", 400, error(f"The model `{MODEL}` does not exist"), "stop"),
    Row("OpenAI", 403, error("Project `p` does not have access to model `x`", code="model_not_found"), "stop"),
    Row("made: vLLM", 404, {"object": "error", "message": "The model does not exist.", "code": 404}, "stop"),
    Row("made: text", 404, "404 page not found", "stop"),
    Row("Mistral", 400, {"object": "error", "message": "Invalid model: x", "code": "1500"}, "stop"),
    Row("OpenRouter", 400, error("x/y is not a valid model ID", code=400), "stop"),
    Row("NVIDIA", 403, {"title": "Forbidden", "status": 403, "detail": "Authorization failed"}, "stop"),
    Row("made: one word", 403, {"error": "unauthorized"}, "stop"),
    Row("made: no error key", 200, {"code": 401, "message": "Token is no good"}, "stop"),
    Row(
        "mini-swe-agent#902", 200, error("User not found", code=401), "stop", words="200 with error 401: User not found"
    ),
    Row("Aider#3550", 200, error("Insufficient credits", code=402), "stop"),
    Row("made: code as a text", 200, error("No auth", code="401"), "stop"),
    Row("made: typed, no code", 200, error("no", type="insufficient_quota"), "stop"),
    Row("made: MiniMax", 200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "stop"),
]

WAITS = [
    Row(
        "Groq, TPM",
        429,
        error(GROQ.format(MODEL, "TPM", 8000, 7000) + "Requested 1700. Please try again in 17m16.8s."),
        "rate_limited 1036.8 tokens model",
    ),
    Row(
        "Groq, TPD",
        429,
        error(GROQ.format("x-y", "tokens per day (TPD)", 9, 9) + "try again in 14m55.104s."),
        "rate_limited 895.104 tokens",
    ),
    Row(
        "made: used up in part",
        429,
        error("Limit 30000, Used 29000, Requested 1200", type="tokens"),
        "rate_limited None tokens",
    ),
    Row(
        "foundry-dev-tools#222",
        429,
        error(
            "exceeded for UserByModelByMinuteTokens. Please wait 60 seconds before retrying.", code="RateLimitReached"
        ),
        "rate_limited 60.0 tokens",
    ),
    Row("everruns#3740", 429, error(NESTED), "rate_limited None"),
    Row(
        "Azure",
        429,
        error("exceeded call rate limit. Please retry after 20 seconds.", code="429"),
        "rate_limited 20.0 requests",
    ),
    Row(
        "Google: RetryInfo",
        429,
        {"error": {**GOOGLE_DAY, "details": [QUOTA_FAILURE, RETRY_INFO]}},
        "quota",
    ),
    Row(
        "litellm#9035",
        429,
        error("Provider returned error", code=429, metadata={"raw": f"{MODEL} is temporarily rate-limited upstream."}),
        "rate_limited None model",
        words=f"Provider returned error: {MODEL} is temporarily",
    ),
    Row("another model named", 429, error(f"{MODEL}-mini is limited"), "rate_limited None"),
    Row(
        "oh-my-pi#8476",
        429,
        error("You exceeded your current quota ... error-code#token-limit", code="insufficient_quota"),
        "rate_limited None",
    ),
    Row(
        "made: only words of credit, and soon over",
        429,
        error("exceeded your current quota"),
        "rate_limited 5.0",
        {"Retry-After": "5"},
    ),
    Row("OpenRouter", 200, error("Rate limit exceeded", code=429), "rate_limited 7.0", {"Retry-After": "7"}),
    Row("made: typed, no code", 200, error("slow", type="rate_limit_error"), "rate_limited None"),
    Row("made: words only", 200, {"error": "Too many requests"}, "rate_limited None"),
    Row(
        "Bedrock",
        400,
        {"__type": "x", "error_type": "ThrottlingException", "message": "Too many tokens"},
        "rate_limited None",
    ),
    Row("made: 403", 403, error("API rate limit exceeded"), "rate_limited None"),
    Row("Cloudflare 1015", 429, PAGE, "rate_limited 30.0", {"Retry-After": "30", "Content-Type": "text/html"}),
    Row("made: text", 429, "slow down", "rate_limited None", words="429: slow down"),
    Row("made: a gateway's 400", 400, error("slow", code=429), "rate_limited None", words="400 with error 429: slow"),
    Row(
        "openclaude#936",
        429,
        error(
            FREE_DAY,
            code=429,
            metadata={"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(MIDNIGHT_MS)}},
        ),
        "quota",
        words="resets in 15 h 3 min, at 2026-12-02T00:00:00Z",
    ),
    Row(
        "openclaude#1549",
        429,
        error("Rate limit exceeded: free-models-per-day-high-balance.", type="rate_limit_error", code="429"),
        "quota",
        words="does not tell",
    ),
    Row("Google, no RetryInfo", 429, {"error": GOOGLE_DAY}, "quota"),
    Row("atlas#543", 429, error("no", code=429, metadata={"limit_source": "openrouter_free_tier_daily"}), "quota"),
    Row(
        "GitHub Models",
        429,
        error("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 54180 seconds before retrying."),
        "quota",
        words="resets in 15 h 3 min",
    ),
    Row("made: a long wait", 429, error("slow down"), "quota", {"Retry-After": "54180"}),
    Row("made: RPD", 429, error("on requests per day (RPD): Limit 1000, Used 1000, Requested 1"), "quota"),
    Row("made: monthly", 429, error("monthly included requests used up"), "quota"),
    Row(
        "claude-code#38035",
        400,
        error("You have reached your specified API usage limits. You will regain access on 2026-12-02 at 00:00 UTC."),
        "quota",
        words="resets in 15 h 3 min",
    ),
    Row("made: in a 200", 200, error(FREE_DAY, code=429), "quota"),
    Row("Cloudflare", 403, {"errors": [{"message": "used up your daily free allocation", "code": 4006}]}, "quota"),
    Row("made: remaining limit: 0", 429, error("slow down, limit: 10, remaining limit: 0"), "rate_limited None"),
]

TROUBLE = [
    *(
        Row("Groq and others: capacity", status, error("x"), "server_error")
        for status in (408, 409, 424, 425, 498, 499)
    ),
    *(Row("gateways: 5xx", status, "", "server_error") for status in (500, 502, 503, 504, 520, 521, 524, 529, 530)),
    Row("NVIDIA: queued", 202, "", "server_error"),
    Row("made: nothing", 204, "", "server_error"),
    Row("made: queued", 202, {"status": "pending"}, "server_error"),
    *(Row("OpenHands#4480", status, PAGE, "server_error") for status in (400, 401, 403, 404, 410, 422, 500, 502)),
    Row("OpenAI: slow down", 503, error("Slow down", type="server_error"), "server_error", {"Retry-After": "9"}),
    Row("Groq: limits beside a 500", 500, error("x"), "server_error", {"x-ratelimit-reset-requests": "2m59.56s"}),
    Row("made: by its type only", 403, "maintenance", "server_error", {"Content-Type": "text/html"}),
    Row("made: a gateway", 400, error("The server is overloaded", type="overloaded_error"), "server_error"),
    Row("OpenRouter", 200, error("Bad gateway", code=502), "server_error", words="200 with error 502: Bad gateway"),
    Row("made: no code", 200, error("upstream failed"), "server_error", words="answered 200: upstream failed"),
    Row("made: vLLM, older", 200, {"object": "error", "message": "EngineDead"}, "server_error"),
    Row("made: a list", 200, [error("oops", code=503)], "server_error"),
]


def handler_of(row: Row) -> Handler:
    """Return a handler that always gives a row's answer; a text is sent as it is, anything else as JSON."""
    raw = row.body.encode() if isinstance(row.body, str) else orjson.dumps(row.body)

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=raw, status=row.status, headers={"Date": DATE, **row.headers})

    return handler


@pytest.fixture
async def ask(host: Host, connect: Connect) -> Callable[[Row], Awaitable[ChatReply | ProviderError]]:
    """A function that sends one call to a host with a row's answer."""

    async def send(row: Row) -> ChatReply | ProviderError:
        url = await host(handler_of(row))
        client = OpenAIBackend("prov", url, key_env="KEY", transport=connect(), wall=lambda: 0.0)
        request = ChatRequest("k", MODEL, [{"role": "user", "content": "1 + 1?"}], {"max_tokens": 8}, 7)
        try:
            return await client.chat(request, url)
        except ProviderError as failure:
            return failure

    return send


def outcome(result: object) -> str:
    """Return the outcome of a call, in the words of the tables."""
    if isinstance(result, QuotaError):
        return "quota"
    if isinstance(result, ProviderRefusedError):
        return "stop"
    assert isinstance(result, CallError)
    if isinstance(result, RateLimitedError):
        parts = [result.retry_after and round(result.retry_after, 3), result.scope, "model" * result.of_model]
        return " ".join([result.kind, str(parts[0]), *(str(word) for word in parts[1:] if word)])
    return result.kind


KINDS = {"not_done": BadReplyError, "server_error": RetryableError, "rate_limited": RateLimitedError}


@pytest.mark.parametrize("row", [*ONE_CALL, *THE_RUN, *WAITS, *TROUBLE], ids=lambda row: f"{row.status} {row.source}")
async def test_a_refusal_is_read_for_what_it_means(
    row: Row, ask: Callable[[Row], Awaitable[ChatReply | ProviderError]]
) -> None:
    result = await ask(row)
    assert outcome(result) == row.outcome, str(result)
    assert row.words in str(result)
    if isinstance(result, RetryableError) and result.kind == "server_error":
        header = row.headers.get("Retry-After")
        assert result.retry_after == (None if header is None else float(header))
    if isinstance(result, CallError):
        assert type(result) is KINDS.get(result.kind, CallError)
        assert result.kind not in {"timeout", "connection", "bad_reply"}, "what was refused is not billed"


def test_what_a_host_repeats_of_the_prompt_is_no_word_of_its_own() -> None:
    prompt = "The accounts of 12 people are suspended, 20 loaves per day, insufficient balance."
    for status, body in ((400, f"could not process: {prompt}"), (400, json.dumps({"error": f"bad input: {prompt}"}))):
        refusal = refusals.read(Response(status, {}, body.encode()), "m", lambda: 0.0, [f"Solve:\n{prompt}\n"])
        assert refusal.meaning is Meaning.BAD_REQUEST
    echo = json.dumps({"status": "retry", "request": {"content": prompt}}).encode()
    assert refusals.read(Response(429, {}, echo), "m", lambda: 0.0).meaning is Meaning.WAIT


def test_a_host_whose_clock_shows_another_century_is_measured_by_ours() -> None:
    for date in ("Fri, 31 Dec 9999 23:59:59 GMT", "0001-01-01T00:00:00+14:00"):
        headers = {"date": date, "retry-after": "5"}
        assert refusals.read(Response(429, headers, b"{}"), "m", lambda: 1.8e9).wait_s == 5
