"""Dialects: a table with one row for each kind of host or server, which says how requests to it are written.

Must not know: HTTP, jobs. A row decides what is sent; of reading it decides only the window of a bare limit. All forms
of thoughts, ends, limits and refusals are understood from every host (`thoughts`, `finish`, `limit_headers`,
`refusals`); the other cells of a row document which forms its host uses.

A cell that was neither seen at a server nor documented is not verified, and `check` and the docs say so. Tests hold the
seen and the documented cells to the bodies under `tests/backends/bodies/`, one file for each row. A new host is one row
and its bodies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

Cell = Literal["max_tokens", "seed", "top_k", "thinking", "thoughts", "thought_tokens", "limits", "finish", "refusals"]
CELLS: Final[tuple[Cell, ...]] = Cell.__args__  # type: ignore[attr-defined]

ByDefault = Literal["thinks", "does not think", ""]
"""Whether a model thinks where a request says nothing of thinking; empty: not known."""

TOKENS: Final = "{tokens}"
"""Placeholder in a switch for the number of tokens."""


class Family(NamedTuple):
    """Models of one host whose requests are written alike.

    Attributes:
        models: a regular expression, searched in the models' ids in lower case; empty: every model of no other family.
        switch: level of `sampling.thinking`, or `tokens` -> the fields that are sent for it; the models can't think at
            a level that is missing.
        by_default: whether the models think where a request says nothing of thinking.
        names: the package's name of a field -> the name for these models, where it differs from the rest of the host;
            None: the field is not sent.
    """

    models: str
    switch: Mapping[str, Mapping[str, Any]]
    by_default: ByDefault = ""
    names: Mapping[str, str | None] = {}


class Dialect(NamedTuple):
    """One row: how requests to one kind of host or server are written, and which forms its replies have.

    Attributes:
        name: the value of `dialect:` in a job.
        title: the name for people.
        families: its models; a model belongs to the first family whose expression matches its id.
        hosts: ends of the names of its hosts.
        owners: words of a server of this kind for the owner of its models (`owned_by`).
        names: the package's name of a field -> the host's; None: the field is not sent.
        thoughts: where replies hold thoughts.
        thought_tokens: where replies hold the number of tokens of thoughts.
        limits: headers that tell limits, with their units.
        limit_window_s: the window of a bare `x-ratelimit-limit`, seconds.
        finish: the host's words for the ends of replies.
        seen: cells that were recorded from a server of this kind.
        documented: cells that a page, an issue or a source shows.
        is_no_host: the row stands for all hosts without a row, or for simulated servers.
    """

    name: str
    title: str
    families: tuple[Family, ...]
    hosts: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    names: Mapping[str, str | None] = {}
    thoughts: str = "`reasoning_content`, `reasoning`, or tags in the text"
    thought_tokens: str = "not told"
    limits: str = "none"
    limit_window_s: float = 1.0
    finish: str = "`stop`, `length`"
    seen: tuple[Cell, ...] = ()
    documented: tuple[Cell, ...] = ()
    is_no_host: bool = False

    def family(self, model: str) -> Family:
        """Return the family that a model belongs to."""
        return next(family for family in self.families if re.search(family.models, model.lower()))

    def field_names(self, model: str) -> Mapping[str, str | None]:
        """Return the package's name of a field -> the name for this model, where it differs; None: it is not sent."""
        return {**self.names, **self.family(model).names}

    @property
    def unverified(self) -> list[Cell]:
        """The cells that are neither seen nor documented; empty for a row that is no single host."""
        return [] if self.is_no_host else [cell for cell in CELLS if cell not in (*self.seen, *self.documented)]


class Manner(NamedTuple):
    """How one client writes requests to one model, for `check` and the manifest.

    Attributes:
        dialect: the row that the client uses.
        chosen: how the row was chosen, such as `by its address`.
        thinking: the fields that are sent for `sampling.thinking`; empty where the job leaves it out.
        by_default: whether the model thinks where a request says nothing of thinking.
    """

    dialect: Dialect
    chosen: str
    thinking: Mapping[str, Any]
    by_default: ByDefault


class CantThinkSoError(ValueError):
    """A model or host can't follow `sampling.thinking`; the message says which settings it can follow."""


def thinking_fields(family: Family, model: str, sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields that are sent for `sampling.thinking`; none where the job leaves it out.

    Raises:
        CantThinkSoError: the model can't think so, or `sampling.extra` holds the same fields.
    """
    thinking = sampling.get("thinking")
    if thinking is None:
        return {}
    switch = family.switch.get("tokens" if isinstance(thinking, dict) else str(thinking))
    if switch is None:
        setting = f"{{tokens: {thinking['tokens']}}}" if isinstance(thinking, dict) else str(thinking)
        raise CantThinkSoError(_cant_think_message(family, model, setting))
    duplicates = switch.keys() & sampling.get("extra", {}).keys()
    if duplicates:
        names = ", ".join(sorted(duplicates))
        raise CantThinkSoError(f"thinking is sent as {names}, which sampling.extra gives as well")
    return {name: _filled(value, thinking) for name, value in switch.items()}


def _cant_think_message(family: Family, model: str, setting: str) -> str:
    levels = ", ".join("{tokens: n}" if level == "tokens" else level for level in family.switch)
    if not levels:
        return (
            f"how {model} is asked for thinking {setting} is not known; name the dialect, or leave thinking out and "
            "give the host's own field in sampling.extra"
        )
    if levels == "off":
        return f"{model} does not think, so thinking {setting} can't be had of it"
    by_default = f"; by default it {family.by_default}" if family.by_default else ""
    return f"{model} can't be asked for thinking {setting}, only for {levels}{by_default}"


def _filled(value: object, thinking: object) -> object:
    """Return the value of a field with the number of tokens in place of `TOKENS`."""
    if isinstance(value, dict):
        return {name: _filled(inner, thinking) for name, inner in value.items()}
    return thinking["tokens"] if value == TOKENS and isinstance(thinking, dict) else value


_LEVELS: Final = ("off", "on", "low", "medium", "high", "max")
_GRADES: Final = ("low", "medium", "high")
_NOTHING: Final[Mapping[str, Any]] = {}

Switch = Mapping[str, Mapping[str, Any]]


def _effort(**words: str) -> dict[str, dict[str, Any]]:
    """Return a switch that sends `reasoning_effort`; `words` are level -> the host's word."""
    return {level: {"reasoning_effort": words[level]} for level in _LEVELS if level in words}


def _kwargs(name: str) -> dict[str, dict[str, Any]]:
    """Return a switch that sends a variable of the chat template, true or false."""
    return {level: {"chat_template_kwargs": {name: level == "on"}} for level in ("off", "on")}


_THREE: Final = _effort(low="low", medium="medium", high="high")
_ALWAYS: Final[Switch] = {"on": _NOTHING}
_NEVER: Final[Switch] = {"off": _NOTHING}

NOT_THINKING: Final = Family("", _NEVER, "does not think")
"""The family of a model of which a server says that it can't think."""

_LLAMA: Final = Family(
    r"^(?!.*(?:nemotron|cogito|reason|think|-r1|hermes)).*(?:llama-?[234]|gemma-?[23]\b|mixtral|qwen-?2|instruct-2507)",
    _NEVER,
    "does not think",
)
"""Models that never think; the expression leaves out models made of them that think."""
_R1: Final = Family(r"deepseek-?r1|-r1\b|qwq|thinking", _ALWAYS, "thinks")
_HYBRIDS: Final = r"qwen-?3|glm-?4\.[5-9]|glm-?5|smollm-?3"
_GPT_OSS: Final = Family(r"gpt-oss", {"on": _NOTHING, **_THREE}, "thinks")

_NEW_GPT: Final = _effort(off="none", on="medium", low="low", medium="medium", high="high")
_GPT: Final = (
    Family(r"gpt-5\.[6-9]|gpt-[6-9]", {**_NEW_GPT, **_effort(max="max")}, "thinks"),
    Family(r"gpt-5\.5", {**_NEW_GPT, **_effort(max="xhigh")}, "thinks"),
    Family(r"gpt-5\.[2-4]", {**_NEW_GPT, **_effort(max="xhigh")}, "does not think"),
    Family(r"gpt-5\.1", _NEW_GPT, "does not think"),
    Family(r"gpt-5-chat|gpt-4|gpt-3\.5", _NEVER, "does not think"),
    Family(r"gpt-5|(^|/)o(1|3|4)(-|$)", {"on": _NOTHING, **_THREE}, "thinks"),
)
_GEMINI: Final = (
    Family(r"gemini-2\.5-pro", {"on": _NOTHING, **_THREE}, "thinks"),
    Family(r"gemini-2\.5", _NEW_GPT, "thinks"),
    Family(r"gemini-|gemma-4", {"on": _NOTHING, **_THREE}, "thinks"),
)
_THINK: Final[dict[str, dict[str, Any]]] = {"off": {"think": False}, "on": {"think": True}}
_THINK_LEVELS: Final[dict[str, dict[str, Any]]] = {level: {"think": level} for level in _GRADES}
_OLLAMA_GPT_OSS: Final = Family("gpt-oss", {"on": _NOTHING, **_THINK_LEVELS}, "thinks")
_OLLAMA_NAMES: Final[Mapping[str, str | None]] = {
    "max_tokens": "options.num_predict",
    "seed": "options.seed",
    "top_k": "options.top_k",
}
_OLLAMA_THOUGHTS: Final = "`thinking`; in the text where the template is not known to think"
_OLLAMA_FINISH: Final = "`stop`, `length`, `load`, `unload`; `done: false` is broken off"


PLAIN: Final = Dialect(
    "plain",
    "any other host",
    (Family("", {}),),
    thoughts="`reasoning_content`, `reasoning`, `thinking`, parts, or tags in the text",
    limits="what headers say, by any name",
    finish="every word that any host has",
    is_no_host=True,
)

ROWS: Final = (
    Dialect(
        "openai",
        "OpenAI",
        (*_GPT, Family("", _NEW_GPT)),
        hosts=("api.openai.com",),
        names={"max_tokens": "max_completion_tokens", "top_k": None},
        thoughts="nowhere: they are hidden",
        thought_tokens="`completion_tokens_details.reasoning_tokens`, in `completion_tokens`",
        limits="`x-ratelimit-limit-requests`, `-limit-tokens` a minute; `-reset-*` as `1s`, `6m0s`",
        finish="`stop`, `length`, `content_filter`, `tool_calls`",
        documented=("max_tokens", "seed", "top_k", "thinking", "limits", "refusals"),
    ),
    Dialect(
        "azure",
        "Azure",
        (
            *(family._replace(names={"max_tokens": "max_completion_tokens", "top_k": None}) for family in _GPT),
            Family(r"mistral|ministral|codestral", {}, names={"seed": None, "top_k": None}),
            _LLAMA,
            Family("", {}),
        ),
        hosts=("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com", "models.ai.azure.com"),
        thoughts="nowhere of OpenAI's models; else as the model has them",
        thought_tokens="`completion_tokens_details.reasoning_tokens`",
        limits="`x-ratelimit-limit-requests`, `-limit-tokens` a minute",
        finish="`stop`, `length`, `content_filter`, `tool_calls`",
        documented=("max_tokens", "seed", "thinking", "finish", "refusals"),
    ),
    Dialect(
        "mistral",
        "Mistral",
        (
            Family("magistral", _ALWAYS, "thinks"),
            Family(
                r"mistral-(small-(latest|4|26)|medium-(latest|3[.-]5|26))",
                _effort(off="none", on="high", high="high"),
                "does not think",
            ),
            Family("", _NEVER, "does not think"),
        ),
        hosts=("api.mistral.ai",),
        names={"seed": "random_seed", "top_k": None},
        thoughts="parts of the content, `type: thinking`",
        limits="`x-ratelimit-limit-req-minute`, `-limit-tokens-minute`",
        finish="`stop`, `length`, `model_length`, `error`, `tool_calls`",
        documented=("max_tokens", "seed", "thinking", "thoughts", "limits", "refusals"),
    ),
    Dialect(
        "gemini",
        "Gemini's OpenAI face",
        tuple(
            family._replace(
                switch={
                    **family.switch,
                    "tokens": {
                        "extra_body": {
                            "google": {"thinking_config": {"thinking_budget": TOKENS, "include_thoughts": True}}
                        }
                    },
                }
                if "2\\.5" in family.models
                else family.switch
            )
            for family in (*_GEMINI, Family("", {}))
        ),
        hosts=("generativelanguage.googleapis.com",),
        names={"seed": None, "top_k": None},
        thoughts="`<thought>` in the text, where asked for by `include_thoughts`",
        thought_tokens="in `total_tokens` only",
        finish="`stop`, `length`, `content_filter`",
        documented=("max_tokens", "seed", "thinking", "thoughts", "refusals"),
    ),
    Dialect(
        "vertex",
        "Vertex AI's OpenAI face",
        (
            *(
                family._replace(
                    switch={
                        **{level: sent for level, sent in family.switch.items() if level != "off"},
                        **(
                            {"off": {"extra_body": {"google": {"thinking_config": {"thinking_budget": 0}}}}}
                            if "off" in family.switch
                            else {}
                        ),
                        "tokens": {
                            "extra_body": {
                                "google": {
                                    "thinking_config": {"thinking_budget": TOKENS, "include_thoughts": True},
                                    "thought_tag_marker": "think",
                                }
                            }
                        },
                    }
                )
                for family in _GEMINI
            ),
            _LLAMA,
            Family("", {}),
        ),
        hosts=("aiplatform.googleapis.com",),
        names={"top_k": None},
        thoughts="`<think>` in the text, where asked for by `include_thoughts`",
        thought_tokens="`completion_tokens_details.reasoning_tokens`",
        finish="`stop`, `length`, `content_filter`",
        documented=("max_tokens", "seed", "top_k", "thinking", "thoughts", "thought_tokens", "finish", "refusals"),
    ),
    Dialect(
        "openrouter",
        "OpenRouter",
        (
            _LLAMA,
            Family(
                r"gpt-5(-mini|-nano)?$|gpt-oss|/o(1|3|4)(-|$)|gemini-(2\.5-pro|3)|deepseek-r1|thinking",
                {
                    "on": {"reasoning": {"enabled": True}},
                    **{level: {"reasoning": {"effort": level}} for level in _GRADES},
                    "max": {"reasoning": {"effort": "xhigh"}},
                    "tokens": {"reasoning": {"max_tokens": TOKENS}},
                },
                "thinks",
            ),
            Family(
                "",
                {
                    "off": {"reasoning": {"enabled": False}},
                    "on": {"reasoning": {"enabled": True}},
                    **{level: {"reasoning": {"effort": level}} for level in (*_GRADES, "max")},
                    "tokens": {"reasoning": {"max_tokens": TOKENS}},
                },
            ),
        ),
        hosts=("openrouter.ai",),
        thoughts="`reasoning`, and `reasoning_details` in parts",
        thought_tokens="`completion_tokens_details.reasoning_tokens`, in `completion_tokens`",
        limits="`X-RateLimit-Reset` as an epoch in ms, on refusals; `Retry-After`",
        limit_window_s=60.0,
        finish="`stop`, `length`, `content_filter`, `error`, `tool_calls`; the host's own as `native_finish_reason`",
        documented=("max_tokens", "seed", "top_k", "thinking", "thoughts", "limits", "finish", "refusals"),
    ),
    Dialect(
        "together",
        "Together",
        (
            _LLAMA,
            _GPT_OSS,
            Family(
                r"deepseek-v4",
                {
                    **{level: {"reasoning": {"enabled": level == "on"}} for level in ("off", "on")},
                    **_effort(low="low", medium="medium", high="high", max="max"),
                },
                "thinks",
            ),
            _R1,
            Family("", {level: {"reasoning": {"enabled": level == "on"}} for level in ("off", "on")}),
        ),
        hosts=("api.together.xyz", "api.together.ai"),
        thoughts="`reasoning`",
        thought_tokens="not told",
        limits="`x-ratelimit-limit`, `x-tokenlimit-limit` and their `-dynamic` twins, a second",
        finish="`stop`, `eos`, `length`, `tool_calls`",
        documented=("max_tokens", "seed", "top_k", "thinking", "refusals"),
    ),
    Dialect(
        "deepinfra",
        "DeepInfra",
        (
            _LLAMA,
            _GPT_OSS,
            _R1,
            Family("", _effort(off="none", on="high", low="low", medium="medium", high="high", max="max")),
        ),
        hosts=("deepinfra.com",),
        thoughts="`reasoning_content`",
        thought_tokens="`completion_tokens_details.reasoning_tokens`",
        finish="`stop`, `length`, `tool_calls`",
        documented=("max_tokens", "seed", "top_k", "thinking", "thought_tokens", "finish", "refusals"),
    ),
    Dialect(
        "novita",
        "Novita",
        (
            _LLAMA,
            _GPT_OSS,
            _R1,
            Family(
                r"deepseek-v4(-|$)",
                {
                    "off": {"enable_thinking": False},
                    "on": {"thinking": {"type": "enabled"}},
                    "high": {"thinking": {"type": "enabled"}},
                    "max": {"reasoning_effort": "max"},
                },
                "thinks",
            ),
            Family(
                r"deepseek-v4",
                {
                    "off": {"thinking": {"type": "disabled"}},
                    "on": {"thinking": {"type": "enabled"}},
                    **_effort(low="low", medium="medium", high="high", max="max"),
                },
                "thinks",
            ),
            Family(
                r"deepseek-v3", {level: {"enable_thinking": level == "on"} for level in ("off", "on")}, "does not think"
            ),
            Family(
                "",
                {
                    "off": {"thinking": {"type": "disabled"}},
                    "on": {"thinking": {"type": "enabled"}},
                    "tokens": {"thinking_budget": TOKENS},
                },
            ),
        ),
        hosts=("novita.ai",),
        thoughts="`reasoning_content`; `<think>` in the text of older models",
        thought_tokens="not told",
        finish="`stop`, `length`",
        documented=("max_tokens", "seed", "top_k", "thinking"),
    ),
    Dialect(
        "deepseek",
        "DeepSeek",
        (
            Family(
                "",
                {
                    "off": {"thinking": {"type": "disabled"}},
                    "on": {"thinking": {"type": "enabled"}},
                    **{
                        level: {"thinking": {"type": "enabled"}, "reasoning_effort": level}
                        for level in (*_GRADES, "max")
                    },
                },
                "thinks",
            ),
        ),
        hosts=("api.deepseek.com",),
        names={"seed": None, "top_k": None},
        thoughts="`reasoning_content`",
        thought_tokens="`completion_tokens_details.reasoning_tokens`, in `completion_tokens`",
        finish="`stop`, `length`, `content_filter`, `insufficient_system_resource`, `tool_calls`",
        documented=("max_tokens", "thinking", "thoughts", "thought_tokens", "finish", "refusals"),
    ),
    Dialect(
        "groq",
        "Groq",
        (
            _LLAMA,
            _GPT_OSS,
            Family(
                "qwen",
                {
                    "off": {"reasoning_effort": "none"},
                    "on": {"reasoning_effort": "default", "reasoning_format": "parsed"},
                },
                "thinks",
            ),
            Family("", {}),
        ),
        hosts=("api.groq.com",),
        names={"max_tokens": "max_completion_tokens", "top_k": None},
        thoughts="`reasoning`; `<think>` in the text where `reasoning_format` is left out",
        thought_tokens="`completion_tokens_details.reasoning_tokens`",
        limits="`x-ratelimit-limit-requests` a day, `-limit-tokens` a minute; `-reset-*` as `2m59.56s`",
        finish="`stop`, `length`, `tool_calls`",
        documented=(
            "max_tokens",
            "seed",
            "top_k",
            "thinking",
            "thoughts",
            "thought_tokens",
            "limits",
            "finish",
            "refusals",
        ),
    ),
    Dialect(
        "vllm",
        "vLLM",
        (
            _LLAMA,
            _GPT_OSS,
            _R1,
            Family(r"deepseek-v3|granite", _kwargs("thinking"), "does not think"),
            Family(_HYBRIDS, {**_kwargs("enable_thinking"), "tokens": {"thinking_token_budget": TOKENS}}, "thinks"),
            Family("", {**_kwargs("enable_thinking"), "tokens": {"thinking_token_budget": TOKENS}}),
        ),
        owners=("vllm", "sglang"),
        thoughts="`reasoning` since 0.16, `reasoning_content` before; tags in the text without a reasoning parser",
        thought_tokens="not told before August 2026",
        finish="`stop`, `length`, `repetition`, `abort`, `tool_calls`",
        documented=("max_tokens", "seed", "top_k", "thinking", "thoughts", "thought_tokens", "finish", "refusals"),
    ),
    Dialect(
        "llama_server",
        "llama.cpp's server",
        (
            _LLAMA,
            Family(
                "gpt-oss",
                {"on": _NOTHING, **{level: {"chat_template_kwargs": {"reasoning_effort": level}} for level in _GRADES}},
                "thinks",
            ),
            _R1,
            Family(_HYBRIDS, {**_kwargs("enable_thinking"), "tokens": {"thinking_budget_tokens": TOKENS}}, "thinks"),
            Family("", {**_kwargs("enable_thinking"), "tokens": {"thinking_budget_tokens": TOKENS}}),
        ),
        owners=("llamacpp",),
        thoughts="`reasoning_content`; tags in the text of templates that it does not know",
        thought_tokens="not told",
        finish="`stop`, `length`, `tool_calls`",
        seen=("max_tokens", "seed", "top_k", "thinking", "thoughts", "thought_tokens", "limits", "finish", "refusals"),
    ),
    Dialect(
        "ollama_before_0_12_6",
        "Ollama before 0.12.6",
        # Models that can think do so by default. "on" sends nothing: told `think: true`, 0.9.3 spoils a reply that does
        # not begin with a thought.
        (_OLLAMA_GPT_OSS, Family("", {**_THINK, "on": _NOTHING}, "thinks")),
        names=_OLLAMA_NAMES,
        thoughts=_OLLAMA_THOUGHTS,
        finish=_OLLAMA_FINISH,
        seen=("max_tokens", "seed", "top_k", "thinking", "thoughts", "thought_tokens", "limits", "finish", "refusals"),
    ),
    Dialect(
        "ollama_0_12_6",
        "Ollama from 0.12.6",
        (_OLLAMA_GPT_OSS, Family("", _THINK, "thinks")),
        names=_OLLAMA_NAMES,
        thoughts=_OLLAMA_THOUGHTS,
        finish=_OLLAMA_FINISH,
        documented=("max_tokens", "seed", "top_k", "thinking", "thoughts", "thought_tokens", "finish", "refusals"),
    ),
    Dialect(
        "ollama_0_12_11",
        "Ollama from 0.12.11",
        (_OLLAMA_GPT_OSS, Family("", _THINK, "thinks")),
        names=_OLLAMA_NAMES,
        thoughts=_OLLAMA_THOUGHTS,
        finish=_OLLAMA_FINISH,
        documented=("max_tokens", "seed", "top_k", "thinking", "thoughts", "finish", "refusals"),
    ),
    Dialect(
        "ollama_0_17_7",
        "Ollama from 0.17.7",
        (_OLLAMA_GPT_OSS, Family("", {**_THINK, **_THINK_LEVELS, "max": {"think": "max"}}, "thinks")),
        names=_OLLAMA_NAMES,
        thoughts=_OLLAMA_THOUGHTS,
        finish=_OLLAMA_FINISH,
        documented=("max_tokens", "seed", "top_k", "thinking", "thoughts", "limits", "finish", "refusals"),
    ),
    PLAIN,
)
"""Every row: hosts, then servers, `plain` last."""

DIALECTS: Final = {row.name: row for row in ROWS}

SIMULATED: Final = PLAIN._replace(
    name="simulated",
    title="a simulated host",
    families=(
        Family(
            "",
            {
                **{level: {"reasoning": {"effort": level}} for level in _LEVELS},
                "tokens": {"reasoning": {"max_tokens": TOKENS}},
            },
        ),
    ),
)
"""The dialect of simulated servers, which take every switch; it is no row, as no real host speaks it."""


def of_address(url: str) -> Dialect | None:
    """Return the row of the host that an address names; None where no row has that host."""
    host = urlsplit(url).hostname or ""
    return next((row for row in ROWS if any(re.search(rf"(^|[.-]){re.escape(end)}$", host) for end in row.hosts)), None)


def of_owners(owners: Iterable[str]) -> Dialect | None:
    """Return the row of a server by its words for the owners of its models; None where no row has any of them.

    Rows of hosts don't count, as hosts resell models of other owners.
    """
    words = set(owners)
    return next((row for row in ROWS if not row.hosts and words.intersection(row.owners)), None)


def of_ollama(version: str) -> Dialect:
    """Return the row of an Ollama server by its version; one built from source has none, and counts as the newest."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    for least, name in (((0, 17, 7), "ollama_0_17_7"), ((0, 12, 11), "ollama_0_12_11"), ((0, 12, 6), "ollama_0_12_6")):
        if numbers >= least or not any(numbers):
            return DIALECTS[name]
    return DIALECTS["ollama_before_0_12_6"]
