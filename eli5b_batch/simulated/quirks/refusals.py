"""Quirks in which a call gets a refusal, an error or nothing in place of a reply, before any work.

Must not know: which calls meet them. Sentences, types and codes are those of the hosts, some shortened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eli5b_batch.simulated.quirks.base import BOTH, HTML, JSON, Quirk, Scene, SentResponse, refuses, says

if TYPE_CHECKING:
    from collections.abc import Callable

QUOTA_RESET_S: Final = 54_180.0
"""Until a used-up quota is there again: 15 h 3 min."""

_TOO_LARGE: Final = (
    "Request too large for {model} in organization org-SIMULATED on tokens per min (TPM): Limit 30000, Requested 30100."
    " The input or output tokens must be reduced in order to run successfully."
)
_PER_DAY: Final = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
_UPSTREAM: Final = "{model} is temporarily rate-limited upstream. Please retry shortly, or add your own key."
_CREDITS: Final = "Insufficient credits. Add more using https://openrouter.ai/settings/credits"
_RETIRED: Final = {
    "type": "about:blank",
    "title": "Gone",
    "status": 410,
    "detail": "The model '{model}' has reached its end of life on 2026-07-27T00:00:00Z and is no longer available.",
}
_OLD_NAME: Final = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
_EXTRA_FIELD: Final = {
    "object": "error",
    "message": {
        "detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
    },
    "type": "invalid_request_error",
    "param": None,
    "code": None,
}
_BAD_KEY: Final = {
    "code": 400,
    "message": "API key not valid. Please pass a valid API key.",
    "status": "INVALID_ARGUMENT",
    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
}
_REGION: Final = "Country, region, or territory not supported"
_NO_REGION: Final = "unsupported_country_region_territory"
_SUSPENDED: Final = (
    "Account SIMULATED is suspended, possibly due to reaching the monthly spending limit or failure to pay past"
    " invoices. Please go to https://fireworks.ai/account/billing for more information."
)
_PROXY_PAGE: Final = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    "<body><h1>SIMULATED proxy</h1><p>Checking that the connection is secure.</p></body></html>"
)
_LOGIN_PAGE: Final = (
    "<!DOCTYPE html><html><head><title>Sign in</title></head>"
    "<body><form action='/login'><p>SIMULATED portal: sign in to go on.</p></form></body></html>"
)


def _within_200(code: int, message: str, **more: object) -> Callable[[Scene], SentResponse]:
    return says(200, {"error": {"message": message, "code": code, **more}, "user_id": "user_SIMULATED"})


def _openrouter_limit(limit: int, reset: float) -> dict[str, str]:
    """Its headers: the reset is an epoch in milliseconds. They stand in the body, too."""
    told = {"Limit": str(limit), "Remaining": "0", "Reset": f"{1000 * reset:.0f}"}
    return {f"X-RateLimit-{name}": value for name, value in told.items()}


def _quota(scene: Scene) -> SentResponse:
    headers = _openrouter_limit(50, scene.now + QUOTA_RESET_S)
    body = {"error": {"message": _PER_DAY, "code": 429, "metadata": {"headers": headers}}}
    return says(429, body)(scene)._replace(headers={"Content-Type": JSON, **headers})


def _limited_within_200(scene: Scene) -> SentResponse:
    metadata = {"headers": _openrouter_limit(20, scene.now + scene.wait_s)}
    return _within_200(429, "Rate limit exceeded: free-models-per-min.", metadata=metadata)(scene)


def _of_model(scene: Scene) -> SentResponse:
    metadata = {"raw": _UPSTREAM, "provider_name": "SIMULATED"}
    return says(429, {"error": {"message": "Provider returned error", "code": 429, "metadata": metadata}})(scene)


REFUSALS: Final[dict[str, Quirk]] = {
    "request_too_large": Quirk(
        "429 whenever it is sent: the request alone is over the tokens per minute",
        "continue#11717, shell_gpt#653",
        refuses(429, _TOO_LARGE, "tokens", "rate_limit_exceeded"),
    ),
    "poisoned_429": Quirk(
        "429 whenever it is sent, in a sentence that no list knows",
        "made up",
        refuses(429, "The gateway does not admit this request.", "admission"),
    ),
    "quota_429": Quirk(
        "429 whenever it is sent: a daily quota is used up, and comes back in 15 h", "dirge#719, promptfoo#7727", _quota
    ),
    "model_429": Quirk(
        "429 that names the model; the share is of models, each for 8 s from its first call",
        "evalscope#1424, litellm#9035",
        _of_model,
        lasts="spell",
    ),
    "error_200_401": Quirk(
        "200 with an error 401 in it: the key", "OpenRouter: mini-swe-agent#902", _within_200(401, "User not found.")
    ),
    "error_200_402": Quirk(
        "200 with an error 402 in it: credit", "OpenRouter: mini-swe-agent#902", _within_200(402, _CREDITS)
    ),
    "error_200_429": Quirk(
        "200 with an error 429 in it, until the reset it tells", "Aider#3550", _limited_within_200, lasts="wait"
    ),
    "error_200_502": Quirk(
        "200 with an error 502 in it, once or twice",
        "Aider#3550",
        _within_200(502, "Provider returned error", metadata={"raw": "connection reset", "provider_name": "SIMULATED"}),
        lasts="passes",
    ),
    "retired_410": Quirk(
        "410 whenever it is sent: the model is retired; the list of models still names it",
        "NVIDIA: NemoClaw#11902",
        says(410, _RETIRED, "application/problem+json"),
    ),
    "field_400": Quirk(
        "400 where `max_tokens` is sent",
        "openai-python#2046, modelbench#1190",
        refuses(400, _OLD_NAME, "invalid_request_error", "unsupported_parameter"),
        field="max_tokens",
    ),
    "seed_422": Quirk(
        "422 where `seed` is sent", "Mistral: ChatterUI#143, langchain-azure#82", says(422, _EXTRA_FIELD), field="seed"
    ),
    "bad_key_400": Quirk(
        "400 whenever it is sent, in a list: the key",
        "Google: openai-scala-client#109",
        says(400, [{"error": _BAD_KEY}]),
    ),
    "region_403": Quirk(
        "403 whenever it is sent: not in this country", "OpenAI", refuses(403, _REGION, "request_forbidden", _NO_REGION)
    ),
    "suspended_412": Quirk(
        "412 whenever it is sent: the account is suspended",
        "Fireworks: pollinations#12136, gaia#3766",
        refuses(412, _SUSPENDED, "error", "PRECONDITION_FAILED"),
    ),
    "unknown_403": Quirk(
        "403 whenever it is sent, for a reason that no list knows",
        "made up",
        refuses(403, "Your request was blocked.", "blocked"),
    ),
    "html_403": Quirk(
        "403 with a proxy's page, once or twice",
        "OpenHands#4480",
        says(403, _PROXY_PAGE, HTML),
        lasts="passes",
        wires=BOTH,
    ),
    "html_200": Quirk(
        "200 with a page to log in, once or twice",
        "OpenHands#4480",
        says(200, _LOGIN_PAGE, HTML),
        lasts="passes",
        wires=BOTH,
    ),
    "status_498": Quirk(
        "498, once or twice", "Groq", refuses(498, "Flex tier capacity exceeded", "capacity_exceeded"), lasts="passes"
    ),
    "status_424": Quirk(
        "424, once or twice", "Groq", refuses(424, "Failed dependency", "server_error"), lasts="passes"
    ),
    "status_202": Quirk(
        "202 without a body, once or twice", "NVIDIA", says(202, "", NVCF_STATUS="pending-evaluation"), lasts="passes"
    ),
    "status_204": Quirk("204, once or twice", "made up", says(204, ""), lasts="passes"),
    "status_425": Quirk("425, once or twice", "made up", refuses(425, "Too early", "server_error"), lasts="passes"),
}
"""By name."""
