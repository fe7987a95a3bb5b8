"""Separates a model's thoughts from its words: every form in which thoughts stand inside a text.

Must not know: hosts, protocols, graders. Backends separate a reply when it arrives; graders separate recorded texts
that still hold thoughts, and the report counts such texts.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from eli5b_batch import special_tokens


class Split(NamedTuple):
    """The words and the thoughts of a text; a text without thoughts is all `words`."""

    words: str
    thoughts: str


class Form(NamedTuple):
    """A pair of marks around thoughts, as regular expressions, and the models or tools that write them."""

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
"""Marks around the words, beside marks around thoughts, or around an answer; they are removed."""

_ANY_MARK: Final = "|".join(f"(?P<b{n}>{form.begin})|(?P<e{n}>{form.end})" for n, form in enumerate(FORMS))
_MARKS: Final = re.compile(rf"(?=[<\[◁&])(?!(?<=`)[^`\n]{{1,40}}`)(?:{_ANY_MARK})", re.IGNORECASE)
"""The lookahead, the characters that a mark may begin with, makes the search some forty times as fast. A mark
between backticks is quoted by the text and marks no thoughts."""

_CHANNEL: Final = "<|channel|>"
_HARMONY: Final = re.compile(
    r"<\|channel\|>(?P<channel>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)(?:<\|(?:end|return|call)\|>)?",
    re.DOTALL,
)
"""gpt-oss: the channel `final` holds the text for the reader (cookbook.openai.com/articles/openai-harmony)."""
_FINAL: Final = "final"
_BARE_FINAL: Final = "assistantfinal"
_BARE_BEGIN: Final = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'(])")
"""Harmony after a server has dropped the special tokens: `analysisWe need ... assistantfinalThe answer`."""
_NEXT_OF_ASSISTANT: Final = re.compile(
    r"<\|(?:im_end|end|eot_id)\|>\s?(?:<\|(?:im_start|start)\|>assistant(?!<\|channel)"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>)(?:final)?(?:<\|message\|>)?"
)
"""The head of a second turn of the assistant right after its first: the first was thought (HyperCLOVA X, harmony)."""
_GRANITE: Final = re.compile(
    r"\s?(?:\*\*)?here(?:'s| is) my thought process:(?P<thoughts>.*?)here(?:'s| is) my response:(?:\*\*)?",
    re.DOTALL | re.IGNORECASE,
)
_OLLAMA_SHOWN: Final = re.compile(r"\s?Thinking\.\.\.\n(?P<thoughts>.*?)\n\.\.\.done thinking\.\n", re.DOTALL)
_PASSES: Final = 4
"""Most passes over one text; each pass separates the words of the pass before, until nothing changes."""


def may_hold(text: str) -> bool:
    """Return False if a text certainly holds no thoughts, in some microseconds; True if `words_of` has to look."""
    section = _CHANNEL in text or _BARE_FINAL in text or _BARE_BEGIN.match(text) or _NEXT_OF_ASSISTANT.search(text)
    announced = _GRANITE.match(text) or _OLLAMA_SHOWN.match(text)
    # Special tokens may stand before a form of thoughts that has no marks.
    return bool(section or announced or _MARKS.search(text)) or text.lstrip().startswith(("<", "["))


def words_of(text: str, *, half_marks: bool = True) -> Split:
    """Return the words and the thoughts of a reply, without special tokens and without text of other turns.

    If words stand before the first special token, all that follows the token belongs to another turn, thoughts
    included. A thought that holds a special token continues after it.

    Args:
        text: the content of a reply, as it came.
        half_marks: whether a begin without an end, or an end without a begin, marks thoughts. False where the host
            sent the thoughts in a field of their own: a single mark in the text is then a stray one.
    """
    words, thoughts = text, []
    for _ in range(_PASSES):
        parts = _split_once(words, half_marks=half_marks)
        thoughts.append(parts.thoughts)
        if parts.words == words:
            break
        words = parts.words
    return Split(words, "\n".join(filter(None, thoughts)))


def _split_once(text: str, *, half_marks: bool) -> Split:
    """Return the words and thoughts of a text after one pass; special tokens are removed first if words remain then."""
    if _CHANNEL not in text and not _NEXT_OF_ASSISTANT.search(text):
        turn = split(special_tokens.without(text), half_marks=half_marks)
        if turn.words.strip():
            return turn
    whole = split(text, half_marks=half_marks)
    return Split(special_tokens.without(whole.words), whole.thoughts)


def split(text: str, *, half_marks: bool = True) -> Split:
    """Return the words and the thoughts of a text, without the marks; thoughts of several places are joined by lines.

    With `half_marks`, an end without a begin (`... </think> 5`: the begin was in the prompt, vllm#12999) and a begin
    without an end (the reply was cut) mark thoughts as well; see `words_of`.
    """
    outer = _split_sections(text)
    inner = _split_marks(outer.words, half_marks=half_marks)
    return Split(inner.words, "\n".join(filter(None, (outer.thoughts, inner.thoughts))))


def _split_sections(text: str) -> Split:
    """Return the words and thoughts of a text in a form that divides the whole text; any other text is all words."""
    if _CHANNEL in text:
        return _split_channels(text)
    if _BARE_FINAL in text:
        thoughts, _, words = text.rpartition(_BARE_FINAL)
        begin = _BARE_BEGIN.match(thoughts)
        return _joined([words.removeprefix("<|message|>")], [thoughts[begin.end() :] if begin else thoughts])
    begin = _BARE_BEGIN.match(text)
    if begin:
        return _joined([], [text[begin.end() :]])
    for form in (_GRANITE, _OLLAMA_SHOWN):
        match = form.match(text)
        if match:
            return _joined([text[match.end() :]], [match["thoughts"]])
    *before, last = _NEXT_OF_ASSISTANT.split(text)
    return _joined([last], before) if before and last.strip() else Split(text, "")


def _split_channels(text: str) -> Split:
    """Return the text of the first channel `final` as the words, and all text before it as thoughts.

    All text after the first channel `final` belongs to another turn and is dropped.
    """
    thoughts: list[str] = []
    position = 0
    for part in _HARMONY.finditer(text):
        thoughts.append(_START.sub("", text[position : part.start()]))
        if part["channel"].strip().startswith(_FINAL):
            return _joined([part["text"]], thoughts)
        thoughts.append(part["text"])
        position = part.end()
    thoughts.append(text[position:].replace(_CHANNEL, " "))
    return _joined([], thoughts)


_START: Final = re.compile(r"<\|start\|>\w*")


def _split_marks(text: str, *, half_marks: bool) -> Split:
    """Return the words and thoughts of a text in which pairs of marks stand around the thoughts."""
    words: list[str] = []
    thoughts: list[str] = []
    position, open_form, wrong_end, pairs = 0, None, None, 0
    for mark in _MARKS.finditer(text):
        name = str(mark.lastgroup)
        if open_form is None:
            words.append(text[position : mark.start()])
            position = mark.end()
            if name[0] == "b":
                open_form, wrong_end, begin = name[1:], None, mark
            elif half_marks and (not pairs or text[position:].strip()):  # an end without a beginning
                thoughts += words
                words = []
        elif name == f"e{open_form}":
            thoughts.append(text[position : mark.start()])
            position, open_form, pairs = mark.end(), None, pairs + 1
        elif name[0] == "e":
            wrong_end = mark
    if open_form is not None and wrong_end is not None:  # begun in one form, ended in another
        rest = _split_marks(text[wrong_end.end() :], half_marks=half_marks)
        return _joined([*words, rest.words], [*thoughts, text[position : wrong_end.start()], rest.thoughts])
    if not position:
        return Split(text, "")
    if open_form is not None and not half_marks:
        return _joined([*words, text[begin.start() :]], thoughts)
    (words if open_form is None else thoughts).append(text[position:])
    return _joined(words, thoughts)


def _joined(words: list[str], thoughts: list[str]) -> Split:
    """Return pieces of words and of thoughts as two texts, without marks around the words."""
    plain = _WRAPPING.sub("", "".join(words))
    return Split(plain.strip(), "\n".join(filter(None, (thought.strip() for thought in thoughts))))
