from __future__ import annotations

import asyncio
import importlib
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest
import pytest_asyncio

from eli5b_batch.grading.pool import GraderPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent
NEEDS_SYMPY = (r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
SANE = (r"\boxed{\text{sane} + \sqrt{8}}", r"2\sqrt{2}")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a module
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("planted_graders")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[GraderPool]:
    async with GraderPool(1, timeout_s=2.0) as started:
        yield started


def pids(pool: GraderPool) -> list[int]:
    assert pool._pool is not None
    return list(pool._pool._pool_manager.worker_manager.workers)


async def test_it_grades_what_text_settles_and_what_needs_sympy(pool: GraderPool) -> None:
    easy, hard, wrong, nothing = await asyncio.gather(
        pool.grade(r"\boxed{10000}", "10000"),
        pool.grade(*NEEDS_SYMPY),
        pool.grade(r"\boxed{\sqrt{7}}", r"2\sqrt{2}"),
        pool.grade("I don't know", "5"),
    )
    assert [verdict.verdict for verdict in (easy, hard, wrong, nothing)] == [
        "correct", "correct", "incorrect", "no_answer",
    ]  # fmt: skip


async def test_starting_leaves_the_event_loop_free_and_delays_only_what_needs_a_worker() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with GraderPool(1) as fresh:
        assert (await fresh.grade(r"\boxed{5}", "5")).verdict == "correct"
        assert fresh._pool is None
        assert (await fresh.grade(*NEEDS_SYMPY)).verdict == "correct"
    ticking.cancel()
    assert ticks > 100


async def test_leaving_at_once_leaves_nothing_behind() -> None:
    async with GraderPool(1) as fresh:
        pass
    assert fresh._pool is None


async def test_warming_up_does_not_count_against_the_first_deadline() -> None:
    async with GraderPool(1, timeout_s=0.8) as impatient:
        assert (await impatient.grade(*NEEDS_SYMPY)).correct


async def test_no_answer_hangs_or_breaks_it(pool: GraderPool) -> None:
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
        started = time.perf_counter()
        verdict = await pool.grade(f"\\boxed{{{answer}}}", r"\sqrt{2}")
        assert verdict.verdict != "correct", answer[:20]
        assert time.perf_counter() - started < 4, answer[:20]
    assert (await pool.grade(*NEEDS_SYMPY)).correct


async def test_ten_megabytes_go_through() -> None:
    async with GraderPool(1, timeout_s=30) as patient:  # half a second of work, on a machine that may be busy
        assert (await patient.grade("so {" * 2_500_000, "5")).verdict == "no_answer"
        assert (await patient.grade("so {" * 2_500_000 + r"\boxed{\sqrt{8}}", r"2\sqrt{2}")).correct


async def test_a_real_formula_that_runs_out_of_time() -> None:
    async with GraderPool(1, timeout_s=0.8) as impatient:
        verdict = await impatient.grade(r"\boxed{\gcd(10^{99999}+1,10^{99998}+7)}", "5")
        assert (verdict.verdict, verdict.rule) == ("timeout", "boxed/deadline")
        assert verdict.answer == r"\gcd(10^{99999}+1,10^{99998}+7)"
        assert (await impatient.grade(*NEEDS_SYMPY)).correct


async def test_an_answer_that_holds_the_interpreter_is_killed_and_the_rest_is_graded(planted: Any) -> None:  # noqa: ANN401
    async with GraderPool(2, timeout_s=0.5, grade=planted.hang) as pool:
        await pool.grade(*SANE)
        started = time.perf_counter()
        texts = [NEEDS_SYMPY, SANE, NEEDS_SYMPY, SANE, SANE, SANE]
        verdicts = await asyncio.gather(*(pool.grade(*text) for text in texts))
    assert [verdict.verdict for verdict in verdicts] == [
        "timeout" if text is NEEDS_SYMPY else "correct" for text in texts
    ]
    assert time.perf_counter() - started < 20  # it would hang for ever


async def test_a_worker_that_dies_is_an_error_and_the_rest_is_graded(planted: Any) -> None:  # noqa: ANN401
    async with GraderPool(2, grade=planted.crash) as pool:
        texts = [SANE, NEEDS_SYMPY, SANE, SANE]
        verdicts = await asyncio.gather(*(pool.grade(*text) for text in texts))
    assert [verdict.verdict for verdict in verdicts] == ["correct", "error", "correct", "correct"]
    assert verdicts[1].rule == "boxed/worker_died"


async def test_too_much_memory_is_an_error(planted: Any) -> None:  # noqa: ANN401
    async with GraderPool(1, memory_bytes=1 << 30, grade=planted.eat_memory) as pool:
        verdict = await pool.grade(*NEEDS_SYMPY)
        assert (verdict.verdict, verdict.rule) == ("error", "MemoryError")
        assert (await pool.grade(*SANE)).correct


async def test_workers_that_cannot_start_are_told_to_the_first_answer_that_needs_one() -> None:
    async with GraderPool(1, memory_bytes="plenty") as broken:  # type: ignore[arg-type]
        assert (await broken.grade(r"\boxed{5}", "5")).correct
        with pytest.raises(BrokenProcessPool):
            await broken.grade(*NEEDS_SYMPY)


async def test_idle_workers_killed_from_outside_cost_no_answer(pool: GraderPool) -> None:
    for _ in range(2):
        for pid in pids(pool):
            os.kill(pid, signal.SIGKILL)
        assert (await pool.grade(*NEEDS_SYMPY)).correct


async def test_workers_ignore_ctrl_c(pool: GraderPool) -> None:
    before = pids(pool)
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert (await pool.grade(*NEEDS_SYMPY)).correct
    assert pids(pool) == before


async def test_answers_wait_in_order_for_a_free_worker(planted: Any) -> None:  # noqa: ANN401
    finished: list[int] = []

    async def grade(number: int) -> None:
        await one_worker.grade(rf"\boxed{{{number} + \sqrt{{8}}}}", "x")
        finished.append(number)

    async with GraderPool(1, grade=planted.fine) as one_worker:
        await asyncio.gather(*(grade(number) for number in range(50)))
    assert finished == list(range(50))


async def test_a_cancelled_answer_frees_its_worker(planted: Any) -> None:  # noqa: ANN401
    async with GraderPool(1, timeout_s=60, grade=planted.hang) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await pool.grade(*NEEDS_SYMPY)
        assert (await pool.grade(*SANE)).correct


async def test_workers_are_limited_and_end_with_the_pool() -> None:
    async with GraderPool(2) as pool:
        assert (await pool.grade(*NEEDS_SYMPY)).correct
        workers = [psutil.Process(pid) for pid in pids(pool)]
        assert len(workers) == 2
        assert (await asyncio.gather(*(pool.grade(*NEEDS_SYMPY) for _ in range(20))))[-1].correct
        assert {worker.nice() for worker in workers} == {os.nice(0) + 5}
    assert not any(worker.is_running() for worker in workers)
