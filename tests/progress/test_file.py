from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import orjson
import pytest

from eli5b_batch.errors import RunFolderError, StorageError
from eli5b_batch.progress.file import ProgressFile, is_alive, read_progress, slots_used_last
from eli5b_batch.progress.snapshot import SLOT_SECONDS, ProviderProgress, SlotProgress, StepProgress, slot_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eli5b_batch.progress.snapshot import Snapshot


def snapshot(**changes: object) -> Snapshot:
    made: dict[str, object] = {
        "schema": 1,
        "run": "quick",
        "simulated": True,
        "state": "running",
        "reason": None,
        "pid": os.getpid(),
        "exit_code": None,
        "started_at": "2026-11-21T01:00:00Z",
        "updated_at": "2026-11-21T01:00:05Z",
        "elapsed_s": 5.0,
        "eta_s": None,
        "problems": {"total": 3, "done": 1, "active": 2, "window": 4},
        "steps": [],
        "providers": [],
        "slots": [],
        "accuracy": [],
        "cost": {"spent_usd": 0.0, "projected_usd": None, "budget_usd": None},
        "failures": {},
        "grading": {"waiting": 0, "done": 0},
    }
    return cast("Snapshot", {**made, **changes})


def ticking() -> Callable[[], Snapshot]:
    """Snapshots whose `elapsed_s` is the loop's time."""
    return lambda: snapshot(elapsed_s=asyncio.get_running_loop().time())


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def unexpected(error: Exception) -> None:
    raise error


@pytest.mark.looptime
async def test_the_file_is_written_at_once_every_second_and_at_the_end(tmp_path: Path) -> None:
    path, elapsed = tmp_path / "progress.json", []
    snapshots = 0

    def counted() -> Snapshot:
        nonlocal snapshots
        snapshots += 1
        return ticking()()

    async with ProgressFile(path, counted, on_error=unexpected):
        for _ in range(4):
            elapsed.append(read_progress(tmp_path)["elapsed_s"])
            await asyncio.sleep(0.6)
    assert elapsed == [0, 0, 1, 1]
    assert read_progress(tmp_path)["elapsed_s"] == pytest.approx(2.4)
    assert snapshots == 4  # at 0, 1, 2 and the end: never more than once a second
    assert names(tmp_path) == ["progress.json"]


@pytest.mark.looptime
async def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.json"
    path.write_bytes(orjson.dumps(snapshot(run="before")))
    errors: list[Exception] = []

    def killed(_self: Path, _target: Path) -> None:
        raise OSError(errno.EIO, "killed here")

    monkeypatch.setattr(type(path), "replace", killed)
    async with ProgressFile(path, ticking(), on_error=errors.append):
        pass
    assert read_progress(tmp_path)["run"] == "before"
    assert errors


@pytest.mark.looptime
async def test_a_full_disk_is_reported_once_and_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, errors = tmp_path / "progress.json", list[Exception]()
    full = False
    write = type(path).write_bytes

    def write_bytes(self: Path, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(type(path), "write_bytes", write_bytes)
    async with ProgressFile(path, ticking(), on_error=errors.append):
        full = True
        await asyncio.sleep(10.5)
        assert len(errors) == 1
        full = False
        await asyncio.sleep(2)
        assert read_progress(tmp_path)["elapsed_s"] == 12
        full = True
        await asyncio.sleep(2)
        assert len(errors) == 2
    assert len(errors) == 3  # the disk is still full at the end: reported again
    assert all(isinstance(error, StorageError) for error in errors)
    assert str(path) in str(errors[0])
    assert "No space left on device" in str(errors[0])


async def test_a_missing_folder_is_reported_and_does_not_end_the_run(tmp_path: Path) -> None:
    errors: list[Exception] = []
    async with ProgressFile(tmp_path / "gone" / "progress.json", snapshot, on_error=errors.append):
        pass
    assert [type(error) for error in errors] == [StorageError, StorageError]


@pytest.mark.looptime
async def test_the_file_is_written_also_when_the_run_is_cancelled(tmp_path: Path) -> None:
    async def run() -> None:
        async with ProgressFile(tmp_path / "progress.json", ticking(), on_error=unexpected):
            await asyncio.sleep(3600)

    task = asyncio.create_task(run())
    await asyncio.sleep(7.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert read_progress(tmp_path)["elapsed_s"] == 7.5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no progress.json"),
        (b"", "not JSON"),
        (b'{"schema": 1, "run"', "not JSON"),
        (b"[1]", "schema 1"),
        (b'{"schema": 2}', "schema 1"),
        (b'{"schema": 1, "run": "quick"}', "lacks accuracy, cost"),
        # Named, since a snapshot holds this process's id, and every process that collects tests must name them alike.
        pytest.param(orjson.dumps({**snapshot(), "slots": 3}), "lacks slots: something", id="slots a number"),
        pytest.param(orjson.dumps({**snapshot(), "slots": [3]}), "lacks slots: something", id="a slot a number"),
        pytest.param(
            orjson.dumps({**snapshot(), "providers": [{}]}),
            "lacks providers.concurrency, providers.in_flight",
            id="an empty provider",
        ),
    ],
)
def test_what_can_not_be_read_is_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "progress.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=words) as caught:
        read_progress(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_an_earlier_version_did_not_write_is_filled_in(tmp_path: Path) -> None:
    old = snapshot()
    later = {"began_s", "ended_s", "down_s", "limit_history", "resident", "on_gpu", "down", "loads", *SLOT_SECONDS}
    later |= {"waiting_for", "last_error_s"}
    step, provider, slot = (
        {key: 0.5 for key in kind.__required_keys__ if key not in later}
        for kind in (StepProgress, ProviderProgress, SlotProgress)
    )
    rows = {"steps": [step], "providers": [provider], "slots": [slot]}
    (tmp_path / "progress.json").write_bytes(orjson.dumps({**old, **rows}))
    read = read_progress(tmp_path)
    assert read["providers"][0]["limit_history"] == []
    assert (read["providers"][0]["waiting_for"], read["providers"][0]["last_error_s"]) == (None, None)
    assert read["steps"][0]["began_s"] is None
    assert read["slots"][0]["busy_share"] == 0.5
    assert slot_seconds(read["slots"][0]) == 0


async def test_what_the_last_start_with_slots_left_of_them_outlives_starts_without(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    slot = cast("SlotProgress", dict.fromkeys(SlotProgress.__required_keys__, 0.5))

    async def start(*slots: SlotProgress) -> Snapshot:
        async with ProgressFile(path, lambda: snapshot(slots=list(slots)), on_error=unexpected):
            return read_progress(tmp_path)

    assert slots_used_last(await start()) == []
    assert slots_used_last(await start(slot)) == [slot]
    for _ in range(2):
        now = await start()
        assert now["slots"] == []
        assert slots_used_last(now) == [slot]
    other: SlotProgress = {**slot, "calls": 7}
    now = await start(other)
    assert slots_used_last(now) == [other]
    assert now["earlier_slots"] == []


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such run folder"):
        read_progress(tmp_path / "gone")


def test_a_file_that_can_not_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "progress.json").mkdir()
    with pytest.raises(RunFolderError, match="can't be read"):
        read_progress(tmp_path)


def test_alive_is_this_process_and_not_one_that_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_alive(snapshot())
    assert not is_alive(snapshot(pid=ended.pid))
    assert not is_alive(snapshot(pid=0))
    assert not is_alive(snapshot(pid=-1))


def test_a_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    assert is_alive(snapshot())
