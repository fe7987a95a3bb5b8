"""What a simulated model answers: a pure function of the request, its call key and a seed.

Must not know: HTTP, the order of calls, the time. A simulated student is right with a chance that depends on
its size, on the hint found in its prompt, on whether it thinks and on the problem's difficulty; the chances are
invented, and every text says SIMULATED. The hint is recognised by the marker in its first line, not by the call
key: prompts that are put together wrongly show in the figures. A simulated judge compares the answer that stands
in its prompt with the gold answer there, and errs now and then.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from eli5b_batch.job.schema import Simulation
from eli5b_batch.simulated.sentences import JUDGING, STEPS, WORKING
from eli5b_batch.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eli5b_batch.records.keys import CallName

CHARS_PER_TOKEN: Final = 4
"""A simulated token is four characters, rounded up."""

MEDIAN_DIFFICULTY: Final = 4.5
DIFFICULTY_SLOPE: Final = -0.04
"""Change of the chance per point of difficulty above the median."""

SKILL_BY_SIZE: Final = ((1.0, 0.12), (3.0, 0.25), (8.0, 0.40))
"""Chance of a right answer without a hint, by billions of parameters; in between by the size's logarithm."""

SKILL_OF_LARGE: Final = 0.65
"""The same for larger models, and for ids that tell no size."""

GAIN: Final = {
    "none": 0.0,
    "placebo": -0.01,
    "generic": 0.05,
    "rewritten": 0.09,
    "tailored_any": 0.10,
    "tailored": 0.13,
}
"""What a hint adds to the chance, by condition; a kind not listed counts as generic."""

GAIN_OF_THINKING: Final = 0.10
"""What thinking adds to the chance, under any hint; invented as all of these."""

_LEAST, _MOST = 0.01, 0.97
_SPREAD: Final = 0.35  # of the logarithm of a text's length
_LONGEST: Final = 8  # times the mean length
_HALF_LINE: Final = 34  # characters: a text ends with the line that reaches its size
_PACE: Final = 0.05  # times vary by this share
_SILENT: Final = 8  # of 256 wrong answers, this many give no final answer (3 %)
_SHORT: Final = 3  # answers shorter than this stand in any text by chance: not concealed
_MISTAKEN: Final = 0.03  # of answers are judged wrongly, in both orders
_SLIPS: Final = 0.015  # of judgements come out the other way round
_RAMBLES: Final = 0.005  # of judgements end without a verdict
_LONGEST_REASON: Final = 400  # characters of a judgement
_NORMAL: Final = NormalDist()
_MARKER: Final = re.compile(r"SIMULATED hint \[kind=(\S+) for=(\S+) problem=([^\]\n]+)\]")
_BOXED: Final = re.compile(r"^> .*\\boxed\{(.*)\}$", re.MULTILINE)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)[bB]\b")
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


class BookEntry(NamedTuple):
    """One problem of the answer book."""

    text: str
    answer: str
    difficulty: float | None = None


@dataclass(frozen=True, slots=True)
class SimulatedReply:
    """One simulated reply; times in seconds. What it thought before its first word is among its output tokens."""

    text: str
    thinking: str
    finish_reason: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int
    latency_s: float
    generation_s: float


class SimulatedModel:
    """The models of one provider.

    Args:
        book: problem id -> problem.
        models: the job's name of a model -> the provider's id of it.
        simulation: skills, lengths and speeds.
        seed: of the job.
    """

    def __init__(
        self, book: Mapping[str, BookEntry], models: Mapping[str, str], simulation: Simulation, seed: int
    ) -> None:
        self._book = book
        self._simulation = simulation
        self._seed = f"{seed}|{simulation.seed}".encode()
        self._names: dict[str, list[str]] = {}
        for name, model in models.items():
            self._names.setdefault(model, []).append(name)

    @property
    def models(self) -> list[str]:
        """The ids of the models, each once."""
        return list(self._names)

    def load_s(self, model: str) -> float:
        """Seconds to load the model with this id; of several names in the job the first one given a time counts."""
        return self._setting("load_s", self._names.get(model, ()))

    def fingerprint(self, call: str, body: bytes) -> bytes:
        """32 bytes that stand for one request; every chance of its reply is drawn from them."""
        return digest_of(self._seed, call.encode(), body)

    def reply(
        self,
        fingerprint: bytes,
        call: CallName | None,
        model: str,
        prompt: str,
        max_tokens: int | None,
        *,
        thought: str = "",
    ) -> SimulatedReply:
        """The reply to one request; the same arguments always give the same reply.

        Args:
            fingerprint: of the request, see `fingerprint`.
            call: what the call key says; None where the client sent none.
            model: the model's id.
            prompt: the texts of all messages, as far as they reach the model.
            max_tokens: where the reply is cut, thoughts included; None for nowhere.
            thought: what the model thinks first; empty: it does not think.
        """
        names = self._names.get(model, ())
        own = call.model if call is not None and call.model in names else ""
        tokens_per_s = self._setting("tokens_per_s", (own, *names))
        limit = None
        if max_tokens is not None:
            left = max_tokens - count_tokens(thought)
            if thought and left <= 0:
                spent = thought[: max_tokens * CHARS_PER_TOKEN]
                return self._timed(fingerprint, "", spent, prompt, tokens_per_s, cut=True)
            limit = left * CHARS_PER_TOKEN
        if call is not None and call.step == "hint":
            text, cut = self._hint(fingerprint, call, limit)
        elif call is not None and call.step == "answer":
            text, cut = self._answer(fingerprint, call, model, prompt, limit, thinks=bool(thought))
        elif call is not None and call.step == "judge":
            text, cut = self._judgement(fingerprint, call, prompt, limit)
        else:
            text, cut = _compose("SIMULATED reply", WORKING, fingerprint, self._size(fingerprint), limit=limit)
        return self._timed(fingerprint, text, thought, prompt, tokens_per_s, cut=cut)

    def _hint(self, fingerprint: bytes, call: CallName, limit: int | None) -> tuple[str, bool]:
        kind, reader = call.tags.get("hint", "generic"), call.tags.get("hint_for", "any")
        head = f"SIMULATED hint [kind={kind} for={reader} problem={call.problem}]"
        text, cut = _compose(head, STEPS, fingerprint, self._size(fingerprint), limit=limit)
        entry = self._book.get(call.problem)
        if entry is None or len(text) <= len(head):
            return text, cut
        return head + _conceal(text[len(head) :], entry.answer), cut

    def _answer(
        self, fingerprint: bytes, call: CallName, model: str, prompt: str, limit: int | None, *, thinks: bool
    ) -> tuple[str, bool]:
        entry = self._book.get(call.problem)
        if entry is None or entry.text.strip() not in prompt:
            return _compose("SIMULATED answer: no problem was given.", (), fingerprint, 0, limit=limit)
        names = self._names.get(model, [model])
        student = call.model if call.model in names else names[0]
        condition = find_condition(prompt, call.problem, student)
        luck = self._luck(call.problem, student, call.tags.get("sample", 0))
        skill = self._simulation.skill.get(student, {})
        chance = chance_of(model, condition, entry.difficulty, skill, thinks=thinks)
        value: str | None = entry.answer
        if luck >= chance:
            value = None if fingerprint[-1] < _SILENT else wrong_value(entry.answer, fingerprint)
        tail = "\nI did not get to a final answer." if value is None else f"\n\nFinal answer: \\boxed{{{value}}}"
        head = f"SIMULATED answer [hint={condition}]"
        return _compose(head, WORKING, fingerprint, self._size(fingerprint), limit=limit, tail=tail)

    def _judgement(self, fingerprint: bytes, call: CallName, prompt: str, limit: int | None) -> tuple[str, bool]:
        """Right but for a few: a mistake is made about an answer, whatever its place; a slip in one order only."""
        entry = self._book.get(call.problem)
        if entry is None or not all(quoted(text) in prompt for text in (entry.text, entry.answer)):
            return _compose("SIMULATED judge: no problem was given.", (), fingerprint, 0, limit=limit)
        said = _BOXED.findall(prompt)
        about = str(sorted((tag, value) for tag, value in call.tags.items() if tag != "first"))
        mistaken = fraction_of(digest_of(self._seed, f"judge|{call.problem}|{about}".encode())) < _MISTAKEN
        slips = fraction_of(fingerprint[8:]) < _SLIPS
        verdict = "NO ANSWER"
        if said:
            same = said[-1] == entry.answer.strip()
            verdict = "EQUIVALENT" if same != (mistaken or slips) else "DIFFERENT"
        tail = "" if fraction_of(fingerprint[16:]) < _RAMBLES else f"\nVERDICT: {verdict}"
        size = min(self._size(fingerprint), _LONGEST_REASON)
        return _compose("SIMULATED judgement", JUDGING, fingerprint, size, limit=limit, tail=tail)

    def _setting(self, key: Literal["tokens_per_s", "load_s"], names: Sequence[str]) -> float:
        """What the job gives a model that has these names in it; a model left out gets what holds without a mapping."""
        given: float | dict[str, float] = getattr(self._simulation, key)
        if not isinstance(given, dict):
            return given
        left_out: float = Simulation.model_fields[key].default
        return next((given[name] for name in names if name in given), left_out)

    def _luck(self, problem: str, student: str, sample: str | int) -> float:
        """Uniform in [0, 1), the same in every arm, so that arms are paired as with a shared seed."""
        return fraction_of(digest_of(self._seed, f"luck|{problem}|{student}|{sample}".encode()))

    def _size(self, fingerprint: bytes) -> int:
        """Length of a text in characters: lognormal around the mean that the job asks for."""
        mean = self._simulation.mean_output_tokens
        z = _NORMAL.inv_cdf(max(fraction_of(fingerprint), 1e-9))
        return int(CHARS_PER_TOKEN * min(mean * math.exp(_SPREAD * z - _SPREAD**2 / 2), _LONGEST * mean))

    def _timed(
        self, fingerprint: bytes, text: str, thinking: str, prompt: str, tokens_per_s: float, *, cut: bool
    ) -> SimulatedReply:
        output = count_tokens(text) + count_tokens(thinking)
        pace = 1 + _PACE * (fingerprint[-2] / 127.5 - 1)
        return SimulatedReply(
            text=text,
            thinking=thinking,
            finish_reason="length" if cut else "stop",
            input_tokens=max(1, count_tokens(prompt)),
            output_tokens=output,
            latency_s=pace * self._simulation.latency_s,
            generation_s=pace * output / tokens_per_s,
        )


def count_tokens(text: str) -> int:
    """Simulated tokens of a text."""
    return -(-len(text) // CHARS_PER_TOKEN)


def find_condition(prompt: str, problem: str, student: str) -> str:
    """Which condition a prompt belongs to, by the hint that stands in it.

    Returns:
        `none` without a hint; `placebo` for a hint to another problem; else the hint's kind, with `:other`
        where it was written for another student.
    """
    markers = _MARKER.findall(prompt)
    if not markers:
        return "none"
    kind, reader, about = markers[-1]
    if about != problem:
        return "placebo"
    return str(kind) if reader in (student, "any") else f"{kind}:other"


def chance_of(
    model: str, condition: str, difficulty: float | None, skill: Mapping[str, float], *, thinks: bool = False
) -> float:
    """The chance of a right answer: as the job says in `skill`, else by size, condition, thinking and difficulty.

    A chance that the job gives holds as it is. Where it gives none, a hint for another student (`KIND:other`)
    counts half way between a generic one and one of its kind for this student.
    """
    if condition in skill:
        return skill[condition]
    kind, other, _ = condition.partition(":other")
    if other:
        return sum(chance_of(model, half, difficulty, skill, thinks=thinks) for half in ("generic", kind)) / 2
    chance = _skill_by_size(model) + GAIN.get(kind, GAIN["generic"]) + thinks * GAIN_OF_THINKING
    if difficulty is not None:
        chance += DIFFICULTY_SLOPE * (difficulty - MEDIAN_DIFFICULTY)
    return min(max(chance, _LEAST), _MOST)


def wrong_value(gold: str, fingerprint: bytes) -> str:
    """A value that differs from `gold` and looks like it."""
    shift = 1 + fingerprint[-3] % 9
    if _INTEGER.fullmatch(gold):
        value = int(gold)
        down = fingerprint[-4] & 1 and not 0 <= value < shift
        return str(value - shift if down else value + shift)
    if _DIGITS.search(gold):
        return _DIGITS.sub(lambda found: str(int(found[0]) + shift), gold, count=1)
    return str(shift)


def _skill_by_size(model: str) -> float:
    found = _SIZE.search(model)
    size = float(found[1]) if found else math.inf
    if size <= SKILL_BY_SIZE[0][0]:
        return SKILL_BY_SIZE[0][1]
    for (low, skill), (high, better) in itertools.pairwise(SKILL_BY_SIZE):
        if size <= high:
            return skill + (better - skill) * math.log(size / low) / math.log(high / low)
    return SKILL_OF_LARGE


def _compose(
    head: str, sentences: tuple[str, ...], fingerprint: bytes, size: int, *, limit: int | None, tail: str = ""
) -> tuple[str, bool]:
    """A text of about `size` characters, and whether `limit` cut it, with its whole tail."""
    text = _fill(head, sentences, fingerprint, size - len(tail) - _HALF_LINE) + tail
    if limit is None or len(text) <= limit:
        return text, False
    return _fill(head, sentences, fingerprint, limit)[:limit], True


def _fill(head: str, sentences: tuple[str, ...], fingerprint: bytes, size: int) -> str:
    lines = [head]
    length = len(head)
    for line in _lines(sentences, fingerprint):
        lines.append(line)
        length += len(line) + 1
        if length >= size:
            break
    return "\n".join(lines)


def _lines(sentences: tuple[str, ...], fingerprint: bytes) -> Iterator[str]:
    """Endless lines: numbered steps for a hint, plain sentences for anything else; or none at all."""
    for i in itertools.count() if sentences else ():
        sentence = sentences[(fingerprint[i % len(fingerprint)] + 7 * i) % len(sentences)]
        yield f"{i + 1}. {sentence}" if sentences is STEPS else sentence


def _conceal(text: str, answer: str) -> str:
    """`text` without `answer`; the replacement stands in no sentence, so that it can't build a new one."""
    answer = answer.strip()
    return text.replace(answer, "~") if len(answer) >= _SHORT else text


def digest_of(*parts: bytes) -> bytes:
    """32 bytes drawn from `parts`; how they are divided counts."""
    digest = hashlib.blake2b(digest_size=32, usedforsecurity=False)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def fraction_of(digest: bytes) -> float:
    """Uniform in [0, 1), from a digest's first bytes."""
    return int.from_bytes(digest[:6], "big") / 2**48
