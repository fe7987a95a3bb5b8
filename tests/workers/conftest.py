"""What the tests of workers share: calls that do what a text says, and looking for processes."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])


@pytest.fixture(scope="session")
def planted() -> Iterator[Any]:
    """The module `planted_calls`, which worker processes find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield importlib.import_module("planted_calls")


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For a script of its own that imports the package and `planted_calls`."""
    return {**os.environ, "PYTHONPATH": PATH}


@pytest.fixture(scope="session")
def interpret(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs an interpreter of its own, where every warning is an error."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own scripts
            [sys.executable, "-X", "dev", "-W", "error", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def wait_until_gone() -> Callable[[psutil.Process], None]:
    """Waits until a process has ended, whoever is to bury it."""

    def gone(process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        return True

    def wait(process: psutil.Process) -> None:
        end = time.monotonic() + 60
        while not gone(process):
            assert time.monotonic() < end
            time.sleep(0.01)

    return wait
