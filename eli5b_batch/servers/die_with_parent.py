"""Runs a program that gets SIGTERM when its parent dies, however the parent dies.

`die_with_parent.py PARENT_PID PROGRAM ARGUMENT...`

Must not know: what it runs. A script for an interpreter of its own, without the package: the wish is told to the kernel
by the process that then becomes the program, and outlives that change. Where the kernel has no such wish (it is
Linux's) the program just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, command: list[str]) -> None:
    """Become `command`, tied to the process `parent`.

    The kernel ties it to the *thread* that forked, so that thread must live as long as its process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be tied to
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 (what it is for)
    except OSError as error:
        sys.exit(f"{command[0]}: can't be run: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
