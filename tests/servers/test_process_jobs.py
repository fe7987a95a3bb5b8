"""A whole job on managed servers: what its file may say, run, check and resume."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson
import pytest
import yaml

from eli5b_batch.job.load import dump_job, load_job
from eli5b_batch.job.schema import PREFETCH
from eli5b_batch.servers.gpus import with_detected_slots
from eli5b_batch.simulated.process import simulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.conftest import Fake

    Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            ["slots=[{gpu: 0, url: 'http://127.0.0.1:1'}]"],
            "slots[0].url: with manage: true the run chooses the address",
        ),
        (["slots=[{gpu: left}]"], "slots[0].gpu: with manage: true it must be an index, a UUID (GPU-...), or cpu, and"),
        (["slots=[{gpu: 1}, {gpu: 1}]"], "slots[1].gpu: slots[0] is gpu1 too; give each its own gpu"),
        (["slots=[{gpu: 1, paralel: 2}]"], "slots[0].paralel: unknown key 'paralel'; did you mean 'parallel'?"),
        (["slots=all"], "slots: must be a list or be 'auto', and this is 'all'"),
        (["slots=[]"], "slots: must not be empty or be 'auto', and this is an empty list"),
        (["parallel=8"], "parallel: it is for slots: auto; give each of these slots its own parallel"),
        (["env={OLLAMA_HOST: here}"], "env.OLLAMA_HOST: the run sets this variable itself, from other keys of the job"),
        (["env={CUDA_VISIBLE_DEVICES: '3'}"], "env.CUDA_VISIBLE_DEVICES: the run sets this variable itself"),
        (["env={A-B: x}"], "env.A-B: this name must be the name of an environment variable, such as OLLAMA_FLASH"),
        (["env={A: 1}"], "env.A: must be a text, and this is 1; put it in quotes"),
        (['env={A: "\\0"}'], "env.A: no environment variable can hold this character"),
        (["executable=''"], "executable: must not be empty"),
        (
            ["executable=no-such-ollama"],
            "executable: no `no-such-ollama` found in PATH; install it from https://ollama",
        ),
        (
            ["models_dir=~/no-such-folder"],
            "models_dir: there is no folder ~/no-such-folder; make it, or leave the key out",
        ),
        (["executable=bin/ollama"], "executable: no `bin/ollama` found there; install it from https://ollama"),
        (["manage=false"], "executable: this key is for servers that the run starts; it needs manage: true"),
        (["manage=false", "slots=auto"], "slots: auto needs manage: true; or list the servers with their urls"),
        (
            ["manage=false", "executable=ollama", "env={}"],
            "slots[0].url: this key is missing: the address of that Ollam",
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence_and_nothing_is_made(
    cli: Cli, managed_file: Callable[..., Path], tmp_path: Path, changes: list[str], sentence: str
) -> None:
    path = managed_file()
    options = [part for change in changes for part in ("--set", f"providers.gpus.{change}")]
    code, out, err = cli(path, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"eli5b-batch: {path}: providers.gpus.{sentence}")
    assert err.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_auto_becomes_the_slots_there_are_and_stands_so_in_the_resolved_job(
    managed_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 0, GPU-a, X, 1\necho 1, GPU-b, X, 1\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    job = with_detected_slots(load_job(managed_file(slots="auto", parallel=8)), ["gpus"])
    _, slots = job.providers["gpus"].shape
    assert [(s.name, s.parallel) for s in slots] == [("gpu0", 8), ("gpu1", 8)]
    assert job.places == 2 * (8 + PREFETCH)
    assert job.models["1b"].sampling.num_ctx == 8192
    (tmp_path / "resolved.yaml").write_text(dump_job(job))
    assert load_job(tmp_path / "resolved.yaml") == job
    assert simulate(job).providers["gpus"].shape == (None, slots)


@pytest.fixture
def broken_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho no driver\nexit 9\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return smi


@pytest.mark.usefixtures("broken_driver")
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_driver_that_fails_is_told_with_the_place_in_the_job(
    cli: Cli, managed_file: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    path = managed_file(slots="auto")
    code, _, err = cli(command, path)
    assert code == 2
    assert err.startswith(f"eli5b-batch: {path}: providers.gpus.slots: nvidia-smi failed (no driver); mend")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.usefixtures("broken_driver")
@pytest.mark.parametrize("command", [["rehearse"], ["run", "--simulate"], ["check", "--simulate"]])
def test_a_driver_that_fails_stops_nothing_that_needs_no_gpu(
    cli: Cli, managed_file: Callable[..., Path], tmp_path: Path, command: list[str]
) -> None:
    code, _, err = cli(command[0], managed_file(slots="auto", parallel=3), *command[1:])
    assert code == 0, err
    if command[0] == "run":
        resolved = yaml.safe_load((tmp_path / "outputs" / "small.simulated" / "job.yaml").read_text())
        (slot,) = resolved["providers"]["gpus"]["slots"]
        assert (slot["gpu"], slot["parallel"]) == ("cpu", 3)


def test_a_run_with_nothing_left_to_ask_of_its_gpus_does_not_look_for_them(
    cli: Cli, managed_file: Callable[..., Path], request: pytest.FixtureRequest
) -> None:
    assert cli(managed_file())[0] == 0
    request.getfixturevalue("broken_driver")
    code, _, err = cli(managed_file(slots="auto"))
    assert code == 0, err


def test_a_missing_key_is_told_before_a_server_is_started(
    cli: Cli, managed_file: Callable[..., Path], fake: Fake, tmp_path: Path
) -> None:
    path = managed_file()
    tree = yaml.safe_load(path.read_text())
    tree["providers"]["api"] = {"api": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "NO_SUCH_KEY"}
    tree["models"]["teacher"] = {"provider": "api", "model": "m", "price": "unknown"}
    tree["params"] |= {"teacher": "teacher", "hints": ["generic"]}
    path.write_text(yaml.safe_dump(tree))
    assert cli(path)[0] == 2
    assert fake.notes() == []
    assert not (tmp_path / "outputs").exists()


def test_a_run_starts_its_servers_and_leaves_none(
    cli: Cli, managed_file: Callable[..., Path], fake: Fake, tmp_path: Path
) -> None:
    path = managed_file({"gpu": 0, "parallel": 2}, {"gpu": 1})
    code, _, err = cli(path, "--set", "params.samples=3")
    assert code == 0, err
    run_dir = tmp_path / "outputs" / "small"
    records = [orjson.loads(line) for line in (run_dir / "calls.jsonl").read_bytes().splitlines()]
    assert {record["slot"] for record in records} == {"gpu0", "gpu1"}
    assert {p.name for p in (run_dir / "servers").iterdir()} == {"gpu0.log", "gpu1.log"}
    assert "url" not in yaml.safe_load((run_dir / "job.yaml").read_text())["providers"]["gpus"]["slots"][0]
    assert fake.processes() == []
    # Fewer GPUs, more samples: the same run goes on; once all is answered no server is started.
    assert cli(managed_file({"gpu": 3}), "--set", "params.samples=4")[0] == 0
    assert [note["env"]["CUDA_VISIBLE_DEVICES"] for note in fake.notes()][2:] == ["3"]
    assert cli(managed_file({"gpu": 3}, executable="gone"), "--set", "params.samples=4")[0] == 0
    assert len(fake.notes()) == 3


def test_servers_that_do_not_come_up_leave_their_log_and_a_folder_that_the_same_command_can_use(
    cli: Cli, managed_file: Callable[..., Path], fake: Fake, tmp_path: Path
) -> None:
    fake.mood("broken")
    path = managed_file()
    code, _, err = cli(path)
    assert code == 5
    log = "outputs/small/servers/gpu0.log"
    assert err == (
        "eli5b-batch: providers.gpus: the server of gpu0 ended with exit code 3 before it answered: "
        f"Error: no room (its log: {log})\n"
    )
    assert "Error: no room" in (tmp_path / log).read_text()
    fake.cured()
    assert cli(path)[0] == 0


def test_check_starts_the_servers_to_look_and_leaves_nothing(
    cli: Cli, managed_file: Callable[..., Path], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    path = managed_file({"gpu": "cpu"})
    code, out, err = cli("check", path)
    assert code == 0, err
    assert "models.1b: served: ollama 0.13.0, 0123456789ab" in out
    assert "note: providers.gpus: a server runs on the CPU, without a GPU: it will be slow" in out
    assert len(fake.notes()) == 1
    assert fake.processes() == []
    assert not (tmp_path / "outputs").exists()
    assert list((tmp_path / "temporary").iterdir()) == []
    fake.mood("broken")
    code, out, _ = cli("check", path)
    assert code == 5
    assert "would stop the run: providers.gpus: the server of cpu ended with exit code 3 before it answered" in out
    (kept,) = (tmp_path / "temporary").iterdir()
    assert f"(its log: {kept}/cpu.log)" in out
    assert "note: providers.gpus: its servers' logs are kept; delete them once read" in out
    assert "Error: no room" in (kept / "cpu.log").read_text()
    assert cli("check", managed_file(executable="gone"))[0] == 2  # which has no log
    assert list((tmp_path / "temporary").iterdir()) == [kept]


def test_check_pulls_to_one_of_the_servers_only(cli: Cli, managed_file: Callable[..., Path], fake: Fake) -> None:
    code, out, _ = cli("check", managed_file({"gpu": 0, "models": ["other"]}, {"gpu": 1}), "--pull")
    assert code == 0
    assert "gpu0 llama3.2:1b" in out
    assert "gpu1 llama3.2:1b" not in out
    assert len(fake.notes()) == 2


@pytest.mark.parametrize("command", [["rehearse"], ["run", "--simulate"], ["check", "--simulate"]])
def test_what_only_simulates_starts_no_server(
    cli: Cli, managed_file: Callable[..., Path], fake: Fake, command: list[str]
) -> None:
    path = managed_file()
    os.unlink(fake.path)  # noqa: PTH108 (nor is it looked for)
    assert cli(command[0], path, *command[1:])[0] == 0
    assert fake.notes() == []
