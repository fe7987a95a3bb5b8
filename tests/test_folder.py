"""folder.py: the lock, the manifest, and files replaced as a whole."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import orjson
import pytest

from eli5b_batch.backends.base import ModelFacts
from eli5b_batch.errors import FolderBusyError, RunFolderError, StorageError
from eli5b_batch.folder import check_same_job, locked, read_manifest, write_atomically, write_manifest
from eli5b_batch.jobfile import load_job
from eli5b_batch.plan import Experiment, Plan, load_experiment

QUICKSTART = Path(__file__).parent.parent / "jobs" / "quickstart.yaml"
FIRST = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SECOND = FIRST + dt.timedelta(hours=1)


def experiment(*overrides: str) -> Experiment:
    return load_experiment(load_job(QUICKSTART, overrides=overrides, limit=2), "quickstart.yaml")


def test_a_manifest_says_what_a_reader_of_the_results_needs(tmp_path: Path) -> None:
    write_manifest(tmp_path, experiment(), Plan(graded=20), {"1b": ModelFacts("abc", "Q8_0", "1B", "ollama 1")}, FIRST)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest["expected_answers"] == 20
    assert manifest["students"] == ["1b", "3b", "8b"]
    assert manifest["models"]["1b"]["digest"] == "abc"
    assert manifest["models"]["maverick"]["price"]["as_of"] == "2026-03-01"
    assert len(manifest["data"]["sha256"]) == 64
    assert set(manifest["prompts"]) >= {"answer", "hint_generic", "hint_tailored"}
    assert manifest["versions"]["eli5b_batch"]


def test_a_second_start_keeps_the_first_date_and_the_facts_known(tmp_path: Path) -> None:
    write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("abc")}, FIRST)
    write_manifest(tmp_path, experiment(), Plan(), {}, SECOND)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest["created_at"] == FIRST.isoformat()
    assert manifest["starts"] == [FIRST.isoformat(), SECOND.isoformat()]
    assert manifest["models"]["1b"]["digest"] == "abc"


def test_a_model_that_is_no_longer_the_same_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("abc")}, FIRST)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"models\.1b: llama3\.2:1b is not the model this run began with"):
        write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("xyz")}, SECOND)
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("change", ["name=other", "data={reader: jsonl, path: PATH}"])
def test_the_folder_of_another_job_is_told_by_what_differs(tmp_path: Path, change: str) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"problem": "1+1", "answer": "2"}\n')
    write_manifest(tmp_path, experiment(), Plan(), {}, FIRST)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    check_same_job(tmp_path, manifest, experiment())
    with pytest.raises(RunFolderError, match="is the run folder of another job"):
        check_same_job(tmp_path, manifest, experiment(change.replace("PATH", str(data))))


def test_no_folder_is_no_manifest_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "nowhere") is None
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunFolderError, match="is damaged"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(RunFolderError, match="is not a run's manifest"):
        read_manifest(tmp_path)


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(FolderBusyError, match="in use by another run"),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"):
        pass


def test_a_folder_below_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="can't be written to: Not a directory"), locked(tmp_path / "file" / "run"):
        pass


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        write_atomically(path, orjson.dumps({"new": 1}))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
