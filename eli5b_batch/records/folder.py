"""The run folder: who may write to it, whose it is, and what its manifest says.

Must not know: calls, providers. One process writes at a time, held by a lock the system drops when that process dies.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from eli5b_batch.errors import FolderBusyError, RunFolderError
from eli5b_batch.records.disk import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


CALLS: Final = "calls.jsonl"
GRADES: Final = "grades.jsonl"
FINISHED: Final = "finished.jsonl"
CHECKPOINT: Final = "checkpoint.json"
SPENDING: Final = "spending.jsonl"
JOB: Final = "job.yaml"
LOG: Final = "run.log"
MANIFEST: Final = "manifest.json"
_REMEDY: Final = (
    "delete it to have it written again by the next run, which repeats no answered call and "
    "forgets only the dates of earlier starts, the models' digests and an unfinished --redo"
)


class _Part(BaseModel):
    """A part of the manifest that is read back: as written, without conversions; other keys are nobody's business."""

    model_config = ConfigDict(strict=True)


class _Plan(_Part):
    fingerprint: str
    calls: list[tuple[str, str, NonNegativeInt]]


class _Data(_Part):
    reader: str
    sha256: str


class _ModelEntry(_Part):
    digest: str
    quantization: str = ""


class _Manifest(_Part):
    """What has a default was not yet written by the first versions."""

    name: str
    protocol: str
    simulated: bool
    graded_steps: list[str]
    expected_answers: NonNegativeInt
    plan: _Plan = _Plan(fingerprint="", calls=[])
    teacher: str | None
    students: list[str] | None
    data: _Data
    models: dict[str, _ModelEntry]
    providers: dict[str, str] = {}
    redo: dict[str, NonNegativeInt] = {}
    complete_at: NonNegativeInt = 0
    created_at: str
    starts: list[str]


def read_manifest(run_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run folder; None where there is no run folder yet.

    Raises:
        RunFolderError: it is there and can't be read, or is not as a run writes it.
    """
    path = run_dir / MANIFEST
    try:
        data = path.read_bytes()
        manifest: dict[str, Any] = orjson.loads(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"{path}: can't be read: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise RunFolderError(f"{path}: is damaged: no JSON; {_REMEDY}") from None
    try:
        _Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise RunFolderError(f"{path}: is damaged: {what}; {_REMEDY}") from None
    return manifest


def redo_of(manifest: Mapping[str, Any] | None) -> dict[str, int]:
    """By step: the offset in calls.jsonl from which on its records count (`--redo`)."""
    return dict((manifest or {}).get("redo", {}))


def set_redo(run_dir: Path, redo: Mapping[str, int]) -> None:
    """Note in the manifest, which must be there, from where on the records of steps count.

    Raises:
        StorageError: the disk refused.
    """
    manifest = {**(read_manifest(run_dir) or {}), "redo": dict(redo)}
    write_atomically(run_dir / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def complete_at(manifest: Mapping[str, Any] | None) -> int:
    """How long calls.jsonl was when the run last came to its end, bytes; 0: never."""
    return int((manifest or {}).get("complete_at", 0))


def mark_complete(run_dir: Path) -> None:
    """Note in the manifest that the run has come to its end.

    Raises:
        StorageError: the disk refused.
    """
    manifest = {**(read_manifest(run_dir) or {}), "complete_at": (run_dir / CALLS).stat().st_size}
    write_atomically(run_dir / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Make the folder if needed and hold it for one writer.

    Raises:
        FolderBusyError: another process holds it.
        RunFolderError: it can't be made or written to.
    """
    holder = run_dir / ".lock.pid"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run_dir / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        pid = holder.read_text().strip() if holder.exists() else "unknown"
        raise FolderBusyError(
            f"{run_dir} is in use by another run (process {pid}); wait for it, or stop it: kill -INT {pid}"
        ) from None
    except OSError as error:
        raise RunFolderError(
            f"{run_dir}: the run folder can't be written to: {error.strerror}; choose another with --output"
        ) from None
    try:
        write_atomically(holder, str(os.getpid()).encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
