"""Dialects: how each kind of host or server speaks, one row each, with where every cell of it comes from.

Must not know: HTTP, jobs. A row decides what is sent, and one thing of reading: what a bare limit counts over. All
forms of thoughts, ends, limits and refusals are understood from everybody (`completions`, `ends`, `limits`,
`refusals`); a row says which of them its host uses.

A cell that was neither seen nor documented is not verified, and `check` and the docs say so. Both are held to bodies
under `tests/backends/bodies/`, a file for each row. A new host is one row and its bodies.
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
"""What a model does where nothing is said of thinking; empty: nobody knows beforehand."""

TOKENS: Final = "{tokens}"
"""Stands in a switch for the number of tokens."""


class Family(NamedTuple):
    """Models that are spoken to alike at one host.

    Attributes:
        models: a regular expression, searched in their ids in lower case; empty: all that no other row names.
        switch: what is sent for each level of `sampling.thinking`, and for `tokens`; a level that is not there can't
            be had.
        by_default: what they do where nothing is said.
        names: what fields are called, where that is another name than at the rest of the host.
    """

    models: str
    switch: Mapping[str, Mapping[str, Any]]
    by_default: ByDefault = ""
    names: Mapping[str, str | None] = {}


class Dialect(NamedTuple):
    """One row.

    Attributes:
        name: as `dialect:` of a job has it.
        title: for people.
        families: the first whose expression is found in a model's id holds.
        hosts: ends of the names of its hosts.
        owners: what a server of this kind calls the owner of its models (`owned_by`).
        names: fields with another name, by ours; None: it is not sent.
        thoughts: where they come back.
        thought_tokens: where their number comes back.
        limits: headers that tell limits, with their units.
        limit_window_s: what a bare `x-ratelimit-limit` counts over.
        finish: its words for the ends of replies.
        seen: cells of which a server of this kind was recorded.
        documented: cells that a page, an issue or a source shows.
        is_no_host: it stands for all that have no row, or for simulated servers.
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
        """The models that are spoken to as this one."""
        return next(family for family in self.families if re.search(family.models, model.lower()))

    def field_names(self, model: str) -> Mapping[str, str | None]:
        """What fields are called for this model, where not as we call them; None: not sent."""
        return {**self.names, **self.family(model).names}

    @property
    def unverified(self) -> list[Cell]:
        """The cells that nobody has seen or documented; nothing can be known of a row that is no single host."""
        return [] if self.is_no_host else [cell for cell in CELLS if cell not in (*self.seen, *self.documented)]


class Manner(NamedTuple):
    """How one model is spoken to by one client, for `check` and the manifest.

    `chosen`: how the dialect was found. `thinking`: the fields that ask for thoughts, or none. `by_default`: what the
    model does where nothing is said.
    """

    dialect: Dialect
    chosen: str
    thinking: Mapping[str, Any]
    by_default: ByDefault


class CantThinkSoError(ValueError):
    """A setting of `sampling.thinking` that a model or host can't follow; the text says which it can."""


def thinking_fields(family: Family, model: str, sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is sent for `sampling.thinking`; nothing where the job leaves it out.

    Raises:
        CantThinkSoError: the model can't do it, or the job sends the same fields by itself.
    """
    thinking = sampling.get("thinking")
    if thinking is None:
        return {}
    switch = family.switch.get("tokens" if isinstance(thinking, dict) else str(thinking))
    if switch is None:
        asked = f"{{tokens: {thinking['tokens']}}}" if isinstance(thinking, dict) else str(thinking)
        raise CantThinkSoError(_why_not(family, model, asked))
    twice = switch.keys() & sampling.get("extra", {}).keys()
    if twice:
        raise CantThinkSoError(f"thinking is sent as {', '.join(sorted(twice))}, which sampling.extra gives as well")
    return {name: _filled(value, thinking) for name, value in switch.items()}


def _why_not(family: Family, model: str, asked: str) -> str:
    levels = ", ".join("{tokens: n}" if level == "tokens" else level for level in family.switch)
    if not levels:
        return (
            f"how {model} is asked for thinking {asked} is not known; name the dialect, or leave thinking out and give "
            "the host's own field in sampling.extra"
        )
    if levels == "off":
        return f"{model} does not think, so thinking {asked} can't be had of it"
    by_default = f"; by default it {family.by_default}" if family.by_default else ""
    return f"{model} can't be asked for thinking {asked}, only for {levels}{by_default}"


def _filled(value: object, thinking: object) -> object:
    """What is sent, with the number of tokens in its place."""
    if isinstance(value, dict):
        return {name: _filled(inner, thinking) for name, inner in value.items()}
    return thinking["tokens"] if value == TOKENS and isinstance(thinking, dict) else value


_LEVELS: Final = ("off", "on", "low", "medium", "high", "max")
_GRADES: Final = ("low", "medium", "high")
_NOTHING: Final[Mapping[str, Any]] = {}

Switch = Mapping[str, Mapping[str, Any]]


def _effort(**words: str) -> dict[str, dict[str, Any]]:
    """A switch called `reasoning_effort`: level -> the host's word."""
    return {level: {"reasoning_effort": words[level]} for level in _LEVELS if level in words}


def _kwargs(name: str) -> dict[str, dict[str, Any]]:
    """A switch of the chat template."""
    return {level: {"chat_template_kwargs": {name: level == "on"}} for level in ("off", "on")}


_THREE: Final = _effort(low="low", medium="medium", high="high")
_ALWAYS: Final[Switch] = {"on": _NOTHING}
_NEVER: Final[Switch] = {"off": _NOTHING}

NOT_THINKING: Final = Family("", _NEVER, "does not think")
"""Models of which a server says that they can't think."""

_LLAMA: Final = Family(
    r"^(?!.*(?:nemotron|cogito|reason|think|-r1|hermes)).*(?:llama-?[234]|gemma-?[23]\b|mixtral|qwen-?2|instruct-2507)",
    _NEVER,
    "does not think",
)
"""Models that never think, but for those made of them that do."""
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
        # Where nothing is said, models that can think do; 0.9.3 spoils what does not begin with a thought if told to.
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
"""Simulated servers take every switch; they are no row, as nobody else speaks so."""


def of_address(url: str) -> Dialect | None:
    """The row of the host that an address names."""
    host = urlsplit(url).hostname or ""
    return next((row for row in ROWS if any(re.search(rf"(^|[.-]){re.escape(end)}$", host) for end in row.hosts)), None)


def of_owners(owners: Iterable[str]) -> Dialect | None:
    """The row of a server by what it calls the owners of its models; hosts, which resell others' models, have none."""
    named = set(owners)
    return next((row for row in ROWS if not row.hosts and named.intersection(row.owners)), None)


def of_ollama(version: str) -> Dialect:
    """The row of an Ollama server by its version; one built from source, which has none, is as the newest."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    for least, name in (((0, 17, 7), "ollama_0_17_7"), ((0, 12, 11), "ollama_0_12_11"), ((0, 12, 6), "ollama_0_12_6")):
        if numbers >= least or not any(numbers):
            return DIALECTS[name]
    return DIALECTS["ollama_before_0_12_6"]
