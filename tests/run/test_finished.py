"""finished.py: what need not be replayed, and when that must not be believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from eli5b_batch.job.load import load_job
from eli5b_batch.run.finished import Fingerprint, Finished
from eli5b_batch.run.plan import Experiment, load_experiment

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"


def experiment(*overrides: str, limit: int | None = 4) -> Experiment:
    return load_experiment(load_job(QUICKSTART, overrides=overrides, limit=limit), "q")


def finished(path: Path, *overrides: str) -> Finished:
    return Finished(path / "finished.jsonl", Fingerprint(experiment(*overrides)))


def test_a_finished_problem_is_known_after_reopening(tmp_path: Path) -> None:
    first, second = experiment().problems.selected[:2]
    book = finished(tmp_path)
    book.add(first, answered=42, graded=30)
    for _ in range(2):
        assert first in book
        assert second not in book
        book.close()
        book = finished(tmp_path)
    book.close()


@pytest.mark.parametrize(("answered", "graded", "believable"), [(42, 30, True), (41, 30, False), (42, 29, False)])
def test_it_is_not_believed_once_records_are_missing(
    tmp_path: Path, answered: int, graded: int, *, believable: bool
) -> None:
    first, second = experiment().problems.selected[:2]
    book = finished(tmp_path)
    book.add(first, answered=42, graded=30)
    book.close()
    book = finished(tmp_path)
    assert book.believable(answered=answered, graded=graded) is believable
    book.forget()
    assert first not in book
    book.add(second, answered=1, graded=1)
    book.close()
    book = finished(tmp_path)
    assert (first in book, second in book) == (False, True)
    book.close()


@pytest.mark.parametrize(
    "change",
    [
        "params.samples=2",
        "params.hints=[none]",
        "models.1b.sampling.temperature=0.1",
        "models.1b.model=llama3.2:3b",
        "models.1b.description=tiny",
        "seed=1",
    ],
)
def test_it_is_not_believed_once_the_job_asks_something_else(tmp_path: Path, change: str) -> None:
    (first, *_) = experiment().problems.selected
    book = finished(tmp_path)
    book.add(first, answered=42, graded=30)
    book.close()
    book = finished(tmp_path, change)
    assert first not in book
    book.close()


def test_another_prompt_is_another_question(tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_text("Solve: {{ problem.text }} {{ hint }}")
    other = experiment(f"prompts={tmp_path}")
    assert Fingerprint(other).of_plan() != Fingerprint(experiment()).of_plan()


def test_limits_and_addresses_are_no_part_of_the_question() -> None:
    same = experiment("providers.api.limits.concurrency=1", "window=3", "budget={usd: 1}")
    assert Fingerprint(same).of_plan() == Fingerprint(experiment()).of_plan()


def test_more_problems_are_another_plan_and_leave_each_problem_as_it_was() -> None:
    few, many = Fingerprint(experiment()), Fingerprint(experiment(limit=9))
    assert few.of_plan() != many.of_plan()
    for problem in experiment().problems.selected:
        assert few.of_problem(problem) == many.of_problem(problem)


def test_a_damaged_line_costs_one_replay_and_nothing_else(tmp_path: Path) -> None:
    first, second = experiment().problems.selected[:2]
    book = finished(tmp_path)
    book.add(first, answered=1, graded=1)
    book.close()
    path = tmp_path / "finished.jsonl"
    path.write_bytes(b"junk\n[]\n" + path.read_bytes())
    book = finished(tmp_path)
    assert first in book
    assert second not in book
    book.close()
