from __future__ import annotations

import asyncio
import io
import itertools
import os
import termios
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from eli5b_batch.progress import LiveDashboard, can_live

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.progress.snapshot import Snapshot

    Make = Callable[..., Snapshot]

ESC = "\x1b"


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def unexpected(error: Exception) -> None:
    raise error


@pytest.fixture
def moving(snapshot: Make) -> Callable[[], Snapshot]:
    """A run that gets further with each snapshot."""
    numbers = itertools.count()
    return lambda: snapshot(failures={"timeout": next(numbers)})


@pytest.fixture
def waiting(snapshot: Make) -> Callable[[], Snapshot]:
    """A run in which only the clock moves, while nothing of its GPUs works."""

    def look() -> Snapshot:
        now = asyncio.get_running_loop().time()
        usual = snapshot()
        down = {
            "slots": [{**slot, "down": True, "down_s": now} for slot in usual["slots"]],
            "providers": [{**provider, "down_s": now} for provider in usual["providers"]],
        }
        return snapshot(elapsed_s=now, eta_s=9000 - now, updated_at=str(now), **down)

    return look


def terminal(width: int = 120, height: int = 40) -> tuple[Console, Terminal]:
    file = Terminal()
    return Console(file=file, width=width, height=height), file


@pytest.mark.looptime
async def test_at_most_four_pictures_a_second(moving: Callable[[], Snapshot]) -> None:
    console, file = terminal()
    async with LiveDashboard(moving, console, on_error=unexpected):
        await asyncio.sleep(10.1)
    assert 40 <= file.getvalue().count("omni_full") <= 42


@pytest.mark.looptime
async def test_at_most_one_picture_a_second_when_only_the_clock_moves(
    waiting: Callable[[], Snapshot],
) -> None:
    console, file = terminal()
    async with LiveDashboard(waiting, console, on_error=unexpected):
        await asyncio.sleep(10.1)
    assert 10 <= file.getvalue().count("omni_full") <= 12


@pytest.mark.looptime
async def test_the_last_picture_stays_and_the_cursor_comes_back(snapshot: Make) -> None:
    console, file = terminal()
    state = "running"
    async with LiveDashboard(lambda: snapshot(state=state), console, on_error=unexpected):
        await asyncio.sleep(0.1)
        state = "done"
    end = file.getvalue().rsplit("omni_full", 1)[1]
    assert "done" in end
    assert end.endswith(f"\n{ESC}[?25h")


@pytest.mark.looptime
async def test_the_terminal_is_given_back_when_the_run_fails(snapshot: Make) -> None:
    console, file = terminal()
    with pytest.raises(RuntimeError):
        async with LiveDashboard(snapshot, console, on_error=unexpected):
            raise RuntimeError
    assert file.getvalue().endswith(f"{ESC}[?25h")


@pytest.mark.looptime
async def test_a_new_size_of_the_terminal_wipes_the_old_picture(snapshot: Make) -> None:
    console, file = terminal()
    async with LiveDashboard(snapshot, console, on_error=unexpected):
        assert f"{ESC}[2J" not in file.getvalue()
        console.size = (80, 24)
        await asyncio.sleep(0.3)
        after = file.getvalue().rsplit(f"{ESC}[H{ESC}[2J", 1)[1]
        assert "╭" not in after  # 24 lines leave no room for frames
        assert "omni_full" in after


@pytest.mark.looptime
async def test_a_fault_in_drawing_is_reported_once_and_drawing_goes_on(moving: Callable[[], Snapshot]) -> None:
    console, file = terminal()
    errors: list[Exception] = []

    def faulty() -> Snapshot:
        if 1 < asyncio.get_running_loop().time() < 3:
            raise KeyError("providers")
        return moving()

    async with LiveDashboard(faulty, console, on_error=errors.append):
        await asyncio.sleep(3.1)
        before = file.getvalue().count("omni_full")
        await asyncio.sleep(2)
        assert file.getvalue().count("omni_full") - before >= 8
    assert [type(error) for error in errors] == [KeyError]


@pytest.mark.looptime
async def test_a_redirected_stdout_is_left_alone(snapshot: Make, capsys: pytest.CaptureFixture[str]) -> None:
    console, file = terminal()
    async with LiveDashboard(snapshot, console, on_error=unexpected):
        print("for the file")  # noqa: T201 - what a user's code may do
    assert capsys.readouterr().out == "for the file\n"
    assert "for the file" not in file.getvalue()


async def test_a_stopped_terminal_does_not_stop_the_run(moving: Callable[[], Snapshot]) -> None:
    master, slave = os.openpty()
    screen = bytearray()

    def read(pictures: int) -> None:
        while screen.count(b"omni_full") < pictures:  # what is written arrives in parts, and when it may
            screen.extend(os.read(master, 10**6))

    with os.fdopen(slave, "w") as file:
        dashboard = LiveDashboard(moving, Console(file=file, width=80, height=24), on_error=unexpected)
        async with dashboard:
            read(pictures=1)
            termios.tcflow(slave, termios.TCOOFF)  # Ctrl-S
            dashboard._tick()  # would never return
            termios.tcflow(slave, termios.TCOON)
            dashboard._tick()
            read(pictures=2)
    os.close(master)


def test_only_a_real_terminal_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_live(Console(file=Terminal()))
    assert not can_live(Console(file=io.StringIO()))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not can_live(Console(file=io.StringIO()))
    monkeypatch.setenv("TERM", "dumb")
    assert not can_live(Console(file=Terminal()))
