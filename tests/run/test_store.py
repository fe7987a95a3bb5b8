"""store.py: what leaves memory, what a checkpoint saves, and when neither is believed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from eli5b_batch.errors import FolderBusyError, JournalDamagedError, RunFolderError
from eli5b_batch.grading.verdict import Verdict
from eli5b_batch.job.load import load_job
from eli5b_batch.records import make_key
from eli5b_batch.run.finished import Fingerprint
from eli5b_batch.run.plan import Experiment, load_experiment
from eli5b_batch.run.store import Store, open_store, repair_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eli5b_batch.data.problem import Problem

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"
RIGHT = Verdict("correct", "4", "boxed/text", 0.001)


def experiment(*overrides: str, limit: int = 8) -> Experiment:
    return load_experiment(load_job(QUICKSTART, overrides=overrides, limit=limit), "q")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def key_of(problem: Problem) -> str:
    return make_key(problem.id, "answer", "1b", {"sample": 0})


def answer(store: Store, problem: Problem) -> None:
    """One call of the problem, answered and graded."""
    head = {"key": key_of(problem), "status": "ok", "request_hash": "0" * 16, "cost_usd": 0.25}
    store.journal.append({**head, "reply": {"text": problem.id}})
    store.book.add(key_of(problem), "4", RIGHT, "math/3")


def remembered(store: Store) -> set[str]:
    return {key for key, *_ in store.journal.checkpoint()["open"]}


def reopened(folder: Path, of: Experiment, stack: ExitStack) -> Store:
    stack.close()
    return stack.enter_context(open_store(folder, of, Fingerprint(of)))


def filled(folder: Path, of: Experiment, stack: ExitStack) -> Store:
    """A store in which every problem but the last two is finished."""
    store = reopened(folder, of, stack)
    for problem in of.problems.selected[:-1]:
        answer(store, problem)
    for problem in of.problems.selected[:-2]:
        store.finish(problem)
    return store


def test_a_finished_problem_leaves_memory_once_nobody_needs_its_hint(tmp_path: Path, stack: ExitStack) -> None:
    of = experiment()
    store = reopened(tmp_path, of, stack)
    selected, partners = of.problems.selected, of.problems.partners
    user = next(p for p in selected if partners[p.id] in selected)
    donor = partners[user.id]
    users = [p for p in selected if partners[p.id] == donor]
    for problem in selected:
        answer(store, problem)
    store.finish(donor)
    assert key_of(donor) in remembered(store)
    for problem in users:
        store.finish(problem)
    assert key_of(donor) not in remembered(store)


def test_what_is_known_is_the_same_with_and_without_a_checkpoint(tmp_path: Path, stack: ExitStack) -> None:
    of = experiment()
    store = filled(tmp_path, of, stack)
    store.checkpoint()
    last, unasked = of.problems.selected[-2:]
    answered, arms = store.journal.answered, store.book.arms
    for _ in range(2):
        store = reopened(tmp_path, of, stack)
        assert [p in store.finished for p in of.problems.selected] == [True] * 6 + [False] * 2
        assert (store.journal.answered, store.book.arms) == (answered, arms)
        assert store.journal.opened.cost_usd == 0.25 * answered
        assert (store.journal.is_answered(key_of(last)), store.journal.is_answered(key_of(unasked))) == (True, False)
        assert store.book.verdict(key_of(last)) == "correct"
        (tmp_path / "checkpoint.json").unlink(missing_ok=True)


def test_a_checkpoint_saves_reading_what_it_covers(tmp_path: Path, stack: ExitStack) -> None:
    of = experiment()
    store = reopened(tmp_path, of, stack)
    store.journal.append({"key": "x|answer|model:m", "status": "error", "request_hash": "0" * 16, "text": "y" * 9000})
    answer(store, of.problems.selected[0])
    store.checkpoint()
    stack.close()
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"#" + path.read_bytes()[1:])  # only a reader from the beginning would see it
    assert reopened(tmp_path, of, stack).journal.opened.records == 2
    stack.close()
    (tmp_path / "checkpoint.json").unlink()
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl:1"):
        reopened(tmp_path, of, stack)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[]",
        b'{"journal":1}',
        b'{"left_out":[],"journal":1,"book":2}',
        b'{"left_out":7,"journal":{},"book":{}}',
    ],
)
def test_a_checkpoint_that_is_none_is_passed_over(tmp_path: Path, stack: ExitStack, junk: bytes) -> None:
    of = experiment()
    filled(tmp_path, of, stack)
    stack.close()
    (tmp_path / "checkpoint.json").write_bytes(junk)
    assert reopened(tmp_path, of, stack).journal.answered == 7


def test_a_job_that_asks_for_more_finds_every_old_answer(tmp_path: Path, stack: ExitStack) -> None:
    of = experiment()
    filled(tmp_path, of, stack).checkpoint()
    more = experiment("params.samples=2", limit=9)
    store = reopened(tmp_path, more, stack)
    assert not any(p in store.finished for p in more.problems.selected)
    assert [store.journal.is_answered(key_of(p)) for p in more.problems.selected] == [True] * 7 + [False] * 2


@pytest.mark.parametrize("lost", ["calls.jsonl", "grades.jsonl"])
@pytest.mark.parametrize("checkpointed", [True, False])
def test_nothing_is_believed_once_records_are_missing(
    tmp_path: Path, stack: ExitStack, lost: str, *, checkpointed: bool
) -> None:
    of = experiment()
    store = filled(tmp_path, of, stack)
    if checkpointed:
        store.checkpoint()
    stack.close()
    path = tmp_path / lost
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    store = reopened(tmp_path, of, stack)
    assert not any(p in store.finished for p in of.problems.selected)
    found = [store.journal.is_answered(key_of(p)) for p in of.problems.selected]
    assert found.count(True) == (4 if lost == "calls.jsonl" else 7)
    assert store.book.graded == 4
    assert (tmp_path / "finished.jsonl").read_bytes() == b""


def test_repair_needs_a_run_folder_that_nobody_uses(tmp_path: Path, stack: ExitStack) -> None:
    with pytest.raises(RunFolderError, match=r"has no calls\.jsonl to repair"):
        repair_run(tmp_path)
    filled(tmp_path, experiment(), stack)
    with pytest.raises(FolderBusyError):
        repair_run(tmp_path)


def test_repair_has_what_was_derived_made_anew(tmp_path: Path, stack: ExitStack) -> None:
    filled(tmp_path, experiment(), stack).checkpoint()
    stack.close()
    assert repair_run(tmp_path) == 0
    assert (tmp_path / "checkpoint.json").exists()
    with (tmp_path / "calls.jsonl").open("ab") as file:
        file.write(b"junk\n")
    assert repair_run(tmp_path) == 1
    assert not (tmp_path / "checkpoint.json").exists()
    assert not (tmp_path / "finished.jsonl").exists()
    assert orjson.loads((tmp_path / "calls.jsonl").read_bytes().splitlines()[0])["status"] == "ok"


@pytest.mark.parametrize("damage", [b"", b"garbage\n"])
def test_a_finished_file_lost_or_damaged_costs_a_replay_and_no_answer(
    tmp_path: Path, stack: ExitStack, damage: bytes
) -> None:
    of = experiment()
    filled(tmp_path, of, stack).checkpoint()
    stack.close()
    (tmp_path / "finished.jsonl").write_bytes(damage)
    store = reopened(tmp_path, of, stack)
    assert [store.journal.is_answered(key_of(p)) for p in of.problems.selected] == [True] * 7 + [False]
    assert store.journal.answered == 7


def test_a_failure_made_good_after_the_checkpoint_is_counted_once(tmp_path: Path, stack: ExitStack) -> None:
    of = experiment("params.hints=[none]", limit=2)
    first, *_ = of.problems.selected
    store = reopened(tmp_path, of, stack)
    head = {"key": key_of(first), "status": "error", "request_hash": "0" * 16, "cost_usd": 0.0}
    store.journal.append(head)
    store.book.add_failed(key_of(first), "4", "math/3")
    store.checkpoint()
    for problem in of.problems.selected:
        answer(store, problem)
        store.finish(problem)
    counts = (len(store.journal), store.journal.answered, store.book.graded)
    store = reopened(tmp_path, of, stack)
    assert (len(store.journal), store.journal.answered, store.book.graded) == counts == (2, 2, 2)
