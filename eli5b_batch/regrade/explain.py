"""How one verdict is reached, from the reply on record to the rule that decides.

Must not know: how a rule decides. An explanation only reads, without the run folder's lock, and so works beside a run.
"""

from __future__ import annotations

import heapq
from contextlib import closing
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.errors import RunFolderError
from eli5b_batch.grading import math
from eli5b_batch.grading.apart import GraderPool
from eli5b_batch.grading.judge import JUDGE as GRADED_BY_JUDGE
from eli5b_batch.grading.judge import verdict_of
from eli5b_batch.records import parse_key
from eli5b_batch.records.folder import CALLS, GRADES, redo_of
from eli5b_batch.records.grades import row_of
from eli5b_batch.records.reader import Redo, read_standing
from eli5b_batch.regrade.answers import Line, answer_lines, record_of, reply_of
from eli5b_batch.regrade.old_grades import Golds, OldGrades, manifest_with_answers
from eli5b_batch.run.judging import is_about, judgements_of
from eli5b_batch.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from eli5b_batch.grading.graders import RuleGrader
    from eli5b_batch.grading.verdict import Verdict
    from eli5b_batch.job.schema import Judge
    from eli5b_batch.records.reader import Standing
    from eli5b_batch.regrade.job_grader import JobGrader

_NAMED: Final = 5
"""So many keys are named where several fit, or none."""
_LAST_LINES: Final = 12
_LAST_CHARACTERS: Final = 1_000


async def explained(run_dir: Path, asked: str, grader: JobGrader) -> list[str]:
    """How the verdict on one answer is reached, line by line.

    Args:
        run_dir: the run folder.
        asked: the key of an answer, or a part of it that no other answer's key has.
        grader: by whom.

    Raises:
        RunFolderError: no such answer, several of them, or records that can't be read.
    """
    manifest = manifest_with_answers(run_dir)
    path = run_dir / CALLS
    with path.open("rb", buffering=1 << 20) as file:
        standing = read_standing(file, path, Redo(redo_of(manifest)))
    line = _find(run_dir, asked, standing, manifest["graded_steps"])
    record = record_of(line, path)
    with closing(OldGrades(run_dir / GRADES)) as old:
        row = old.take(line.key)
        gold = Golds(run_dir, manifest, old.golds).of(line.key)
    lines = [*_head(line.key, record, gold, manifest), *_on_record(row)]
    if record["status"] != "ok":
        error = record.get("error") or {}
        return [*lines, f"the call failed ({error.get('class')}: {clean(str(error.get('message')))}): nothing to grade"]
    text = reply_of(line, path)
    async with GraderPool(1, decide=grader.rules.decide, grade=grader.rules.grade) as pool:
        by_rules = await pool.grade(text, gold)
    now = [_said("now" if grader.judge is None else "by rules", row_of(line.key, gold, by_rules, grader.rules.name))]
    if grader.judge is not None:
        now += _judged(run_dir, line, grader.judge, by_rules, standing)
    steps = _steps(text, gold, grader.rules, by_rules)
    return [*lines, *now, "", *_end_of(text), "", f"step by step, {grader.rules.name}:", *steps]


def _judged(run_dir: Path, line: Line, judge: Judge, by_rules: Verdict, standing: Standing) -> list[str]:
    """What the judge said about an answer, and what that comes to."""
    lines: list[str] = []
    told: list[str | None] = []
    path = run_dir / CALLS
    text = reply_of(line, path)
    for key in judgements_of(line.key, judge):
        judgement = _line(path, key, standing)
        ok = judgement is not None and standing.is_answered(key)
        if judgement is None or (ok and not is_about(record_of(judgement, path), text)):
            return [*lines, "now        no verdict: the judge has still to be asked; the next run of the job does"]
        reply = reply_of(judgement, path) if ok else None
        told.append(reply)
        said = "the call failed" if reply is None else clean(reply.rstrip().rpartition("\n")[2])
        lines.append(f"{judge.model:<10} with the {parse_key(key).tags['first']} first: {said}")
    return [*lines, _said("now", row_of(line.key, "", verdict_of(told, by_rules), GRADED_BY_JUDGE))]


def _find(run_dir: Path, asked: str, standing: Standing, steps: Collection[str]) -> Line:
    """The line that counts of the one answer meant by `asked`."""
    keys = {key for key in _answers(run_dir, steps, standing) if asked in key}
    if asked in keys:
        keys = {asked}
    if not keys:
        near = _nearest(asked, set(_answers(run_dir, steps, standing)))
        raise RunFolderError(
            f"{run_dir}: no answer on record has the key {asked!r}{_listed('; the nearest are', near)}"
        )
    if len(keys) > 1:
        some = heapq.nsmallest(_NAMED, keys)
        raise RunFolderError(
            f"{run_dir}: {len(keys):,} answers have {asked!r} in their keys; give more of it"
            f"{_listed(', such as', some)}"
        )
    line = _line(run_dir / CALLS, keys.pop(), standing)
    assert line is not None
    return line


def _answers(run_dir: Path, steps: Collection[str], standing: Standing) -> Iterator[str]:
    """The keys of the answers of which a record counts; one may come several times."""
    return (line.key for line in answer_lines(run_dir / CALLS, steps) if standing.find(line.key) is not None)


def _line(path: Path, key: str, standing: Standing) -> Line | None:
    """The line that counts of one call.

    Raises:
        RunFolderError: it is no longer there.
    """
    counting = standing.find(key)
    if counting is None:
        return None
    with path.open("rb") as file:
        file.seek(counting.offset)
        line = Line(counting.offset, key, file.readline())
    if record_of(line, path).get("key") != key:
        raise RunFolderError(f"{path} was changed while it was read; try again")
    return line


def _nearest(asked: str, keys: Collection[str]) -> list[str]:
    """The keys that share most parts with `asked`, and of these the ones that begin most like it."""
    parts = set(asked.split("|"))

    def likeness(key: str) -> tuple[int, int, str]:
        begins_like = len(commonprefix((asked, key)))  # noqa: RUF071 (keys are no paths)
        return len(parts.intersection(key.split("|"))), begins_like, key

    return heapq.nlargest(_NAMED, keys, key=likeness)


def _listed(intro: str, keys: Collection[str]) -> str:
    return "".join([intro, *(f"\n  {key}" for key in keys)]) if keys else ""


def _head(key: str, record: Mapping[str, Any], gold: str, manifest: Mapping[str, Any]) -> list[str]:
    model = parse_key(key).model
    known = manifest["models"].get(model, {}).get("model", "")
    simulated = ", SIMULATED" if record.get("simulated") else ""
    return [
        f"key        {key}",
        f"model      {model}{f' ({clean(known)})' if known else ''}{simulated}",
        f"gold       {clean(gold)}",
    ]


def _on_record(row: Mapping[str, Any] | None) -> list[str]:
    """The verdict in grades.jsonl, and those before it, oldest first."""
    if row is None:
        return ["on record  no verdict yet"]
    return [*(_said("earlier", earlier) for earlier in row.get("earlier", ())), _said("on record", row)]


def _said(when: str, row: Mapping[str, Any]) -> str:
    took = f", {1000 * row['seconds']:.2f} ms" if "seconds" in row else ""
    found = "no answer found" if row["answer"] is None else f"answer {clean(row['answer'])}"
    return f"{when:<10} {row['verdict']}: {found}; by {row['rule']} of {row['grader']}{took}"


def _end_of(text: str) -> list[str]:
    """The last lines of a reply, harmless to a terminal."""
    tail = text.rstrip()[-_LAST_CHARACTERS:].splitlines()[-_LAST_LINES:]
    cut = len("\n".join(tail)) < len(text.rstrip())
    return [
        f"the reply ends ({len(text):,} characters):" if cut else "the reply:",
        *(["  | ..."] if cut else []),
        *(f"  | {clean(line)}" for line in tail),
    ]


def _steps(text: str, gold: str, grader: RuleGrader, verdict: Verdict) -> list[str]:
    """What the rules tried, one after another; of graders with a single rule, which one it was."""
    if grader.decide is math.decide:
        told = math.explain(text, gold)
        return [f"  {' ' * (len(line) - len(line.lstrip()))}{clean(line)}" for line in told]
    found, _, decided = verdict.rule.partition("/")
    return [f"  final answer, by the rule {found}", f"  verdict: {verdict.verdict}, by {decided or found}"]
