"""What Linux tells of a runner that is being ended: what lies unread, whether it is stopped, how long it had no CPU.

Must not know: runs, journals, why a runner is ended.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

CONNECTIONS: Final = Path("/proc/net/tcp")
_LATELY: Final = 250
"""Looks at a runner, a poll apart: a second, or longer on a busy machine."""


class Waits:
    """How long the main thread of a process has waited for a CPU lately; nothing where the kernel does not count it."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/schedstat")
        self._seen: deque[float] = deque(maxlen=_LATELY)

    def look(self) -> None:
        """Take note of how long it has waited so far."""
        with suppress(FileNotFoundError, ProcessLookupError):  # it is gone, or not counted
            self._seen.append(int(self._path.read_text().split()[1]) / 1e9)

    @property
    def lately_s(self) -> float:
        """Seconds, between the last looks."""
        return self._seen[-1] - self._seen[0] if self._seen else 0.0


def wait_until_stopped(pid: int) -> None:
    """Returns when the process no longer runs: at once, or when a system call of its own is done."""
    state = Path(f"/proc/{pid}/stat")
    while state.read_bytes().rpartition(b") ")[2][:1] not in b"TZX":
        pass


def unread_ports() -> frozenset[int]:
    """Local ports with data that nobody has read, of all connections."""
    rows = (line.split() for line in CONNECTIONS.read_text().splitlines()[1:])
    return frozenset(int(row[1].split(":")[1], 16) for row in rows if int(row[4].split(":")[1], 16))
