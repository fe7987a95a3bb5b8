from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from eli5b_batch.grading import Verdict, grade, is_correct
from eli5b_batch.grading import solo as soloist
from eli5b_batch.grading.limits import MEMORY_BYTES
from eli5b_batch.grading.solo import Solo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])
NEVER_S = 600.0
"""No answer that is to succeed needs so long, however busy the machine is."""
DEADLINE_S = 0.1
LIMIT = (r"\boxed{\lim_{x \to 0} \frac{\sin x}{x}}", "1")


@pytest.fixture(scope="module")
def make() -> Iterator[Callable[..., Solo]]:
    """Makes graders that do what the text says, in workers."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.syspath_prepend(HERE)
        planted = importlib.import_module("planted_graders")

        def solo(**others: Any) -> Solo:  # noqa: ANN401
            made = Solo(
                **{"decide": planted.undecided, "grade": planted.obey, "timeout_s": NEVER_S, "preload": "", **others}
            )
            stack.callback(made.close)
            return made

        yield solo


@pytest.fixture(scope="module")
def solo(make: Callable[..., Solo]) -> Solo:
    return make()


@contextlib.contextmanager
def hurried(some: Solo) -> Iterator[None]:
    """A short deadline once a process is up, for answers that are to run into it and no others.

    The clock stands, so that whatever is waited for has all of it, and none of it is over before the process is asked.
    """
    some.verdict("fine", "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(some, "_timeout_s", DEADLINE_S)
        patch.setattr(some, "_clock", lambda: 0.0)
        yield


def pids(some: Solo) -> list[int]:
    return [worker._running[0].pid for worker in some._workers if worker._running]


def interpret(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs an interpreter of its own, where every warning is an error."""
    return subprocess.run(  # noqa: S603 - our own scripts
        [sys.executable, "-X", "dev", "-W", "error", *arguments],
        env={**os.environ, "PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(script: str) -> subprocess.CompletedProcess[str]:
    head = f"""
import planted_graders as planted
from functools import partial
from eli5b_batch.grading.solo import Solo
Solo = partial(Solo, timeout_s={NEVER_S})
"""
    return interpret("-c", head + textwrap.dedent(script))


def gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def wait_until_gone(process: psutil.Process) -> None:
    end = time.monotonic() + 60
    while not gone(process):
        assert time.monotonic() < end
        time.sleep(0.01)


# --- what it says ------------------------------------------------------------------------------------


def test_the_package_grades_by_rules_at_once_and_by_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soloist._solo, "_timeout_s", NEVER_S)
    assert is_correct(r"\boxed{10000}", "10000")
    assert not is_correct(r"\boxed{10000}", "10001")
    assert grade("I don't know", "5").verdict == "no_answer"
    assert grade(*LIMIT).correct
    assert pids(soloist._solo) != []


def test_importing_the_package_imports_no_grader() -> None:
    script = "import sys, eli5b_batch.grading; print({'sympy', 'eli5b_batch.grading.math'} & set(sys.modules))"
    assert interpret("-c", script).stdout == "set()\n"


def test_what_is_settled_at_once_starts_no_process(make: Callable[..., Solo]) -> None:
    some = make(decide=lambda text, gold: Verdict("correct", text, gold, 0.0))
    assert some.verdict("5", "planted").rule == "planted"
    assert pids(some) == []


def test_its_process_stays(solo: Solo) -> None:
    assert {int(solo.verdict(str(number), "x").seconds) for number in range(5)} == set(pids(solo))
    assert len(pids(solo)) == 1


@pytest.mark.parametrize("arguments", [(5, "5"), ("5", None), (b"5", "5")])
def test_only_strings_are_graded(arguments: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError, match="grading takes strings"):
        grade(*arguments)


@pytest.mark.parametrize(
    "text", ["", "\x00\n\r\n", "\ud800", "\ud83d\ude00 \U0001f600", "é", "so {" * 2_500_000], ids=range(6)
)
def test_every_text_arrives_as_it_is(solo: Solo, text: str) -> None:
    verdict = solo.verdict(text, text[:100])
    assert (verdict.answer, verdict.rule) == (text, text[:100])


# --- answers that hang, kill, fail ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crash", ("error", "worker_died/exit 3")),
        ("die", ("error", "worker_died/SIGKILL")),
        ("eat", ("error", "MemoryError")),
        ("fail", ("error", "ZeroDivisionError")),
        ("exit", ("error", "SystemExit")),
        ("linger", ("error", "worker_died/exit 3")),
        ("print", ("correct", "x")),
    ],
)
def test_whatever_an_answer_does_is_named_and_the_next_is_graded(
    solo: Solo, text: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soloist, "_GRACE_S", 0.0)
    verdict = solo.verdict(text, "x")
    assert (verdict.verdict, verdict.rule) == expected
    assert solo.verdict("fine", "x").correct
    assert len(pids(solo)) == 1


@pytest.mark.parametrize("text", ["hang", "sleep_on"])
def test_an_answer_that_takes_too_long_is_given_up_and_the_next_is_graded(solo: Solo, text: str) -> None:
    with hurried(solo):
        began = time.perf_counter()
        verdict = solo.verdict(text, "x")
        seconds = time.perf_counter() - began
    assert (verdict.verdict, verdict.rule) == ("timeout", "deadline")
    assert seconds >= DEADLINE_S
    assert solo.verdict("fine", "x").correct


def test_an_unfinished_answer_is_quoted(solo: Solo) -> None:
    verdict = solo.verdict(r"die \boxed{7}", "7")
    assert (verdict.answer, verdict.rule) == ("7", "boxed/worker_died/SIGKILL")


def test_rules_that_raise_at_once_are_named_by_the_worker(make: Callable[..., Solo]) -> None:
    def raising(text: str, gold: str) -> Verdict | None:
        raise KeyError(text, gold)

    assert make(decide=raising).verdict("fail", "x").rule == "ZeroDivisionError"


def test_a_grader_the_worker_cannot_import_is_named(make: Callable[..., Solo], monkeypatch: pytest.MonkeyPatch) -> None:
    ours_only = ModuleType("ours_only")
    exec("def grade(text, gold): ...", ours_only.__dict__)  # noqa: S102 - a function of that module
    monkeypatch.setitem(sys.modules, "ours_only", ours_only)
    assert make(grade=ours_only.grade).verdict("fine", "x").rule == "ModuleNotFoundError"


def test_no_process_to_be_had_is_named(make: Callable[..., Solo], monkeypatch: pytest.MonkeyPatch) -> None:
    some = make()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    verdict = some.verdict("fine", "x")
    assert (verdict.verdict, verdict.rule) == ("error", "FileNotFoundError")
    monkeypatch.undo()
    assert some.verdict("fine", "x").correct


def test_a_worker_that_comes_up_slowly_is_there_for_the_next_answer(
    make: Callable[..., Solo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let = tmp_path / "let"
    (tmp_path / "comes_up_late.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(let)!r}):\n    time.sleep(0.01)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    some = make(preload="comes_up_late", timeout_s=DEADLINE_S, clock=lambda: 0.0)
    verdict = some.verdict("fine", "x")
    assert (verdict.verdict, verdict.rule) == ("timeout", "no_worker")
    (coming,) = pids(some)
    let.touch()
    monkeypatch.setattr(some, "_timeout_s", NEVER_S)
    assert int(some.verdict("fine", "x").seconds) == coming


def test_what_an_answer_leaves_in_memory_does_not_fail_the_next(solo: Solo) -> None:
    verdicts = [solo.verdict("keep", "x") for _ in range(2)]
    assert [verdict.verdict for verdict in verdicts] == ["correct"] * 2
    assert verdicts[0].seconds != verdicts[1].seconds


def test_its_process_is_limited_however_low_or_high_the_callers_limits_are() -> None:
    done = run("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, resource.RLIM_INFINITY))
        print(Solo(planted.undecided, planted.obey, preload="").verdict("limits", "x").answer)
        print(Solo(planted.undecided).verdict(r"\\boxed{\\sqrt{8}}", r"2\\sqrt{2}").verdict)
    """)
    assert (done.stdout, done.stderr) == (f"{MEMORY_BYTES} 0\ncorrect\n", "")


# --- threads, tasks, processes ---------------------------------------------------------------------------


def test_eight_threads(solo: Solo) -> None:
    def ask(number: int) -> bool:
        return solo.verdict(str(number), "x").answer == str(number)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(400)))
    assert 1 <= len(pids(solo)) <= 4


def test_eight_threads_that_hang_all_return(make: Callable[..., Solo]) -> None:
    some = make()
    with hurried(some), ThreadPoolExecutor(8) as threads:
        verdicts = threads.map(some.verdict, ["sleep"] * 8, ["x"] * 8)
        assert {verdict.verdict for verdict in verdicts} == {"timeout"}
    assert some.verdict("fine", "x").correct


def test_an_answer_does_not_wait_for_a_worker_beyond_its_deadline(make: Callable[..., Solo]) -> None:
    some = make(timeout_s=DEADLINE_S)
    taken = [some._idle.get() for _ in some._workers]
    verdict = some.verdict("fine", "x")
    assert (verdict.verdict, verdict.rule) == ("timeout", "no_worker")
    for worker in taken:
        some._idle.put(worker)


def test_what_an_answer_waits_for_a_worker_comes_out_of_its_time(make: Callable[..., Solo]) -> None:
    now_s = 0.0

    class Busy(queue.LifoQueue[Any]):
        """Every worker is at work for three seconds."""

        def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002
            nonlocal now_s
            assert timeout == pytest.approx(4.0)
            now_s += 3.0
            return super().get(block, timeout)

    class Worker:
        """Says what is left of the call."""

        def ask(self, _: tuple[bytes, str, str], left: Callable[[], float]) -> Verdict:
            return Verdict("correct", None, "left", left())

        def stop(self) -> None: ...

    some = make(timeout_s=4.0, clock=lambda: now_s)
    some._idle = Busy()
    some._idle.put(Worker())
    assert some.verdict("fine", "x").seconds == pytest.approx(1.0)


async def test_tasks(solo: Solo) -> None:
    verdicts = await asyncio.gather(*(asyncio.to_thread(solo.verdict, str(n), "x") for n in range(50)))
    assert [verdict.answer for verdict in verdicts] == [str(n) for n in range(50)]


def test_the_thread_that_started_a_process_may_end(make: Callable[..., Solo]) -> None:
    some = make()
    first = threading.Thread(target=some.verdict, args=("fine", "x"))
    first.start()
    first.join()
    assert [int(some.verdict("fine", "x").seconds)] == pids(some)


def test_the_callers_alarm_and_handlers_are_left_alone(solo: Solo) -> None:
    rang: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rang.append(number))
    interrupt = signal.getsignal(signal.SIGINT)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        verdict = solo.verdict("nap", "x")  # takes longer
        assert signal.getsignal(signal.SIGINT) is interrupt
        end = time.monotonic() + 60
        while not rang and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert verdict.correct
    assert rang == [signal.SIGALRM]


def test_a_caller_interrupted_while_it_waits_can_go_on(solo: Solo) -> None:
    with pytest.raises(KeyboardInterrupt):
        solo.verdict("interrupt", "x")
    assert solo.verdict("fine", "x").answer == "fine"


def test_a_process_killed_or_stopped_from_outside(make: Callable[..., Solo]) -> None:
    some = make()
    some.verdict("fine", "x")
    (killed,) = pids(some)
    os.kill(killed, signal.SIGKILL)
    wait_until_gone(psutil.Process(killed))
    assert some.verdict("fine", "x").correct
    (stopped,) = pids(some)
    with hurried(some):
        os.kill(stopped, signal.SIGSTOP)
        assert some.verdict("so {" * 250_000, "x").verdict == "timeout"  # more than the channel holds
    assert not psutil.pid_exists(stopped)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_daemonic_processes_have_their_own(method: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import multiprocessing, planted_graders as planted
            from eli5b_batch.grading.solo import Solo

            solo = Solo(planted.undecided, planted.obey, {NEVER_S}, preload="")

            def ask(text):
                return int(solo.verdict(text, "x").seconds)

            if __name__ == "__main__":
                own = ask("fine")
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    theirs = set(pool.map(ask, ["nap"] * 8, chunksize=1))
                print(own not in theirs, len(theirs) >= 1, ask("fine") == own)
        """)
    )
    done = interpret(str(script))
    assert (done.stdout, done.stderr) == ("True True True\n", "")


def test_a_forked_process_shares_nothing_with_its_parent() -> None:
    done = run("""
        import os, threading
        solo = Solo(planted.undecided, planted.obey, preload="")
        own = solo.verdict("fine", "x").seconds
        reading, writing = os.pipe()
        if os.fork() == 0:
            theirs = solo.verdict("fine", "x").seconds
            os.write(writing, str(theirs != own).encode())
            os._exit(0)
        os.wait()
        print(os.read(reading, 10).decode(), solo.verdict("fine", "x").seconds == own)
    """)
    assert (done.stdout, done.stderr) == ("True True\n", "")


# --- the end ---------------------------------------------------------------------------------------------


def test_nothing_is_left_when_the_interpreter_ends() -> None:
    done = run("""
        from threading import Thread
        solo = Solo(planted.undecided, planted.obey, preload="")
        threads = [Thread(target=solo.verdict, args=("nap", "x")) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(*(worker._running[0].pid for worker in solo._workers if worker._running))
    """)
    assert done.stderr == ""
    assert done.stdout.split()
    assert not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split())


@pytest.mark.parametrize("busy", [False, True])
def test_its_process_does_not_outlive_a_caller_that_is_killed(*, busy: bool) -> None:
    script = f"""
import os, signal, time, planted_graders as planted
from eli5b_batch.grading.solo import Solo
solo = Solo(planted.undecided, planted.obey, {NEVER_S}, preload="")
print(int(solo.verdict("fine", "x").seconds), flush=True)
if os.fork() == 0:  # holds nothing of its parent's open
    print(os.getpid(), flush=True)
    time.sleep({NEVER_S})
input()
if {busy}:
    solo.verdict("orphan", "x")
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATH},
        text=True,
    )
    with parent, contextlib.ExitStack() as stack:
        stack.callback(parent.kill)
        assert parent.stdin is not None
        assert parent.stdout is not None
        worker, child = (psutil.Process(int(parent.stdout.readline())) for _ in range(2))
        stack.callback(child.kill)
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.wait(60) == -signal.SIGKILL
        wait_until_gone(worker)
