from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest
from rich.console import Console

from eli5b_batch.cli.status import status_view

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eli5b_batch.progress.snapshot import Snapshot

    Make = Callable[..., Snapshot]

ESC = "\x1b"


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def write(run_dir: Path, shown: Snapshot) -> None:
    (run_dir / "progress.json").write_bytes(orjson.dumps(shown))


NOW = 1_795_224_005.0
"""Five seconds after the snapshot's `updated_at`, seconds since 1970."""


def status(run_dir: Path, console: Console, *, sleep: Callable[[float], None] | None = None, now: float = NOW) -> None:
    status_view(run_dir, console, watch=sleep is not None, sleep=sleep or unexpected_sleep, now=lambda: now)


def unexpected_sleep(_seconds: float) -> None:
    raise AssertionError("nothing to wait for")


def test_status_off_a_terminal_is_plain(snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    usual = snapshot()["slots"][0]
    write(tmp_path, snapshot(slots=[{**usual, "slot": f"gpu{i}"} for i in range(64)]))
    file = io.StringIO()
    status(tmp_path, Console(file=file))
    assert "gpu63" in file.getvalue()
    assert "SIMULATED" in file.getvalue()
    assert all(c.isprintable() or c == "\n" for c in file.getvalue())
    assert "gone" not in file.getvalue()
    assert "no news" not in file.getvalue()


def test_status_is_a_plain_line_where_only_ascii_can_be_written(snapshot: Make, tmp_path: Path) -> None:
    write(tmp_path, snapshot())
    data = io.BytesIO()
    file = io.TextIOWrapper(data, encoding="ascii")
    status(tmp_path, Console(file=file))
    file.flush()
    assert data.getvalue().startswith(b"2026-11-21T01:20:00Z omni_full SIMULATED | running")


def test_status_says_that_the_process_of_a_run_is_gone(snapshot: Make, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write(tmp_path, snapshot(pid=ended.pid))
    for watched in (None, unexpected_sleep):
        file = io.StringIO()
        status(tmp_path, Console(file=file, width=120), sleep=watched)
        expected = f"state running, but process {ended.pid} is gone: resume with the same command"
        assert expected in file.getvalue()


def test_status_of_a_run_that_ended_says_nothing_of_its_process(snapshot: Make, tmp_path: Path) -> None:
    write(tmp_path, snapshot(state="done", pid=0, exit_code=0))
    file = io.StringIO()
    status(tmp_path, Console(file=file), now=NOW + 1e6)
    assert "gone" not in file.getvalue()
    assert "no news" not in file.getvalue()


def test_status_says_since_when_a_run_has_written_nothing(snapshot: Make, tmp_path: Path) -> None:
    write(tmp_path, snapshot())
    file = io.StringIO()
    status(tmp_path, Console(file=file), now=NOW + 7195)
    assert f"no news from process {os.getpid()} for 2h 00m" in file.getvalue()


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_watching_ends_with_the_run(snapshot: Make, tmp_path: Path, kind: type[io.StringIO]) -> None:
    write(tmp_path, snapshot())
    file, slept = kind(), 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        if slept >= 12:
            write(tmp_path, snapshot(state="done", exit_code=0))

    status(tmp_path, Console(file=file, width=120, height=40), sleep=sleep)
    assert slept == 12
    assert "done after 20m 00s, exit code 0" in file.getvalue() or kind is Terminal
    assert "done" in file.getvalue().rsplit("omni_full", 1)[1]
    pictures = file.getvalue().count("omni_full")
    assert pictures >= 13 if kind is Terminal else pictures == 4  # at 0, 5, 10 s, and the whole at the end


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_ctrl_c_leaves_a_watch_quietly(snapshot: Make, tmp_path: Path, kind: type[io.StringIO]) -> None:
    write(tmp_path, snapshot())
    file = kind()

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    status(tmp_path, Console(file=file, width=120, height=40), sleep=interrupted)
    assert "running" in file.getvalue()
    assert file.getvalue().endswith(f"{ESC}[?25h" if kind is Terminal else "\n")
