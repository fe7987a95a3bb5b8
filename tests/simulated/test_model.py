from __future__ import annotations

import random
import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.data.problem import Problem
from eli5b_batch.grading.judge import read
from eli5b_batch.job.schema import Judge, Simulation
from eli5b_batch.records import CallName, make_key, parse_key
from eli5b_batch.run.judging import Judging
from eli5b_batch.simulated.model import (
    GAIN_OF_THINKING,
    BookEntry,
    SimulatedModel,
    SimulatedReply,
    chance_of,
    count_tokens,
    digest_of,
    find_condition,
    wrong_value,
)
from eli5b_batch.simulated.sentences import JUDGING, STEPS, WORKING

ONE_B = "llama3.2:1b"
MODELS = {"teacher": "meta-llama/Maverick-17B", "1b": ONE_B, "3b": "llama3.2:3b", "8b": "llama3.1:8b"}
TEXT = "What is the sum of the first one hundred whole numbers?"
BOOK = {f"{i:05d}-abc": BookEntry(f"{TEXT} ({i})", str(5000 + i), 4.5) for i in range(2000)}

FIRST = ("reference", "candidate")
JUDGING_BY_TEACHER = Judging(Judge(model="teacher"), ["answer"])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def make_mind(book: dict[str, BookEntry] | None = None, **simulation: object) -> SimulatedModel:
    return SimulatedModel(book or BOOK, MODELS, Simulation.model_validate(simulation), seed=7)


def marker(kind: str, reader: str, problem: str) -> str:
    return f"SIMULATED hint [kind={kind} for={reader} problem={problem}]"


def answer(
    mind: SimulatedModel,
    problem: str,
    student: str = "1b",
    hint: str = "",
    *,
    sample: int = 0,
    limit: int | None = None,
    thought: str = "",
) -> SimulatedReply:
    call = CallName(problem, "answer", student, {"hint": "not looked at", "hint_for": "any", "sample": sample})
    prompt = f"Solve:\n{BOOK[problem].text}\n{hint}\nReason step by step."
    fingerprint = mind.fingerprint(str(call), prompt.encode())
    return mind.reply(fingerprint, call, MODELS[student], prompt, limit, thought=thought)


def is_right(reply: SimulatedReply, problem: str) -> bool:
    return reply.text.endswith(f"\\boxed{{{BOOK[problem].answer}}}")


def share_right(mind: SimulatedModel, student: str, kind: str, reader: str) -> float:
    hits = [is_right(answer(mind, p, student, marker(kind, reader, p) if kind else ""), p) for p in BOOK]
    return sum(hits) / len(hits)


@given(call=texts, body=st.binary(max_size=60), gold=texts, limit=st.none() | st.integers(3, 400))
def test_every_text_says_simulated_and_the_same_request_gets_the_same_reply(
    call: str, body: bytes, gold: str, limit: int | None
) -> None:
    for step in ("hint", "answer", "judge"):
        key = parse_key(make_key("p", step, "1b", {"hint": "generic"}))
        first, again = (make_mind({"p": BookEntry("text", gold)}) for _ in range(2))
        again.reply(again.fingerprint("another", b""), None, ONE_B, "", None)
        replies = [m.reply(m.fingerprint(call, body), key, ONE_B, "text", limit) for m in (first, again)]
        assert replies[0] == replies[1]
        assert "SIMULATED" in replies[0].text


@given(gold=texts, body=st.binary(max_size=8))
def test_a_right_answer_ends_with_the_gold_in_a_box_and_a_wrong_one_does_not_hold_it(gold: str, body: bytes) -> None:
    call = CallName("p", "answer", "1b", {})
    for chance in (0.0, 1.0):
        mind = make_mind({"p": BookEntry("text", gold)}, skill={"1b": {"none": chance}})
        reply = mind.reply(mind.fingerprint("", body), call, ONE_B, "the text", None)
        assert reply.text.endswith(f"\\boxed{{{gold}}}") == bool(chance)
        assert reply.finish_reason == "stop"


@given(
    gold=texts.filter(lambda gold: len(gold.strip()) >= 3) | st.sampled_from((*STEPS, *WORKING)),
    body=st.binary(),
)
def test_a_hint_never_holds_the_answer(gold: str, body: bytes) -> None:
    mind = make_mind({"p": BookEntry("text", gold)})
    call = CallName("p", "hint", "teacher", {"hint": "tailored", "hint_for": "1b"})
    head, _, steps = mind.reply(mind.fingerprint("", body), call, MODELS["teacher"], "text", None).text.partition("\n")
    assert head == "SIMULATED hint [kind=tailored for=1b problem=p]"
    assert gold.strip() not in steps


@given(gold=texts, salt=st.binary(max_size=4))
def test_a_wrong_value_differs_from_the_gold(gold: str, salt: bytes) -> None:
    assert wrong_value(gold, digest_of(salt)) != gold


@pytest.mark.parametrize(
    ("gold", "looks_like"),
    [("42", r"-?[0-9]+"), ("3", r"[0-9]+"), (r"\frac{3}{4}", r"\\frac\{[0-9]+\}\{4\}"), (r"\pi", "[0-9]")],
)
def test_a_wrong_value_looks_like_the_gold(gold: str, looks_like: str) -> None:
    values = {wrong_value(gold, digest_of(b"%d" % i)) for i in range(50)}
    assert len(values) > 3
    assert all(re.fullmatch(looks_like, value) for value in values)


def test_the_condition_is_read_from_the_prompt() -> None:
    assert find_condition("no hint", "p", "1b") == "none"
    assert find_condition(f"x\n{marker('generic', 'any', 'p')}\ny", "p", "1b") == "generic"
    assert find_condition(marker("tailored", "1b", "p"), "p", "1b") == "tailored"
    assert find_condition(marker("tailored", "3b", "p"), "p", "1b") == "tailored:other"
    assert find_condition(marker("tailored", "1b", "q"), "p", "1b") == "placebo"
    assert find_condition(marker("tailored", "1b", "p")[:-3], "p", "1b") == "none"


def test_a_hint_can_be_recognised_in_a_prompt() -> None:
    mind = make_mind()
    problem = "00003-abc"
    call = CallName(problem, "hint", "teacher", {"hint": "rewritten", "hint_for": "3b"})
    hint = mind.reply(mind.fingerprint("", b""), call, MODELS["teacher"], BOOK[problem].text, None)
    assert "\n1. " in hint.text
    assert "[hint=rewritten]" in answer(mind, problem, "3b", hint.text).text
    assert "[hint=rewritten:other]" in answer(mind, problem, "1b", hint.text).text
    assert "[hint=placebo]" in answer(mind, "00004-abc", "3b", hint.text).text


def test_a_prompt_without_the_problem_gets_no_answer() -> None:
    mind = make_mind(skill={"1b": {"none": 1.0}})
    call = CallName("00000-abc", "answer", "1b", {})
    reply = mind.reply(mind.fingerprint("", b""), call, ONE_B, "Solve it.", None)
    assert "boxed" not in reply.text
    assert "no problem was given" in reply.text


@pytest.mark.parametrize(
    ("model", "condition", "difficulty", "chance"),
    [
        ("llama3.2:1b", "none", None, 0.12),
        ("qwen2.5:0.5b", "none", None, 0.12),
        ("llama3.2:3b", "none", 4.5, 0.25),
        ("llama3.1:8b", "generic", 4.5, 0.45),
        ("llama3.1:8b", "tailored", 3.5, 0.57),
        ("llama3.1:8b", "tailored:other", 4.5, 0.49),
        ("llama3.2:1b", "placebo", 9.5, 0.01),
        ("llama-70b", "none", None, 0.65),
        ("some-model", "none", None, 0.65),
        ("llama-2b", "none", None, 0.12 + 0.13 * 0.6309),
    ],
)
def test_the_default_chances(model: str, condition: str, difficulty: float | None, chance: float) -> None:
    assert chance_of(model, condition, difficulty, {}) == pytest.approx(chance, abs=1e-4)


def test_a_given_skill_holds_as_it_is() -> None:
    skill = {"generic": 0.2, "tailored": 0.4, "tailored_any": 1.0}
    assert chance_of(ONE_B, "generic", 10, skill) == 0.2
    assert chance_of(ONE_B, "tailored_any", 10, skill) == 1.0
    assert chance_of(ONE_B, "tailored:other", 10, skill) == pytest.approx(0.3)
    assert chance_of(ONE_B, "tailored:other", 10, {**skill, "tailored:other": 0.9}) == 0.9
    assert chance_of(ONE_B, "none", None, skill) == pytest.approx(0.12)


def test_the_arms_show_the_effects_they_are_given() -> None:
    mind = make_mind()
    arms = [("", ""), ("generic", "any"), ("tailored", "1b"), ("tailored", "8b")]
    shares = [share_right(mind, "1b", kind, reader) for kind, reader in arms]
    assert shares == pytest.approx([0.12, 0.17, 0.25, 0.21], abs=0.03)
    assert share_right(mind, "8b", "", "") == pytest.approx(0.40, abs=0.03)


def test_thinking_adds_its_gain_to_a_chance_that_the_job_does_not_give() -> None:
    for condition in ("none", "tailored", "tailored:other"):
        gain = chance_of(ONE_B, condition, None, {}, thinks=True) - chance_of(ONE_B, condition, None, {})
        assert gain == pytest.approx(GAIN_OF_THINKING)
    assert chance_of(ONE_B, "none", None, {"none": 0.2}, thinks=True) == 0.2
    mind = make_mind()
    bare, thinking = (
        {p for p in BOOK if is_right(answer(mind, p, thought=thought), p)} for thought in ("", "Let me see.")
    )
    assert bare < thinking
    assert (len(thinking) - len(bare)) / len(BOOK) == pytest.approx(GAIN_OF_THINKING, abs=0.03)


def test_thoughts_are_written_first_and_are_paid_out_of_the_limit() -> None:
    mind, thought = make_mind(skill={"1b": {"none": 1.0}}), "x" * 40
    plain, thinking = answer(mind, "00001-abc"), answer(mind, "00001-abc", thought=thought)
    assert (thinking.text, thinking.thinking) == (plain.text, thought)
    assert thinking.output_tokens == plain.output_tokens + 10
    assert thinking.generation_s > plain.generation_s
    fits, cut = (answer(mind, "00001-abc", thought=thought, limit=thinking.output_tokens - less) for less in (0, 1))
    assert (fits.text, fits.finish_reason) == (plain.text, "stop")
    assert ("boxed" in cut.text, cut.finish_reason) == (False, "length")


@pytest.mark.parametrize("limit", [1, 9, 10])
def test_a_limit_may_be_spent_on_thoughts_alone(limit: int) -> None:
    reply = answer(make_mind(), "00001-abc", thought="x" * 40, limit=limit)
    assert (reply.text, reply.thinking) == ("", "x" * 4 * limit)
    assert (reply.finish_reason, reply.output_tokens) == ("length", limit)


def test_arms_are_paired_and_samples_are_not() -> None:
    mind = make_mind()
    bare, hinted, other = (
        {p for p in BOOK if is_right(answer(mind, p, "1b", h(p), sample=sample), p)}
        for h, sample in ((str, 0), (lambda p: marker("tailored", "1b", p), 0), (str, 1))
    )
    assert bare < hinted
    assert not other <= hinted


def test_a_model_is_known_by_its_id_not_by_the_key() -> None:
    mind = make_mind(skill={"1b": {"none": 1.0}, "8b": {"none": 0.0}})
    call = CallName("00000-abc", "answer", "1b", {})
    prompt = BOOK["00000-abc"].text
    wired_wrong = mind.reply(mind.fingerprint("", b""), call, MODELS["8b"], prompt, None)
    assert not is_right(wired_wrong, "00000-abc")


def test_a_few_wrong_answers_give_no_final_answer() -> None:
    mind = make_mind(skill={"1b": {"none": 0.0}})
    silent = [p for p in BOOK if "boxed" not in answer(mind, p).text]
    assert 0.01 < len(silent) / len(BOOK) < 0.06
    first_line, _, rest = answer(mind, silent[0]).text.partition("\n")
    assert first_line == "SIMULATED answer [hint=none]"
    assert not re.search("[0-9]", rest)


@pytest.mark.parametrize("limit", [3, 20, 100])
def test_a_text_is_cut_at_the_limit_and_loses_its_answer(limit: int) -> None:
    mind = make_mind(skill={"1b": {"none": 1.0}}, mean_output_tokens=400)
    reply = answer(mind, "00001-abc", limit=limit)
    assert reply.finish_reason == "length"
    assert reply.output_tokens == limit
    assert "Final" not in reply.text
    whole = answer(mind, "00001-abc")
    assert answer(mind, "00001-abc", limit=whole.output_tokens) == whole
    assert "boxed" not in answer(mind, "00001-abc", limit=whole.output_tokens - 1).text


def test_lengths_vary_around_the_mean() -> None:
    mind = make_mind(mean_output_tokens=160)
    tokens = sorted(answer(mind, p).output_tokens for p in BOOK)
    assert sum(tokens) / len(tokens) == pytest.approx(160, rel=0.05)
    assert tokens[len(tokens) // 10] < 120
    assert tokens[-len(tokens) // 10] > 200


def test_replies_do_not_depend_on_the_order_of_calls() -> None:
    problems = list(BOOK)[:200]
    forwards = {p: answer(make_mind(), p) for p in problems}
    mind = make_mind()
    mixed = problems.copy()
    random.Random(3).shuffle(mixed)
    assert {p: answer(mind, p) for p in mixed} == forwards


def test_time_and_usage() -> None:
    reply = answer(make_mind(latency_s=2.0, tokens_per_s=10), "00001-abc")
    assert reply.latency_s == pytest.approx(2.0, rel=0.06)
    assert reply.generation_s == pytest.approx(reply.output_tokens / 10, rel=0.06)
    assert reply.output_tokens == count_tokens(reply.text)
    assert [count_tokens("x" * n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_the_phrases_hold_nothing_that_reads_like_an_answer() -> None:
    for sentence in (*STEPS, *WORKING, *JUDGING):
        assert not re.search(r"[0-9=~\n]|boxed|answer is", sentence)


def judgement(mind: SimulatedModel, problem: str, said: str, first: str = "reference", *, shown: bool = True) -> str:
    """What the simulated judge says about a reply, as a whole; the prompt is the real one."""
    entry = BOOK[problem]
    asked = JUDGING_BY_TEACHER.questions(
        Problem(problem, entry.text, entry.answer if shown else "0"), Said(said), "answer", "1b", {"sample": 0}
    )
    prompt, tags = next(one for one in asked if one[1]["first"] == first)
    call = CallName(problem, "judge", "teacher", dict(tags))
    text = "\n".join(message["content"] for message in prompt.messages())
    return mind.reply(mind.fingerprint(str(call), text.encode()), call, MODELS["teacher"], text, None).text


class Said(NamedTuple):
    """A reply to be judged."""

    text: str
    key: str = "k"
    ok: bool = True


def test_a_simulated_judge_is_mostly_right_and_errs_now_and_then() -> None:
    mind = make_mind()
    right = [read(judgement(mind, p, f"Final answer: \\boxed{{{BOOK[p].answer}}}")) for p in BOOK]
    wrong = [read(judgement(mind, p, "Final answer: \\boxed{7}")) for p in BOOK]
    assert 0.94 < right.count("equivalent") / len(BOOK) < 0.98
    assert 0.94 < wrong.count("different") / len(BOOK) < 0.98
    assert 0 < right.count(None) < 30
    silent = [read(judgement(mind, p, "I did not get to a final answer.")) for p in BOOK]
    assert set(silent) == {"no_answer", None}


def test_a_simulated_judge_disagrees_with_itself_in_the_other_order_at_times() -> None:
    mind = make_mind()
    pairs = [
        [read(judgement(mind, p, f"Final answer: \\boxed{{{BOOK[p].answer}}}", first)) for first in FIRST] for p in BOOK
    ]
    both = [pair for pair in pairs if None not in pair]
    assert 0.01 < sum(one != other for one, other in both) / len(both) < 0.05
    assert sum(pair == ["different", "different"] for pair in both) / len(both) > 0.015


def test_a_judge_that_is_shown_another_problem_comes_to_no_verdict() -> None:
    text = judgement(make_mind(), "00001-abc", "Final answer: \\boxed{5001}", shown=False)
    assert text == "SIMULATED judge: no problem was given."
    assert read(text) is None
