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
    return Form(rf"<\s?{name}(?:\s[^<>]{{0,80}})?>", rf"<\s?/\s?{name}\s?>", source)


FORMS: Final = (
    _tag("think", "DeepSeek-R1, Qwen3, and most others"),
    _tag("thinking", "evalscope#892; Claude in prompts"),
    _tag("reasoning", "evalscope#892"),
    _tag("thought", "Gemini's OpenAI face: include_thoughts; EXAONE"),
    _tag("seed:think", "ByteDance Seed-OSS"),
    _tag("mm:think", "MiniMax"),
    _tag("longcat_think", "LongCat-Flash-Thinking"),
    _tag("scratch_?pad", "Hermes"),
    Form(r"\[THINK\]", r"\[/THINK\]", "Magistral"),
    Form("◁think▷", "◁/think▷", "Kimi-VL"),
    Form(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>", "evalscope#892"),
    Form(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", "Cohere Command A Reasoning"),
    Form(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>", "Apertus"),
    Form(r"<\|channel>\s*thought", r"<channel\|>", "Gemma 4"),
    Form(r"<unused94>thought", "<unused95>", "MedGemma"),
)

_WRAPPING: Final = re.compile(
    r"<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>|</?response>", re.IGNORECASE
)
"""What goes round the words where thoughts have marks of their own."""

_ANY_MARK: Final = "|".join(f"(?P<b{n}>{form.begin})|(?P<e{n}>{form.end})" for n, form in enumerate(FORMS))
_MARKS: Final = re.compile(rf"(?=[<\[◁])(?:{_ANY_MARK})", re.IGNORECASE)
"""What every mark begins with stands before them: a text is searched for it some forty times as fast."""
_HARMONY: Final = re.compile(
    r"(?:<\|start\|>\s*\w*\s*)?<\|channel\|>(?P<channel>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)(?:<\|(?:end|return|call)\|>)?",
    re.DOTALL,
)
"""gpt-oss: what is for the reader stands in the channel `final` (cookbook.openai.com/articles/openai-harmony)."""
_CHANNEL: Final = "<|channel|>"
_ALL: Final = [mark for form in FORMS for mark in (form.begin, form.end)] + [re.escape(_CHANNEL)]
_BY_LETTER: Final = [
    (letter, re.compile(f"{first}(?:{'|'.join(m[len(first) :] for m in _ALL if m.startswith(first))})", re.IGNORECASE))
    for letter, first in (("<", "<"), ("[", r"\["), ("◁", "◁"))
]
"""The marks by what they begin with: an expression that begins with a letter skips what is none at once."""
_FINAL: Final = "final"
_BARE_BEGIN: Final = re.compile(r"\s*(?:assistant)?analysis(?=[A-Z0-9\"'(\\$])")
_BARE_FINAL: Final = re.compile(r"assistant\s*final(?=\W|[A-Z0-9]|\Z)")
"""Harmony whose special tokens a server has dropped: `analysisWe need ... assistantfinalThe answer`."""
_GRANITE: Final = re.compile(
    r"\s*here(?:'s| is) my thought process:(?P<thoughts>.*?)here(?:'s| is) my response:", re.DOTALL | re.IGNORECASE
)


def may_hold(text: str) -> bool:
    """Whether it is worth its time to look for thoughts in a text: False is sure, and takes about a microsecond."""
    for letter, marks in _BY_LETTER:
        if letter in text and marks.search(text):
            return True
    # A head of special tokens may stand before those that have no marks.
    return text.lstrip().startswith(("<", "[")) or bool(_BARE_BEGIN.match(text) or _GRANITE.match(text))


def words_of(text: str) -> Split:
    """The words of a reply and its thoughts, both without special tokens and what ran on behind one.

    Where words stand before the first special token, what follows belongs to another turn, thoughts included; a thought
    that holds such a token goes on behind it.
    """
    if _CHANNEL not in text:
        turn = split(special_tokens.without(text))
        if turn.words.strip():
            return turn
    whole = split(text)
    return Split(special_tokens.without(whole.words), whole.thoughts)


def split(text: str) -> Split:
    """The words of a reply and its thoughts, each without the marks; thoughts in several places are joined by a line.

    What is thought without a mark at the beginning (`... </think> 5`: the mark was in the prompt, vllm#12999) or at
    the end (the reply was cut) is thought all the same.
    """
    outer = _of_sections(text)
    inner = _of_marks(outer.words)
    return Split(inner.words, "\n".join(filter(None, (outer.thoughts, inner.thoughts))))


def _of_sections(text: str) -> Split:
    """The words of a text that is divided as a whole; all of it where it is not."""
    if _CHANNEL in text:
        return _of_channels(text)
    begin = _BARE_BEGIN.match(text)
    if begin:
        *thoughts, words = _BARE_FINAL.split(text[begin.end() :])
        return _made([words] if thoughts else [], thoughts or [words])
    granite = _GRANITE.match(text)
    if granite:
        return _made([text[granite.end() :]], [granite["thoughts"]])
    return Split(text, "")


def _of_channels(text: str) -> Split:
    """Everything outside of the channel `final` is thought, also what stands before the first channel."""
    words: list[str] = []
    thoughts: list[str] = []
    at = 0
    for part in _HARMONY.finditer(text):
        thoughts.append(text[at : part.start()])
        (words if part["channel"].strip().startswith(_FINAL) else thoughts).append(part["text"])
        at = part.end()
    thoughts.append(text[at:].replace(_CHANNEL, " "))
    return _made(words, thoughts)


def _of_marks(text: str) -> Split:
    words: list[str] = []
    thoughts: list[str] = []
    at, begun, wrong_end, pairs = 0, None, None, 0
    for mark in _MARKS.finditer(text):
        name = str(mark.lastgroup)
        if begun is None:
            words.append(text[at : mark.start()])
            at = mark.end()
            if name[0] == "b":
                begun, wrong_end = name[1:], None
            elif not pairs or text[at:].strip():  # an end without a beginning
                thoughts += words
                words = []
        elif name == f"e{begun}":
            thoughts.append(text[at : mark.start()])
            at, begun, pairs = mark.end(), None, pairs + 1
        elif name[0] == "e":
            wrong_end = mark
    if begun is not None and wrong_end is not None:  # begun in one form, ended in another
        rest = _of_marks(text[wrong_end.end() :])
        return _made([*words, rest.words], [*thoughts, text[at : wrong_end.start()], rest.thoughts])
    if not at:
        return Split(text, "")
    (words if begun is None else thoughts).append(text[at:])
    return _made(words, thoughts)


def _made(words: list[str], thoughts: list[str]) -> Split:
    plain = _WRAPPING.sub("", "".join(words))
    return Split(plain.strip(), "\n".join(filter(None, (thought.strip() for thought in thoughts))))
