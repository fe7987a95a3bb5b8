"""`rehearse JOB`: predicts a run, shows it, and writes its figures where they are wanted.

Must not know: the command line's words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eli5b_batch.cli.progress_bar import ProgressBar
from eli5b_batch.cli.rehearse_shown import as_json, show
from eli5b_batch.errors import StorageError
from eli5b_batch.forecast.past import PastRun, look_back
from eli5b_batch.forecast.predict import predict
from eli5b_batch.records.disk import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from eli5b_batch.run.plan import Experiment


def rehearse_job(
    experiment: Experiment, console: Console, *, records: Path | None, figures: Path | None, doubling: bool
) -> None:
    """Print what a run of the job will come to.

    Args:
        experiment: the job.
        console: where to print.
        records: a finished run, whose times and tokens are taken for real models; None: assumptions are.
        figures: the JSON file to write, if any.
        doubling: also say what doubling each limit would buy.

    Raises:
        JobError: a prompt can't be made.
        RunFolderError: `records` says nothing.
        StorageError: `figures` can't be written.
    """
    past = look_back(records) if records else PastRun()
    with ProgressBar(console, None) as bar:
        prediction = predict(
            experiment, past, doubling=doubling, tell=lambda what, done, of: bar.show(f"rehearsing {what}", done / of)
        )
    show(prediction, console)
    if figures:
        _write(figures, as_json(prediction))


def _write(path: Path, data: bytes) -> None:
    """A file is replaced as a whole; into a device or a pipe is written; a link stays one."""
    target = path.resolve()
    if not target.exists() or target.is_file():
        write_atomically(target, data)
        return
    try:
        target.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{path}: can't be written: {error.strerror}") from None
