"""What bounds one answer inside a process that grades, and what the end of such a process says of the answer.

Must not know: how such processes are started and asked (`pool`, `worker`), what equality means.

Every bound is the kernel's: a handler in Python, or a thread that watches, would wait for the interpreter,
which a single big multiplication holds for minutes.  The deadline is an alarm without a handler, which ends
the process at that moment; a limit on CPU time does the same where the alarm was switched off or taken over
by a library; a limit on address space makes allocations fail.  None of them needs the process that asked, so
that a busy worker ends in time even where that was killed.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eli5b_batch.grading.extract import extract
from eli5b_batch.grading.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    Grade = Callable[[str, str], Verdict]
    Ending = tuple[Outcome, str]

MEMORY_BYTES: Final = 768 << 20
"""Address space of a worker: with its caller it stays below 1 GB; sympy and all it imports take a tenth of it."""
LATE: Final[Ending] = ("timeout", "deadline")

_FATAL: Final = (signal.SIGALRM, signal.SIGXCPU, signal.SIGTERM)


def confine(memory_bytes: int) -> None:
    """Limit this process for good: address space, no core dumps, signals that end it whatever it is doing.

    Ctrl-C goes to every process of a terminal and is the asking process's business.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _FATAL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FATAL)  # a mask is inherited
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, memory_bytes)


def run(grade: Grade, text: str, gold: str, timeout_s: float) -> tuple[Verdict, bool]:
    """Grade one answer, or end this process when `timeout_s` seconds of wall or (rounded up) of CPU time are over.

    Returns:
        The verdict, and whether this process has grown so big that the next answer needs another one.
    """
    started = time.perf_counter()
    _limit(resource.RLIMIT_CPU, ceil(time.process_time() + timeout_s))
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        verdict = grade(text, gold)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - no text may raise; the verdict names what it was
        verdict = Verdict("error", None, type(error).__name__, time.perf_counter() - started)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return verdict, _grown()


def ending(exitcode: int) -> Ending:
    """Outcome and rule for an answer whose process ended with `exitcode`, negative where a signal ended it."""
    if exitcode == -signal.SIGALRM:
        return LATE
    if exitcode == -signal.SIGXCPU:
        return "timeout", "cpu"
    signals = {-number: number.name for number in signal.Signals}
    return "error", f"worker_died/{signals.get(exitcode, f'exit {exitcode}')}"


def unfinished(text: str, end: Ending, seconds: float) -> Verdict:
    """The verdict on an answer that no worker has graded in the `seconds` it had."""
    outcome, rule = end
    answer = extract(text)
    if answer is None:
        return Verdict(outcome, None, rule, seconds)
    return Verdict(outcome, answer.text, f"{answer.rule}/{rule}", seconds)


def _limit(kind: int, value: int) -> None:
    """Set a soft limit, as far as the hard one allows: that can't be raised again."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _grown() -> bool:
    """Whether half the address space is taken, by caches mostly: the next answer is not to fail for this one's sake."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") * 2 > resource.getrlimit(resource.RLIMIT_AS)[0]
