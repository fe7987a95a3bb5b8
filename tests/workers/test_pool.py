from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest
import pytest_asyncio

from eli5b_batch.errors import WorkerError
from eli5b_batch.workers import pool as pools
from eli5b_batch.workers.pool import WorkerPool
from eli5b_batch.workers.program import Bounds
from eli5b_batch.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from eli5b_batch.workers.worker import Ending

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER_S = 600.0
"""No call that is to return needs so long, however busy the machine is."""
NEVER = Bounds(NEVER_S, NEVER_S)


@pytest.fixture(scope="module")
def make(planted: Any) -> Callable[..., WorkerPool]:  # noqa: ANN401 - a module
    """Makes a pool whose workers have all the time they want."""

    def pool(workers: int = 1, bounds: Bounds = NEVER, prepare: Any = planted.unpicklable, **others: Any) -> WorkerPool:  # noqa: ANN401
        return WorkerPool([Worker(prepare, **others) for _ in range(workers)], bounds)

    return pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(make: Callable[..., WorkerPool]) -> AsyncIterator[WorkerPool]:
    """A pool of one worker."""
    async with make() as started:
        yield started


@pytest.fixture(scope="module")
def ask(planted: Any) -> Callable[..., Any]:  # noqa: ANN401 - a module
    """Has a worker do what a text says."""

    async def call(pool: WorkerPool, text: str) -> Ending:
        return await pool.call(planted.obey, text)

    return call


def pids(pool: WorkerPool) -> list[int]:
    return [worker.pid for worker in pool._workers if worker.pid is not None]


async def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


# --- which calls are in hand ---------------------------------------------------------------------------


async def test_leaving_at_once_leaves_nothing_behind(make: Callable[..., WorkerPool]) -> None:
    async with make(2) as fresh:
        pass
    assert pids(fresh) == []


async def test_starting_leaves_the_event_loop_free_and_does_not_count_against_a_call(
    make: Callable[..., WorkerPool],
    ask: Callable[..., Any],
    planted: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
) -> None:
    now_s = 0.0
    bounds = Bounds(NEVER_S, 1.0)
    async with make(1, bounds, partial(planted.prepare_when_let, tmp_path), clock=lambda: now_s) as fresh:
        waiting = asyncio.create_task(ask(fresh, "fine"))
        await until((tmp_path / "here").exists)
        now_s = 45.0  # a call would be late by now
        await asyncio.sleep(0.01)
        assert not waiting.done()
        (tmp_path / "let").touch()  # had starting held up the event loop, nobody would do this
        assert (await waiting).kind == "returned"


async def test_workers_are_as_many_as_calls_at_a_time(make: Callable[..., WorkerPool], ask: Callable[..., Any]) -> None:
    async with make(2) as some:
        for _ in range(3):
            await ask(some, "fine")
        assert len(pids(some)) == 1
        endings = await asyncio.gather(*(ask(some, "nap") for _ in range(10)))
        assert {ending.what.pid for ending in endings} == set(pids(some))
        assert len(pids(some)) == 2
        family = [psutil.Process(pid) for pid in pids(some)]
    assert not any(process.is_running() for process in family)


async def test_calls_wait_in_order(one: WorkerPool, ask: Callable[..., Any]) -> None:
    returned: list[int] = []

    async def call(number: int) -> None:
        await ask(one, str(number))
        returned.append(number)

    await asyncio.gather(*(call(number) for number in range(50)))
    assert returned == list(range(50))


async def test_the_settings_are_its_workers(make: Callable[..., WorkerPool], ask: Callable[..., Any]) -> None:
    async with make(niceness=5, memory_bytes=1 << 30) as some:
        assert (await ask(some, "priority")).what.text == str(os.nice(0) + 5)
        assert (await ask(some, "limits")).what.text == f"{1 << 30} 0"


# --- calls that hang, kill, fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hang soon", ("late", "cpu")),
        ("sleep soon", ("late", "deadline")),
        ("crash", ("died", "exit 3")),
        ("die", ("died", "SIGKILL")),
        ("fail", ("raised", "ZeroDivisionError")),
    ],
)
async def test_a_call_that_ends_its_worker_is_named_and_the_next_returns(
    one: WorkerPool, ask: Callable[..., Any], text: str, expected: tuple[str, str]
) -> None:
    first, second = await asyncio.gather(ask(one, text), ask(one, "fine"))
    assert first == expected
    assert second.kind == "returned"


async def test_other_calls_go_on_while_some_hang(make: Callable[..., WorkerPool], ask: Callable[..., Any]) -> None:
    texts = ["hang soon", "fine", "die", "fine", "hang soon", "fine", "crash", "fine"]
    async with make(3) as some:
        hanging = asyncio.create_task(ask(some, "hang"))
        endings = await asyncio.gather(*(ask(some, text) for text in texts))
        assert not hanging.done()
        await cancel(hanging)
    assert [ending.kind for ending in endings] == ["late", "returned", "died", "returned"] * 2


async def test_megabytes_go_through(one: WorkerPool, ask: Callable[..., Any]) -> None:
    text = "so {\ud800" * 500_000
    assert (await ask(one, text)).what.text == text


# --- processes that can't be had, or end from outside ------------------------------------------------------


async def test_processes_that_die_as_they_start_cost_no_call(
    make: Callable[..., WorkerPool],
    ask: Callable[..., Any],
    planted: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "_PAUSES_S", (0.0, 0.0))
    async with make(prepare=partial(planted.prepare_nothing_twice, tmp_path)) as some:
        assert (await ask(some, "fine")).kind == "returned"


async def test_that_no_process_comes_up_is_one_sentence_to_the_call_that_needs_one(
    make: Callable[..., WorkerPool], ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_PAUSES_S", (0.0, 0.0))
    async with make(memory_bytes=1 << 20) as broken:
        with pytest.raises(WorkerError, match=r"no worker process comes up, tried 3 times \(.+\): there must be"):
            await ask(broken, "fine")


async def test_workers_killed_from_outside_cost_no_call(one: WorkerPool, ask: Callable[..., Any]) -> None:
    await ask(one, "fine")
    for pid in pids(one):
        os.kill(pid, signal.SIGKILL)
    assert (await ask(one, "fine")).kind == "returned"


# --- calls that nobody waits for any more -------------------------------------------------------------------


async def test_a_cancelled_call_frees_its_worker(one: WorkerPool, ask: Callable[..., Any], tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    hanging = asyncio.create_task(ask(one, f"once {begun}"))
    await until(lambda: begun.exists() and begun.read_text() != "")
    await cancel(hanging)
    assert (await ask(one, "fine")).kind == "returned"
    assert not psutil.pid_exists(int(begun.read_text()))


async def test_a_call_cancelled_while_it_waits_kills_no_other(one: WorkerPool, ask: Callable[..., Any]) -> None:
    await ask(one, "fine")
    first, second, third = (asyncio.create_task(ask(one, text)) for text in ("nap", "never asked", "fine"))
    await asyncio.sleep(0)
    await cancel(second)
    assert (await first).what.pid == (await third).what.pid


async def test_a_call_cancelled_while_its_worker_starts_leaves_none(
    make: Callable[..., WorkerPool],
    ask: Callable[..., Any],
    planted: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
) -> None:
    async with make(prepare=partial(planted.prepare_when_let, tmp_path)) as some:
        waiting = asyncio.create_task(ask(some, "fine"))
        await until((tmp_path / "here").exists)
        await cancel(waiting)
        await until(lambda: pids(some) == [])
        (tmp_path / "let").touch()
        assert (await ask(some, "fine")).kind == "returned"


async def test_leaving_ends_calls_in_hand(
    make: Callable[..., WorkerPool], ask: Callable[..., Any], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    async with make() as some:
        hanging = asyncio.create_task(ask(some, f"once {begun}"))
        await until(lambda: begun.exists() and begun.read_text() != "")
    await cancel(hanging)
    assert not psutil.pid_exists(int(begun.read_text()))
