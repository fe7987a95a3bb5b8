from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from pebble import ProcessPool

from eli5b_batch.grading import pool
from eli5b_batch.grading.limits import MEMORY_BYTES
from eli5b_batch.grading.pool import GraderPool, cores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from eli5b_batch.grading.verdict import Verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent
ROOTS = (r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
NEVER_S = 600.0
"""No answer that is to succeed needs so long, however busy the machine is."""
DEADLINE_S = 0.1


@pytest.fixture(scope="module")
def planted() -> Any:  # noqa: ANN401 - a module
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield importlib.import_module("planted_graders")


@pytest.fixture(scope="module")
def grader_pool(planted: Any) -> Callable[..., GraderPool]:  # noqa: ANN401 - a module
    """Makes a pool whose workers do what the text says."""

    def make(workers: int = 1, **others: Any) -> GraderPool:  # noqa: ANN401
        return GraderPool(workers, NEVER_S, **{"decide": planted.undecided, "grade": planted.obey, **others})

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(grader_pool: Callable[..., GraderPool]) -> AsyncIterator[GraderPool]:
    """A pool of one worker."""
    async with grader_pool() as started:
        yield started


@contextlib.contextmanager
def hurried(some: GraderPool) -> Iterator[None]:
    """A short deadline, for answers that are to run into it and no others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(some, "_timeout_s", DEADLINE_S)
        yield


def pids(some: GraderPool) -> list[int]:
    return [pid for worker in some._workers for pid in worker._pool_manager.worker_manager.workers]


def kill_fork_server() -> None:
    """The next worker is started from nothing."""
    forkserver.ensure_running()
    server = psutil.Process(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
    server.kill()
    with contextlib.suppress(psutil.NoSuchProcess):  # a pool that needs another has just waited for it
        while server.status() != psutil.STATUS_ZOMBIE:  # to be waited for by `multiprocessing`
            time.sleep(0.01)


def jump(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """The event loop's clock leaps."""
    loop = asyncio.get_running_loop()
    now = loop.time
    patch.setattr(loop, "time", lambda: now() + seconds)


async def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def in_hand(some: GraderPool) -> bool:
    """Whether a worker has taken up an answer."""
    managers = [worker._pool_manager.task_manager for worker in some._workers]
    return any(task.started for manager in managers for task in tuple(manager.tasks.values()))


async def outcome(some: GraderPool, text: str) -> tuple[str, str]:
    verdict = await some.grade(text, "x")
    return verdict.verdict, verdict.rule


# --- which answers take a worker, and how many there are -------------------------------------------


async def test_what_is_settled_at_once_starts_no_worker() -> None:
    async with GraderPool() as some:
        assert (await some.grade(r"\boxed{5}", "5")).verdict == "correct"
        assert (await some.grade("I don't know", "5")).verdict == "no_answer"
        assert pids(some) == []


async def test_the_rest_is_graded_by_the_grader_given_or_by_maths(planted: Any, one: GraderPool) -> None:  # noqa: ANN401
    async with GraderPool(1, NEVER_S, decide=planted.undecided) as some:
        assert (await some.grade(*ROOTS)).verdict == "correct"
        assert (await some.grade(r"\boxed{\sqrt{7}}", r"2\sqrt{2}")).verdict == "incorrect"
    assert (await one.grade("anything", "planted")).rule == "planted"


async def test_starting_leaves_the_event_loop_free_and_does_not_count_against_the_deadline(
    grader_pool: Callable[..., GraderPool],
    planted: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_prepare", partial(planted.prepare_when_let, tmp_path))
    async with grader_pool() as fresh:
        waiting = asyncio.create_task(fresh.grade("fine", "x"))
        await until((tmp_path / "here").exists)
        jump(monkeypatch, 2 * NEVER_S)
        await asyncio.sleep(0.01)
        assert not waiting.done()
        (tmp_path / "let").touch()  # had starting held up the event loop, nobody would do this
        assert (await waiting).correct


async def test_a_text_that_reaches_its_worker_late_is_graded(one: GraderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    await one.grade("fine", "x")
    (stopped,) = pids(one)
    os.kill(stopped, signal.SIGSTOP)
    waiting = asyncio.create_task(one.grade("fine", "x"))
    await asyncio.sleep(0)
    jump(monkeypatch, NEVER_S + 5)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    os.kill(stopped, signal.SIGCONT)
    assert int((await waiting).seconds) == stopped


async def test_workers_are_as_many_as_answers_at_a_time_up_to_the_cores(
    grader_pool: Callable[..., GraderPool],
) -> None:
    async with grader_pool(2) as some:
        for _ in range(3):
            await some.grade("fine", "x")
        assert len(pids(some)) == 1
        verdicts = await asyncio.gather(*(some.grade("nap", "x") for _ in range(10)))
        assert {int(verdict.seconds) for verdict in verdicts} == set(pids(some))
        assert len(pids(some)) == 2
        family = [psutil.Process(pid) for pid in pids(some)]
    assert not any(process.is_running() for process in family)
    assert GraderPool()._places._value == cores() == len(os.sched_getaffinity(0))


async def test_answers_wait_in_order_and_outside_pebble(grader_pool: Callable[..., GraderPool]) -> None:
    finished: list[int] = []
    most = 0

    async def grade(some: GraderPool, number: int) -> None:
        nonlocal most
        await some.grade(str(number), "x")
        finished.append(number)
        most = max(most, *(len(worker._pool_manager.task_manager.tasks) for worker in some._workers))

    async with grader_pool(1) as some:
        await asyncio.gather(*(grade(some, number) for number in range(50)))
    assert finished == list(range(50))
    assert most <= 1


async def test_leaving_at_once_leaves_nothing_behind() -> None:
    async with GraderPool(1) as fresh:
        pass
    assert fresh._workers == set()


async def test_workers_are_limited(grader_pool: Callable[..., GraderPool]) -> None:
    async with grader_pool() as some:
        assert (await some.grade("limits", "x")).answer == f"{MEMORY_BYTES} 0"
        assert (await some.grade("priority", "x")).answer == str(os.nice(0) + 5)


# --- answers that hang, kill, fail -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hang soon", ("timeout", "deadline")),
        ("sleep soon", ("timeout", "deadline")),
        ("crash", ("error", "worker_died/exit 3")),
        ("die", ("error", "worker_died/SIGKILL")),
        ("eat", ("error", "MemoryError")),
        ("fail", ("error", "ZeroDivisionError")),
        ("exit", ("error", "SystemExit")),
    ],
)
async def test_an_answer_that_ends_its_worker_is_named_and_the_next_is_graded(
    one: GraderPool, text: str, expected: tuple[str, str]
) -> None:
    first, second = await asyncio.gather(outcome(one, text), outcome(one, "fine"))
    assert (first, second) == (expected, ("correct", "x"))


async def test_an_answer_has_the_time_that_the_pool_gives_it(one: GraderPool) -> None:
    with hurried(one):
        assert await outcome(one, "sleep") == ("timeout", "deadline")


async def test_a_worker_that_switches_off_its_alarm_and_works_on_ends_by_cpu_time(one: GraderPool) -> None:
    assert await outcome(one, "spin_on") == ("timeout", "cpu")


async def test_a_worker_that_switches_off_its_alarm_and_sleeps_is_killed(
    one: GraderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_GRACE_S", DEADLINE_S)
    await one.grade("fine", "x")
    (sleeper,) = (psutil.Process(pid) for pid in pids(one))
    with hurried(one):
        assert await outcome(one, "sleep_on") == ("timeout", "deadline")
    await asyncio.to_thread(sleeper.wait, 60)


async def test_an_unfinished_answer_is_quoted_where_the_text_is_short(one: GraderPool) -> None:
    verdict = await one.grade(r"die \boxed{7}", "7")
    assert (verdict.verdict, verdict.answer, verdict.rule) == ("error", "7", "boxed/worker_died/SIGKILL")
    verdict = await one.grade(r"die \boxed{7}" + " " * 100_000, "7")
    assert (verdict.verdict, verdict.answer, verdict.rule) == ("error", None, "worker_died/SIGKILL")


async def test_other_answers_go_on_while_some_hang(grader_pool: Callable[..., GraderPool]) -> None:
    texts = ["hang soon", "fine", "die", "fine", "hang soon", "fine", "crash", "fine"]
    async with grader_pool(3) as some:
        hanging = asyncio.create_task(some.grade("hang", "x"))
        verdicts = await asyncio.gather(*(some.grade(text, "x") for text in texts))
        assert not hanging.done()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    assert [verdict.verdict for verdict in verdicts] == [
        "timeout", "correct", "error", "correct", "timeout", "correct", "error", "correct",
    ]  # fmt: skip


async def test_what_an_answer_leaves_in_memory_does_not_fail_the_next(one: GraderPool) -> None:
    verdicts = [await one.grade("keep", "x") for _ in range(3)]
    assert [verdict.verdict for verdict in verdicts] == ["correct"] * 3
    assert len({verdict.seconds for verdict in verdicts}) == 3


async def test_rules_that_raise_at_once_are_named_by_the_worker(grader_pool: Callable[..., GraderPool]) -> None:
    def raising(text: str, gold: str) -> Verdict | None:
        raise KeyError(text, gold)

    async with grader_pool(decide=raising) as some:
        assert await outcome(some, "fail") == ("error", "ZeroDivisionError")


async def test_no_answer_hangs_or_breaks_the_rules_of_maths(planted: Any) -> None:  # noqa: ANN401
    async with GraderPool(1, NEVER_S, decide=planted.undecided) as some:
        for answer in (
            "9^{9^{9^9}}",
            "100000000!",
            r"\binom{10^9}{5*10^8}",
            "{" * 5_000 + "7" + "}" * 5_000,
            "\x005",
            "\ud8005",
            r"\sqrt{-1}^{\infty}",
            r"\operatorname{__import__}(x)",
        ):
            verdict = await some.grade(f"\\boxed{{{answer}}}", r"\sqrt{2}")
            assert verdict.verdict == "incorrect", answer[:20]
        assert (await some.grade(*ROOTS)).correct


async def test_megabytes_go_through(grader_pool: Callable[..., GraderPool]) -> None:
    text = "so {\ud800" * 500_000
    async with grader_pool() as some:
        assert (await some.grade(text, "5")).answer == text


# --- what happens from outside --------------------------------------------------------------------------


async def test_workers_that_cannot_start_are_told_to_the_answer_that_needs_one(
    planted: Any,  # noqa: ANN401 - a module
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_PAUSE_S", 0.0)
    async with GraderPool(1, memory_bytes="plenty") as broken:  # type: ignore[arg-type]
        assert (await broken.grade(r"\boxed{5}", "5")).correct
        broken._decide = planted.undecided
        with pytest.raises(BrokenProcessPool):
            await broken.grade(*ROOTS)


async def test_idle_workers_killed_from_outside_cost_no_answer(one: GraderPool) -> None:
    for noticed in (False, True):
        await one.grade("fine", "x")
        for pid in pids(one):
            os.kill(pid, signal.SIGKILL)
        if noticed:
            await until(lambda: not any(worker.active for worker in one._workers))
        assert (await one.grade("fine", "x")).correct


async def test_a_fork_server_killed_from_outside_costs_no_answer(one: GraderPool) -> None:
    await one.grade("fine", "x")
    kill_fork_server()
    assert (await one.grade("fine", "x")).correct
    assert await outcome(one, "die") == ("error", "worker_died/SIGKILL")
    assert (await one.grade("fine", "x")).correct


async def test_an_answer_in_hand_when_the_fork_server_is_killed_is_graded_by_another_worker(
    one: GraderPool, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    waiting = asyncio.create_task(one.grade(f"once {begun}", "x"))
    await until(lambda: begun.exists() and begun.read_text() != "")
    first = int(begun.read_text())
    try:
        kill_fork_server()
        second = await waiting
    finally:
        os.kill(first, signal.SIGKILL)  # asleep till its deadline: who could end it is gone
    assert second.correct
    assert int(second.seconds) != first


@pytest.mark.parametrize("handed", ["an answer", "its first task"])
async def test_what_a_worker_forgets_as_it_breaks_is_handed_to_another(
    one: GraderPool, monkeypatch: pytest.MonkeyPatch, handed: str
) -> None:
    first, schedule = iter([True]), ProcessPool.schedule

    def forget_first(worker: ProcessPool, *args: Any, **others: Any) -> Future[Any]:  # noqa: ANN401
        if not next(first, False):
            return schedule(worker, *args, **others)
        worker.stop()  # type: ignore[no-untyped-call]
        return Future()

    await one.grade("fine", "x")
    if handed == "its first task":
        one._give_back(one._idle.pop(), useful=False)
    monkeypatch.setattr(ProcessPool, "schedule", forget_first)
    monkeypatch.setattr(pool, "_LOOK_S", 0.01)
    assert (await one.grade("fine", "x")).correct


async def test_workers_ignore_ctrl_c(one: GraderPool) -> None:
    await one.grade("fine", "x")
    before = pids(one)
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert (await one.grade("fine", "x")).correct
    assert pids(one) == before


async def test_a_cancelled_answer_frees_its_worker(grader_pool: Callable[..., GraderPool]) -> None:
    async with grader_pool() as some:
        await some.grade("fine", "x")
        (hanging,) = (psutil.Process(pid) for pid in pids(some))
        waiting = asyncio.create_task(some.grade("hang", "x"))
        await until(lambda: in_hand(some))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await some.grade("fine", "x")).correct
    hanging.wait(60)


async def test_an_answer_cancelled_while_its_worker_starts_leaves_none(
    grader_pool: Callable[..., GraderPool],
) -> None:
    async with grader_pool() as some:
        waiting = asyncio.create_task(some.grade("fine", "x"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert some._workers == set()
