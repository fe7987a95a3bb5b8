"""The calls of a run that failed, by cause: read from calls.jsonl for `status --failures`, and put into words.

Must not know: how calls are made. The file is read from its beginning to its end; 17 bytes are kept of each line, and
some hundred causes at most.
"""

from __future__ import annotations

import shlex
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.errors import JobError, JournalDamagedError, RunFolderError
from eli5b_batch.job.load import load_job
from eli5b_batch.progress.causes import Cause, Causes, starts_of
from eli5b_batch.records import parse_key
from eli5b_batch.records.folder import CALLS, JOB, read_manifest, redo_of
from eli5b_batch.records.reader import Redo, read_standing, record_at
from eli5b_batch.run.calls import MOST_STARTS
from eli5b_batch.text import clean, shortened

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from eli5b_batch.cli.progress_bar import ProgressBar
    from eli5b_batch.job.schema import Job

UPSTREAM: Final = "upstream"
"""Class of the calls that were never sent, because what they build on failed."""

_NAMED: Final = 3
"""Causes in the last words of a run."""
_SHOWN: Final = 20
"""Causes that `status --failures` shows one by one."""
_SHORT: Final = 160
"""Characters of a sentence in the last words of a run."""
_LOOK_LINES: Final = 1024


class Failures(NamedTuple):
    """What calls.jsonl says: distinct calls on record, those that failed, and why, the commonest cause first.

    Calls that were never sent, because what they build on failed, come last: that is no cause of its own.
    """

    simulated: bool
    calls: int
    failed: int
    causes: list[Cause]


def read_failures(run_dir: Path, bar: ProgressBar) -> Failures:
    """The failed calls of a run: those of whose records none is an answer, by the newest one.

    Raises:
        RunFolderError: not a run folder, or its records can't be read.
        JournalDamagedError: a line that counts can't be read.
    """
    manifest = read_manifest(run_dir)
    if manifest is None:
        raise RunFolderError(f"{run_dir} is not a run folder: it has no manifest.json")
    path, simulated = run_dir / CALLS, manifest["simulated"]
    try:
        with path.open("rb", buffering=1 << 20) as file:
            size = max(1, path.stat().st_size)
            standing = read_standing(
                file, path, Redo(redo_of(manifest)), lambda offset: bar.show(f"reading {CALLS}", offset / size)
            )
            offsets = standing.failed()
            causes, jobs = Causes(), _JobOnRecord(run_dir)
            for number, offset in enumerate(offsets):
                _count(causes, record_at(file, offset, path), jobs, path)
                if number % _LOOK_LINES == 0:
                    bar.show("grouping failures", number / len(offsets))
    except FileNotFoundError:
        return Failures(simulated=simulated, calls=0, failed=0, causes=[])
    except OSError as error:
        raise RunFolderError(f"{path} can't be read: {error.strerror or error}") from error
    ordered = sorted(causes.commonest(), key=lambda cause: cause.error_class == UPSTREAM)
    return Failures(simulated=simulated, calls=len(standing), failed=len(offsets), causes=ordered)


class _JobOnRecord:
    """The job of a run folder, read where somebody asks: only records of older versions need it."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / JOB

    @cached_property
    def _job(self) -> Job | None:
        try:
            return load_job(self._path)
        except JobError:  # then nobody knows how often a start sends a call, and none is called given up
            return None

    def attempts(self, provider: str) -> int | None:
        """How often a start sends a call to this provider before it has failed; None where the job can't be read."""
        known = self._job.providers.get(provider) if self._job else None
        return known.attempts if known else None


def _count(causes: Causes, record: Mapping[str, Any], job: _JobOnRecord, path: Path) -> None:
    error = record.get("error") or {}
    try:
        name = parse_key(record["key"])
    except ValueError as no_key:
        raise JournalDamagedError(
            f"{path}: a line is not the record of a call: {no_key}; "
            "run the job again with --repair to set such lines aside"
        ) from None
    attempts = 1 if "starts" in error else job.attempts(str(record.get("provider")))
    given_up = attempts is not None and starts_of(error, attempts) >= MOST_STARTS
    causes.add(error, key=record["key"], step=name.step, model=name.model, given_up=given_up)


def failures_view(run_dir: Path, console: Console, bar: ProgressBar) -> None:
    """Print the failed calls of a run, by cause. Errors as `read_failures`."""
    with bar:
        found = read_failures(run_dir, bar)
    for line in _lines(run_dir, found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(run_dir: Path, found: Failures) -> Iterator[str]:
    simulated = "SIMULATED, " if found.simulated else ""
    yield f"{run_dir}: {simulated}{found.failed:,} of {found.calls:,} calls on record failed"
    if not found.failed:
        return
    width = max(len(f"{cause.count:,}") for cause in found.causes)
    for cause in found.causes[:_SHOWN]:
        yield ""
        given_up = f"; {cause.given_up:,} given up" if cause.given_up else ""
        yield f"{cause.count:>{width},}  {clean(cause.error_class)}  ({_who(cause)}{given_up})"
        various = " (and other sentences, each of them rare)" if cause.various else ""
        yield f"{'':{width}}  {clean(cause.message)}{various}"
        yield f"{'':{width}}  {cause.key}"
    if rest := found.causes[_SHOWN:]:
        yield f"\n... and {sum(cause.count for cause in rest):,} calls of {len(rest):,} rarer causes"
    yield f"\nThey count as wrong. {outlook(found.causes)}"
    yield f'One in full: grep -F \'"key":"{found.causes[0].key}"\' {shlex.quote(str(run_dir / CALLS))}'


def _who(cause: Cause) -> str:
    """The steps and models of a cause: `answer: 1b 12, 3b 9; hint: maverick 2`."""
    steps = sorted({step for step, _ in cause.calls})
    texts = []
    for step in steps:
        models = [(model, n) for (its, model), n in cause.calls.most_common() if its == step]
        texts.append(f"{clean(step)}: {', '.join(f'{clean(model)} {n:,}' for model, n in models)}")
    return "; ".join(texts)


def outlook(causes: Sequence[Cause]) -> str:
    """What becomes of calls that failed when the same command is given again, in a sentence."""
    failed = sum(cause.count for cause in causes if cause.error_class != UPSTREAM)
    given_up = sum(cause.given_up for cause in causes)
    built_on_others = any(cause.error_class == UPSTREAM for cause in causes)
    if not given_up:
        return "The same command tries them again."
    with_them = " with what builds on them" if built_on_others else ""
    if given_up >= failed:
        return f"They failed in {MOST_STARTS} starts and are given up{with_them}; --redo STEP asks a whole step again."
    return (
        f"{given_up:,} of them failed in {MOST_STARTS} starts and are given up{with_them}; "
        "the same command tries the others again."
    )


def last_words(causes: Sequence[Cause], by_class: Counter[str], of_calls: int, run_dir: Path) -> str:
    """How many calls of a run failed, the commonest causes in the hosts' words, and what can be done; one line.

    Args:
        causes: the commonest first.
        by_class: calls that failed, by class.
        of_calls: calls of the whole run.
        run_dir: the run folder.
    """
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in by_class.most_common())
    first = [cause for cause in causes if cause.error_class != UPSTREAM] or causes
    named = [
        f"{cause.count:,} {clean(cause.error_class)}: '{shortened(clean(cause.message), _SHORT)}'"
        for cause in first[:_NAMED]
    ]
    if rest := first[_NAMED:]:
        named.append(f"{sum(cause.count for cause in rest):,} for other reasons")
    return (
        f"{by_class.total():,} of {of_calls:,} calls failed ({kinds}); they count as wrong. "
        f"The commonest causes: {', '.join(named)}. {outlook(causes)} "
        f"All of them by cause: python -m eli5b_batch status {shlex.quote(str(run_dir))} --failures"
    )
