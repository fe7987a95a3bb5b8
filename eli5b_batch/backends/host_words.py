"""The words of hosts' refusals and their meanings: tables, each row with its source.

Must not know: HTTP, how a body is read. The typed names of a body (`NAMES`) are looked up before its sentence
(`SENTENCES`); the first row of a table that fits counts. `docs/providers.md` says what follows from each meaning.
"""

from __future__ import annotations

import re
from enum import Enum, Flag, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.backends.complaints import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eli5b_batch.backends.limit_headers import Scope


class Meaning(Enum):
    """The meaning of a refusal. Where only the call fails, the value is the class of its failure, `CallError.kind`."""

    BAD_REQUEST = "bad_request"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    FILTERED = "filtered"
    OVERFLOW = "context_overflow"
    NOT_DONE = "not_done"
    TROUBLE = "server_error"
    WAIT = "rate_limited"
    LATER = "quota"
    MODEL = "model"
    KEY = "key"
    CREDIT = "credit"
    ACCOUNT = "account"
    ADDRESS = "address"


class Status(Flag):
    """The kind of a refusal's status; a row of a table counts only beside some kinds."""

    UNSURE = auto()
    """400, 403, 412, 422 and such, and an error in a 200 that names no status: any meaning is possible."""
    LIMIT = auto()
    """429."""
    SIZE = auto()
    """413."""
    FAULT = auto()
    """5xx and such: the host is in trouble, unless a row for this kind says otherwise."""


class NameRow(NamedTuple):
    """Names of an error, without case and signs, and their meaning beside some kinds of statuses."""

    meaning: Meaning
    statuses: Status
    names: frozenset[str]
    source: str


class SentenceRow(NamedTuple):
    """Words of a sentence, and their meaning beside some kinds of statuses."""

    meaning: Meaning
    statuses: Status
    words: re.Pattern[str]
    source: str


_UNSURE, _LIMIT, _SIZE, _FAULT = Status.UNSURE, Status.LIMIT, Status.SIZE, Status.FAULT


def _name(meaning: Meaning, statuses: Status, names: str, source: str) -> NameRow:
    return NameRow(meaning, statuses, frozenset(map(plain, names.split())), source)


def _sentence(meaning: Meaning, statuses: Status, words: str, source: str) -> SentenceRow:
    return SentenceRow(meaning, statuses, re.compile(words, re.IGNORECASE), source)


NAMES: Final = (
    _name(Meaning.OVERFLOW, _UNSURE | _SIZE | _FAULT, "context_length_exceeded", "OpenAI; llama-cpp-python 0.3.36"),
    _name(Meaning.OVERFLOW, _UNSURE | _SIZE | _FAULT, "exceed_context_size_error", "ggml-org/llama.cpp#15780"),
    _name(Meaning.FILTERED, _UNSURE, "content_filter ResponsibleAIPolicyViolation", "Azure: content filtering"),
    _name(Meaning.FILTERED, _UNSURE, "reasons flagged_input", "OpenRouter: errors, moderation"),
    _name(Meaning.FILTERED, _UNSURE, "content_policy_violation invalid_prompt", "OpenAI: error codes"),
    _name(Meaning.FILTERED, _UNSURE, "data_inspection_failed", "DashScope: error codes"),
    _name(Meaning.FILTERED, _UNSURE, "sensitive_words_detected", "songquanpeng/one-api"),
    _name(Meaning.TOO_LARGE, _UNSURE | _LIMIT | _SIZE, "request_too_large", "Anthropic: errors"),
    _name(Meaning.TOO_LARGE, _UNSURE | _LIMIT | _SIZE, "tokens_limit_reached", "GitHub Models: freellmapi#426"),
    _name(Meaning.TOO_LARGE, _UNSURE | _LIMIT | _SIZE, "string_above_max_length", "OpenAI: error codes"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT | _FAULT, "insufficient_quota", "OpenAI: ChatGPTNextWeb/NextChat#3664"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "billing_not_active billing_hard_limit_reached", "OpenAI: error codes"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "insufficient_balance_error", "MiniMax: modelscope#1691"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "INSUFFICIENT_BALANCE", "a gateway, 403: sub2api#890"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "insufficient_user_quota insufficient_credits", "QuantumNous/new-api"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "credit_limit", "Together: togethercomputer/skills"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "NOT_ENOUGH_BALANCE", "Novita, 403"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "Arrearage", "DashScope: error codes"),
    _name(Meaning.CREDIT, _UNSURE | _LIMIT, "budget_exceeded", "LiteLLM: budgets of virtual keys"),
    _name(Meaning.KEY, _UNSURE, "API_KEY_INVALID", "Google, 400: openai-scala-client#109"),
    _name(Meaning.KEY, _UNSURE, "API_KEY_SERVICE_BLOCKED UNAUTHENTICATED", "Google: google.api.ErrorReason"),
    _name(Meaning.KEY, _UNSURE, "invalid_api_key expired_api_key invalid_token", "OpenAI, Groq: error codes"),
    _name(Meaning.KEY, _UNSURE, "authentication_error unauthorized", "Anthropic: errors; gateways"),
    _name(Meaning.ACCOUNT, _UNSURE, "organization_restricted", "Groq, 400: songquanpeng/one-api#1764"),
    _name(Meaning.ACCOUNT, _UNSURE, "FAILED_PRECONDITION", "Google, 400, the region: gemini-cli#1614"),
    _name(Meaning.ACCOUNT, _UNSURE, "CONSUMER_SUSPENDED SERVICE_DISABLED", "Google: google.api.ErrorReason"),
    _name(Meaning.ACCOUNT, _UNSURE, "unsupported_country_region_territory", "OpenAI, 403: error codes"),
    _name(Meaning.ACCOUNT, _UNSURE, "account_deactivated account_suspended", "OpenAI: error codes"),
    _name(Meaning.MODEL, _UNSURE, "model_decommissioned", "Groq, 400: angerman/llm-groq#15"),
    _name(Meaning.MODEL, _UNSURE, "model_not_found model_terms_required", "OpenAI, Groq: error codes"),
    _name(Meaning.MODEL, _UNSURE, "model_not_available invalid_model", "Together, Mistral"),
    _name(Meaning.MODEL, _UNSURE, "unknown_model model_not_supported", "GitHub Models, Hugging Face"),
    _name(Meaning.MODEL, _UNSURE, "DeploymentNotFound", "Azure: error codes"),
    _name(Meaning.MODEL, _UNSURE, "dedicated_endpoint_not_running", "Together, 400: HeyPuter/puter#3168"),
    _name(Meaning.MODEL, _UNSURE, "ACCESS_DENY", "Novita, 403: model access denied"),
    _name(Meaning.LATER, _UNSURE | _LIMIT, "quota_exceeded daily_limit_exceeded", "hosts with quotas of a day"),
    _name(Meaning.LATER, _UNSURE | _LIMIT, "usage_limit_reached usage_limit_exceeded", "hosts with plans"),
    _name(Meaning.WAIT, _UNSURE | _LIMIT, "rate_limit_exceeded rate_limit_error", "OpenAI, Groq; Anthropic"),
    _name(Meaning.WAIT, _UNSURE | _LIMIT, "RateLimitReached", "Azure: foundry-dev-tools#222"),
    _name(Meaning.WAIT, _UNSURE | _LIMIT, "RESOURCE_EXHAUSTED", "Google: google.rpc.Code"),
    _name(Meaning.WAIT, _UNSURE | _LIMIT, "ThrottlingException too_many_requests", "Bedrock, 400"),
    _name(Meaning.TROUBLE, _UNSURE, "UNAVAILABLE INTERNAL DEADLINE_EXCEEDED", "Google: google.rpc.Code"),
    _name(Meaning.TROUBLE, _UNSURE, "overloaded_error engine_overloaded_error", "Anthropic, Moonshot: errors"),
    _name(Meaning.TROUBLE, _UNSURE, "server_error internal_server_error service_unavailable", "OpenAI: error codes"),
    _name(Meaning.TROUBLE, _UNSURE, "upstream_error", "songquanpeng/one-api"),
)

OVERRULING: Final = (
    # A limit of tokens a minute whose typed name means lack of credit.
    _sentence(Meaning.WAIT, _LIMIT, r"allocated quota exceeded|error-code#token-limit", "DashScope: oh-my-pi#8476"),
    # A limit of requests a minute whose typed name is `credit_limit`.
    _sentence(Meaning.WAIT, _LIMIT, r"you have been rate limited", "Together: togethercomputer/MoA#27"),
    # A model for which the account's limit is 0; the wait that the host names never helps.
    _sentence(
        Meaning.ACCOUNT, _LIMIT, r"quota exceeded for.{0,160}\blimit:\s*0\b(?![.,]\d)", "Google: QueueLab/QCX#607"
    ),
    # A prompt that is too long for the plan; no wait helps.
    _sentence(Meaning.REFUSED, _LIMIT, r"extra usage is required", "Anthropic: claude-code#39948"),
)
"""Sentences that are looked up before the typed names, as the names beside them are known to mislead."""

_CONTEXT: Final = r"context[ _](?:length|size|window)|prompt is too long|input is too long|reduce the length of"
_SIZES: Final = r"max_new_tokens\W+must|input token count.{0,40}exceeds"
_HARM: Final = r"violat\w+ (?:our |the |of )*(?:usage|content) (?:polic|guideline)|\bflagged (?:as|for)\b"
_API_KEY: Final = (
    r"(?:incorrect|invalid|expired|missing) api[ _-]?key"
    r"|api[ _-]?key (?:is )?(?:not valid|not found|invalid|expired|was reported)"
)
_PLACE: Final = (
    r"(?:location|country|region|territory)(?: \w+){0,3} not (?:supported|available)"
    r"|not (?:supported|available) in your (?:country|region|location)"
)
_BANNED: Final = (
    r"\b(?:account|organi[sz]ation|project|team)\b.{0,60}\b(?:suspended|restricted|disabled|deactivated|banned)\b"
)
_ALLOCATION: Final = r"(?:daily|weekly|monthly) (?:\w+ ){0,2}(?:quota|limit|allocation)"
_NO_MODEL: Final = (
    r"model\W{1,3}\S+ (?:has been decommissioned|does not exist|not found|is not found|is not available)"
    r"|not have access to (?:the )?model|(?:invalid|unknown) model(?: name| id)?\s*(?:[:'\"`]|$)"
)

SENTENCES: Final = (
    _sentence(Meaning.NOT_DONE, _UNSURE | _FAULT, r"token repeat limit", "Ollama, 500: ollama/ollama#18374"),
    _sentence(Meaning.OVERFLOW, _UNSURE | _SIZE | _FAULT, _CONTEXT, "Mistral, Ollama; Anthropic; Bedrock; Groq"),
    _sentence(Meaning.OVERFLOW, _UNSURE | _SIZE, _SIZES, "Together, older; Google"),
    _sentence(
        Meaning.FILTERED, _UNSURE, r"content (?:management|filter\w*) policy", "Azure; Anthropic: claude-code#6195"
    ),
    _sentence(Meaning.FILTERED, _UNSURE, r"content exists risk", "DeepSeek, 400: 666ghj/BettaFish#108"),
    _sentence(Meaning.FILTERED, _UNSURE, r"inappropriate content", "DashScope, 400: error codes"),
    _sentence(Meaning.FILTERED, _UNSURE, _HARM, "OpenAI, OpenRouter; xAI, 403"),
    _sentence(Meaning.KEY, _UNSURE, _API_KEY, "xAI, 400: continuedev/continue#10778; Google"),
    _sentence(Meaning.KEY, _UNSURE, r"authorization failed", "NVIDIA, 403"),
    _sentence(Meaning.KEY, _UNSURE, r"\bnot authenticated\b", "DeepInfra, 403: raycast-g4f#179"),
    _sentence(
        Meaning.CREDIT, _UNSURE | _LIMIT, r"spending limit", "xAI, 403: warp#14867; Fireworks: pollinations#12136"
    ),
    _sentence(
        Meaning.CREDIT, _UNSURE | _LIMIT, r"\b(?:any|all available|out of|no) credits\b", "xAI, 403: xai_conversation#7"
    ),
    _sentence(Meaning.CREDIT, _UNSURE | _LIMIT, r"credit balance is too low", "Anthropic, 400: errors"),
    _sentence(
        Meaning.CREDIT, _UNSURE | _LIMIT | _FAULT, r"insufficient balance", "MiniMax, also as 500: MiniMax-M2#62"
    ),
    _sentence(Meaning.CREDIT, _UNSURE | _LIMIT, r"insufficient (?:account )?(?:balance|credits?|funds)", "sub2api#890"),
    _sentence(Meaning.CREDIT, _UNSURE | _LIMIT, r"exceeded your current quota|failure to pay", "OpenAI; Fireworks"),
    _sentence(Meaning.ACCOUNT, _UNSURE, _PLACE, "Google: gemini-cli#1614; OpenAI, 403"),
    _sentence(Meaning.ACCOUNT, _UNSURE, _BANNED, "Groq, 400: one-api#1764; Fireworks, 412; Anthropic"),
    _sentence(Meaning.MODEL, _UNSURE, _NO_MODEL, "Groq, OpenAI, Mistral"),
    _sentence(Meaning.MODEL, _UNSURE, r"end of life", "NVIDIA: NVIDIA/NemoClaw#11902"),
    _sentence(Meaning.MODEL, _UNSURE, r"not a valid model|no endpoints found", "OpenRouter, 400"),
    _sentence(
        Meaning.MODEL, _UNSURE, r"model not exist|supported API model names are", "DeepSeek, 400: Paper2Slides#37"
    ),
    _sentence(
        Meaning.BAD_REQUEST,
        _FAULT,
        r"^option \W?\w+\W? must be of type",
        "Ollama 0.9.3, 500: a value of sampling.extra",
    ),
    _sentence(
        Meaning.LATER, _LIMIT, r"reached your (?:\w+ )?usage limit", "Ollama's cloud: continuedev/continue#11444"
    ),
    _sentence(Meaning.LATER, _UNSURE, r"usage limits?\b.{0,40}regain access", "Anthropic, 400: claude-code#38035"),
    _sentence(Meaning.LATER, _UNSURE, _ALLOCATION, 'Cloudflare Workers AI: "your daily free allocation"'),
    _sentence(
        Meaning.WAIT,
        _UNSURE,
        r"\brate.?limit(?:s|ed|ing)?\b|\btoo many requests\b",
        "gateways, as 400, 403 or in a 200",
    ),
    _sentence(Meaning.TROUBLE, _UNSURE, r"overloaded|temporarily unavailable", "gateways, as 400 or 403"),
)

TOO_LARGE: Final = re.compile(r"request too large", re.IGNORECASE)
"""OpenAI, 429 (brave/pull-merge#100): one request that exceeds the limit of a whole minute."""

LONG_WINDOW: Final = re.compile(
    r"\bper[ _-]?(?:day|month|week)|\b(?:daily|monthly|weekly)|\b[RT]PD\b|per 86400\s?s|ByDay\b", re.IGNORECASE
)
"""A limit of a day or longer: "on tokens per day (TPD)" (Groq), `free-models-per-day` (OpenRouter, openclaude#936),
"per 86400s exceeded for UserByModelByDay" (Azure)."""

PER_DAY_NAME: Final = re.compile(r"per(?:day|month|week)")
"""Google's names of quotas of a day or longer; the few seconds that `RetryInfo` tells beside them never help
(gemini-cli#8437)."""

LONG_WINDOW_NAME: Final = re.compile(r"per(?:day|month|week)|daily|monthly|weekly")
"""A limit of a day or longer, in a name without case and signs: `GenerateRequestsPerDayPerProjectPerModel` (Google),
`openrouter_free_tier_daily` (OpenRouter, atlas#543)."""

SCOPES: Final[dict[Scope, tuple[re.Pattern[str], re.Pattern[str]]]] = {
    "requests": (
        re.compile(r"\w*requestlimited|requests"),
        re.compile(r"\bRP[MDS]\b|\brequests? per\b|call rate limit"),
    ),
    "tokens": (
        re.compile(r"\w*tokenlimited|tokens"),
        re.compile(r"\bTP[MD]\b|\btokens? per\b|token rate limit|ByMinuteTokens"),
    ),
}
"""Patterns for what exceeded a limit: the first fits a whole name (`dynamic_token_limited`: Together; `tokens`: OpenAI,
Groq), the second words of a sentence ("on tokens per min (TPM)": OpenAI; "call rate limit": Azure)."""


def of_names(names: Iterable[str], status: Status) -> Meaning | None:
    """Return the meaning of a host's names beside a kind of status; None where no row fits."""
    plain_names = frozenset(names)
    return next((row.meaning for row in NAMES if status in row.statuses and row.names & plain_names), None)


def of_sentence(sentence: str, status: Status, rows: Iterable[SentenceRow] = SENTENCES) -> Meaning | None:
    """Return the meaning of a host's sentence beside a kind of status; None where no row fits."""
    return next((row.meaning for row in rows if status in row.statuses and row.words.search(sentence)), None)
