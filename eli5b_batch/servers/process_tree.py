"""The processes of a server: everything in its session that carries its token, found and ended by that alone.

Must not know: what the processes do. Nothing is ever found by name.
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
"""The dying give their memory back, which takes a moment; one that hangs in a driver never does."""
_DEATH_POLL_S: Final = 0.005
_LOOKS: Final = 100
_LOOK_S: Final = 0.002
_SLACK_S: Final = 5.0
"""Start times are told relative to the clock of the machine, which may be corrected in between."""


def started_at(pid: int) -> float:
    """When a process was started, unix time; one that has ended must not have been waited for yet."""
    return float(psutil.Process(pid).create_time())


def members(leader: int, started: float, token: str) -> list[psutil.Process]:
    """The processes of a server's session.

    Args:
        leader: the server's pid, which is its session's id. It may be another's by now.
        started: when the server was started, unix time; what is older is not the server's.
        token: what its environment, and that of all it starts, holds.
    """
    return [process for process in psutil.process_iter() if _belongs(process, leader, started, token)]


def _belongs(process: psutil.Process, leader: int, started: float, token: str) -> bool:
    try:
        return bool(
            os.getsid(process.pid) == leader
            and process.create_time() >= started - _SLACK_S
            and _environment(process).get(TOKEN) == token
        )
    except (psutil.Error, OSError):  # gone, or somebody else's
        return False


def _environment(process: psutil.Process) -> dict[str, str]:
    """Its variables. One that is just becoming another program shows none for a moment, and is looked at again."""
    for _ in range(_LOOKS):
        variables: dict[str, str] = process.environ()
        if variables or not is_running(process):
            break
        time.sleep(_LOOK_S)
    return variables


def listens(processes: Iterable[psutil.Process], port: int) -> bool:
    """Whether one of them accepts connections on this port."""
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return True
    return False


async def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL, and a short wait for the end of all of them.

    One that is gone is no matter, and one whose pid is another's by now is left alone.
    """
    left = _shot(processes)
    deadline = time.monotonic() + DEATH_S
    while (left := [p for p in left if is_running(p)]) and time.monotonic() < deadline:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(_DEATH_POLL_S)


def kill_at_once(processes: Iterable[psutil.Process]) -> None:
    """The same without a pause in which a run that is being cancelled could be cancelled again."""
    left = _shot(processes)
    deadline = time.monotonic() + DEATH_S
    while (left := [p for p in left if is_running(p)]) and time.monotonic() < deadline:
        time.sleep(_DEATH_POLL_S)


def _shot(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    shot = list(processes)
    for process in shot:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return shot


async def end(processes: Iterable[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """SIGTERM, and SIGKILL for what is left after `patience_s`; those that needed it are returned."""
    left = list(processes)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while (left := [p for p in left if is_running(p)]) and loop.time() < deadline:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(POLL_S)
    await kill(left)
    return left


def is_running(process: psutil.Process) -> bool:
    """Whether it does anything: one that has ended and was not waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
