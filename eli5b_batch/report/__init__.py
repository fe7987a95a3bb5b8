"""The report of a run, rebuilt from what its folder holds: results, statistics, figures, tables.

Must not know: how a run is carried out. Importing this package costs nothing: what is heavy (polars, scipy,
altair) is imported when a report is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from eli5b_batch.errors import RunFolderError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Report:
    """What `build_report` found (`summary`, as in report/summary.json) and the files it wrote."""

    summary: dict[str, Any]
    paths: tuple[Path, ...]

    def renderable(self) -> RenderableType:
        """The report for a terminal."""
        from eli5b_batch.report.tables import render  # noqa: PLC0415 - heavy, see the module's docstring

        return render(self.summary)


def build_report(run_dir: Path) -> Report:
    """Rebuild every derived file of a run folder: results.jsonl, results.parquet and report/.

    It only reads calls.jsonl, grades.jsonl and manifest.json, so it can be called while a run goes on; a run
    without graded answers gets a report that says so, and no figure.

    Args:
        run_dir: the run folder.

    Raises:
        RunFolderError: not a run folder, or its manifest, journal or verdicts can't be read.
        StorageError: a file can't be written.
    """
    # Heavy, see the module's docstring.
    from eli5b_batch.folder import read_manifest  # noqa: PLC0415
    from eli5b_batch.report.charts import draw  # noqa: PLC0415
    from eli5b_batch.report.markdown import markdown  # noqa: PLC0415
    from eli5b_batch.report.results import build_results, replacing  # noqa: PLC0415
    from eli5b_batch.report.summary import summarize  # noqa: PLC0415

    manifest = read_manifest(run_dir)
    if manifest is None:
        raise RunFolderError(f"{run_dir} is not a run folder: it has no manifest.json")
    if not {"name", "graded_steps"} <= manifest.keys():
        raise RunFolderError(f"{run_dir}/manifest.json is not a run's manifest: it has no name or no graded steps")
    results = build_results(run_dir, manifest["graded_steps"])
    summary = summarize(results, manifest)
    folder = run_dir / "report"
    files = {
        "summary.json": orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        "summary.md": markdown(summary).encode(),
        **draw(summary),
    }
    try:
        folder.mkdir(exist_ok=True)
        for stale in {"accuracy.png", "accuracy.svg"} - files.keys():
            (folder / stale).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} can't be written: {error.strerror or error}") from error
    for name, content in files.items():
        with replacing(folder / name) as draft:
            draft.write_bytes(content)
    derived = (run_dir / "results.jsonl", run_dir / "results.parquet")
    return Report(summary, (*derived, *(folder / name for name in files)))
