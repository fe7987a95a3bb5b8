from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.report.build import build_report
from tests.report.test_build import shown
from tests.report.test_summary import fill, summary_of

if TYPE_CHECKING:
    from tests.report.conftest import RunFolder


def told(model: str, thinking: object, provider: str = "gpus", by_default: str = "") -> dict[str, Any]:
    """What a manifest says of a model."""
    known = {"model": model, "provider": provider, "price": None, "digest": "", "quantization": ""}
    return {**known, "thinking": thinking, "by_default": by_default}


PAIR = {"small": told("qwen3:0.6b", "off"), "small_on": told("qwen3:0.6b", "on")}


def test_modes_of_a_model_are_compared_under_each_hint_the_more_minus_the_less(run: RunFolder) -> None:
    # No hint: 9 won, 1 lost; exact McNemar 22/1024.
    fill(run, "small", "none", "any", "+---------++--")
    fill(run, "small_on", "none", "any", "-+++++++++++--")
    fill(run, "small", "generic", "any", "+-")
    fill(run, "small_on", "generic", "any", "+-")
    rows = summary_of(run, students=["small_on", "small"], models=PAIR)["modes"]
    assert [(row["hint"], row["student"], row["other"]) for row in rows] == [
        ("none", "small_on", "small"),
        ("generic", "small_on", "small"),
    ]
    assert rows[0]["difference"] == pytest.approx(8 / 14)
    assert (rows[0]["thinking"], rows[0]["thinking_other"]) == ("on", "off")
    assert (rows[0]["problems"], rows[0]["differing"], rows[0]["test"]) == (14, 10, "exact McNemar")
    assert rows[0]["p"] == rows[0]["p_holm"] == pytest.approx(22 / 1024)
    assert rows[0]["interval"][0] > 0
    assert rows[1]["difference"] == 0


def test_the_models_under_one_hint_are_a_family(run: RunFolder) -> None:
    models = {**PAIR, "large": told("qwen3:4b", "off"), "large_on": told("qwen3:4b", "on")}
    for hint in ("none", "generic"):
        fill(run, "small", hint, "any", "+---------++--")
        fill(run, "small_on", hint, "any", "-+++++++++++--")
        fill(run, "large", hint, "any", "+-")
        fill(run, "large_on", hint, "any", "+-")
    rows = summary_of(run, students=list(models), models=models)["modes"]
    assert len(rows) == 4
    by_pair = {(row["hint"], row["student"]): row["p_holm"] for row in rows}
    assert by_pair["none", "small_on"] == by_pair["generic", "small_on"] == pytest.approx(44 / 1024)


def test_the_cost_of_thinking_stands_beside_what_it_is_worth(run: RunFolder) -> None:
    for at, tokens in enumerate((100, 300)):
        run.answer(f"p{at}", "small", "correct", hint="none", hint_for="any", output_tokens=tokens)
        run.answer(f"p{at}", "small_on", "correct", hint="none", hint_for="any", output_tokens=10 * tokens)
    (row,) = summary_of(run, students=list(PAIR), models=PAIR)["modes"]
    assert (row["output_tokens"], row["output_tokens_other"]) == (2000, 200)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("off", "low"),
        ("low", "high"),
        ({"tokens": 100}, {"tokens": 2000}),
        ("off", {"tokens": 100}),
        ("medium", "on"),
    ],
)
def test_the_mode_that_thinks_more_comes_first_whatever_the_order_of_students(
    run: RunFolder, less: object, more: object
) -> None:
    models = {"a": told("m", more), "b": told("m", less)}
    for name in models:
        fill(run, name, "none", "any", "+-")
    for students in (["a", "b"], ["b", "a"]):
        (row,) = summary_of(run, students=students, models=models)["modes"]
        assert (row["student"], row["other"]) == ("a", "b")


@pytest.mark.parametrize(("by_default", "more"), [("thinks", "a"), ("does not think", "b")])
def test_a_model_that_is_told_nothing_counts_as_its_default(run: RunFolder, by_default: str, more: str) -> None:
    models = {"a": told("m", None, by_default=by_default), "b": told("m", "low")}
    for name in models:
        fill(run, name, "none", "any", "+-")
    (row,) = summary_of(run, students=["a", "b"], models=models)["modes"]
    assert row["student"] == more


@pytest.mark.parametrize(("one", "other"), [({"tokens": 100}, "low"), ({"tokens": 9000}, "max"), (None, "low")])
def test_a_number_of_tokens_has_no_level_and_an_unknown_default_none(
    run: RunFolder, one: object, other: object
) -> None:
    models = {"a": told("m", one), "b": told("m", other)}
    for name in models:
        fill(run, name, "none", "any", "+-")
    assert summary_of(run, students=["a", "b"], models=models)["modes"] == []


def test_models_that_differ_otherwise_or_are_of_an_older_version_are_no_modes(run: RunFolder) -> None:
    models = {
        "a": told("qwen3:4b", "off"),
        "b": told("qwen3:8b", "on"),
        "c": told("qwen3:4b", "on", provider="others"),
        "d": told("qwen3:4b", "off"),
        "e": {"model": "qwen3:4b", "provider": "gpus"},
        "f": told("llama3.2:1b", None, by_default="does not think"),
        "g": told("llama3.2:1b", "off"),
        "h": told("qwen3:1.7b", None, by_default="thinks"),
        "i": told("qwen3:1.7b", "on"),
    }
    for name in models:
        fill(run, name, "none", "any", "+-")
    assert summary_of(run, students=list(models), models=models)["modes"] == []
    assert summary_of(run, students=list(models))["modes"] == []


def test_own_hints_of_modes_are_compared_although_each_has_its_own(run: RunFolder) -> None:
    fill(run, "small", "tailored", "small", "+-")
    fill(run, "small_on", "tailored", "small_on", "++")
    (row,) = summary_of(run, students=list(PAIR), models=PAIR)["modes"]
    assert (row["hint"], row["difference"]) == ("tailored", 0.5)


def test_modes_stand_in_every_form_of_the_report(run: RunFolder) -> None:
    run.manifest(students=list(PAIR), models=PAIR)
    fill(run, "small", "none", "any", "+-+-")
    fill(run, "small_on", "none", "any", "++++")
    report = build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    assert "## What thinking is worth, percentage points\n" in page
    assert "| no hint | small_on (on) - small (off) | +50.0 |" in page
    lines = [line for line in shown(report).splitlines() if "small_on - small" in line]
    assert len(lines) == 1
    assert "+50.0" in lines[0]
    assert "20 / 20" in lines[0]
