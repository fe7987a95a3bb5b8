"""The processes of a server: they are found, and ended, by its session and its token alone.

Must not know: what the processes do. No process is ever found by its name.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import psutil  # type: ignore[import-untyped]

from eli5b_batch.job.reserved_names import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

POLL_S: Final = 0.05
DEATH_S: Final = 2.0
"""Most seconds to wait for killed processes: giving memory back takes a moment, and one that hangs in a driver never
ends."""
_DEATH_POLL_S: Final = 0.005
_LOOKS: Final = 100
_LOOK_S: Final = 0.002
_SLACK_S: Final = 5.0
"""Tolerance of start times, seconds: they are relative to the machine's clock, which may be corrected in between."""


def started_at(pid: int) -> float:
    """Return the unix time when a process was started. A process that has ended must not have been waited for yet."""
    return float(psutil.Process(pid).create_time())


def members(leader: int, started: float, token: str) -> list[psutil.Process]:
    """Return the processes in a server's session that carry its token.

    Args:
        leader: the server's pid, which is the id of its session. By now, it may be the pid of another process.
        started: the unix time when the server was started. An older process is not the server's.
        token: a value in the environment of the server and of every process that it starts.
    """
    return [process for process in psutil.process_iter() if _belongs(process, leader, started, token)]


def _belongs(process: psutil.Process, leader: int, started: float, token: str) -> bool:
    try:
        return bool(
            os.getsid(process.pid) == leader
            and process.create_time() >= started - _SLACK_S
            and _environment(process).get(TOKEN) == token
        )
    except (psutil.Error, OSError):  # the process has ended, or is another user's
        return False


def _environment(process: psutil.Process) -> dict[str, str]:
    """Return the variables of a process; wait a moment for those of one that is just becoming another program."""
    for _ in range(_LOOKS):
        variables: dict[str, str] = process.environ()
        if variables or not is_running(process):
            break
        time.sleep(_LOOK_S)
    return variables


def listens(processes: Iterable[psutil.Process], port: int) -> bool:
    """True if one of the processes accepts connections on this port."""
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return True
    return False


async def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to all processes, and wait a short time for them to end.

    A process that has ended is skipped, even if another process has its pid by now.
    """
    left = _send_sigkill(processes)
    deadline = time.monotonic() + DEATH_S
    while (left := [p for p in left if is_running(p)]) and time.monotonic() < deadline:  # noqa: ASYNC110 (there is no event)
        await asyncio.sleep(_DEATH_POLL_S)


def kill_at_once(processes: Iterable[psutil.Process]) -> None:
    """Do as `kill` does, without an `await` at which a run that is being cancelled could be cancelled again."""
    left = _send_sigkill(processes)
    deadline = time.monotonic() + DEATH_S
    while (left := [p for p in left if is_running(p)]) and time.monotonic() < deadline:
        time.sleep(_DEATH_POLL_S)


def _send_sigkill(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Send SIGKILL to all processes and return them."""
    killed = list(processes)
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return killed


async def end(processes: Iterable[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Send SIGTERM to all processes, and SIGKILL to those left after `patience_s`; return those left."""
    left = list(processes)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while (left := [p for p in left if is_running(p)]) and loop.time() < deadline:  # noqa: ASYNC110 (there is no event)
        await asyncio.sleep(POLL_S)
    await kill(left)
    return left


def is_running(process: psutil.Process) -> bool:
    """True if the process has not ended. A process that has ended and was not waited for is not running."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
