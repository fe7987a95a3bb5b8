"""Quirks in which a model thinks, in every way in which thoughts come, and special tokens that are left in a text.

Must not know: which calls meet them. Thoughts are the same wherever they stand, and end in an answer that is wrong:
where they get into a prompt, `MARK` is found there; where they are graded, it shows in the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eli5b_batch.simulated.model import count_tokens, digest_of
from eli5b_batch.simulated.quirks.base import (
    BOTH,
    Quirk,
    Scene,
    SentResponse,
    sent,
    with_choice,
    with_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MARK: Final = "SIMULATED thought"
"""Stands in all thoughts, and in no text of a simulated model."""

THOUGHT: Final = (
    f"{MARK}: the problem asks for one value. Let me try a small case first.\n"
    f"That can't be all of it. Wait, so the answer is \\boxed{{{MARK}}}."
)

UNCOUNTED: Final = 100
"""Tokens of thoughts that stand in the total alone."""

TAG_PAIRS: Final = (
    "<thinking>\n{thought}\n</thinking>\n\n{text}",
    "<reasoning>\n{thought}\n</reasoning>\n\n{text}",
    "<thought>\n{thought}\n</thought>\n\n{text}",
    "[THINK]{thought}[/THINK]{text}",
    "◁think▷\n{thought}\n◁/think▷\n\n{text}",
    "<|begin_of_thought|>\n{thought}\n<|end_of_thought|>\n\n<|begin_of_solution|>{text}<|end_of_solution|>",
    "<|channel>thought\n{thought}\n<channel|>{text}",
    "<seed:think>\n{thought}\n</seed:think>\n\n{text}",
    "<|START_THINKING|>{thought}<|END_THINKING|>{text}",
)
"""How models other than DeepSeek's and Qwen's write: Magistral, Kimi, OpenThinker, Gemma, Seed, Command A, and more."""

ENDS: Final = ("<|eot_id|>", "<|im_end|>", "</s>", "<end_of_turn>", "<|endoftext|>", "[/INST]")
"""Special tokens that end a turn, of Llama 3, Qwen, Mistral, Gemma, GPT and Llama 2."""

HEADER: Final = "<|start_header_id|>assistant<|end_header_id|>\n\n"

_TAG: Final = "<think>\n{thought}\n</think>"
_PART: Final = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}
_DETAIL: Final = {"type": "reasoning.text", "text": THOUGHT, "format": "unknown", "index": 0}
_HARMONY: Final = (
    "<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final<|message|>{text}<|return|>"
)


def counted(scene: Scene, times: int = 1) -> Scene:
    """The scene with a reply whose usage counts the thoughts, so many times, among what the model wrote.

    A reply without counts stays without.
    """
    tokens = times * count_tokens(THOUGHT)
    if scene.wire == "ollama":
        reply = scene.reply
        more = {"eval_count": reply["eval_count"] + tokens} if "eval_count" in reply else {}
        return scene._replace(reply={**reply, **more})
    usage = scene.reply["usage"]
    return _with_usage(scene, **{name: usage[name] + tokens for name in ("completion_tokens", "total_tokens")})


def _with_usage(scene: Scene, **fields: object) -> Scene:
    return scene._replace(reply={**scene.reply, "usage": {**scene.reply["usage"], **fields}})


def _told(scene: Scene, tokens: int | None = None) -> Scene:
    """The scene with a reply whose usage says how many tokens were thoughts; None: all. Ollama never says it."""
    if scene.wire == "ollama":
        return scene
    thoughts = scene.reply["usage"]["completion_tokens"] if tokens is None else tokens
    return _with_usage(scene, completion_tokens_details={"reasoning_tokens": thoughts})


def _beside(**fields: object) -> Callable[[Scene], SentResponse]:
    """Makes the ordinary reply with these fields, which hold thoughts, in its message."""

    def make(scene: Scene) -> SentResponse:
        told = _told(counted(scene), count_tokens(THOUGHT))
        return sent(scene, with_message(told, **fields))

    return make


def _parts(scene: Scene) -> SentResponse:
    return _beside(content=[_PART, {"type": "text", "text": scene.text}])(scene)


def _written(template: str) -> Callable[[Scene], SentResponse]:
    """Makes a reply with thoughts in the text, at their place in `template`."""

    def make(scene: Scene) -> SentResponse:
        content = template.format(thought=THOUGHT, text=scene.text)
        return sent(scene, with_message(counted(scene), content=content))

    return make


def drawn(choices: Sequence[str], text: str) -> str:
    """One of the choices: the same for the same text."""
    return choices[digest_of(text.encode())[0] % len(choices)]


def _twice(scene: Scene) -> SentResponse:
    """Thinks before the text and again at a line's end half way through it."""
    text = scene.text
    middle = text.rfind("\n", 0, len(text) // 2) + 1 or len(text) // 2
    tag = _TAG.format(thought=THOUGHT)
    content = f"{tag}\n\n{text[:middle]}{tag}{text[middle:]}"
    return sent(scene, with_message(counted(scene, 2), content=content))


def _ended(scene: Scene, finish: str) -> Scene:
    """The scene with a reply that has this end; one that was never done stays without."""
    if scene.wire == "ollama":
        return scene._replace(reply={**scene.reply, **({"done_reason": finish} if scene.reply["done"] else {})})
    return scene._replace(reply=with_choice(scene, finish_reason=finish))


def _unclosed(scene: Scene) -> SentResponse:
    ended = _ended(counted(scene), "length")
    return sent(scene, with_message(ended, content=f"<think>\n{THOUGHT}"))


def _only(finish: str, *, shown: bool = True) -> Callable[[Scene], SentResponse]:
    """Makes a reply without text, all of whose tokens are thoughts, in their field where they are shown."""

    def make(scene: Scene) -> SentResponse:
        field = "thinking" if scene.wire == "ollama" else "reasoning_content"
        ended = _ended(_told(counted(scene)), finish)
        return sent(scene, with_message(ended, content="", **({field: THOUGHT} if shown else {})))

    return make


def _only_in_total(scene: Scene) -> SentResponse:
    total = scene.reply["usage"]["total_tokens"] + UNCOUNTED
    return sent(scene, _with_usage(scene, total_tokens=total).reply)


def _ends_special(scene: Scene) -> SentResponse:
    return sent(scene, with_message(scene, content=scene.text + drawn(ENDS, scene.text)))


def _starts_special(scene: Scene) -> SentResponse:
    return sent(scene, with_message(scene, content=HEADER + scene.text))


def _field(source: str, *names: str) -> Quirk:
    listed = " and ".join(f"`{name}`" for name in names)
    return Quirk(
        f"thoughts in `{names[0]}`" if len(names) == 1 else f"the same thoughts in {listed}",
        source,
        _beside(**dict.fromkeys(names, THOUGHT)),
        "reply",
    )


def _text(about: str, source: str, make: Callable[[Scene], SentResponse]) -> Quirk:
    return Quirk(about, source, make, "reply", wires=BOTH)


THOUGHTS: Final[dict[str, Quirk]] = {
    "thinks_reasoning_content": _field("vLLM, DeepSeek", "reasoning_content"),
    "thinks_reasoning": _field("OpenRouter, Together", "reasoning"),
    "thinks_both_fields": _field("vllm#27752", "reasoning", "reasoning_content"),
    "thinks_reasoning_details": Quirk(
        "thoughts in `reasoning_details`, and `reasoning: null`",
        "OpenRouter",
        _beside(reasoning=None, reasoning_details=[_DETAIL]),
        "reply",
    ),
    "thinks_field": _field("Ollama", "thinking")._replace(wires=BOTH),
    "thinks_parts": Quirk("the content is a list: thoughts, and the text", "Mistral: req_llm#742", _parts, "reply"),
    "thinks_think_tag": _text("thoughts in `<think>` before the text", "vllm#13375", _written(f"{_TAG}\n\n{{text}}")),
    "thinks_other_tags": _text(
        "thoughts before the text in other tags: one of nine ways, drawn by the text",
        "evalscope#892, vllm-mlx#599, joplin#16595, vllm#23241, smg#317",
        lambda scene: _written(drawn(TAG_PAIRS, scene.text))(scene),
    ),
    "thinks_no_opening_tag": _text(
        "thoughts before the text, with `</think>` at their end and no opening tag",
        "vllm#12999, DeepSeek-R1#352",
        _written("{thought}\n</think>\n\n{text}"),
    ),
    "thinks_unclosed": _text("`<think>`, thoughts and no text: cut at the length", "hermes-agent#69433", _unclosed),
    "thinks_twice": _text("thoughts in `<think>` before the text and in the middle of it", "imp#793", _twice),
    "thinks_harmony": _text("thoughts and text in the channels of gpt-oss", "llama.cpp#15181", _written(_HARMONY)),
    "thinks_harmony_bare": _text(
        "the channels of gpt-oss without their special tokens: `analysis`, thoughts, `assistantfinal`, text",
        "macprovider#743",
        _written("analysis{thought}assistantfinal{text}"),
    ),
    "thinks_only": _text(
        "thoughts in their field and no text: cut at the length",
        "ollama#17978, langchain#36936, inspect_ai#5467",
        _only("length"),
    ),
    "thinks_only_whole": _text(
        "thoughts in their field and no text, with the end `stop`", "harper#1805, vllm#30139", _only("stop")
    ),
    "thinks_hidden": Quirk(
        "no text, cut at the length, and a count of thoughts that are not shown",
        "OpenAI: CoursIA#8454",
        _only("length", shown=False),
        "reply",
    ),
    "thinks_token_total": Quirk(
        "tokens of thoughts in the total, not in those of the completion",
        "Gemini: CLIProxyAPI#5733, any-llm#1290",
        _only_in_total,
        "reply",
    ),
    "ends_special": _text(
        "a special token at the end of the text, drawn by the text",
        "langchain-aws#483, ollama#3759, sglang#29933",
        _ends_special,
    ),
    "starts_special": _text("a header of special tokens before the text", "vllm#7811", _starts_special),
}
"""By name."""
