from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from eli5b_batch.workers.blocking import BlockingWorkers
from eli5b_batch.workers.worker import MEMORY_BYTES, Ending, Worker

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEVER_S = 600.0
"""No call that is to return needs so long, however busy the machine is."""
SOON_S = 0.1


@pytest.fixture(scope="module")
def make(planted: Any) -> Iterator[Callable[..., BlockingWorkers]]:  # noqa: ANN401 - a module
    with contextlib.ExitStack() as stack:

        def workers(**others: Any) -> BlockingWorkers:  # noqa: ANN401
            made = BlockingWorkers([Worker(planted.unpicklable, **others) for _ in range(2)], **others)
            stack.callback(made.close)
            return made

        yield workers


@pytest.fixture(scope="module")
def some(make: Callable[..., BlockingWorkers]) -> BlockingWorkers:
    return make()


@pytest.fixture
def still(make: Callable[..., BlockingWorkers]) -> BlockingWorkers:
    """Their clock stands: no time is over before a process is asked, and whatever is waited for has all of it."""
    return make(clock=lambda: 0.0)


@pytest.fixture(scope="module")
def ask(planted: Any) -> Callable[..., Ending]:  # noqa: ANN401 - a module
    """Has a worker do what a text says."""

    def call(workers: BlockingWorkers, text: str, seconds: float = NEVER_S) -> Ending:
        return workers.call(seconds, planted.obey, text)

    return call


def pids(workers: BlockingWorkers) -> list[int]:
    return [worker.pid for worker in workers._workers if worker.pid is not None]


SCRIPT = f"""
import planted_calls as planted
from eli5b_batch.workers.blocking import BlockingWorkers
from eli5b_batch.workers.worker import Worker

def make():
    return BlockingWorkers([Worker(planted.unpicklable) for _ in range(2)])

def ask(workers, text):
    return workers.call({NEVER_S}, planted.obey, text).what
"""


@pytest.fixture
def run(
    interpret: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs a script of its own."""
    return lambda script: interpret("-c", SCRIPT + textwrap.dedent(script))


# --- deadlines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hang", "hang_on", "sleep_on"])
def test_a_call_that_takes_too_long_is_given_up_and_the_next_returns(
    still: BlockingWorkers, ask: Callable[..., Ending], text: str
) -> None:
    ask(still, "fine")
    (pid,) = pids(still)
    began = time.perf_counter()
    assert ask(still, text, SOON_S) == ("late", "deadline")
    assert time.perf_counter() - began >= SOON_S
    assert not psutil.pid_exists(pid)
    assert ask(still, "fine").kind == "returned"


def test_a_call_does_not_wait_for_a_worker_beyond_its_time(
    make: Callable[..., BlockingWorkers], ask: Callable[..., Ending]
) -> None:
    busy = make()
    taken = [busy._idle.get() for _ in busy._workers]
    assert ask(busy, "fine", SOON_S) == ("late", "no_worker")
    for worker in taken:
        busy._idle.put(worker)


def test_what_a_call_waits_for_a_worker_comes_out_of_its_time(
    make: Callable[..., BlockingWorkers], ask: Callable[..., Ending]
) -> None:
    now_s = 10.0

    class Busy(queue.LifoQueue[Any]):
        """Every worker is at work for three seconds."""

        def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002
            nonlocal now_s
            assert timeout == pytest.approx(4.0)
            now_s += 3.0
            return super().get(block, timeout)

    class Idle:
        """Says what is left of the call."""

        def call(self, _: bytes, __: object, until: float) -> Ending:
            return Ending("returned", until - now_s)

    workers = make(clock=lambda: now_s)
    workers._idle = Busy()
    workers._idle.put(Idle())
    assert ask(workers, "fine", 4.0).what == pytest.approx(1.0)


# --- threads, tasks, processes ---------------------------------------------------------------------------


def test_eight_threads(some: BlockingWorkers, ask: Callable[..., Ending]) -> None:
    with ThreadPoolExecutor(8) as threads:
        endings = threads.map(lambda number: ask(some, str(number)), range(400))
        assert [ending.what.text for ending in endings] == [str(number) for number in range(400)]
    assert 1 <= len(pids(some)) <= 2


def test_eight_threads_that_hang_all_return(still: BlockingWorkers, ask: Callable[..., Ending]) -> None:
    ask(still, "fine")
    with ThreadPoolExecutor(8) as threads:
        endings = list(threads.map(lambda _: ask(still, "sleep", SOON_S), range(8)))
    assert {ending.kind for ending in endings} == {"late"}
    assert ask(still, "fine").kind == "returned"


async def test_tasks(some: BlockingWorkers, ask: Callable[..., Ending]) -> None:
    endings = await asyncio.gather(*(asyncio.to_thread(ask, some, str(number)) for number in range(50)))
    assert [ending.what.text for ending in endings] == [str(number) for number in range(50)]


def test_the_thread_that_started_a_process_may_end(
    make: Callable[..., BlockingWorkers], ask: Callable[..., Ending]
) -> None:
    workers = make()
    first = threading.Thread(target=ask, args=(workers, "fine"))
    first.start()
    first.join()
    assert [ask(workers, "fine").what.pid] == pids(workers)


def test_the_callers_alarm_and_handlers_are_left_alone(some: BlockingWorkers, ask: Callable[..., Ending]) -> None:
    rang: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rang.append(number))
    interrupt = signal.getsignal(signal.SIGINT)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        ending = ask(some, "nap")  # takes longer
        assert signal.getsignal(signal.SIGINT) is interrupt
        end = time.monotonic() + 60
        while not rang and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ending.kind == "returned"
    assert rang == [signal.SIGALRM]


def test_a_caller_interrupted_while_it_waits_can_go_on(some: BlockingWorkers, ask: Callable[..., Ending]) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(some, "interrupt")
    assert ask(some, "fine").what.text == "fine"


def test_a_process_is_limited_however_low_or_high_the_callers_limits_are(
    run: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = run("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, resource.RLIM_INFINITY))
        print(ask(make(), "limits").text)
    """)
    assert (done.stdout, done.stderr) == (f"{MEMORY_BYTES} 0\n", "")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_daemonic_processes_have_their_own(
    interpret: Callable[..., subprocess.CompletedProcess[str]], method: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT
        + textwrap.dedent(f"""
            import multiprocessing

            workers = make()

            def theirs(text):
                return ask(workers, text).pid

            if __name__ == "__main__":
                own = theirs("fine")
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    all_theirs = set(pool.map(theirs, ["nap"] * 8, chunksize=1))
                print(own not in all_theirs, len(all_theirs) >= 1, theirs("fine") == own)
        """)
    )
    done = interpret(str(script))
    assert (done.stdout, done.stderr) == ("True True True\n", "")


def test_a_forked_process_shares_nothing_with_its_parent(
    run: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = run("""
        import os
        workers = make()
        own = ask(workers, "fine").pid
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, str(ask(workers, "fine").pid != own).encode())
            os._exit(0)
        os.wait()
        print(os.read(reading, 10).decode(), ask(workers, "fine").pid == own)
    """)
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_nothing_is_left_when_the_interpreter_ends(run: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = run("""
        from threading import Thread
        workers = make()
        threads = [Thread(target=ask, args=(workers, "nap")) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(*(worker.pid for worker in workers._workers if worker.pid))
    """)
    assert done.stderr == ""
    assert done.stdout.split()
    assert not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split())
