from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from eli5b_batch.errors import WorkerError
from eli5b_batch.grading import Verdict, apart, grade, is_correct
from eli5b_batch.grading.apart import BlockingGrader, GraderPool, cores, verdict_of
from eli5b_batch.workers import pool as pools
from eli5b_batch.workers.program import Bounds
from eli5b_batch.workers.worker import NO_WORKER, Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
ROOTS = (r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
LIMIT = (r"\boxed{\lim_{x \to 0} \frac{\sin x}{x}}", "1")
NEVER_S = 600.0
"""No answer that is to succeed needs so long, however busy the machine is."""
NEVER = Bounds(NEVER_S, NEVER_S)
SOON_S = 0.1


@pytest.fixture(scope="module")
def planted() -> Any:  # noqa: ANN401 - a module
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield importlib.import_module("planted_graders")


@pytest.fixture(scope="module")
def grader_pool(planted: Any) -> Callable[..., GraderPool]:  # noqa: ANN401 - a module
    """Makes a pool whose workers do what the text says."""

    def make(bounds: Bounds = NEVER, **others: Any) -> GraderPool:  # noqa: ANN401
        planned = {"decide": planted.undecided, "grade": planted.obey, "prepare": planted.prepare_nothing}
        return GraderPool(1, bounds, **{**planned, **others})

    return make


@pytest.fixture(scope="module")
def blocking(planted: Any) -> Iterator[Callable[..., BlockingGrader]]:  # noqa: ANN401 - a module
    """Makes graders that do what the text says, in workers."""
    with contextlib.ExitStack() as stack:

        def make(**others: Any) -> BlockingGrader:  # noqa: ANN401
            planned = {"decide": planted.undecided, "grade": planted.obey, "prepare": planted.prepare_nothing}
            made = BlockingGrader(**{**planned, "timeout_s": NEVER_S, **others})
            stack.callback(made.close)
            return made

        yield make


def processes() -> int:
    return len(psutil.Process().children())


def raising(text: str, gold: str) -> Verdict | None:
    raise KeyError(text, gold)


# --- what the end of a worker says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "verdict", "rule"),
    [
        (Ending("late", "cpu"), "timeout", "boxed/cpu"),
        (Ending("late", "deadline"), "timeout", "boxed/deadline"),
        (NO_WORKER, "timeout", "boxed/no_worker"),
        (Ending("died", "SIGSEGV"), "error", "boxed/worker_died/SIGSEGV"),
    ],
)
def test_an_answer_that_was_not_graded_is_quoted(ending: Ending, verdict: str, rule: str) -> None:
    ours = verdict_of(ending, r"\boxed{7}", 1.5)
    assert (ours.verdict, ours.answer, ours.rule, ours.seconds) == (verdict, "7", rule, 1.5)
    assert verdict_of(ending, "", 1.5) == Verdict(ours.verdict, None, rule.removeprefix("boxed/"), 1.5)


@pytest.mark.parametrize("kind", ["raised", "unstarted"])
def test_an_error_is_named(kind: Any) -> None:  # noqa: ANN401
    assert verdict_of(Ending(kind, "MemoryError"), r"\boxed{7}", 1.5) == Verdict("error", None, "MemoryError", 1.5)


# --- many answers, on an event loop ----------------------------------------------------------------------


async def test_what_is_settled_at_once_starts_no_worker() -> None:
    before = processes()
    async with GraderPool() as some:
        assert (await some.grade(r"\boxed{5}", "5")).verdict == "correct"
        assert (await some.grade("I don't know", "5")).verdict == "no_answer"
        assert processes() == before


async def test_the_rest_is_graded_by_the_grader_given_or_by_maths(
    planted: Any,  # noqa: ANN401 - a module
    grader_pool: Callable[..., GraderPool],
) -> None:
    async with GraderPool(1, NEVER, decide=planted.undecided) as some:
        assert (await some.grade(*ROOTS)).verdict == "correct"
        assert (await some.grade(r"\boxed{\sqrt{7}}", r"2\sqrt{2}")).verdict == "incorrect"
    async with grader_pool() as planned:
        assert (await planned.grade("anything", "planted")).rule == "planted"


async def test_answers_in_hand_are_as_many_as_cores() -> None:
    assert cores() == len(os.sched_getaffinity(0))
    assert len(GraderPool()._workers._workers) == cores()


async def test_an_unfinished_answer_is_quoted_where_the_text_is_short(grader_pool: Callable[..., GraderPool]) -> None:
    async with grader_pool() as some:
        verdict = await some.grade(r"die \boxed{7}", "7")
        assert (verdict.verdict, verdict.answer, verdict.rule) == ("error", "7", "boxed/worker_died/SIGKILL")
        verdict = await some.grade(r"die \boxed{7}" + " " * 100_000, "7")
        assert (verdict.verdict, verdict.answer, verdict.rule) == ("error", None, "worker_died/SIGKILL")


async def test_an_answer_that_takes_more_cpu_time_than_it_has_is_a_timeout(
    grader_pool: Callable[..., GraderPool],
) -> None:
    async with grader_pool(Bounds(SOON_S, NEVER_S)) as some:
        verdict = await some.grade(r"hang \boxed{7}", "7")
        assert (verdict.verdict, verdict.rule) == ("timeout", "boxed/cpu")
        assert (await some.grade("fine", "x")).correct


async def test_rules_that_raise_at_once_are_named_by_the_worker(grader_pool: Callable[..., GraderPool]) -> None:
    async with grader_pool(decide=raising) as some:
        verdict = await some.grade("fail", "x")
    assert (verdict.verdict, verdict.rule) == ("error", "ZeroDivisionError")


async def test_no_answer_hangs_or_breaks_the_rules_of_maths(planted: Any) -> None:  # noqa: ANN401
    async with GraderPool(1, NEVER, decide=planted.undecided) as some:
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


async def test_workers_that_cannot_start_are_told_to_the_answer_that_needs_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "_PAUSES_S", ())
    async with GraderPool(1, memory_bytes=1 << 20) as broken:
        assert (await broken.grade(r"\boxed{5}", "5")).correct
        with pytest.raises(WorkerError):
            await broken.grade(*LIMIT)


# --- one answer, from any thread ---------------------------------------------------------------------------


def test_the_package_grades_by_rules_at_once_and_by_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart._for_threads, "_timeout_s", NEVER_S)
    assert is_correct(r"\boxed{10000}", "10000")
    assert not is_correct(r"\boxed{10000}", "10001")
    assert grade("I don't know", "5").verdict == "no_answer"
    before = processes()
    assert grade(*LIMIT).correct
    assert processes() == before + 1


def test_importing_the_package_imports_no_grader() -> None:
    script = "import sys, eli5b_batch.grading; print({'sympy', 'eli5b_batch.grading.math'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_nothing_of_a_grader_that_may_hang_is_imported_where_answers_are_waited_for() -> None:
    script = "import sys, eli5b_batch.grading.apart; print({'sympy', 'math_verify'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_what_is_settled_at_once_starts_no_process(blocking: Callable[..., BlockingGrader]) -> None:
    some = blocking(decide=lambda text, gold: Verdict("correct", text, gold, 0.0))
    before = processes()
    assert some.grade("5", "planted").rule == "planted"
    assert processes() == before


@pytest.mark.parametrize("arguments", [(5, "5"), ("5", None), (b"5", "5")])
def test_only_strings_are_graded(arguments: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError, match="grading takes strings"):
        grade(*arguments)


def test_an_unfinished_answer_is_quoted(blocking: Callable[..., BlockingGrader]) -> None:
    verdict = blocking().grade(r"die \boxed{7}", "7")
    assert (verdict.answer, verdict.rule) == ("7", "boxed/worker_died/SIGKILL")


def test_rules_that_raise_at_once_are_named_by_a_worker(blocking: Callable[..., BlockingGrader]) -> None:
    assert blocking(decide=raising).grade("fail", "x").rule == "ZeroDivisionError"


def test_no_process_to_be_had_is_named(
    blocking: Callable[..., BlockingGrader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    verdict = blocking().grade("fine", "x")
    assert (verdict.verdict, verdict.rule) == ("error", "FileNotFoundError")


def test_the_time_that_the_rules_take_comes_out_of_an_answers_time(blocking: Callable[..., BlockingGrader]) -> None:
    moments = iter([0.0, NEVER_S])
    verdict = blocking(clock=lambda: next(moments, NEVER_S)).grade("fine", "x")
    assert (verdict.verdict, verdict.rule) == ("timeout", "no_worker")


def test_an_answer_that_takes_too_long_is_given_up(blocking: Callable[..., BlockingGrader]) -> None:
    some = blocking(clock=lambda: 0.0)  # it stands, so that no time is over before a process is asked
    some.grade("fine", "x")
    some._timeout_s = SOON_S
    assert some.grade("hang", "x").verdict == "timeout"
