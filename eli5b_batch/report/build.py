"""Builds every derived file of a run folder, or finds that those on disk still hold.

Must not know: how a run is carried out. Importing this module costs nothing: what is heavy (polars, scipy, altair) is
imported when a report is built.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch.errors import RunFolderError, StorageError
from eli5b_batch.report.wording import SUMMARY_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import RenderableType


_RESULTS: Final = ("results.jsonl", "results.parquet")
_TEXTS: Final = ("summary.json", "summary.md")
_FIGURES: Final = ("accuracy.svg", "accuracy.png")


@dataclass(frozen=True, slots=True)
class Report:
    """What `build_report` found (`summary`, as in report/summary.json) and the files it wrote."""

    summary: dict[str, Any]
    paths: tuple[Path, ...]

    def renderable(self) -> RenderableType:
        """The report for a terminal."""
        from eli5b_batch.report.tables import render  # noqa: PLC0415 - heavy, see the module's docstring

        return render(self.summary)


def latest_report(run_dir: Path) -> Report:
    """The report as it stands where nothing has changed since it was made, else a new one; see `build_report`."""
    folder = run_dir / "report"
    try:
        summary = orjson.loads((folder / "summary.json").read_bytes())
        made_from = summary.pop("made_from")
        unchanged = summary["schema"] == SUMMARY_SCHEMA and made_from == _made_from(run_dir, summary)
        figures = _FIGURES if summary["arms"] else ()
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return build_report(run_dir)
    paths = (*(run_dir / name for name in _RESULTS), *(folder / name for name in (*_TEXTS, *figures)))
    whole = unchanged and all(p.exists() and p.stat().st_size for p in paths)
    return Report(summary, paths) if whole else build_report(run_dir)


def _made_from(run_dir: Path, summary: dict[str, Any]) -> str:
    """A hash of the summary and all it depends on: version, manifest but for the starts, size and time of records."""
    from eli5b_batch import __version__  # noqa: PLC0415
    from eli5b_batch.records.folder import CALLS, GRADES, read_manifest  # noqa: PLC0415

    manifest = {k: v for k, v in (read_manifest(run_dir) or {}).items() if k not in {"starts", "git", "versions"}}
    stats = [(run_dir / name).stat() for name in (CALLS, GRADES) if (run_dir / name).exists()]
    seen = [summary, __version__, manifest, [(stat.st_size, stat.st_mtime_ns) for stat in stats]]
    return hashlib.blake2b(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def _use(run_dir: Path, tokens: Mapping[tuple[str, str], int]) -> dict[str, list[dict[str, Any]]]:
    """How slots and limits were used, from progress.json; nothing is said of them where that can't be read."""
    from eli5b_batch.progress.file import read_progress, slots_used_last  # noqa: PLC0415
    from eli5b_batch.report.use import limit_row, slot_row  # noqa: PLC0415

    try:
        progress = read_progress(run_dir)
    except RunFolderError:
        return {"slots": [], "limits": []}
    return {
        "slots": [slot_row(slot, tokens) for slot in slots_used_last(progress)],
        "limits": [limit_row(provider) for provider in progress["providers"] if provider["limit_history"]],
    }


def build_report(run_dir: Path) -> Report:
    """Rebuild every derived file of a run folder: results.jsonl, results.parquet and report/.

    It only reads calls.jsonl, grades.jsonl, manifest.json and progress.json, so it can be called while a run goes on;
    a run without graded answers gets a report that says so, and no figure.

    Args:
        run_dir: the run folder.

    Raises:
        RunFolderError: not a run folder, or its manifest, journal or verdicts can't be read.
        StorageError: a file can't be written.
    """
    # Heavy, see the module's docstring.
    from eli5b_batch.records.disk import write_atomically  # noqa: PLC0415
    from eli5b_batch.records.folder import read_manifest, redo_of  # noqa: PLC0415
    from eli5b_batch.report.charts import draw  # noqa: PLC0415
    from eli5b_batch.report.markdown import markdown  # noqa: PLC0415
    from eli5b_batch.report.results import build_results  # noqa: PLC0415
    from eli5b_batch.report.summary import summarize  # noqa: PLC0415

    manifest = read_manifest(run_dir)
    if manifest is None:
        raise RunFolderError(f"{run_dir} is not a run folder: it has no manifest.json")
    starts = [dt.datetime.fromisoformat(start).timestamp() for start in manifest["starts"]]
    results = build_results(run_dir, manifest["graded_steps"], starts, redo_of(manifest))
    summary = {**summarize(results, manifest), **_use(run_dir, results.slot_tokens)}
    folder = run_dir / "report"
    files = {
        "summary.json": orjson.dumps(
            {**summary, "made_from": _made_from(run_dir, summary)},
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        ),
        "summary.md": markdown(summary).encode(),
        **draw(summary),
    }
    try:
        folder.mkdir(exist_ok=True)
        for stale in set(_FIGURES) - files.keys():
            (folder / stale).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} can't be written: {error.strerror or error}") from error
    for name, content in files.items():
        write_atomically(folder / name, content)
    return Report(summary, (*(run_dir / name for name in _RESULTS), *(folder / name for name in files)))
