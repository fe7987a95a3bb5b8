"""A run and its report in the foreground of a terminal: what is shown while it goes on, and its last words.

Must not know: the command line's words, how a run works.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from eli5b_batch.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from rich.console import Console

    from eli5b_batch.run.engine import Ending
    from eli5b_batch.run.execute import Display
    from eli5b_batch.run.plan import Experiment


def run_shown(
    experiment: Experiment, run_dir: Path, console: Console, *, display: str, patience: Mapping[str, Any]
) -> int:
    """Run a job, show how it goes and what it found; its exit code.

    Args:
        experiment: the checked job.
        run_dir: the run folder.
        console: where to print.
        display: `auto`, `live`, `plain` or `none`.
        patience: the times of `run.execute`.

    Raises:
        Eli5bError: the run could not begin, or the report not be made.
    """
    from eli5b_batch.cli.regrade_shown import RegradeBar  # noqa: PLC0415
    from eli5b_batch.event_loop import run as run_loop  # noqa: PLC0415 (heavy, and not needed for --help)
    from eli5b_batch.regrade.job_grader import grader_of  # noqa: PLC0415
    from eli5b_batch.regrade.regrade import bring_up_to_date  # noqa: PLC0415
    from eli5b_batch.run.execute import execute  # noqa: PLC0415

    for note in experiment.problems.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    shown = _display(display, console)
    bar = RegradeBar(console, sys.stderr, quiet=display == "none")
    regrade = partial(bring_up_to_date, grader=grader_of(experiment.job), watcher=bar)
    ending = run_loop(execute(experiment, run_dir, display=shown, regrade=regrade, **patience))
    if ending.exit_code in (0, 3):
        show_report(run_dir, console, latest=True)
    _last_words(ending, run_dir, console)
    return ending.exit_code


def show_report(run_dir: Path, console: Console, *, latest: bool = False) -> None:
    """Build the report, or with `latest` take the one there is where nothing has changed, and print it.

    Raises:
        RunFolderError: not a run folder, or its records can't be read.
        StorageError: a file can't be written.
    """
    from eli5b_batch.report.build import build_report, latest_report  # noqa: PLC0415

    with console.status("building the report") if console.is_terminal else nullcontext():
        built = latest_report(run_dir) if latest else build_report(run_dir)
    console.print(built.renderable())
    for path in built.paths:
        console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)


def _last_words(ending: Ending, run_dir: Path, console: Console) -> None:
    """What a user needs to know at the end, in a few lines; on stderr when the run did not finish."""
    if ending.reason is not None:
        typer.echo(f"eli5b-batch: {ending.reason}", err=True)
        if ending.exit_code != JobError.exit_code:  # a job that was changed does not go on with the same command
            typer.echo(
                f"{ending.calls} of {ending.of_calls} calls are on record in {run_dir}; the same command goes on.",
                err=True,
            )
    if not ending.failures or ending.exit_code == JobError.exit_code:
        return
    from eli5b_batch.cli.failures import last_words  # noqa: PLC0415 (heavy, and most runs need none)

    words = last_words(ending.causes.commonest(), ending.failures, ending.of_calls, run_dir)
    if ending.reason is not None:
        typer.echo(words, err=True)
    else:
        console.print(words, markup=False, highlight=False, soft_wrap=True)


def _display(choice: str, console: Console) -> Display:
    from eli5b_batch.log import display_failed  # noqa: PLC0415
    from eli5b_batch.progress import LiveDashboard, PlainProgress, can_live  # noqa: PLC0415

    if choice == "auto":
        choice = "live" if can_live(console) else "plain"

    def make(snapshot: Any) -> AbstractAsyncContextManager[object]:  # noqa: ANN401 (see Display)
        if choice == "live":
            return LiveDashboard(snapshot, console, on_error=display_failed)
        if choice == "plain":
            return PlainProgress(snapshot, sys.stderr, on_error=display_failed)
        return nullcontext()

    return make
