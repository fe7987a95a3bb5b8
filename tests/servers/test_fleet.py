"""servers/fleet.py, die_with_parent.py: a killed run leaves no server behind, and a stranger is never ended."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import orjson
import psutil  # type: ignore[import-untyped]
import pytest

from eli5b_batch.servers import die_with_parent
from eli5b_batch.servers.fleet import RUNNING, end_leftovers
from eli5b_batch.servers.process_tree import started_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.servers.conftest import Fake

RUN = """
import asyncio, sys
from pathlib import Path
from eli5b_batch.job.load import load_job
from eli5b_batch.servers.fleet import managed_servers

async def run():
    async with managed_servers(load_job(Path(sys.argv[1])), ["gpus"], Path(sys.argv[2])):
        print("up", flush=True)
        await asyncio.sleep(600)

asyncio.run(run())
"""


@pytest.fixture
def killed_run(managed_file: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of a run that was killed with SIGKILL while its server was up."""
    folder = tmp_path / "servers"
    with subprocess.Popen(  # noqa: S603 (a script of our own)
        [sys.executable, "-c", RUN, str(managed_file()), str(folder)], stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"up\n"
        runner.send_signal(signal.SIGKILL)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has to tell a server that its run has died")
async def test_a_server_ends_with_its_run_however_that_dies(
    killed_run: Path, fake: Fake, until: Callable[..., Awaitable[None]]
) -> None:
    (note,) = fake.notes()
    await until(lambda: note["pid"] not in fake.processes())
    assert (killed_run / RUNNING).exists()


async def test_the_next_start_ends_what_a_killed_run_has_left(
    killed_run: Path, fake: Fake, until: Callable[..., Awaitable[None]]
) -> None:
    (note,) = fake.notes()
    assert note["runner"] in fake.processes()
    assert await end_leftovers(killed_run) >= 1
    await until(lambda: not fake.processes())
    assert not (killed_run / RUNNING).exists()
    assert await end_leftovers(killed_run) == 0


@pytest.fixture
def stranger() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process in a session of its own that carries a token, and that token."""
    token = uuid.uuid4().hex
    with subprocess.Popen(
        ["/bin/cat"],
        start_new_session=True,
        env={"ELI5B_SERVER": token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()  # a process that has only just been started shows no environment yet
        yield process, token
        process.kill()


async def test_a_process_that_is_just_becoming_another_program_is_found(
    tmp_path: Path, stranger: tuple[subprocess.Popen[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, token = stranger
    on_record(tmp_path, pid=process.pid, started=started_at(process.pid), token=token)
    looks, really = itertools.count(), psutil.Process.environ

    def environ(looked_at: psutil.Process) -> dict[str, str]:
        becoming = looked_at.pid == process.pid and next(looks) < 2
        return {} if becoming else really(looked_at)

    monkeypatch.setattr(psutil.Process, "environ", environ)
    assert await end_leftovers(tmp_path, patience_s=60) == 1


async def test_a_process_without_any_variable_is_no_server(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True, env={}) as process:  # noqa: ASYNC220 (nothing else is on the loop)
        try:
            on_record(tmp_path, pid=process.pid, started=started_at(process.pid), token="abc")
            assert await end_leftovers(tmp_path) == 0
            assert process.poll() is None
        finally:
            process.kill()


def on_record(folder: Path, **row: object) -> None:
    (folder / RUNNING).write_bytes(orjson.dumps({"servers": [row]}))


async def test_a_process_is_ended_by_session_start_and_token_together(
    tmp_path: Path, stranger: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, token = stranger
    on_record(tmp_path, pid=process.pid, started=started_at(process.pid), token=token)
    assert await end_leftovers(tmp_path, patience_s=60) == 1
    assert process.wait(60) == -signal.SIGTERM


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen(  # noqa: ASYNC220, S603 (a script of our own, and nothing else is on the loop)
        [sys.executable, "-IS", "-c", deaf],
        start_new_session=True,
        env={"ELI5B_SERVER": "abc"},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        on_record(tmp_path, pid=process.pid, started=started_at(process.pid), token="abc")
        assert await end_leftovers(tmp_path, patience_s=0.1) == 1
        assert process.wait(60) == -signal.SIGKILL


async def test_another_process_with_the_pid_on_record_is_left_alone(
    tmp_path: Path, stranger: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, token = stranger
    on_record(tmp_path, pid=process.pid, started=started_at(process.pid) + 3600, token=token)
    assert await end_leftovers(tmp_path) == 0
    assert process.poll() is None


async def test_a_process_with_another_token_is_left_alone(
    tmp_path: Path, stranger: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, _ = stranger
    on_record(tmp_path, pid=process.pid, started=started_at(process.pid), token=uuid.uuid4().hex)
    assert await end_leftovers(tmp_path) == 0
    assert process.poll() is None


async def test_a_process_of_another_session_is_left_alone(
    tmp_path: Path, stranger: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, token = stranger
    other = psutil.Process().pid
    on_record(tmp_path, pid=other, started=0.0, token=token)
    assert await end_leftovers(tmp_path) == 0
    assert process.poll() is None


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"servers": 1}', '{"servers": [1, {"pid": "x"}, {"pid": 1, "token": ""}]}']
)
async def test_a_record_that_no_run_wrote_ends_nothing_and_is_gone(tmp_path: Path, text: str) -> None:
    (tmp_path / RUNNING).write_text(text)
    assert await end_leftovers(tmp_path) == 0
    assert not (tmp_path / RUNNING).exists()


def test_a_program_whose_parent_is_gone_already_is_not_begun() -> None:
    command = [sys.executable, "-IS", die_with_parent.__file__, "1", "/bin/echo", "begun"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 (ours)
    assert (done.returncode, done.stdout) == (1, b"")
