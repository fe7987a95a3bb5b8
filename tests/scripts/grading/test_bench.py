"""bench.py, fuzz.py, hostile.py: labels are right, and a small run of each comes to its end."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from formula import Node, read
from golds import mended, read_golds, read_special
from made import make
from perturbed import formula_perturbed
from rewrites import formula_rewrites
from values import compare, value_at
from worker import Worker

SCRIPTS = Path(__file__).parents[3] / "scripts" / "grading"
GOLDS = [
    "5", "10000", "-12", "x=3", r"\frac{1}{2}", r"\frac{3 \sqrt{3}}{2}", r"2^{2014}", r"\binom{n}{2} + 1",
    r"40^{\circ}", r"\[\frac{1}{3}\]", r"\frac{5055}{2^{15}", r"7 \frac{1}{3}", r"\sin 10^\circ", r"(n-1)(n-2)^{n-1}",
    r"\left\lfloor \frac{n}{2} \right\rfloor",
]  # fmt: skip


def tree(formula: str) -> Node:
    node = read(formula)
    assert node is not None, formula
    return node


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "omni_math_rule.jsonl"
    path.write_text("".join(json.dumps({"answer": gold}) + "\n" for gold in GOLDS))
    return path


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        (r"\frac{1}{2}+\frac13", "5/6"),
        (r"2^{10} - 3 \cdot 4", "1012"),
        (r"-\frac{9}{3}", "-3"),
        (r"\sqrt{\frac{9}{4}}", "3/2"),
        (r"7 \frac{1}{3}", "22/3"),
        (r"\binom{5}{2}!", "3628800"),
        (r"\left\lfloor \frac{7}{2} \right\rfloor 2", "6"),
        (r"1/4 + 1/(2 \cdot 2)", "1/2"),
        ("2(1+1)^{3}", "16"),
        (r"|-3|", "3"),
    ],
)
def test_a_formula_is_worth_what_it_says(formula: str, value: str) -> None:
    assert str(value_at(tree(formula), {})) == value


@pytest.mark.parametrize(
    ("one", "two", "equal"),
    [
        (r"\sqrt{2}\sqrt{3}", r"\sqrt{6}", True),
        (r"\sin 30^\circ", r"\frac{1}{2}", True),
        (r"\sin 30", r"\frac{1}{2}", False),
        (r"\frac{n(n+1)}{2}", r"\binom{n+1}{2}", True),
        (r"1-2^{-2016}", r"1-2^{-2015}", False),
        (r"\log_{2} 8", "3", True),
        (r"\frac{1}{n-n}", "1", None),
    ],
)
def test_two_formulas_are_compared_by_their_values(one: str, two: str, equal: object) -> None:
    assert compare(tree(one), tree(two)) is equal


def test_what_is_no_formula_is_left_alone() -> None:
    assert all(read(text) is None for text in ("", "x < 2", r"\frac{1}{", "1, 2", r"\text{yes}", "a)("))


def test_golds_are_mended_as_they_are_meant() -> None:
    assert mended("\\[\n\\boxed{\\frac{1}{2}}\n\\]") == r"\frac{1}{2}"
    assert mended(r"\frac{5055}{2^{15}") == r"\frac{5055}{2^{15}}"
    assert mended("\x0crac{7}{12}") == r"\frac{7}{12}"


def test_rewrites_keep_the_value_and_perturbations_change_it(data: Path) -> None:
    for gold in read_golds(data):
        if gold.tree is None or gold.whole:
            continue
        rewrites = dict(formula_rewrites(random.Random(1), gold))
        assert len(rewrites) > 5, gold
        back = {text: read(text) for kind, text in rewrites.items() if kind.startswith("sympy") or "reordered" in kind}
        assert all(tree is not None and compare(tree, gold.tree) for tree in back.values()), back
        changed = [read(text) for _, text in formula_perturbed(random.Random(1), gold)]
        assert len(changed) > 5, gold
        assert not any(tree is not None and compare(tree, gold.tree) for tree in changed)


def test_made_cases_go_both_ways_and_do_not_contradict_each_other() -> None:
    made = make(seed=1, each=2)
    labels: dict[tuple[str, str], set[bool]] = {}
    for case in made:
        labels.setdefault((case.gold, case.answer), set()).add(case.right)
    assert all(len(label) == 1 for label in labels.values())
    assert 0.3 < sum(case.right for case in made) / len(made) < 0.8


def test_hand_made_cases_do_not_contradict_each_other() -> None:
    for one in read_special():
        assert not set(one.right) & set(one.wrong), one.gold


def test_a_call_over_the_deadline_is_killed_and_the_next_one_works() -> None:
    with Worker("ours", deadline_s=30) as worker:
        said = worker.call(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
        assert (said.right, said.verdict) == (True, "correct")
        worker._deadline_s = 0.0
        assert worker.call(r"\boxed{5}", "5").verdict == "killed"
        worker._deadline_s = 30
        assert worker.call("\ud800 \\boxed{5}", "5").right


def run(*arguments: str | Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(  # noqa: S603 (our own scripts)
        command, check=True, capture_output=True, text=True, timeout=100, cwd=SCRIPTS
    ).stdout


def test_a_small_bench_comes_to_its_end(data: Path, tmp_path: Path) -> None:
    figures, cases = tmp_path / "figures.json", tmp_path / "cases.jsonl"
    options: list[str | Path] = [
        "--sets",
        "self",
        "wrong",
        "right",
        "--limit",
        "6",
        "--json",
        figures,
        "--cases",
        cases,
        "--failures",
    ]
    run(SCRIPTS / "bench.py", "--data", data, *options)
    rows = orjson.loads(figures.read_bytes())
    assert [(row["set"], row["grader"]) for row in rows[:2]] == [("self", "ours"), ("self", "math-verify")]
    assert all(row["n"] == 6 for row in rows[:6])
    assert {json.loads(line)["set"] for line in cases.read_text().splitlines()} == {"self", "wrong", "right"}


def test_a_short_fuzz_comes_to_its_end(data: Path, tmp_path: Path) -> None:
    options: list[str | Path] = ["--minutes", "0", "--seed", "5", "--data", data, "--finds", tmp_path / "finds"]
    printed = run(SCRIPTS / "fuzz.py", *options)
    assert re.search(r"seed 5: [1-9][0-9]* calls", printed), printed


def test_hostile_texts_execute_nothing() -> None:
    assert "executed: nothing" in run(SCRIPTS / "hostile.py", "--only", "injections/")
