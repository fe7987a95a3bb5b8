"""report/agreement.py: a judge's verdicts beside those of the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.report.build import build_report
from eli5b_batch.statistics.intervals import cohen_kappa

if TYPE_CHECKING:
    from tests.report.conftest import RunFolder

ROWS = [  # judge, rules, rule: one letter each, by arm
    *[("1b", "correct", "correct", "judge/equivalent")] * 20,
    *[("1b", "correct", "incorrect", "judge/equivalent")] * 5,
    *[("1b", "incorrect", "correct", "judge/different")] * 7,
    *[("1b", "incorrect", "timeout", "judge/orders_disagree")] * 15,
    *[("1b", "incorrect", "correct", "judge/orders_disagree")] * 3,
    *[("3b", "no_answer", "no_answer", "judge/no_answer")] * 4,
    ("3b", "error", "correct", "judge/unreadable"),
    ("3b", "error", "correct", "judge/failed"),
]


def fill(run: RunFolder) -> None:
    run.manifest(judge={"model": "arbiter", "orders": "both"}, students=["1b", "3b"])
    for n, (model, verdict, by_rules, rule) in enumerate(ROWS):
        key = run.call(f"p{n:03d}", model, hint="none", hint_for="any", sample=0)
        grade(run, key, verdict, by_rules, rule)
    key = run.call("p900", "3b", ok=False, hint="none", hint_for="any", sample=0)
    grade(run, key, "failed", "failed", "failed")


def grade(run: RunFolder, key: str, verdict: str, by_rules: str, rule: str) -> None:
    row = {"key": key, "verdict": verdict, "correct": verdict == "correct", "answer": "7", "gold": "7", "rule": rule}
    judged = {"grader": "judge/1", "rule_verdict": by_rules, "rule_grader": "math/3"}
    run.append("grades.jsonl", orjson.dumps(row | judged, option=orjson.OPT_APPEND_NEWLINE))


def test_agreement_by_arm_and_in_all(run: RunFolder) -> None:
    fill(run)
    judging = build_report(run.path).summary["judging"]
    assert (judging["judge"], judging["orders"]) == ("arbiter", "both")
    one, other = judging["arms"]
    assert (one["model"], one["tags"]) == ("1b", {"hint": "none", "hint_for": "any"})
    assert one == {
        "model": "1b",
        "tags": {"hint": "none", "hint_for": "any"},
        "judged": 50,
        "compared": 50,
        "judge_correct": 0.5,
        "rules_correct": 0.6,
        "judge_only": 5,
        "rules_only": 10,
        "agreement": 0.7,
        "kappa": pytest.approx(0.4),
        "orders_disagree": 18,
        "unreadable": 0,
        "calls_failed": 0,
    }
    assert (other["judged"], other["compared"], other["agreement"], other["kappa"]) == (6, 4, 1.0, None)
    assert (other["unreadable"], other["calls_failed"]) == (1, 1)
    assert (judging["all"]["judged"], judging["all"]["compared"]) == (56, 54)
    assert judging["all"]["agreement"] == pytest.approx(39 / 54)


def test_every_form_of_the_report_tells_it(run: RunFolder) -> None:
    fill(run)
    report = build_report(run.path)
    (note,) = [note for note in report.summary["notes"] if "judge" in note]
    assert note == (
        "The verdicts are those of a judge, the model arbiter. It agrees with the rules on 72.2% of 54 answers (kappa"
        " 0.45), and came to no verdict on 2 (3.6%). Its two orders disagree on 18 (32.1%)."
    )
    page = (run.path / "report" / "summary.md").read_text()
    assert "| 1b: hint none, hint_for any | 50 | 50.0% | 60.0% | 70.0% | 0.40 | 5 | 10 | 18 (36.0%) | 0 | 0 |" in page
    row = run.results()[0]
    assert (row["verdict"], row["rule"], row["rule_verdict"]) == ("correct", "judge/equivalent", "correct")


def test_a_run_without_a_judge_says_nothing_of_one(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", hint="none", hint_for="any")
    report = build_report(run.path)
    assert report.summary["judging"] is None
    assert "judge" not in (run.path / "report" / "summary.md").read_text()
    assert "rule_verdict" not in run.results()[0]


def test_kappa_by_hand() -> None:
    assert cohen_kappa(20, 5, 10, 15) == pytest.approx(0.4)  # p_o 0.7, p_e 0.5
    assert cohen_kappa(10, 0, 0, 5) == 1
    assert cohen_kappa(5, 5, 5, 5) == 0
    assert cohen_kappa(0, 5, 5, 0) == -1
    assert cohen_kappa(0, 0, 0, 0) is None
    assert cohen_kappa(0, 0, 0, 9) is None


counts = st.integers(0, 1000)


@given(counts, counts, counts, counts)
def test_kappa_is_the_same_whoever_comes_first_and_1_only_without_a_difference(a: int, b: int, c: int, d: int) -> None:
    kappa = cohen_kappa(a, b, c, d)
    assert kappa == cohen_kappa(a, c, b, d) == cohen_kappa(d, b, c, a)
    if kappa is not None:
        assert -1 <= kappa <= 1
        assert (kappa == 1) == (b + c == 0)
