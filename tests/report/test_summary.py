from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.protocols.eli5b.conditions import by_hint, own_size
from eli5b_batch.report.results import build_results
from eli5b_batch.report.summary import summarize

if TYPE_CHECKING:
    from tests.report.conftest import RunFolder

MANIFEST: dict[str, Any] = {
    "name": "small",
    "protocol": "eli5b",
    "simulated": False,
    "graded_steps": ["answer"],
    "expected_answers": 0,
    "teacher": "maverick",
    "students": ["3b", "1b"],
}


def summary_of(run: RunFolder, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    return summarize(build_results(run.path, ["answer"]), {**MANIFEST, **changes})


def fill(run: RunFolder, model: str, hint: str, hint_for: str, right: str, *, samples: int = 1) -> None:
    """One answer per letter of `right`, `samples` letters per problem: `+` right, `-` wrong, `x` failed."""
    verdicts = {"+": "correct", "-": "incorrect", "x": "failed"}
    for at, letter in enumerate(right):
        problem, sample = divmod(at, samples)
        run.answer(f"p{problem}", model, verdicts[letter], hint=hint, hint_for=hint_for, sample=sample)


def test_an_arm_counts_failures_as_wrong_answers(run: RunFolder) -> None:
    fill(run, "1b", "generic", "any", "+-x+")
    run.answer("p9", "1b", "no_answer", hint="generic", hint_for="any", sample=0, finish_reason="length")
    run.answer("p8", "1b", "timeout", hint="generic", hint_for="any", sample=0, output_tokens=100)
    run.call("p7", "1b", hint="generic", hint_for="any", sample=0)
    (arm,) = summary_of(run)["arms"]
    assert arm["model"] == "1b"
    assert arm["tags"] == {"hint": "generic", "hint_for": "any"}
    assert (arm["answers"], arm["problems"], arm["correct"]) == (6, 6, 2)
    assert arm["accuracy"] == pytest.approx(2 / 6)
    assert arm["interval"][0] < 2 / 6 < arm["interval"][1]
    counts = {name: arm[name] for name in ("failed", "no_answer", "truncated", "grader_gave_up", "ungraded")}
    assert counts == {"failed": 1, "no_answer": 1, "truncated": 1, "grader_gave_up": 1, "ungraded": 1}
    assert arm["mean_output_tokens"] == pytest.approx((4 * 20 + 100) / 5)
    assert arm["pass_at"] is None


def test_every_class_of_failure_is_counted_by_arm(run: RunFolder) -> None:
    for at, failure in enumerate(["not_done", "not_done", "empty_reply", "context_overflow", "not_done", "timeout"]):
        run.answer(f"p{at}", "1b", "failed", hint="none", hint_for="any", failure=failure)
    run.grade("p9|answer|hint:none|hint_for:any|model:1b", "failed")
    run.answer("p9", "1b", "correct", hint="generic", hint_for="any")
    none, generic = summary_of(run)["arms"]
    assert list(none["failures"].items()) == [
        *(("not_done", 3), ("context_overflow", 1), ("empty_reply", 1), ("not_recorded", 1), ("timeout", 1)),
    ]
    assert sum(none["failures"].values()) == none["failed"] == 7
    assert generic["failures"] == {}


def test_arms_that_lost_more_than_one_in_a_hundred_answers_are_named_the_worst_first(run: RunFolder) -> None:
    for at in range(100):
        run.answer(f"p{at}", "1b", "correct", hint="none", finish_reason="length" if at < 1 else "stop")
        run.answer(f"p{at}", "1b", "correct", hint="generic", finish_reason="length" if at < 2 else "stop")
        run.answer(f"p{at}", "1b", "failed" if at < 3 else "correct", hint="tailored", failure="not_done")
    (note,) = summary_of(run)["notes"]
    assert note == (
        "More than 1% of the answers are cut off or failed in 2 of 3 arms: 1b: hint tailored, 3 of 100; "
        "1b: hint generic, 2 of 100."
    )


def test_answers_filtered_and_built_on_replies_that_ended_early_are_counted_by_arm(run: RunFolder) -> None:
    for at in range(10):
        finish = "cut" if at < 3 else "filtered" if at < 4 else "whole"
        key = run.call(f"p{at}", "maverick", step="hint", hint="tailored", finish=finish)
        end = "filtered" if at == 9 else "whole"
        run.answer(f"p{at}", "1b", "correct", hint="tailored", finish=end, built_on=[key])
        run.answer(f"p{at}", "1b", "correct", hint="none", finish="whole")
    found = summary_of(run)
    counts = {
        arm["tags"]["hint"]: (arm["truncated"], arm["filtered"], arm["built_on_unfinished"]) for arm in found["arms"]
    }
    assert counts == {"none": (0, 0, 0), "tailored": (0, 1, 4)}
    assert found["built_on"] == [
        {"step": "hint", "model": "maverick", "tags": {"hint": "tailored"}, "replies": 10, "cut": 3, "filtered": 1}
        | {"holding_thoughts": 0}
    ]
    assert found["notes"][:2] == [
        (
            "Prompts hold replies that were cut off or filtered: hint by maverick: hint tailored, 3 cut off and 1"
            " filtered of 10. Answers built on one are marked in the results (built_on_finish)."
        ),
        ("More than 1% of the answers are cut off, filtered or failed in 1 of 2 arms: 1b: hint tailored, 1 of 10."),
    ]


def test_the_worst_replies_in_prompts_are_named_and_whole_ones_make_no_note(run: RunFolder) -> None:
    for at, hint in enumerate(["rewritten", "generic", "placebo", "tailored"]):
        for problem in range(10):
            finish = "cut" if problem < at else "whole"
            key = run.call(f"p{problem}", "maverick", step="hint", hint=hint, finish=finish)
            run.answer(f"p{problem}", "1b", "correct", hint=hint, finish="whole", built_on=[key])
        notes = [note for note in summary_of(run)["notes"] if note.startswith("Prompts hold")]
        assert len(notes) == (at > 0)
    (note,) = notes
    named = ["hint tailored, 3 cut", "hint placebo, 2 cut", "hint generic, 1 cut"]
    assert [note.index(name) for name in named] == sorted(note.index(name) for name in named)
    assert "rewritten" not in note


def test_students_are_told_with_their_calls_makespan_and_speed(run: RunFolder) -> None:
    for at in range(4):
        run.answer(f"p{at}", "1b", "correct", started=1000.0 + at, latency=1.0, output_tokens=50)
    run.call("p0", "maverick", step="hint", started=1000.0)
    assert summary_of(run)["pace"] == [
        {"student": "1b", "calls": 4, "makespan_s": 4.0, "output_tokens": 200, "tokens_per_s": 50.0}
    ]


def test_samples_of_a_problem_stay_one_problem(run: RunFolder) -> None:
    fill(run, "1b", "generic", "any", "+++-----++++", samples=4)
    summary = summary_of(run)
    (arm,) = summary["arms"]
    assert (arm["answers"], arm["problems"], summary["samples"], summary["problems"]) == (12, 3, 4, 3)
    assert arm["pass_at"] == {"k": 4, "share": pytest.approx(2 / 3), "problems": 3}
    # Three problems, nearly all or nothing: hardly more than three independent answers.
    assert arm["interval"][1] - arm["interval"][0] > 0.6


def test_arms_come_in_the_manifests_order_of_students_and_from_none_to_tailored(run: RunFolder) -> None:
    for model in ("1b", "3b"):
        for hint in ("tailored", "none", "generic"):
            fill(run, model, hint, model if hint == "tailored" else "any", "+-")
    fill(run, "maverick", "none", "any", "++")
    order = [(arm["model"], arm["tags"]["hint"]) for arm in summary_of(run)["arms"]]
    assert order == [(m, h) for m in ("3b", "1b") for h in ("none", "generic", "tailored")] + [("maverick", "none")]


def test_contrasts_pair_problems_and_correct_over_students(run: RunFolder) -> None:
    # 3b: tailored wins 9 problems and loses 1; exact McNemar 22/1024.
    fill(run, "3b", "generic", "any", "+---------++--")
    fill(run, "3b", "tailored", "3b", "-+++++++++++--")
    fill(run, "1b", "generic", "any", "+-+-")
    fill(run, "1b", "tailored", "1b", "-++-")
    fill(run, "1b", "tailored", "3b", "----")
    contrasts = {row["student"]: row for row in summary_of(run)["contrasts"]}
    assert {row["contrast"] for row in contrasts.values()} == {"tailored - generic"}
    assert contrasts["3b"]["difference"] == pytest.approx(8 / 14)
    assert (contrasts["3b"]["problems"], contrasts["3b"]["differing"]) == (14, 10)
    assert contrasts["3b"]["p"] == pytest.approx(22 / 1024)
    assert contrasts["3b"]["p_holm"] == pytest.approx(44 / 1024)
    assert contrasts["3b"]["test"] == "exact McNemar"
    assert contrasts["3b"]["interval"][0] > 0
    assert contrasts["1b"]["difference"] == 0
    assert contrasts["1b"]["p_holm"] == 1.0


def test_contrasts_use_only_problems_that_both_arms_have(run: RunFolder) -> None:
    fill(run, "1b", "generic", "any", "+---", samples=2)
    fill(run, "1b", "tailored", "1b", "+++-++++", samples=2)
    (row,) = summary_of(run)["contrasts"]
    assert row["problems"] == 2
    assert row["difference"] == pytest.approx((0.5 + 0.5) / 2)
    assert row["test"] == "sign-flip permutation"


def test_every_planned_contrast_appears_where_its_arms_exist(run: RunFolder) -> None:
    for hint in ("none", "generic", "tailored_any"):
        fill(run, "1b", hint, "any", "+-+")
    for hint in ("placebo", "rewritten", "tailored"):
        fill(run, "1b", hint, "1b", "++-")
    assert [row["contrast"] for row in summary_of(run)["contrasts"]] == [
        "tailored - generic",
        "rewritten - generic",
        "generic - none",
        "tailored - placebo",
        "tailored_any - generic",
    ]


def test_the_interaction_by_hand(run: RunFolder) -> None:
    fill(run, "1b", "tailored", "1b", "++++")
    fill(run, "1b", "tailored", "3b", "+---")
    fill(run, "3b", "tailored", "1b", "-+--")
    fill(run, "3b", "tailored", "3b", "++--")
    summary = summary_of(run)
    assert summary["interaction"]["difference"] == pytest.approx((1 - 1 / 4) - (1 / 4 - 2 / 4))
    swapped = summary_of(run, students=["1b", "3b"])["interaction"]
    assert swapped["difference"] == summary["interaction"]["difference"]
    assert (swapped["small"], swapped["large"]) == ("1b", "3b")


def test_no_interaction_without_cross_matched_arms(run: RunFolder) -> None:
    fill(run, "1b", "tailored", "1b", "++")
    fill(run, "3b", "tailored", "3b", "++")
    assert summary_of(run)["interaction"] is None
    assert summary_of(run, students=["1b"])["interaction"] is None


def test_the_gap_closed_needs_a_teacher_who_is_surely_better(run: RunFolder) -> None:
    fill(run, "1b", "none", "any", "-" * 20)
    fill(run, "1b", "tailored", "1b", "+" * 5 + "-" * 15)
    fill(run, "maverick", "none", "any", "+" * 10 + "-" * 10)
    (gap,) = summary_of(run)["gap_closed"]
    assert gap["value"] == pytest.approx(0.5)
    assert gap["interval"][0] < 0.5 < gap["interval"][1]
    fill(run, "3b", "none", "any", "+" * 10 + "-" * 10)
    fill(run, "3b", "tailored", "3b", "+" * 20)
    assert summary_of(run)["gap_closed"][0] == {
        "student": "3b",
        "problems": 20,
        "value": None,
        "interval": None,
    }


def test_costs_that_nobody_knows_are_unknown_and_never_nothing(run: RunFolder) -> None:
    run.call("p1", "maverick", step="hint", cost=0.5)
    run.call("p2", "maverick", step="hint", cost=None, ok=False)
    run.call("p1", "paid", cost=None)
    run.call("p1", "1b", cost=0.0, ok=False)
    spending = summary_of(run)["spending"]
    assert spending["cost_by_model"] == {
        "1b": {"cost_usd": 0, "cost_unknown": 0},
        "maverick": {"cost_usd": 0.5, "cost_unknown": 1},
        "paid": {"cost_usd": 0, "cost_unknown": 1},
    }
    assert spending["total"] == {
        "calls": 4,
        "failed": 2,
        "input_tokens": 20,
        "output_tokens": 40,
        "cost_usd": 0.5,
        "cost_unknown": 2,
    }


def test_an_incomplete_run_says_so(run: RunFolder) -> None:
    fill(run, "1b", "generic", "any", "+-")
    assert summary_of(run, expected_answers=2)["complete"] is True
    half = summary_of(run, expected_answers=4)
    assert half["complete"] is False
    assert any("2 of 4 expected answers" in note for note in half["notes"])
    run.call("p5", "1b", hint="generic", hint_for="any", sample=0)
    waiting = summary_of(run, expected_answers=2)
    assert waiting["complete"] is False
    assert any("1 answers have no verdict yet" in note for note in waiting["notes"])


def test_few_problems_are_called_few(run: RunFolder) -> None:
    fill(run, "1b", "generic", "any", "+" * 29)
    assert any("29 problems are few" in note for note in summary_of(run)["notes"])
    fill(run, "1b", "generic", "any", "+" * 30)
    assert summary_of(run)["notes"] == []


def test_an_interval_that_rests_on_few_differing_problems_is_called_too_narrow(run: RunFolder) -> None:
    fill(run, "1b", "generic", "any", "-" * 40)
    fill(run, "1b", "tailored", "1b", "+" * 4 + "-" * 36)
    summary = summary_of(run)
    (row,) = summary["contrasts"]
    assert row["interval"][0] > 0
    assert row["p"] == pytest.approx(0.125)
    assert any("fewer than 10 problems" in note for note in summary["notes"])
    fill(run, "1b", "tailored", "1b", "+" * 10)
    assert summary_of(run)["notes"] == []


def test_verdicts_of_no_call_are_told(run: RunFolder) -> None:
    run.grade("p1|answer|model:1b", "correct")
    assert any("1 verdicts belong to no recorded call" in note for note in summary_of(run)["notes"])


def test_simulated_comes_from_the_manifest_or_from_the_records(run: RunFolder) -> None:
    fill(run, "1b", "generic", "any", "+")
    assert summary_of(run)["simulated"] is False
    assert summary_of(run, simulated=True)["simulated"] is True
    run.call("p9", "1b", simulated=True)
    assert summary_of(run)["simulated"] is True


def test_another_protocol_has_arms_and_no_contrasts(run: RunFolder) -> None:
    for problem in ("p1", "p2"):
        run.answer(problem, "gpt", "correct", method="llm")
        run.answer(problem, "gpt", "incorrect", method="router", turn=3)
        run.answer(problem, "slm", "incorrect")
    summary = summary_of(run, protocol="delegate", students=None, teacher=None)
    assert [(arm["model"], arm["tags"]) for arm in summary["arms"]] == [
        ("gpt", {"method": "llm"}),
        ("gpt", {"method": "router", "turn": 3}),
        ("slm", {}),
    ]
    assert summary["students"] == ["gpt", "slm"]
    assert summary["contrasts"] == []
    assert summary["interaction"] is None


def test_own_size_prefers_the_hint_written_for_the_model() -> None:
    arms = by_hint(
        [
            ("1b", {"hint": "tailored", "hint_for": "3b"}, "other"),
            ("1b", {"hint": "tailored", "hint_for": "1b"}, "own"),
            ("1b", {"hint": "generic", "hint_for": "any"}, "any"),
        ]
    )
    assert own_size(arms, "1b", "tailored") == "own"
    assert own_size(arms, "1b", "generic") == "any"
    assert own_size(arms, "3b", "tailored") is None


def test_who_graded_is_told_and_a_mixture_is_a_note(run: RunFolder) -> None:
    def graded(problem: str, verdict: str, grader: str) -> None:
        key = run.call(problem, "1b", hint="none", ok=verdict != "failed")
        row = {"key": key, "verdict": verdict, "answer": "7", "gold": "7", "grader": grader}
        run.append("grades.jsonl", orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    for n in range(30):
        graded(f"p{n}", "correct", "math/3")
    graded("p30", "failed", "math/1")
    summary = summary_of(run)
    assert summary["graders"] == {"math/3": 30}
    assert not any("mixed" in note for note in summary["notes"])
    graded("p31", "correct", "math/1")
    summary = summary_of(run)
    assert summary["graders"] == {"math/1": 1, "math/3": 30}
    assert (
        "Verdicts of several graders are mixed (math/1 on 1, math/3 on 30): eli5b-batch regrade makes them all by one."
        in summary["notes"]
    )
