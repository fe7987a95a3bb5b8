"""folder.py: the lock and the manifest."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from eli5b_batch.backends.base import ModelFacts
from eli5b_batch.errors import FolderBusyError, RunFolderError
from eli5b_batch.job.load import load_job
from eli5b_batch.protocols.base import ProtocolParams
from eli5b_batch.records.folder import locked, read_manifest
from eli5b_batch.run.manifest import check_same_job, write_manifest
from eli5b_batch.run.plan import Experiment, Plan, load_experiment

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"
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
    told = {"digest": "abc", "quantization": "Q8_0", "parameter_size": "1B", "server": "ollama 1"}
    assert told.items() <= manifest["models"]["1b"].items()
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


def test_a_manifest_keeps_the_providers_that_earlier_starts_had(tmp_path: Path) -> None:
    write_manifest(tmp_path, experiment(), Plan(), {}, FIRST)
    path = tmp_path / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    assert manifest["providers"] == {"api": "simulated", "gpus": "simulated"}
    path.write_bytes(orjson.dumps({**manifest, "providers": {"hosts": "openai", "api": "openai"}}))
    write_manifest(tmp_path, experiment(), Plan(), {}, SECOND)
    manifest = orjson.loads(path.read_bytes())
    assert manifest["providers"] == {"hosts": "openai", "api": "simulated", "gpus": "simulated"}
    path.write_bytes(orjson.dumps({name: value for name, value in manifest.items() if name != "providers"}))
    assert read_manifest(tmp_path) is not None


def test_a_model_that_is_no_longer_the_same_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("abc")}, FIRST)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"models\.1b: llama3\.2:1b is not the model this run began with"):
        write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("xyz")}, SECOND)
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (ModelFacts("xyz", "Q8_0"), "digest xyz now, abc on record"),
        (ModelFacts("abc", "Q4_K_M"), "quantisation Q4_K_M now, Q8_0 on record"),
        (ModelFacts("xyz", "F16"), "digest xyz now, abc on record; quantisation F16 now, Q8_0 on record"),
    ],
)
def test_other_weights_under_the_same_name_are_refused_by_what_differs(
    tmp_path: Path, now: ModelFacts, said: str
) -> None:
    write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("abc", "Q8_0", "1B", "ollama 1")}, FIRST)
    with pytest.raises(RunFolderError) as caught:
        write_manifest(tmp_path, experiment(), Plan(), {"1b": now}, SECOND)
    assert str(caught.value) == (
        f"models.1b: llama3.2:1b is not the model this run began with ({said}); "
        "put the old one back, or give the job a new name"
    )


def test_another_id_under_a_name_is_another_model_and_inherits_nothing(tmp_path: Path) -> None:
    facts = {"1b": ModelFacts("abc", "Q8_0", "1B", "ollama 1"), "3b": ModelFacts("def")}
    write_manifest(tmp_path, experiment(), Plan(), facts, FIRST)
    other = experiment("models.1b.model=qwen2.5:1.5b")
    write_manifest(tmp_path, other, Plan(), {}, SECOND)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    shown = ("model", "digest", "quantization", "parameter_size", "server", "on_gpu")
    assert [manifest["models"]["1b"][key] for key in shown] == ["qwen2.5:1.5b", "", "", "", "", None]
    assert manifest["models"]["3b"]["digest"] == "def"
    write_manifest(tmp_path, other, Plan(), {"1b": ModelFacts("xyz", "Q4_K_M")}, SECOND)
    with pytest.raises(RunFolderError, match="digest other now, xyz on record"):
        write_manifest(tmp_path, other, Plan(), {"1b": ModelFacts("other")}, SECOND)


def test_a_server_that_tells_less_or_is_newer_is_no_other_model(tmp_path: Path) -> None:
    write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("abc", "Q8_0", "1B", "ollama 1")}, FIRST)
    write_manifest(tmp_path, experiment(), Plan(), {"1b": ModelFacts("", "", "", "ollama 2")}, SECOND)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert (manifest["models"]["1b"]["digest"], manifest["models"]["1b"]["server"]) == ("abc", "ollama 2")


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


def test_no_folder_is_no_manifest(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "nowhere") is None


def manifest_of(folder: Path) -> dict[str, Any]:
    write_manifest(folder, experiment(), Plan(Counter({("hint", "maverick"): 2}), graded=20), {}, FIRST)
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest


def refused(folder: Path, content: bytes) -> str:
    """What is said of a manifest with this content, between the file and the way out."""
    path = folder / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(RunFolderError) as caught:
        read_manifest(folder)
    sentence = str(caught.value)
    before, after = (
        f"{path}: is damaged: ",
        "; delete it to have it written again by the next run",
    )
    assert sentence.startswith(before)
    assert "\n" not in sentence
    what, _, way_out = sentence.removeprefix(before).partition(after)
    assert way_out
    return what


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"name": NaN}', b"[]", b"null", b'"text"', b"[" * 300 + b"]" * 300]
)
def test_a_manifest_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("name", 3),
        ("protocol", None),
        ("simulated", "yes"),
        ("graded_steps", "answer"),
        ("graded_steps.0", 1),
        ("expected_answers", 1.5),
        ("expected_answers", -1),
        ("plan", None),
        ("plan", []),
        ("plan.fingerprint", 7),
        ("plan.calls", {}),
        ("plan.calls.0", "hint"),
        ("plan.calls.0.2", "2"),
        ("plan.calls.0.1", None),
        ("teacher", 1),
        ("students", "1b"),
        ("students.1", None),
        ("data", None),
        ("data", "file"),
        ("data.reader", None),
        ("data.sha256", 12),
        ("models", None),
        ("models", ["1b"]),
        ("models.1b", None),
        ("models.1b.digest", 12),
        ("models.1b.quantization", None),
        ("redo", None),
        ("redo", ["answer"]),
        ("redo.answer", "12"),
        ("redo.answer", -12),
        ("created_at", 3),
        ("starts", None),
        ("starts.0", 3),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_place(tmp_path: Path, place: str, value: object) -> None:
    manifest = manifest_of(tmp_path)
    node: Any = manifest
    *way, last = (int(step) if step.isdigit() else step for step in place.split("."))
    for step in way:
        node = node[step]
    node[last] = value
    assert refused(tmp_path, orjson.dumps(manifest)).startswith(f"{place}: ")


def test_calls_that_are_no_triples_are_refused(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    for call in (["hint"], ["hint", "maverick", 2, 3]):
        manifest["plan"]["calls"] = [call]
        assert refused(tmp_path, orjson.dumps(manifest)).startswith("plan.calls.0")


def test_a_key_that_is_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    read_back = (
        *("name", "protocol", "simulated", "graded_steps", "expected_answers", "teacher", "students"),
        *("data", "models", "created_at", "starts"),
    )
    for key in read_back:
        assert refused(tmp_path, orjson.dumps({k: v for k, v in manifest.items() if k != key})).startswith(f"{key}: ")
    assert refused(tmp_path, b"{}").startswith("name: ")


def test_what_the_first_versions_wrote_is_read(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    for key in ("plan", "redo"):  # each came with a later version
        del manifest[key]
        (tmp_path / "manifest.json").write_bytes(orjson.dumps(manifest))
        assert read_manifest(tmp_path) == manifest
    write_manifest(tmp_path, experiment(), Plan(), {}, SECOND)
    again = read_manifest(tmp_path)
    assert again is not None
    assert again["created_at"] == FIRST.isoformat()


def test_what_nobody_reads_back_may_be_anything(tmp_path: Path) -> None:
    manifest = {**manifest_of(tmp_path), "versions": None, "params": float("nan"), "later": [1]}
    (tmp_path / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert read_manifest(tmp_path) == {**manifest, "params": None}


class _Params(ProtocolParams):
    teacher: int
    students: dict[str, int]


def test_a_protocol_that_means_something_else_by_students_is_read_back_too(tmp_path: Path) -> None:
    write_manifest(tmp_path, replace(experiment(), params=_Params(teacher=3, students={"1b": 1})), Plan(), {}, FIRST)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert (manifest["teacher"], manifest["students"]) == (None, None)
    assert manifest["params"] == {"teacher": 3, "students": {"1b": 1}}


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
