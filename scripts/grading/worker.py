"""Graders in processes that can be killed: one call at a time, over pipes, with a deadline kept from outside.

As a program it is such a process: `python scripts/grading/worker.py NAME` reads a JSON line `[response, gold]` for
every call and writes one with what the grader said. Graders run in its main thread, as math-verify uses signal.alarm.
Must not know: cases, tables, what is right.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import psutil  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from eli5b_batch.grading import grade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEADLINE_S: Final = 5.0
START_S: Final = 120.0
"""For the imports of a fresh process on a busy machine."""


class Said(NamedTuple):
    """What a grader said: its verdict, whether that counts as right, and what the call took.

    `verdict` is one of our five, `killed` for a call over the deadline, `died` for a process that ended by itself, or
    `raised`. `peak_mb` is the most memory the process has had in use since it started, or it and its children together
    while this call ran, which is looked at every 10 ms once a call takes longer than 50.
    """

    right: bool
    verdict: str
    rule: str
    answer: str
    seconds: float
    peak_mb: float


class Worker:
    """One process with one grader, started anew whenever it was killed; `with` ends it."""

    def __init__(self, grader: str, *, deadline_s: float = DEADLINE_S, place: Path | None = None) -> None:
        self._command = [sys.executable, str(Path(__file__).resolve()), grader]
        self._deadline_s = deadline_s
        self._place = place  # the working directory
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._peak_mb = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> subprocess.Popen[bytes]:
        """The process, warm."""
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = subprocess.Popen(  # noqa: S603 (our own command)
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=self._place
            )
            self._pending = b""
            if not self._line(time.monotonic() + START_S):
                raise SystemExit(f"the grader does not start: {' '.join(self._command)}")
        return self._process

    def call(self, response: str, gold: str) -> Said:
        """What the grader says of one answer; the process is killed at the deadline."""
        process = self.start()
        assert process.stdin is not None
        started = time.monotonic()
        try:
            process.stdin.write(json.dumps([response, gold]).encode() + b"\n")
            process.stdin.flush()
            line = self._line(started + self._deadline_s)
        except BrokenPipeError:
            line = b""
        seconds = time.monotonic() - started
        if not line:
            self.end()
            verdict = "killed" if line is None else "died"
            return Said(right=False, verdict=verdict, rule="", answer="", seconds=seconds, peak_mb=self._peak_mb)
        said = json.loads(line)
        return Said(**said | {"peak_mb": max(said["peak_mb"], self._peak_mb)})

    def _line(self, until: float) -> bytes | None:
        """The next line; None where it does not come in time, empty where the process ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._peak_mb, wait = 0.0, 0.05
        while b"\n" not in self._pending:
            left = until - time.monotonic()
            if left <= 0:
                return None
            if not select.select([self._process.stdout], [], [], min(left, wait))[0]:
                self._peak_mb, wait = max(self._peak_mb, _resident_mb(self._process.pid)), 0.01
                continue
            read = os.read(self._process.stdout.fileno(), 1 << 16)
            if not read:
                return b""
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def end(self) -> None:
        """Kills the process, with whatever it started itself."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            self._process = None


def _resident_mb(pid: int) -> float:
    total = 0
    try:
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return float(total) / 2**20


# --- inside the process --------------------------------------------------------------------------


def ours() -> Callable[[str, str], Mapping[str, Any]]:
    """Our grader as everybody calls it."""

    def call(response: str, gold: str) -> Mapping[str, Any]:
        said = grade(response, gold)
        return {"right": said.correct, "verdict": said.verdict, "rule": said.rule, "answer": said.answer or ""}

    return call


def math_verify() -> Callable[[str, str], Mapping[str, Any]]:
    """math-verify with its defaults; a bare gold is put between dollars, which its reader of LaTeX looks for."""
    from math_verify import parse, verify  # noqa: PLC0415 - our own grader's process does not pay for it

    logging.disable(logging.CRITICAL)

    def call(response: str, gold: str) -> Mapping[str, Any]:
        marked = MARKED.search(gold) is not None
        answer = parse(response)
        right = verify(parse(gold if marked else f"${gold}$"), answer)
        return {"right": bool(right), "verdict": "correct" if right else "incorrect", "rule": "", "answer": ""}

    return call


MARKED: Final = re.compile(r"(?<!\\)\$|\\boxed|\\\[|\\\(")
"""What shows where a formula is in a text."""

GRADERS: Final = {"ours": ours, "math-verify": math_verify}


def _own_peak_mb() -> float:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def serve(grader: str) -> None:
    """Answers calls until the pipe closes; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    call = GRADERS[grader]()
    call(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
    print("warm", file=answers, flush=True)
    for line in sys.stdin:  # one call
        response, gold = json.loads(line)
        started = time.perf_counter()
        try:
            said = dict(call(response, gold))
        except Exception as error:  # noqa: BLE001 - that a grader raised is what is measured
            said = {"right": False, "verdict": "raised", "rule": f"{type(error).__name__}: {error}"[:200], "answer": ""}
        said["answer"] = said["answer"][-500:]
        took = {"seconds": time.perf_counter() - started, "peak_mb": _own_peak_mb()}
        print(json.dumps(said | took), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
