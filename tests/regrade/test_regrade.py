"""regrading/: new verdicts from what is on record, what changed, and a file that is replaced as a whole."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.errors import FolderBusyError, JournalDamagedError, RunFolderError, StorageError
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.records.folder import locked
from eli5b_batch.regrade.job_grader import JobGrader
from eli5b_batch.regrade.regrade import bring_up_to_date, regrade

if TYPE_CHECKING:
    from eli5b_batch.regrade.rows import RegradeResult
    from tests.regrade.conftest import Folder

MATH, NUMBER = JobGrader(GRADERS["math"]), JobGrader(GRADERS["number"])


def without_times(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {key: {name: value for name, value in row.items() if name != "seconds"} for key, row in rows.items()}


# --- verdicts ------------------------------------------------------------------------------------


async def test_every_answer_gets_a_verdict_by_the_rules_of_now_with_what_was_said_before(folder: Folder) -> None:
    right = folder.graded(0, r"So \boxed{2}", "correct", hint="generic")
    found_right = folder.graded(0, r"So \boxed{2}", "incorrect")
    found_wrong = folder.graded(1, r"So \boxed{7}", "correct")
    nothing = folder.graded(1, "I don't know.", "incorrect", sample=1)
    failed = folder.graded(1, None, "failed", sample=2)
    folder.reply(1, "a hint", "hint")
    outcome = await regrade(folder.path, MATH)
    assert folder.verdicts() == {
        right: "correct",
        found_right: "correct",
        found_wrong: "incorrect",
        nothing: "no_answer",
        failed: "failed",
    }
    rows = folder.rows()
    assert {row["grader"] for row in rows.values()} == {MATH.name}
    assert [rows[key]["correct"] for key in (right, found_wrong, failed)] == [True, False, False]
    assert (rows[found_right]["answer"], rows[found_right]["gold"]) == ("2", "2")
    assert rows[found_right]["earlier"] == [
        {"grader": "math/1", "verdict": "incorrect", "answer": "old", "rule": "boxed/old"}
    ]
    assert ["earlier" in rows[key] for key in (right, failed)] == [False, False]
    assert outcome.moved == {
        ("correct", "correct"): 1,
        ("incorrect", "correct"): 1,
        ("correct", "incorrect"): 1,
        ("incorrect", "no_answer"): 1,
        ("failed", "failed"): 1,
    }
    assert (outcome.changed, outcome.added, outcome.replaced) == (3, 0, True)
    assert outcome.before == {"math/1": 5}


async def test_what_changed_is_listed_with_counts_by_arm(folder: Folder) -> None:
    keys = [folder.graded(0, rf"\boxed{{{n}}}", "incorrect", sample=n, hint="generic") for n in range(30)]
    folder.graded(1, r"\boxed{5}", "correct")
    outcome = await regrade(folder.path, MATH)
    assert list(folder.rows("report/regraded.jsonl")) == [keys[2]]
    assert [row["key"] for row in outcome.first] == [keys[2]]
    tallies = {dict(arm.tags)["hint"]: tally for arm, tally in outcome.arms.items()}
    generic, none = tallies["generic"], tallies["none"]
    assert (generic.graded, generic.correct_before, generic.correct, generic.changed) == (30, 0, 1, 1)
    assert (none.graded_before, none.correct_before, none.graded, none.correct, none.changed) == (1, 1, 1, 1, 0)


async def test_rows_stand_in_the_order_of_the_journal_also_where_workers_decide(folder: Folder) -> None:
    slow, quick = r"\boxed{\lim_{x \to 0} (x + 2)}", r"\boxed{2}"
    keys = [folder.graded(0, slow if n == 0 else quick, "correct", sample=n) for n in range(6)]
    await regrade(folder.path, MATH, workers=1)
    assert list(folder.rows()) == keys


async def test_the_same_grader_again_changes_no_byte(folder: Folder) -> None:
    folder.graded(0, r"\boxed{2}", "incorrect")
    folder.graded(0, None, "failed", sample=1)
    await regrade(folder.path, MATH)
    before, at = folder.files(), (folder.path / "grades.jsonl").stat().st_mtime_ns
    outcome = await regrade(folder.path, MATH)
    assert (outcome.changed, outcome.replaced, outcome.first) == (0, False, [])
    assert folder.files() == before
    assert (folder.path / "grades.jsonl").stat().st_mtime_ns == at


async def test_the_history_grows_with_every_change(folder: Folder) -> None:
    key = folder.graded(0, r"\boxed{2}", "incorrect")
    await regrade(folder.path, MATH)
    await regrade(folder.path, NUMBER)
    assert [row["grader"] for row in folder.rows()[key]["earlier"]] == ["math/1"]
    text = (folder.path / "grades.jsonl").read_bytes()
    (folder.path / "grades.jsonl").write_bytes(text.replace(b'"verdict":"correct"', b'"verdict":"error"', 1))
    await regrade(folder.path, MATH)
    earlier = folder.rows()[key]["earlier"]
    assert [(row["grader"], row["verdict"]) for row in earlier] == [("math/1", "incorrect"), (NUMBER.name, "error")]
    assert folder.rows("report/regraded.jsonl")[key]["earlier"] == earlier


async def test_a_verdict_is_not_given_up_because_the_machine_was_busy(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eli5b_batch.grading.apart import GraderPool  # noqa: PLC0415 (patched)
    from eli5b_batch.grading.verdict import Verdict  # noqa: PLC0415

    by_now = folder.reply(0, r"\boxed{2}")
    folder.verdict(by_now, "correct", "2", grader=MATH.name)
    by_an_older = folder.graded(0, r"\boxed{2}", "correct", sample=1)
    monkeypatch.setattr(GraderPool, "decide", lambda *_: Verdict("timeout", "2", "boxed/deadline", 5.0))
    await regrade(folder.path, MATH)
    assert folder.verdicts() == {by_now: "correct", by_an_older: "timeout"}


# --- which records count -------------------------------------------------------------------------


async def test_the_newest_success_counts_and_a_failure_made_good_is_new(folder: Folder) -> None:
    again = folder.graded(0, r"\boxed{9}", "incorrect")
    folder.graded(0, r"\boxed{2}", "correct")
    folder.reply(0, None)
    made_good = folder.graded(1, None, "failed")
    folder.reply(1, r"\boxed{5}")
    outcome = await regrade(folder.path, MATH)
    assert folder.verdicts() == {again: "correct", made_good: "correct"}
    assert outcome.moved == {("correct", "correct"): 1, (None, "correct"): 1}
    assert "earlier" not in folder.rows()[made_good]


async def test_records_before_a_redo_do_not_count(folder: Folder) -> None:
    again = folder.reply(0, r"\boxed{9}")
    folder.reply(1, r"\boxed{5}")
    folder.manifest(redo={"answer": (folder.path / "calls.jsonl").stat().st_size})
    folder.reply(0, r"\boxed{2}")
    outcome = await regrade(folder.path, MATH)
    assert folder.verdicts() == {again: "correct"}
    assert outcome.added == 1


async def test_verdicts_without_an_answer_are_left_out_but_for_calls_never_sent(folder: Folder) -> None:
    kept = folder.graded(0, r"\boxed{2}", "correct")
    never_sent, lost = kept.replace("sample=0", "sample=1"), kept.replace("sample=0", "sample=2")
    folder.verdict(never_sent, "failed")
    folder.verdict(lost, "correct")
    outcome = await regrade(folder.path, MATH)
    assert folder.verdicts() == {kept: "correct", never_sent: "failed"}
    assert (outcome.dropped, outcome.changed) == (1, 0)


async def test_a_torn_last_line_of_either_file_is_passed_over(folder: Folder) -> None:
    key = folder.graded(0, r"\boxed{2}", "incorrect")
    for name in ("calls.jsonl", "grades.jsonl"):
        with (folder.path / name).open("ab") as file:
            file.write(b'{"key":"' + key.encode()[:20])
    await regrade(folder.path, MATH)
    assert folder.verdicts() == {key: "correct"}


# --- gold answers --------------------------------------------------------------------------------


async def test_gold_answers_come_from_old_verdicts_and_else_from_the_data(folder: Folder, tmp_path: Path) -> None:
    ungraded = folder.reply(0, r"\boxed{2}", sample=1)
    old = folder.reply(0, r"\boxed{2}")
    folder.verdict(old, "correct", gold="3")
    other = folder.reply(1, r"\boxed{5}")
    text = (
        (folder.path / "job.yaml").read_text().replace("path: data.jsonl", f"path: {tmp_path}/data.jsonl\n  limit: 1")
    )
    (folder.path / "job.yaml").write_text(text)
    outcome = await regrade(folder.path, MATH)
    assert folder.verdicts() == {ungraded: "incorrect", old: "incorrect", other: "correct"}
    assert outcome.added == 2


async def test_without_its_gold_answers_a_run_is_not_graded(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = folder.reply(0, r"\boxed{2}")
    folder.data.rename(tmp_path / "moved")
    with pytest.raises(RunFolderError, match=rf"gold answer of {key[:5]}.*there is no file data\.jsonl"):
        await regrade(folder.path, MATH)
    folder.data.write_text('{"problem": "What is 1 + 1?", "answer": "3"}\n')
    with pytest.raises(RunFolderError, match=r"data\.jsonl is no longer the data of this run"):
        await regrade(folder.path, MATH)
    (tmp_path / "moved").rename(folder.data)
    folder.append("calls.jsonl", {"key": key.replace("00000", "00007"), "status": "error", "request_hash": "0" * 16})
    with pytest.raises(RunFolderError, match=r"no row of the data has the gold of 00007"):
        await regrade(folder.path, MATH)
    (folder.path / "job.yaml").unlink()
    with pytest.raises(RunFolderError, match=r"job\.yaml: no such job file; the next run of the job writes"):
        await regrade(folder.path, MATH)
    assert not (folder.path / "grades.jsonl").exists()


# --- folders that can't be graded, and those that are in use -------------------------------------


async def test_a_folder_without_answers_is_refused(folder: Folder, tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "nowhere", "is not a run folder: it has no manifest"),
        (folder.data, "can't be read"),
    ):
        with pytest.raises(RunFolderError, match=why):
            await regrade(path, MATH)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(RunFolderError, match="has no answers yet"):
        await regrade(folder.path, MATH)
    folder.reply(0, "a hint", "hint")
    with pytest.raises(RunFolderError, match="has no answers yet"):
        await regrade(folder.path, MATH)
    assert not {"grades.jsonl", ".grades.jsonl.draft"} & folder.files().keys()


HEAD = b'{"key":"0|answer|model:m","status":"ok","request_hash":"0000000000000000","cost_usd":0.0,'
RECORD = r"calls\.jsonl: the record of 0\|answer\|model:m "


@pytest.mark.parametrize(
    ("name", "line", "place"),
    [
        ("grades.jsonl", b"junk\n", r"grades\.jsonl:2: this line is not a verdict; delete the file and regrade again"),
        ("grades.jsonl", b'{"key":"a|b","verdict":"nice","gold":"1"}\n', r"grades\.jsonl:2: this line is not"),
        ("calls.jsonl", b"junk\n", r"calls\.jsonl:2: this line is damaged"),
        ("calls.jsonl", HEAD + b"}\n", RECORD + r"is damaged \("),
        ("calls.jsonl", HEAD + b'"reply":{}}\n', RECORD + r"holds no reply: was the file edited\?"),
    ],
)
async def test_damage_is_said_with_its_place_and_nothing_is_replaced(
    folder: Folder, name: str, line: bytes, place: str
) -> None:
    folder.graded(0, r"\boxed{2}", "incorrect")
    with (folder.path / name).open("ab") as file:
        file.write(line)
    before = folder.files()
    with pytest.raises(JournalDamagedError, match=place):
        await regrade(folder.path, MATH)
    assert folder.files() == before


async def test_a_folder_in_use_is_refused(folder: Folder) -> None:
    folder.graded(0, r"\boxed{2}", "incorrect")
    before = folder.files()
    with locked(folder.path), pytest.raises(FolderBusyError):
        await regrade(folder.path, MATH)
    assert folder.files() == before


# --- replaced as a whole -------------------------------------------------------------------------


@pytest.mark.parametrize("refused", ["write", "fsync"])
async def test_a_full_disk_leaves_the_old_verdicts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    for n in range(40):
        folder.graded(0, r"\boxed{2}", "incorrect", sample=n)
    (folder.path / "checkpoint.json").write_bytes(b"{}")
    before = folder.files()
    sync = os.fsync

    def full(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().suffix == ".draft":
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(fd)

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    if refused == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limit[1]))
    try:
        with pytest.raises(StorageError) as caught:
            await regrade(folder.path, MATH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    why = "No space left on device" if refused == "fsync" else "File too large"
    assert str(caught.value) == f"{folder.path / 'grades.jsonl'}: can't be written anew: {why}; the old verdicts stand"
    assert folder.files() == before


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_killed_while_files_are_moved_the_old_or_the_new_verdicts_stand(folder: Folder, moves: int) -> None:
    keys = [folder.graded(0, r"\boxed{2}", "incorrect", sample=n) for n in range(3)]
    (folder.path / "checkpoint.json").write_bytes(b"{}")
    old = (folder.path / "grades.jsonl").read_bytes()
    code = f"""
import asyncio, os
from pathlib import Path
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.regrade.job_grader import JobGrader
from eli5b_batch.regrade.regrade import regrade
folder, left, move = Path({str(folder.path)!r}), [{moves}], Path.replace
def replace(self, target):
    if self.name.endswith(".draft"):
        if not left[0]:
            os._exit(9)
        left[0] -= 1
    return move(self, target)
Path.replace = replace
asyncio.run(regrade(folder, JobGrader(GRADERS["math"])))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)  # noqa: S603 (our own code)
    assert done.returncode == (9 if moves < 2 else 0)
    assert not (folder.path / "checkpoint.json").exists()
    assert ((folder.path / "grades.jsonl").read_bytes() == old) == (moves < 2)
    asyncio.run(regrade(folder.path, MATH))
    assert set(folder.verdicts().values()) == {"correct"}
    assert list(folder.rows("report/regraded.jsonl")) == keys
    assert not any("draft" in name for name in folder.files())


def test_killed_while_it_grades_the_old_verdicts_stand(folder: Folder) -> None:
    for n in range(40):
        folder.graded(0, r"\boxed{2}", "incorrect", sample=n)
    old = (folder.path / "grades.jsonl").read_bytes()
    draft = folder.path / ".grades.jsonl.draft"
    code = f"""
import asyncio, os, signal
from pathlib import Path
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.grading.apart import GraderPool
from eli5b_batch.regrade.job_grader import JobGrader
from eli5b_batch.regrade.regrade import regrade
decide, left = GraderPool.decide, iter(range(20))
def decide_some(self, text, gold):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return decide(self, text, gold)
GraderPool.decide = decide_some
asyncio.run(regrade(Path({str(folder.path)!r}), JobGrader(GRADERS["math"])))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)  # noqa: S603 (our own code)
    assert done.returncode == -signal.SIGKILL
    assert (folder.path / "grades.jsonl").read_bytes() == old
    assert draft.exists()
    assert asyncio.run(regrade(folder.path, MATH)).graded == 40
    assert not draft.exists()
    assert set(folder.verdicts().values()) == {"correct"}


# --- verdicts of another grader, at the start of a run -------------------------------------------


class Watch:
    """A watcher that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, float]] = []
        self.outcomes: list[RegradeResult] = []
        self.entered = Counter[str]()

    def __enter__(self) -> None:
        self.entered["in"] += 1

    def __exit__(self, *_: object) -> None:
        self.entered["out"] += 1

    def tell(self, answers: int, share: float) -> None:
        self.told.append((answers, share))

    def done(self, run_dir: Path, outcome: RegradeResult) -> None:
        assert run_dir.is_dir()
        self.outcomes.append(outcome)


async def test_verdicts_of_another_version_are_made_anew_once(folder: Folder) -> None:
    folder.graded(0, r"\boxed{2}", "incorrect")
    folder.graded(1, r"\boxed{5}", "correct")
    watch = Watch()
    outcome = await bring_up_to_date(folder.path, MATH, watcher=watch)
    assert outcome is not None
    assert watch.outcomes == [outcome]
    assert watch.told == [(1, pytest.approx(0.5, abs=0.1)), (2, 1.0)]
    assert watch.entered == {"in": 1, "out": 1}
    assert {row["grader"] for row in folder.rows().values()} == {MATH.name}
    before = folder.files()
    assert await bring_up_to_date(folder.path, MATH, watcher=watch) is None
    assert folder.files() == before


@pytest.mark.parametrize("content", [None, b"", b"junk\n", b"[]\n"])
async def test_where_no_verdict_can_be_read_none_is_made_anew(folder: Folder, content: bytes | None) -> None:
    folder.reply(0, r"\boxed{2}")
    (folder.path / ".grades.jsonl.draft").write_bytes(b"left by a killed regrade")
    if content is not None:
        (folder.path / "grades.jsonl").write_bytes(content)
    assert await bring_up_to_date(folder.path, MATH) is None
    assert ".grades.jsonl.draft" not in folder.files()
