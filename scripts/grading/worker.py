"""Graders in processes that can be killed: one call at a time, with a deadline, a working directory and their memory.

Graders run in the main thread of their process, as math-verify uses signal.alarm.
Must not know: cases, tables, what is right.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import psutil  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from eli5b_batch.grading import grade
from eli5b_batch.workers import worker as workers
from eli5b_batch.workers.program import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

DEADLINE_S: Final = 5.0
START_S: Final = 120.0
"""For the first call of a fresh process on a busy machine, and for what the deadline kept from outside doesn't end."""
MEMORY_BYTES: Final = 64 << 30
"""Address space: what a grader takes is measured, not limited."""
OUTSIDE: Final = {"late": "killed", "died": "died", "raised": "raised", "unstarted": "died"}
"""The verdict on a call that returned nothing, by how it ended."""


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
        self._grader = grader
        self._deadline_s = deadline_s
        self._process = workers.Worker(partial(prepare, grader, place), memory_bytes=MEMORY_BYTES)
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._thread.shutdown()

    def start(self) -> None:
        """Have the process up and warm."""
        ending = self._process.call(workers.packed(os.getpid), Bounds(START_S, START_S))
        if ending.kind != "returned":
            raise SystemExit(f"the grader {self._grader} does not start: {ending.what}")

    def call(self, response: str, gold: str) -> Said:
        """What the grader says of one answer; the process is killed at the deadline."""
        self.start()
        started = time.monotonic()
        call = workers.packed(fields_of_call, self._grader, response, gold)
        in_hand = self._thread.submit(
            self._process.call, call, Bounds(START_S, START_S), time.monotonic() + self._deadline_s
        )
        peak_mb = self._peak_mb(in_hand)
        ending = in_hand.result()
        if ending.kind == "returned":
            said = Said(**ending.what)
            return said._replace(peak_mb=max(said.peak_mb, peak_mb))
        seconds = time.monotonic() - started
        return Said(False, OUTSIDE[ending.kind], ending.what, "", seconds, peak_mb)  # noqa: FBT003 - in its order

    def _peak_mb(self, in_hand: Future[workers.Ending]) -> float:
        """The most memory that the process and its children have in use until a call is over."""
        peak_mb, pause_s = 0.0, 0.05
        while not wait([in_hand], pause_s).done:
            peak_mb, pause_s = max(peak_mb, _resident_mb(self._process.pid)), 0.01
        return peak_mb

    def end(self) -> None:
        """Kill the process; what it started itself dies with it."""
        self._process.stop()


def _resident_mb(pid: int | None) -> float:
    total = 0
    try:
        process = psutil.Process(pid) if pid is not None else None
        for one in [process, *process.children(recursive=True)] if process else []:
            total += one.memory_info().rss
    except psutil.NoSuchProcess:  # it has just ended
        pass
    return float(total) / 2**20


# --- inside the process --------------------------------------------------------------------------


def ours(response: str, gold: str) -> Mapping[str, Any]:
    """Our grader as everybody calls it."""
    said = grade(response, gold)
    return {"right": said.correct, "verdict": said.verdict, "rule": said.rule, "answer": said.answer or ""}


def math_verify(response: str, gold: str) -> Mapping[str, Any]:
    """math-verify with its defaults; a bare gold is put between dollars, which its reader of LaTeX looks for."""
    from math_verify import parse, verify  # noqa: PLC0415 - our own grader's process does not pay for it

    logging.disable(logging.CRITICAL)
    marked = MARKED.search(gold) is not None
    answer = parse(response)
    right = verify(parse(gold if marked else f"${gold}$"), answer)
    return {"right": bool(right), "verdict": "correct" if right else "incorrect", "rule": "", "answer": ""}


MARKED: Final = re.compile(r"(?<!\\)\$|\\boxed|\\\[|\\\(")
"""What shows where a formula is in a text."""

GRADERS: Final[Mapping[str, Callable[[str, str], Mapping[str, Any]]]] = {"ours": ours, "math-verify": math_verify}


def prepare(grader: str, place: Path | None) -> None:
    """Go to the working directory, and make a first call there."""
    if place is not None:
        os.chdir(place)
    GRADERS[grader](r"\boxed{\sqrt{8}}", r"2\sqrt{2}")


def fields_of_call(grader: str, response: str, gold: str) -> Mapping[str, Any]:
    """The fields of `Said` for one call."""
    started = time.perf_counter()
    try:
        said = dict(GRADERS[grader](response, gold))
    except Exception as error:  # noqa: BLE001 - that a grader raised is what is measured
        said = {"right": False, "verdict": "raised", "rule": f"{type(error).__name__}: {error}"[:200], "answer": ""}
    said["answer"] = said["answer"][-500:]
    return said | {"seconds": time.perf_counter() - started, "peak_mb": _own_peak_mb()}


def _own_peak_mb() -> float:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
