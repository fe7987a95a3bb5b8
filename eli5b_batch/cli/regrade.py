"""`regrade RUN`: grades a run's answers again, or explains one verdict.

Must not know: the command line's words.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from eli5b_batch.cli.regrade_shown import RegradeBar, show
from eli5b_batch.errors import JobError
from eli5b_batch.event_loop import run
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.job.explain import nearest
from eli5b_batch.regrade.explain import explained
from eli5b_batch.regrade.job_grader import JobGrader, grader_of
from eli5b_batch.regrade.old_grades import job_on_record, manifest_with_answers
from eli5b_batch.regrade.regrade import regrade
from eli5b_batch.report.build import latest_report

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def regrade_run(run_dir: Path, console: Console, *, grader: str | None, workers: int | None) -> None:
    """Grade again, print what changed, and build the report.

    Args:
        run_dir: the run folder.
        console: where to print.
        grader: by whose rules; None: as the job says.
        workers: grader processes; None: one for each core.

    Raises:
        JobError: there is no such grader.
        RunFolderError: the folder can't be graded again.
        StorageError: the disk refused.
    """
    by, own = _graders(run_dir, grader)
    outcome = run(regrade(run_dir, by, workers=workers, watcher=RegradeBar(console, sys.stderr)))
    show(run_dir, outcome, console)
    with console.status("building the report") if console.is_terminal else nullcontext():
        built = latest_report(run_dir)
    page = next(path for path in built.paths if path.name == "summary.md")
    _say(console, f"report                {page}")
    if grader not in (None, own):
        _say(console, f"\nthe job names {own}: its next run grades by that again, unless it is given grader: {grader}")


def _graders(run_dir: Path, name: str | None) -> tuple[JobGrader, str]:
    """Who is to grade, and the name of the job's own grader."""
    manifest_with_answers(run_dir)
    job = job_on_record(run_dir)
    if name in (None, job.grader):
        return grader_of(job), job.grader
    if name == "judge":
        raise JobError("--grader judge: a judge's verdicts are calls: give the job grader: judge, and run it")
    if name not in GRADERS:
        raise JobError(f"--grader {name}: no such grader; {nearest(name, list(GRADERS), 'there are')}")
    return JobGrader(GRADERS[name]), job.grader


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def explain_answer(run_dir: Path, asked: str, console: Console, *, grader: str | None) -> None:
    """Print how one verdict is reached.

    Args:
        run_dir: the run folder.
        asked: the key of an answer, or a part that only one has.
        console: where to print.
        grader: by whose rules; None: as the job says.

    Raises:
        JobError: there is no such grader.
        RunFolderError: no such answer, or the records can't be read.
    """
    by, _ = _graders(run_dir, grader)
    for line in run(explained(run_dir, asked, by)):
        _say(console, line)
