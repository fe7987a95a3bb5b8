"""cli.py: the commands, what they print where, and how they leave."""

from __future__ import annotations

import asyncio
import errno
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from eli5b_batch import __version__
from eli5b_batch.cli.app import app
from eli5b_batch.job.schema import Job as JobSchema

if TYPE_CHECKING:
    from collections.abc import Callable

    Cli = Callable[..., tuple[int, str, str]]
    Job = Callable[..., Path]
    Serve = Callable[..., str]

COMMANDS = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
OPENAI_REPLY = (
    rb'{"choices": [{"message": {"role": "assistant", "content": "So \\boxed{2}"}, "finish_reason": "stop"}],'
    rb' "usage": {"prompt_tokens": 9, "completion_tokens": 7}}'
)
OLLAMA_REPLY = (
    rb'{"message": {"role": "assistant", "content": "So \\boxed{2}"}, "done": true, "done_reason": "stop",'
    rb' "prompt_eval_count": 9, "eval_count": 7}'
)


@pytest.fixture
def sound(job: Job, serve_openai: Serve, serve_ollama: Serve) -> Path:
    """A job of six calls whose servers answer: two hints, four answers, half of them right."""
    return job(
        providers={
            "api": {"api": "openai", "base_url": serve_openai(["large-70b"], OPENAI_REPLY)},
            "gpus": {"api": "ollama", "slots": [{"url": serve_ollama(["llama3.2:1b"], OLLAMA_REPLY)}]},
        },
        models={
            "teacher": {
                "provider": "api",
                "model": "large-70b",
                "price": {"input": 1, "output": 2, "as_of": "2026-03-01"},
                "sampling": {"max_tokens": 100},
            },
            "1b": {"provider": "gpus", "model": "llama3.2:1b"},
        },
    )


def command(*args: object, **options: object) -> subprocess.Popen[bytes]:
    """The command line in a process of its own."""
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]  # noqa: S603 (our own command line)
        [sys.executable, "-m", "eli5b_batch", *map(str, args)], **options
    )


# --- help, version, schema, completion -----------------------------------------------------------


def test_help_of_every_command_shows_an_example_and_needs_no_heavy_import() -> None:
    code = f"""
import sys
from eli5b_batch.cli.app import main
for args in [["--help"], ["-h"], ["--version"], *([name, "--help"] for name in {COMMANDS})]:
    try:
        main(args)
    except SystemExit as left:
        assert left.code == 0, args
    print("-----")
heavy = "polars altair sympy aiohttp yaml jinja2 scipy ollama math_verify rich.console".split()
assert not [name for name in heavy if name in sys.modules], [name for name in heavy if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    shown = done.stdout.split("-----\n")
    assert shown[0] == shown[1]
    assert shown[2] == f"eli5b-batch {__version__}\n"
    for name, text in zip(["", *COMMANDS], [shown[0], *shown[3:-1]], strict=True):
        examples = [line.split() for line in text.split("\n") if line.startswith("  eli5b-batch ")]
        assert examples
        assert name in {"", "run"} or all(example[1] == name for example in examples)
    assert max(len(line) for line in done.stdout.split("\n")) <= 100


def test_every_example_of_the_help_names_a_job_that_is_there_and_options_that_exist(cli: Cli) -> None:
    jobs = Path(__file__).parent.parent.parent
    for name in COMMANDS:
        _, text, _ = cli(name, "--help")
        for line in text.split("\n"):
            if line.startswith("  eli5b-batch "):
                for word in line.split():
                    assert not word.endswith(".yaml") or (jobs / word).is_file()
                    assert not word.startswith("--") or word in text.split("Options:")[1]


def test_without_arguments_the_help_is_shown(cli: Cli) -> None:
    code, out, err = cli()
    assert code in {0, 2}  # typer changed its mind between versions
    assert "eli5b-batch jobs/quickstart.yaml" in out + err


def test_schema_prints_the_json_schema_of_a_job(cli: Cli) -> None:
    code, out, err = cli("schema")
    assert (code, err) == (0, "")
    assert orjson.loads(out) == JobSchema.model_json_schema()


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    shell = {**os.environ, "SHELL": "/bin/bash"}
    # The shell is known by the processes above: here there is one, wherever the tests are run from.
    under_bash = ["bash", "-c", '"$@"; exit $?', "-", sys.executable, "-m", "eli5b_batch"]
    shown = subprocess.run(  # noqa: S603 (our own command line)
        [*under_bash, "--show-completion"], env=shell, stdout=subprocess.PIPE, cwd=tmp_path, check=True
    )
    assert b"complete -o default -F _eli5b_batch_completion eli5b-batch" in shown.stdout
    asked = shell | {"_ELI5B_BATCH_COMPLETE": "complete_bash", "COMP_WORDS": "eli5b-batch sta", "COMP_CWORD": "1"}
    completed = subprocess.run(  # noqa: S603 (our own command line)
        under_bash, env=asked, stdout=subprocess.PIPE, cwd=tmp_path, check=True
    )
    assert completed.stdout.split() == [b"status"]


# --- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["run"], "Missing argument 'JOB'."),
        (["check"], "Missing argument 'JOB'."),
        (["job.yaml", "--limit", "0"], "Invalid value for '--limit': "),
        (["job.yaml", "--limit", "-3"], "Invalid value for '--limit': "),
        (["job.yaml", "--limit", "all"], "Invalid value for '--limit': "),
        (["job.yaml", "--grace", "nan"], "Invalid value for '--grace': "),
        (["job.yaml", "--display", "nonsense"], "Invalid value for --display: 'nonsense' is not auto, live, plain or"),
        (["job.yaml", "--limt", "3"], "No such option: --limt"),
        (["job.yaml", "other.yaml"], "Got unexpected extra argument(s) (other.yaml)"),
        (["chekc", "job.yaml"], "No such command 'chekc'. Did you mean 'check'"),
        (["statsu", "outputs/x"], "No such command 'statsu'. Did you mean 'status'"),
        (["--set", "seed=1"], "Missing argument 'JOB'."),
    ],
)
def test_wrong_usage_is_one_sentence_and_leaves_with_two(cli: Cli, job: Job, args: list[str], sentence: str) -> None:
    before = sorted(job().parent.rglob("*"))
    code, out, err = cli(*args)
    assert (code, out) == (2, "")
    usage, *_, last = err.rstrip("\n").split("\n")
    assert usage.startswith("Usage: eli5b-batch ")
    assert last.startswith(f"Error: {sentence}")
    assert sorted(job().parent.rglob("*")) == before


@pytest.mark.parametrize("arg", ["", "\udcff"])
def test_an_argument_that_is_empty_or_no_text_is_refused(cli: Cli, job: Job, arg: str) -> None:
    path = job()
    code, out, err = cli(path, "--output", arg)
    assert (code, out) == (2, "")
    assert err == f"eli5b-batch: {arg!r}: an argument must be UTF-8 text and not be empty\n"


def test_a_display_of_the_environment_is_checked_too(cli: Cli, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    path = job()
    monkeypatch.setenv("ELI5B_DISPLAY", "nonsense")
    assert "'nonsense' is not auto, live, plain or none" in cli(path)[2]


def test_a_job_file_may_be_called_like_a_slip_of_the_hand(cli: Cli, job: Job) -> None:
    job().rename("chek")
    assert cli("chek", "--set", "nosuch=1")[2].startswith("eli5b-batch: chek: nosuch: unknown key")


@pytest.mark.parametrize("name", ["status", "report"])
def test_a_folder_that_is_no_run_is_said_in_one_line(cli: Cli, job: Job, tmp_path: Path, name: str) -> None:
    job()
    for folder in ("nowhere", ".", "job.yaml", "job.yaml/x"):
        code, out, err = cli(name, folder)
        assert (code, out) == (2, "")
        assert err.startswith("eli5b-batch: ")
        assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "job.yaml"]


# --- runs ----------------------------------------------------------------------------------------


def test_a_run_prints_its_table_and_files_on_stdout_and_progress_on_stderr(
    cli: Cli, sound: Path, tmp_path: Path
) -> None:
    code, out, err = cli(sound)
    assert code == 0
    assert "done after" in err.rstrip("\n").split("\n")[-1]
    assert "50.0%" in out
    assert "  outputs/small/report/accuracy.png" in out.split("\n")
    assert "\x1b" not in out + err
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"small"}

    code, out, err = cli(sound, "--display", "none")
    assert (code, err) == (0, "")
    assert "50.0%" in out
    code, out, err = cli("report", "outputs/small")
    assert (code, err) == (0, "")
    assert "50.0%" in out
    code, out, err = cli("status", "outputs/small")
    assert (code, err) == (0, "")
    assert "small" in out
    code, out, err = cli("check", sound)
    assert (code, err) == (0, "")
    assert "6 calls, 0 of them still to make" in out
    assert "\x1b" not in out


def test_overrides_limit_and_output_reach_the_run(cli: Cli, sound: Path, tmp_path: Path) -> None:
    options = ["--limit", 1, "--output", "there/run", "--set", "params.samples=2", "--set", "params.hints=[none]"]
    code, _, err = cli("run", sound, *options, "--display", "none")
    assert (code, err) == (0, "")
    records = [orjson.loads(line) for line in (tmp_path / "there" / "run" / "calls.jsonl").read_bytes().splitlines()]
    assert [(r["step"], r["hint"], r["sample"]) for r in records] == [("answer", "none", 0), ("answer", "none", 1)]
    assert not (tmp_path / "outputs").exists()


def test_simulate_is_the_same_job_in_a_folder_of_its_own(cli: Cli, job: Job, tmp_path: Path) -> None:
    closed = "http://127.0.0.1:9"
    path = job(
        providers={
            "api": {
                "api": "openai",
                "base_url": f"{closed}/v1",
                "api_key_env": "NO_SUCH_KEY",
                "limits": {"concurrency": 3},
            },
            "gpus": {"api": "ollama", "slots": [{"gpu": 5, "url": closed, "parallel": 2}]},
        },
        models={
            "teacher": {"provider": "api", "model": "large-70b", "price": "unknown"},
            "1b": {"provider": "gpus", "model": "llama3.2:1b"},
        },
    )
    code, out, err = cli(path, "--simulate", "--display", "none")
    assert (code, err) == (0, "")
    assert "SIMULATED" in out
    folder = tmp_path / "outputs" / "small.simulated"
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    assert (manifest["name"], manifest["simulated"]) == ("small.simulated", True)
    slots = {orjson.loads(line)["slot"] for line in (folder / "calls.jsonl").read_bytes().splitlines()}
    assert slots == {None, "gpu5"}
    assert list((tmp_path / "outputs").iterdir()) == [folder]


def test_a_run_that_stops_says_why_and_that_the_same_command_goes_on(cli: Cli, sound: Path) -> None:
    code, out, err = cli(sound, "--set", "budget.usd=0.0001", "--set", "params.hints=[generic]", "--display", "none")
    assert (code, out) == (4, "")
    why, what_now = err.rstrip("\n").split("\n")
    assert why.startswith("eli5b-batch: the budget of $0.0001 is used up: ")
    assert what_now == "0 of 4 calls are on record in outputs/small; the same command goes on."


# --- terminals, pipes, signals -------------------------------------------------------------------


def test_a_terminal_without_colour_gets_none(job: Job, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}
    with command("check", job(), stdout=theirs, stderr=theirs, env=environment, cwd=tmp_path) as shown:
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 4096):
                text += chunk
        except OSError as error:
            assert error.errno == errno.EIO  # how Linux says that nobody writes to the terminal any more  # noqa: PT017
        os.close(ours)
    assert shown.returncode == 0
    assert b"nothing would stop the run." in text
    assert not re.search(rb"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9])m", text)


@pytest.mark.parametrize("args", [["schema"], ["--help"]])
def test_a_reader_that_leaves_early_is_no_error(args: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with command(*args, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert process.communicate()[1] == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_stdout_is_one_sentence() -> None:
    with Path("/dev/full").open("wb") as full, command("schema", stdout=full, stderr=subprocess.PIPE) as process:
        assert process.communicate()[1] == b"eli5b-batch: [Errno 28] No space left on device\n"
    assert process.returncode == 1


def test_control_c_leaves_with_130_and_no_traceback(
    job: Job, serve: Callable[[web.Application], str], tmp_path: Path
) -> None:
    asked, let_go = threading.Event(), threading.Event()

    async def hang(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.to_thread(let_go.wait, 60)
        return web.Response()

    app_ = web.Application()
    app_.router.add_get("/v1/models", hang)
    path = job(
        providers={"api": {"api": "openai", "base_url": f"{serve(app_)}/v1"}},
        models={name: {"provider": "api", "model": name, "price": "unknown"} for name in ("teacher", "1b")},
    )
    with command(path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    let_go.set()
    assert (process.returncode, out, err) == (130, b"", b"")
    assert not (tmp_path / "outputs").exists()
