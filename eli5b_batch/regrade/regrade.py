"""Grades every answer of a run folder again, from calls.jsonl and the gold answers on record.

Must not know: how it is shown, which command asked for it. The journal is read line by line, and answers are written in
its order: memory holds an index (29 bytes for each call and each old verdict) and what the workers have in hand.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from eli5b_batch.errors import RunFolderError
from eli5b_batch.grading.apart import GraderPool, cores
from eli5b_batch.grading.judge import verdict_of
from eli5b_batch.grading.verdict import ByRules
from eli5b_batch.records.folder import CALLS, GRADES, locked, read_manifest, redo_of
from eli5b_batch.records.grades import FAILED, row_of
from eli5b_batch.records.journal import Journal
from eli5b_batch.regrade.answers import replies
from eli5b_batch.regrade.drafts import Drafts, remove_leftovers
from eli5b_batch.regrade.job_grader import judgements
from eli5b_batch.regrade.old_grades import Golds, OldGrades, first_signature, manifest_with_answers
from eli5b_batch.regrade.rows import RegradeResult, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from eli5b_batch.grading.verdict import Verdict
    from eli5b_batch.regrade.answers import AnswerOnRecord
    from eli5b_batch.regrade.job_grader import JobGrader

_IN_HAND: Final = 2_000
"""Answers that may wait for their turn in the file, behind one that takes a worker its full time: some MB."""


class Watcher(Protocol):
    """Who is told how far a regrade is; entered when it begins, left when it ends."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def tell(self, answers: int, share: float) -> None:
        """So many answers are graded, and this share (0..1) of the journal is read."""
        ...

    def done(self, run_dir: Path, outcome: RegradeResult) -> None:
        """A regrade that nobody had asked for came to its end."""
        ...


async def regrade(
    run_dir: Path, grader: JobGrader, *, workers: int | None = None, watcher: Watcher | None = None
) -> RegradeResult:
    """Grade every answer on record again and replace grades.jsonl, at once or not at all; no model is asked.

    Args:
        run_dir: the run folder.
        grader: by whom.
        workers: grader processes for what needs one; None: one for each core.
        watcher: told how far it is.

    Raises:
        RunFolderError: no run folder, in use, nothing to grade, records that can't be read, or a gold answer missing.
        StorageError: the disk refused; the old verdicts stand.
    """
    manifest_with_answers(run_dir)  # locking a folder makes it
    workers = workers or cores()
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(run_dir))
        manifest = manifest_with_answers(run_dir)
        if watcher is not None:
            stack.enter_context(watcher)
        journal = stack.enter_context(closing(Journal(run_dir / CALLS, redo=redo_of(manifest))))
        old = stack.enter_context(closing(OldGrades(run_dir / GRADES)))
        drafts = stack.enter_context(Drafts(run_dir))
        rules = grader.rules
        pool = await stack.enter_async_context(GraderPool(workers, decide=rules.decide, grade=rules.grade))
        outcome = RegradeResult(grader.name, manifest["simulated"], old.graders)
        rows = Rows(old, drafts, outcome)
        found = _watched(replies(journal, manifest["graded_steps"]), watcher)
        golds = Golds(run_dir, manifest, old.golds)
        work = _Work(grader, journal, golds, pool, rows)
        await work.to_the_end(found, _IN_HAND)
        rows.take_over_the_rest(work.row_of_failed)
        if not rows.written and not outcome.unjudged:
            raise RunFolderError(f"{run_dir} has no answers yet: its {CALLS} holds none")
        if rows.differ:
            drafts.put_in_place()
    outcome.replaced = rows.differ
    outcome.seconds = time.monotonic() - began
    return outcome


async def bring_up_to_date(run_dir: Path, grader: JobGrader, *, watcher: Watcher | None = None) -> RegradeResult | None:
    """Grade again if the verdicts on record are not by `grader`, so that no run mixes two graders' verdicts.

    A file is of one grader throughout, because every start of a run comes by here: its first line tells.

    Returns:
        What came of it; None: there was nothing to do.

    Raises:
        RunFolderError, StorageError: as `regrade`.
    """
    remove_leftovers(run_dir)
    signature = first_signature(run_dir / GRADES)
    if signature is None or (signature == grader.signature and _is_same_judge(run_dir, grader)):
        return None
    outcome = await regrade(run_dir, grader, watcher=watcher)
    if watcher is not None:
        watcher.done(run_dir, outcome)
    return outcome


def _is_same_judge(run_dir: Path, grader: JobGrader) -> bool:
    """Whether the verdicts on record are of the same model, asked in the same orders."""
    before = (read_manifest(run_dir) or {}).get("judge")
    return grader.judge is None or before == grader.judge.model_dump()


class _InHand(NamedTuple):
    """An answer that waits for its row: the verdict by rules, now or later; none where its call failed."""

    key: str
    gold: str
    by_rules: Verdict | asyncio.Task[Verdict] | None
    judged: Sequence[str | None]


class _Work:
    """Grading itself: what can be decided at once is, the rest goes to the workers, and rows are written in order."""

    def __init__(self, grader: JobGrader, journal: Journal, golds: Golds, pool: GraderPool, rows: Rows, /) -> None:
        self._grader = grader
        self._journal = journal
        self._golds = golds
        self._pool = pool
        self._rows = rows
        self._hand: deque[_InHand] = deque()

    async def to_the_end(self, found: Iterable[AnswerOnRecord], most: int) -> None:
        """Grade reply after reply, with at most `most` in hand."""
        try:
            for reply in found:
                self._take(reply)
                if len(self._hand) > most:
                    await self._write(self._hand.popleft())
                await asyncio.sleep(0)  # for the workers' verdicts to come in, and for Ctrl-C
            while self._hand:
                await self._write(self._hand.popleft())
        finally:
            tasks = [answer.by_rules for answer in self._hand if isinstance(answer.by_rules, asyncio.Task)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, reply: AnswerOnRecord) -> None:
        if reply.text is None:
            self._hand.append(_InHand(reply.key, self._golds.of(reply.key), None, ()))
            return
        judged: Sequence[str | None] | None = ()
        if self._grader.judge is not None:
            judged = judgements(self._journal, self._grader.judge, reply.key, reply.text)
        if judged is None:
            self._rows.leave_out(reply.key)
            return
        gold = self._golds.of(reply.key)
        at_once = self._pool.decide(reply.text, gold)
        by_rules = at_once or asyncio.create_task(self._pool.grade(reply.text, gold))
        self._hand.append(_InHand(reply.key, gold, by_rules, judged))

    async def _write(self, answer: _InHand) -> None:
        verdict = answer.by_rules
        if isinstance(verdict, asyncio.Task):
            verdict = await verdict
        if verdict is None:
            self._rows.add(self.row_of_failed(answer.key, answer.gold))
            return
        beside = None
        if self._grader.judge is not None:
            beside = ByRules(verdict.verdict, self._grader.rules.name)
            verdict = verdict_of(answer.judged, verdict)
        self._rows.add(row_of(answer.key, answer.gold, verdict, self._grader.name, beside))

    def row_of_failed(self, key: str, gold: str) -> dict[str, Any]:
        """The row of an answer whose call failed."""
        beside = ByRules(FAILED, self._grader.rules.name) if self._grader.judge is not None else None
        return row_of(key, gold, None, self._grader.name, beside)


def _watched(found: Iterable[AnswerOnRecord], watcher: Watcher | None) -> Iterator[AnswerOnRecord]:
    """The same, with somebody told of each."""
    for n, reply in enumerate(found, 1):
        yield reply
        if watcher is not None:
            watcher.tell(n, reply.share)
