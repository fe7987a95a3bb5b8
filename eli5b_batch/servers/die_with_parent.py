"""Runs a program that gets SIGTERM when its parent dies, however the parent dies.

`die_with_parent.py PARENT_PID PROGRAM ARGUMENT...`

Must not know: which program it runs. This script runs in an interpreter of its own, without the package: its process
asks the kernel for the signal and then becomes the program, and the request outlives that change. The request exists
on Linux only; elsewhere the program just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, command: list[str]) -> None:
    """Become `command`, tied to the process `parent`.

    The kernel ties it to the *thread* of the parent that forked, so that thread must live as long as the parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent died before this process was tied to it
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 (the purpose of this script)
    except OSError as error:
        sys.exit(f"{command[0]}: can't be run: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
