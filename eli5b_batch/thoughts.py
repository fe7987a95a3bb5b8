"""A model's thoughts are not its words: every form in which they stand inside a text, and how they are taken out of it.

Must not know: hosts, protocols, graders. Backends use it when a reply arrives, graders for texts that are on record as
they came, the report to count those.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from eli5b_batch import special_tokens


class Split(NamedTuple):
    """A text, taken apart; the same text, and no thoughts, where it holds none."""

    words: str
    thoughts: str


class Form(NamedTuple):
    """Marks between which thoughts stand, as regular expressions, and who writes them so."""

    begin: str
    end: str
    source: str


def _tag(name: str, source: str) -> Form:
    return Form(rf"<\s?{name}(?:\s+[\w:-]+=[^<>]{{0,80}})?>", rf"<\s?/{{1,2}}\s?{name}\s{{0,3}}>", source)


FORMS: Final = (
    _tag("think", "DeepSeek-R1, Qwen3, and most others"),
    _tag("thinking", "evalscope#892; Claude in prompts"),
    _tag("reasoning", "evalscope#892"),
    _tag("thoughts?", "Gemini's OpenAI face: include_thoughts; EXAONE"),
    _tag("(?:seed|mm|ant):?think(?:ing)?", "ByteDance Seed-OSS, MiniMax, Anthropic's examples"),
    _tag("(?:longcat_think|think_fast(?:er)?|ifm\\|think)", "LongCat-Flash-Thinking, K2-V2"),
    _tag(
        "(?:thought_process|reasoning_content|reasoning_scratchpad|scratch_?pad)", "Hermes, and prompts that ask for it"
    ),
    _tag("(?:inner_monologue|internal_thoughts)", "prompts that ask for it"),
    Form(r"\[THINK\]", r"\[/THINK\]", "Magistral"),
    Form("◁think▷", "◁/think▷", "Kimi-VL"),
    Form(r"<\|begin_of_(?:thought|thinking)\|>", r"<\|end_of_(?:thought|thinking)\|>", "evalscope#892"),
    Form(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", "Cohere Command A Reasoning"),
    Form(r"<\|think_start\|>", r"<\|think_end\|>", "made up"),
    Form(
        r"<\|think(?:ing)?\|>",
        r"<\|end\|>(?:<\|begin\|>assistant)?(?:<\|content\|>)?|<\|/think(?:ing)?\|>",
        "Solar Open",
    ),
    Form(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>", "Apertus"),
    Form(r"<\|channel>\s?thought", r"<channel\|>", "Gemma 4"),
    Form(r"<unused94>thought", "<unused95>", "MedGemma"),
    Form(r"\[unused16\]", r"\[unused17\]", "openPangu"),
    Form(r"<details type=.reasoning.[^<>]{0,80}>", "</details>", "Open WebUI"),
    Form("&lt;think&gt;", "&lt;/think&gt;", "escaped on the way"),
)

_WRAPPING: Final = re.compile(
    r"<\|(?:begin|end)_of_(?:solution|box)\|>|<\|(?:START|END)_(?:RESPONSE|TEXT)\|>|</?response>", re.IGNORECASE
)
"""What goes round the words where thoughts have marks of their own, or round an answer."""

_ANY_MARK: Final = "|".join(f"(?P<b{n}>{form.begin})|(?P<e{n}>{form.end})" for n, form in enumerate(FORMS))
_MARKS: Final = re.compile(rf"(?=[<\[◁&])(?!(?<=`)[^`\n]{{1,40}}`)(?:{_ANY_MARK})", re.IGNORECASE)
"""What every mark begins with stands before them: a text is searched for it some forty times as fast. Between backticks
a mark is spoken of."""

_CHANNEL: Final = "<|channel|>"
_HARMONY: Final = re.compile(
    r"<\|channel\|>(?P<channel>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)(?:<\|(?:end|return|call)\|>)?",
    re.DOTALL,
)
"""gpt-oss: what is for the reader stands in the channel `final` (cookbook.openai.com/articles/openai-harmony)."""
_FINAL: Final = "final"
_BARE_FINAL: Final = "assistantfinal"
_BARE_BEGIN: Final = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'(])")
"""Harmony whose special tokens a server has dropped: `analysisWe need ... assistantfinalThe answer`."""
_NEXT_OF_ASSISTANT: Final = re.compile(
    r"<\|(?:im_end|end|eot_id)\|>\s?(?:<\|(?:im_start|start)\|>assistant(?!<\|channel)"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>)(?:final)?(?:<\|message\|>)?"
)
"""A turn of the assistant right behind another of its own: what stood before it was thought (HyperCLOVA X, harmony)."""
_GRANITE: Final = re.compile(
    r"\s?(?:\*\*)?here(?:'s| is) my thought process:(?P<thoughts>.*?)here(?:'s| is) my response:(?:\*\*)?",
    re.DOTALL | re.IGNORECASE,
)
_OLLAMA_SHOWN: Final = re.compile(r"\s?Thinking\.\.\.\n(?P<thoughts>.*?)\n\.\.\.done thinking\.\n", re.DOTALL)
_PASSES: Final = 4
"""A text is taken apart until nothing more is found in its words, so often at most."""


def may_hold(text: str) -> bool:
    """Whether it is worth its time to look for thoughts in a text: False is sure, and takes some microseconds."""
    section = _CHANNEL in text or _BARE_FINAL in text or _BARE_BEGIN.match(text) or _NEXT_OF_ASSISTANT.search(text)
    told = _GRANITE.match(text) or _OLLAMA_SHOWN.match(text)
    # A head of special tokens may stand before those that have no marks.
    return bool(section or told or _MARKS.search(text)) or text.lstrip().startswith(("<", "["))


def words_of(text: str, *, half_marks: bool = True) -> Split:
    """The words of a reply and its thoughts, both without special tokens and what ran on behind one.

    Where words stand before the first special token, what follows belongs to another turn, thoughts included; a thought
    that holds such a token goes on behind it.

    Args:
        text: the content of a reply, as it came.
        half_marks: whether a begin without an end, or an end without a begin, marks thoughts: not where the host has
            told the thoughts apart, and a mark that is left is a stray one.
    """
    words, thoughts = text, []
    for _ in range(_PASSES):
        apart = _one_pass(words, half_marks=half_marks)
        thoughts.append(apart.thoughts)
        if apart.words == words:
            break
        words = apart.words
    return Split(words, "\n".join(filter(None, thoughts)))


def _one_pass(text: str, *, half_marks: bool) -> Split:
    if _CHANNEL not in text and not _NEXT_OF_ASSISTANT.search(text):
        turn = split(special_tokens.without(text), half_marks=half_marks)
        if turn.words.strip():
            return turn
    whole = split(text, half_marks=half_marks)
    return Split(special_tokens.without(whole.words), whole.thoughts)


def split(text: str, *, half_marks: bool = True) -> Split:
    """The words of a reply and its thoughts, each without the marks; thoughts in several places are joined by a line.

    What is thought without a mark at the beginning (`... </think> 5`: the mark was in the prompt, vllm#12999) or at
    the end (the reply was cut) is thought all the same; see `words_of`.
    """
    outer = _of_sections(text)
    inner = _of_marks(outer.words, half_marks=half_marks)
    return Split(inner.words, "\n".join(filter(None, (outer.thoughts, inner.thoughts))))


def _of_sections(text: str) -> Split:
    """The words of a text that is divided as a whole; all of it where it is not."""
    if _CHANNEL in text:
        return _of_channels(text)
    if _BARE_FINAL in text:
        thoughts, _, words = text.rpartition(_BARE_FINAL)
        begin = _BARE_BEGIN.match(thoughts)
        return _made([words.removeprefix("<|message|>")], [thoughts[begin.end() :] if begin else thoughts])
    begin = _BARE_BEGIN.match(text)
    if begin:
        return _made([], [text[begin.end() :]])
    for form in (_GRANITE, _OLLAMA_SHOWN):
        shown = form.match(text)
        if shown:
            return _made([text[shown.end() :]], [shown["thoughts"]])
    *before, last = _NEXT_OF_ASSISTANT.split(text)
    return _made([last], before) if before and last.strip() else Split(text, "")


def _of_channels(text: str) -> Split:
    """Everything outside of the channel `final` is thought, also what stands before the first channel.

    The first text for the reader ends the reply: a second one belongs to another turn.
    """
    thoughts: list[str] = []
    at = 0
    for part in _HARMONY.finditer(text):
        thoughts.append(_START.sub("", text[at : part.start()]))
        if part["channel"].strip().startswith(_FINAL):
            return _made([part["text"]], thoughts)
        thoughts.append(part["text"])
        at = part.end()
    thoughts.append(text[at:].replace(_CHANNEL, " "))
    return _made([], thoughts)


_START: Final = re.compile(r"<\|start\|>\w*")


def _of_marks(text: str, *, half_marks: bool) -> Split:
    words: list[str] = []
    thoughts: list[str] = []
    at, begun, wrong_end, pairs = 0, None, None, 0
    for mark in _MARKS.finditer(text):
        name = str(mark.lastgroup)
        if begun is None:
            words.append(text[at : mark.start()])
            at = mark.end()
            if name[0] == "b":
                begun, wrong_end, begin = name[1:], None, mark
            elif half_marks and (not pairs or text[at:].strip()):  # an end without a beginning
                thoughts += words
                words = []
        elif name == f"e{begun}":
            thoughts.append(text[at : mark.start()])
            at, begun, pairs = mark.end(), None, pairs + 1
        elif name[0] == "e":
            wrong_end = mark
    if begun is not None and wrong_end is not None:  # begun in one form, ended in another
        rest = _of_marks(text[wrong_end.end() :], half_marks=half_marks)
        return _made([*words, rest.words], [*thoughts, text[at : wrong_end.start()], rest.thoughts])
    if not at:
        return Split(text, "")
    if begun is not None and not half_marks:
        return _made([*words, text[begin.start() :]], thoughts)
    (words if begun is None else thoughts).append(text[at:])
    return _made(words, thoughts)


def _made(words: list[str], thoughts: list[str]) -> Split:
    plain = _WRAPPING.sub("", "".join(words))
    return Split(plain.strip(), "\n".join(filter(None, (thought.strip() for thought in thoughts))))
