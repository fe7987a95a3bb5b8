from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from eli5b_batch.workers import worker as workers
from eli5b_batch.workers.program import Bounds
from eli5b_batch.workers.worker import MEMORY_BYTES, NO_WORKER, Ending, Worker, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEVER_S = 600.0
"""No call that is to return needs so long, however busy the machine is."""
NEVER = Bounds(NEVER_S, NEVER_S)
SOON_S = 0.1


@pytest.fixture(scope="module")
def make(planted: Any) -> Iterator[Callable[..., Worker]]:  # noqa: ANN401 - a module
    """Makes workers."""
    with contextlib.ExitStack() as stack:

        def worker(prepare: Callable[[], object] | None = None, **others: Any) -> Worker:  # noqa: ANN401
            made = Worker(prepare or partial(planted.prepare, "prepared"), **others)
            stack.callback(made.stop)
            return made

        yield worker


@pytest.fixture(scope="module")
def worker(make: Callable[..., Worker]) -> Worker:
    return make()


@pytest.fixture(scope="module")
def ask(planted: Any) -> Callable[..., Ending]:  # noqa: ANN401 - a module
    """Has a worker do what a text says."""

    def call(worker: Worker, text: str, bounds: Bounds = NEVER, until: float = float("inf")) -> Ending:
        return worker.call(packed(planted.obey, text), bounds, until)

    return call


def text_of(ending: Ending) -> str:
    assert ending.kind == "returned", ending
    return str(ending.what.text)


# --- what a call comes to ------------------------------------------------------------------------------


def test_a_call_returns_and_the_process_stays(worker: Worker, ask: Callable[..., Ending]) -> None:
    assert text_of(ask(worker, "fine")) == "fine"
    pid = worker.pid
    assert [ask(worker, str(number)).what for number in range(5)] == [(str(number), pid) for number in range(5)]


def test_nothing_is_started_before_the_first_call(make: Callable[..., Worker]) -> None:
    assert make().pid is None


def test_a_process_is_prepared_before_its_first_call(worker: Worker, ask: Callable[..., Ending]) -> None:
    assert text_of(ask(worker, "prepared")) == "prepared"


@pytest.mark.parametrize(
    "text", ["", "\x00\n\r\n", "\ud800", "\ud83d\ude00 \U0001f600", "é", "so {" * 2_500_000], ids=range(6)
)
def test_every_text_arrives_as_it_is(worker: Worker, ask: Callable[..., Ending], text: str) -> None:
    assert text_of(ask(worker, text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hang soon", ("late", "cpu")),
        ("sleep soon", ("late", "deadline")),
        ("spin_on", ("late", "cpu")),
        ("crash", ("died", "exit 3")),
        ("linger", ("died", "exit 3")),
        ("die", ("died", "SIGKILL")),
        ("fault", ("died", "SIGSEGV")),
        ("eat", ("raised", "MemoryError")),
        ("recurse", ("raised", "RecursionError")),
        ("fail", ("raised", "ZeroDivisionError")),
        ("exit", ("raised", "SystemExit")),
    ],
)
def test_whatever_a_call_does_is_named_and_the_next_returns(
    worker: Worker, ask: Callable[..., Ending], text: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_END_S", 60.0)
    assert ask(worker, text) == expected
    assert text_of(ask(worker, "fine")) == "fine"


def test_a_call_may_print(worker: Worker, ask: Callable[..., Ending]) -> None:
    assert text_of(ask(worker, "print")) == "print"


def test_a_call_has_the_time_that_it_is_given(worker: Worker, ask: Callable[..., Ending]) -> None:
    assert ask(worker, "sleep", Bounds(NEVER_S, SOON_S)) == ("late", "deadline")
    assert ask(worker, "hang", Bounds(SOON_S, NEVER_S)) == ("late", "cpu")


def test_waiting_takes_nothing_from_the_cpu_time_of_a_call(worker: Worker, ask: Callable[..., Ending]) -> None:
    assert text_of(ask(worker, "nap", Bounds(0.04, NEVER_S))) == "nap"  # it sleeps longer


@pytest.mark.parametrize("text", ["sleep_on", "hang_on"])
def test_a_process_that_switches_off_its_deadlines_is_killed(
    worker: Worker, ask: Callable[..., Ending], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_GRACE_S", SOON_S)
    ask(worker, "fine")
    pid = worker.pid
    assert pid is not None
    assert ask(worker, text, Bounds(NEVER_S, SOON_S)) == ("late", "deadline")
    assert not psutil.pid_exists(pid)


def test_what_a_call_leaves_in_memory_does_not_fail_the_next(worker: Worker, ask: Callable[..., Ending]) -> None:
    endings = [ask(worker, "keep") for _ in range(3)]
    assert [text_of(ending) for ending in endings] == ["keep"] * 3
    assert len({ending.what.pid for ending in endings}) == 3


def test_a_function_the_process_cannot_import_is_named(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    ours_only = ModuleType("ours_only")
    exec("def function(): ...", ours_only.__dict__)  # noqa: S102 - a function of that module
    monkeypatch.setitem(sys.modules, "ours_only", ours_only)
    assert worker.call(packed(ours_only.function), NEVER) == ("raised", "ModuleNotFoundError")


def test_what_cannot_be_sent_back_is_named(worker: Worker, planted: Any) -> None:  # noqa: ANN401 - a module
    assert worker.call(packed(planted.unpicklable), NEVER) == ("raised", "AttributeError")


def test_a_process_is_limited(make: Callable[..., Worker], ask: Callable[..., Ending]) -> None:
    limited = make(niceness=5)
    assert text_of(ask(limited, "limits")) == f"{MEMORY_BYTES} 0"
    assert text_of(ask(limited, "priority")) == str(os.nice(0) + 5)
    assert text_of(ask(make(memory_bytes=1 << 30), "limits")) == f"{1 << 30} 0"


# --- processes that can't be had -------------------------------------------------------------------------


def test_no_process_to_be_had_is_named(
    make: Callable[..., Worker], ask: Callable[..., Ending], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = make()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert ask(some, "fine") == ("unstarted", "FileNotFoundError")
    monkeypatch.undo()
    assert text_of(ask(some, "fine")) == "fine"


def test_a_process_that_dies_as_it_starts_is_named_and_the_next_is_tried(
    make: Callable[..., Worker],
    ask: Callable[..., Ending],
    planted: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
) -> None:
    some = make(partial(planted.prepare_nothing_twice, tmp_path))
    assert [ask(some, "fine").kind for _ in range(3)] == ["unstarted", "unstarted", "returned"]


def test_a_process_that_comes_up_slowly_is_there_for_the_next_call(
    make: Callable[..., Worker],
    ask: Callable[..., Ending],
    planted: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
) -> None:
    some = make(partial(planted.prepare_when_let, tmp_path), clock=lambda: 0.0)
    assert ask(some, "fine", until=SOON_S) == NO_WORKER
    coming = some.pid
    (tmp_path / "let").touch()
    assert ask(some, "fine").what.pid == coming


def test_a_process_that_never_comes_up_is_given_up(
    make: Callable[..., Worker],
    ask: Callable[..., Ending],
    planted: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_START_S", SOON_S)
    some = make(partial(planted.prepare_when_let, tmp_path))
    assert ask(some, "fine") == ("unstarted", "TimeoutError")
    assert some.pid is None


# --- what happens from outside -----------------------------------------------------------------------------


@pytest.mark.parametrize("noticed", [False, True])
def test_an_idle_process_killed_from_outside_costs_no_call(
    worker: Worker, ask: Callable[..., Ending], wait_until_gone: Callable[[psutil.Process], None], *, noticed: bool
) -> None:
    ask(worker, "fine")
    killed = worker.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    if noticed:
        wait_until_gone(psutil.Process(killed))
    assert text_of(ask(worker, "fine")) == "fine"
    assert worker.pid != killed


def test_a_call_whose_process_is_killed_from_outside_is_made_again(
    worker: Worker, ask: Callable[..., Ending], tmp_path: Path
) -> None:
    begun, endings = tmp_path / "begun", []
    asking = threading.Thread(target=lambda: endings.append(ask(worker, f"once {begun}")))
    asking.start()
    while not (begun.exists() and begun.read_text()):
        time.sleep(0.01)
    os.kill(int(begun.read_text()), signal.SIGKILL)
    asking.join()
    assert text_of(endings[0]).startswith("once")


def test_a_call_that_has_no_time_for_another_try_is_told_what_it_died_of(
    make: Callable[..., Worker], ask: Callable[..., Ending]
) -> None:
    """The clock leaps when the process is gone."""
    some: Worker
    some = make(clock=lambda: 0.0 if some.pid else 2.0 * NEVER_S)
    ask(some, "fine")
    assert some.pid is not None
    assert ask(some, "crash", until=NEVER_S) == ("died", "exit 3")


def test_a_process_stopped_from_outside_is_killed_at_the_end_of_the_call(
    worker: Worker, ask: Callable[..., Ending]
) -> None:
    ask(worker, "fine")
    stopped = worker.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    long = "so {" * 250_000  # more than the channel holds
    assert ask(worker, long, until=time.monotonic() + SOON_S) == ("late", "deadline")
    assert not psutil.pid_exists(stopped)


def test_a_call_that_reaches_its_process_late_returns(make: Callable[..., Worker], ask: Callable[..., Ending]) -> None:
    now_s = 0.0
    some = make(clock=lambda: now_s)
    ask(some, "fine")
    stopped = some.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    endings: list[Ending] = []
    asking = threading.Thread(target=lambda: endings.append(ask(some, "fine")))
    asking.start()
    now_s = NEVER_S + 5  # more than a call has
    os.kill(stopped, signal.SIGCONT)
    asking.join()
    assert endings == [("returned", ("fine", stopped))]


def test_ctrl_c_is_the_callers_business(worker: Worker, ask: Callable[..., Ending]) -> None:
    ask(worker, "fine")
    pid = worker.pid
    assert pid is not None
    assert os.getpgid(pid) != os.getpgid(0)
    os.kill(pid, signal.SIGINT)
    assert ask(worker, "fine").what.pid == pid


def test_a_worker_killed_by_another_thread_starts_no_process_until_it_is_allowed(
    make: Callable[..., Worker], ask: Callable[..., Ending], tmp_path: Path
) -> None:
    some, begun, endings = make(), tmp_path / "begun", []
    asking = threading.Thread(target=lambda: endings.append(ask(some, f"once {begun}")))
    asking.start()
    while not (begun.exists() and begun.read_text()):
        time.sleep(0.01)
    some.kill()
    asking.join()
    assert endings[0].kind == "unstarted"
    assert some.pid is None
    assert ask(some, "fine").kind == "unstarted"
    some.allow()
    assert text_of(ask(some, "fine")) == "fine"


CALLER = f"""
import os, signal, time, planted_calls
from eli5b_batch.workers.program import Bounds
from eli5b_batch.workers.worker import Worker, packed

worker, never = Worker(planted_calls.unpicklable), Bounds({NEVER_S}, {NEVER_S})
print(worker.call(packed(planted_calls.obey, "fine"), never).what.pid, flush=True)
if os.fork() == 0:  # holds nothing of its parent's open
    print(os.getpid(), flush=True)
    time.sleep({NEVER_S})
if input() == "busy":
    worker.call(packed(planted_calls.obey, "orphan"), never)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("doing", ["busy", "idle"])
def test_a_process_does_not_outlive_a_caller_that_is_killed(
    environment: dict[str, str], wait_until_gone: Callable[[psutil.Process], None], doing: str
) -> None:
    caller = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    with caller, contextlib.ExitStack() as stack:
        stack.callback(caller.kill)
        assert caller.stdin is not None
        assert caller.stdout is not None
        working, child = (psutil.Process(int(caller.stdout.readline())) for _ in range(2))
        stack.callback(child.kill)
        caller.stdin.write(f"{doing}\n")
        caller.stdin.flush()
        assert caller.wait(60) == -signal.SIGKILL
        wait_until_gone(working)
