"""The files of a run folder that are made from others: what each is made from, and what goes when that changes.

Must not know: what any of them holds. One rule for all: whoever changes a source removes what is made from it;
and each derived file says what it was made from (a fingerprint, a hash, an offset), so that one that a
crash or a hand left behind is seen to be old and is made anew. Nothing is lost with any of them: calls.jsonl is the
only source of truth.

    checkpoint.json           calls.jsonl, grades.jsonl, finished.jsonl, --redo
    grades.jsonl              calls.jsonl, --redo
    finished.jsonl            calls.jsonl, and by its fingerprints the job and --redo
    plan in manifest.json     by its fingerprint the job and --redo
    report/, results.*        by the hash in summary.json calls.jsonl, grades.jsonl, manifest.json
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from eli5b_batch.errors import StorageError
from eli5b_batch.records.folder import CHECKPOINT, FINISHED, GRADES

if TYPE_CHECKING:
    from pathlib import Path

    Source = Literal["calls", "redo", "grades", "finished"]

_MADE_FROM: Final[dict[str, frozenset[Source]]] = {
    CHECKPOINT: frozenset({"calls", "redo", "grades", "finished"}),
    GRADES: frozenset({"calls", "redo"}),
    FINISHED: frozenset({"calls"}),
}


def forget_derived(run_dir: Path, changed: Source) -> None:
    """Remove what is made from a source that is changed; the folder must be locked.

    Raises:
        StorageError: the disk refused.
    """
    for name, sources in _MADE_FROM.items():
        if changed in sources:
            path = run_dir / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{path}: can't be removed: {error.strerror}") from error
