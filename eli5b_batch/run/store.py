"""What a run writes to: calls, their verdicts, which problems are finished, and a checkpoint over all three.

Must not know: how calls are made. calls.jsonl is the only source of truth. The checkpoint only saves reading it from
the beginning: where it is missing, old, or of another job, the files are read in full and the outcome is the same.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch.errors import RunFolderError
from eli5b_batch.records.derived import forget_derived
from eli5b_batch.records.disk import write_atomically
from eli5b_batch.records.folder import (
    CALLS,
    CHECKPOINT,
    FINISHED,
    GRADES,
    complete_at,
    locked,
    read_manifest,
    redo_of,
    set_redo,
)
from eli5b_batch.records.grades import GradeBook
from eli5b_batch.records.journal import Journal, repair
from eli5b_batch.records.reserve import Reserve
from eli5b_batch.run.finished import Fingerprint, Finished

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.run.plan import Experiment

CHECKPOINT_INTERVAL_S: Final = 10.0
_MOST_OPEN: Final = 200_000
_RESERVE: Final = ".reserve"
RECORD_BYTES: Final = 65_536
"""Room for one record in the reserve: a long prompt and a long reply."""


class Store:
    """Journal, grade book and finished problems of one run folder, held by one writer.

    A problem is closed, and leaves memory, once it is finished and so is every problem whose placebo uses its hint.
    """

    def __init__(
        self,
        path: Path,
        journal: Journal,
        book: GradeBook,
        finished: Finished,
        *,
        donors: Mapping[str, Problem],
        users: Mapping[str, Collection[Problem]],
        left_out: Collection[str],
        redo: Mapping[str, int],
    ) -> None:
        self.journal = journal
        self.book = book
        self.finished = finished
        self._path = path
        self._donors = donors
        self._users = users
        self._left_out = set(left_out)
        self._redo = redo

    def finish(self, problem: Problem) -> None:
        """Every call of the problem is answered and graded."""
        self.finished.add(problem, answered=self.journal.answered, graded=self.book.graded)
        donor = self._donors.get(problem.id)
        for closable in _closable([problem, donor] if donor else [problem], self.finished, self._users):
            self._left_out.add(closable)
            self.journal.close_problem(closable)
            self.book.close_problem(closable)

    @contextmanager
    def room_for(self, calls: int) -> Iterator[None]:
        """Hold room on the disk for the records of so many calls in flight, for when it is full.

        Raises:
            StorageError: there is not that much.
        """
        reserve = Reserve(self._path.with_name(_RESERVE), calls * RECORD_BYTES)
        self.journal.hold(reserve)
        try:
            yield
        finally:
            reserve.give_up()

    def checkpoint(self) -> None:
        """Write the checkpoint; none where so many calls are open that reading the files again is as quick.

        Raises:
            StorageError: the disk refused.
        """
        if self.journal.open_calls > _MOST_OPEN:
            return
        state = {
            "redo": self._redo,
            "left_out": sorted(self._left_out),
            "journal": self.journal.checkpoint(),
            "book": self.book.checkpoint(),
        }
        write_atomically(self._path, orjson.dumps(state))


@contextmanager
def open_store(run_dir: Path, experiment: Experiment, fingerprint: Fingerprint) -> Iterator[Store]:
    """Lock the run folder, made if missing, and open its records.

    Raises:
        RunFolderError: it is in use, can't be written to, or a record is damaged.
        StorageError: the disk refuses.
    """
    with locked(run_dir), closing(Finished(run_dir / FINISHED, fingerprint)) as finished:
        users = _users_of_donors(experiment)
        everything = experiment.everything_asked_about()
        closed = _closable(everything, finished, users)
        redo = redo_of(read_manifest(run_dir))
        checkpoint = _read_checkpoint(run_dir / CHECKPOINT)
        if checkpoint is not None and checkpoint["redo"] != redo:
            checkpoint = None  # other records count now
        if checkpoint is not None and not _covers(checkpoint, everything, closed):
            checkpoint = None
        try:
            journal, book = _open(run_dir, closed, checkpoint, redo)
        except (KeyError, TypeError, ValueError, AttributeError):
            if checkpoint is None:
                raise
            checkpoint = None  # JSON, but not ours
            journal, book = _open(run_dir, closed, None, redo)
        left_out = {*closed, *(checkpoint["left_out"] if checkpoint else ())}
        if not finished.believable(answered=journal.answered, graded=book.graded):
            # Records are missing that were there when problems were called finished: believe nothing, read it all.
            journal.close()
            book.close()
            forget_derived(run_dir, "finished")
            finished.forget()
            left_out = set()
            journal, book = _open(run_dir, (), None, redo)
        with closing(journal), closing(book):
            donors = experiment.problems.partners
            path = run_dir / CHECKPOINT
            yield Store(path, journal, book, finished, donors=donors, users=users, left_out=left_out, redo=redo)


def repair_run(run_dir: Path) -> int:
    """Set damaged lines of calls.jsonl aside into calls.jsonl.damaged; what was derived from them is made anew.

    Returns:
        How many lines were set aside.

    Raises:
        RunFolderError: the folder is in use, or is no run folder.
        StorageError: the disk refused; nothing was changed.
    """
    if not (run_dir / CALLS).exists():
        raise RunFolderError(f"{run_dir} has no {CALLS} to repair")
    with locked(run_dir):
        cut = repair(run_dir / CALLS)
        if cut:
            forget_derived(run_dir, "calls")
            _move_marks(run_dir, cut)
    return len(cut)


def _move_marks(run_dir: Path, cut: Sequence[tuple[int, int]]) -> None:
    """Lines were cut out of calls.jsonl, each (offset, bytes): what the manifest says of offsets moves with it."""
    manifest = read_manifest(run_dir)
    redo = redo_of(manifest)
    if redo:
        set_redo(run_dir, {step: at - sum(size for start, size in cut if start < at) for step, at in redo.items()})


def redo_steps(run_dir: Path, experiment: Experiment, steps: Sequence[str]) -> list[str]:
    """Have every call of these steps asked again; the old records stay, and the newest success counts.

    Given again before the run has come to its end, it changes nothing: what was asked anew is not asked a third time.

    Returns:
        The steps that are asked again from now on.

    Raises:
        RunFolderError: no run folder, in use, or a step it does not have.
        StorageError: the disk refused.
    """
    manifest = read_manifest(run_dir)
    if manifest is None:
        raise RunFolderError(f"{run_dir} is no run folder yet: there is nothing to ask again")
    known = sorted({step for step, *_ in manifest.get("plan", {}).get("calls", [])})
    for step in steps:
        if step not in known:
            raise RunFolderError(f"--redo {step}: the run has no such step; its steps are: {', '.join(known)}")
    redo = redo_of(manifest)
    with locked(run_dir), closing(Finished(run_dir / FINISHED, Fingerprint(experiment, redo))) as finished:
        complete = all(problem in finished for problem in experiment.problems.selected)
        ended = complete_at(manifest)
        new = [step for step in steps if complete or ended > redo.get(step, -1)]
        if new:
            forget_derived(run_dir, "redo")
            set_redo(run_dir, redo | dict.fromkeys(new, (run_dir / CALLS).stat().st_size))
    return new


def _open(
    run_dir: Path,
    closed: Collection[str],
    checkpoint: Mapping[str, Any] | None,
    redo: Mapping[str, int],
) -> tuple[Journal, GradeBook]:
    journal = Journal(run_dir / CALLS, closed=closed, checkpoint=checkpoint and checkpoint["journal"], redo=redo)
    try:
        book = GradeBook(
            run_dir / GRADES,
            lambda key: journal.find(key) is not None,
            closed=closed,
            checkpoint=checkpoint and checkpoint["book"],
        )
    except BaseException:
        journal.close()
        raise
    return journal, book


def _users_of_donors(experiment: Experiment) -> dict[str, list[Problem]]:
    """By donor: the problems of the run whose placebo is its hint."""
    users: dict[str, list[Problem]] = defaultdict(list)
    for problem in experiment.problems.selected:
        donor = experiment.problems.partners.get(problem.id)
        if donor is not None:
            users[donor.id].append(problem)
    return users


def _closable(
    candidates: Collection[Problem], finished: Finished, users: Mapping[str, Collection[Problem]]
) -> list[str]:
    """Ids of the finished problems whose users are finished, too."""
    return [p.id for p in candidates if p in finished and all(user in finished for user in users.get(p.id, ()))]


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    try:
        checkpoint = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None  # nothing is lost: the files are read from their beginning
    return (
        checkpoint
        if isinstance(checkpoint, dict) and checkpoint.keys() >= {"redo", "left_out", "journal", "book"}
        else None
    )


def _covers(checkpoint: Mapping[str, Any], problems: Collection[Problem], closed: Collection[str]) -> bool:
    """Whether the checkpoint knows the calls of every problem that may be asked about.

    It does not where a problem was closed when it was made and is open now, as when the job asks for more of it.
    """
    left_out = checkpoint["left_out"]
    return isinstance(left_out, list) and {p.id for p in problems}.isdisjoint(set(left_out) - set(closed))
