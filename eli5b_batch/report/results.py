"""From a run folder's journal and verdicts to one row per answer: results.jsonl and results.parquet.

Must not know: statistics, figures, what a condition means. Texts of prompts and replies pass through one
line at a time and are never kept.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass
from operator import itemgetter
from sys import intern
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import polars as pl

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.records import CallName, parse_key
from eli5b_batch.records.disk import replacing
from eli5b_batch.records.folder import CALLS, GRADES
from eli5b_batch.records.lines import whole_lines
from eli5b_batch.records.reader import Redo, supersedes
from eli5b_batch.report.finish import BuiltOn, Ends, finish_of, is_at_limit, is_wordless, worst
from eli5b_batch.report.places import CallsByPlace, PlaceCalls
from eli5b_batch.report.thinking import Thinking, holds_thoughts
from eli5b_batch.report.totals import Pace, StepSpending

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

_LEADING: Final = {"problem": pl.String, "model": pl.String}
_COLUMNS: Final = {
    "verdict": pl.String,
    "correct": pl.Boolean,
    "answer": pl.String,
    "gold": pl.String,
    "input_tokens": pl.Int64,
    "output_tokens": pl.Int64,
    "cost_usd": pl.Float64,
    "latency_s": pl.Float64,
    "call": pl.String,
    "finish_reason": pl.String,
    "finish": pl.String,
    "built_on_finish": pl.String,
    "truncated": pl.Boolean,
    "thought": pl.Boolean,
    "wordless": pl.Boolean,
    "error": pl.String,
}
"""Columns of a result after problem, model and tags, in order."""
_JUDGED: Final = ("rule", "rule_verdict")
"""Further columns where a judge graded."""

Tags = tuple[tuple[str, "str | int"], ...]


class Results(NamedTuple):
    """What a report is made from.

    Attributes:
        frame: one row per answer: problem, model, tags, then the columns of results.jsonl. An answer
            without a verdict yet has null in `verdict`; the files leave such rows out.
        tags: the names of the tag columns, sorted.
        built_on: the replies that others build on, but for graded ones, by step, model and tags.
        spending: by step and model, in that order.
        places: calls by model, provider and place (a member, a slot, or None), in that order.
        pace: by model, how long it was at work.
        thinking: by model, replies and those that hold thoughts.
        slot_tokens: output tokens by (provider, slot or member), of the calls of the provider's last start.
        simulated: whether any call says that it was simulated.
        orphans: verdicts of no recorded call; left out.
        graders: verdicts on answers by the grader, with its version, that reached them.
    """

    frame: pl.DataFrame
    tags: tuple[str, ...]
    built_on: list[BuiltOn]
    spending: list[StepSpending]
    places: list[PlaceCalls]
    pace: dict[str, Pace]
    thinking: dict[str, tuple[int, int]]
    slot_tokens: dict[tuple[str, str], int]
    simulated: bool
    orphans: int
    graders: dict[str, int]


@dataclass(slots=True)
class _Answer:
    """What is kept of one graded call."""

    problem: str
    variant: tuple[str, Tags]
    error: str | None = None
    finish_reason: str | None = None
    finish: str | None = None
    built_on_finish: str | None = None
    truncated: bool = False
    thought: bool = False
    wordless: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    verdict: str | None = None
    answer: str | None = None
    gold: str | None = None
    grader: str | None = None
    rule: str | None = None
    rule_verdict: str | None = None


class _Journal:
    """The reduction of calls.jsonl and grades.jsonl, filled line by line."""

    def __init__(self, steps: Collection[str], starts: Sequence[float], redo: Redo) -> None:
        self.steps = frozenset(steps)
        self._redo = redo
        self.pace: defaultdict[str, Pace] = defaultdict(Pace)
        self.slot_tokens: Counter[tuple[str, str]] = Counter()
        self._starts = sorted(starts)
        self._slots_start: dict[str, int] = {}
        """By provider whose places have names: hosts may have gone on alone after the last start with slots."""
        self.answers: dict[str, _Answer] = {}
        self.succeeded: dict[str, bool] = {}
        self.spending: dict[tuple[str, str], StepSpending] = {}
        self.places = CallsByPlace()
        self.simulated = False
        self.judged = False
        self.orphans = 0
        self._variants: dict[tuple[str, Tags], tuple[str, Tags]] = {}
        self.ends = Ends()
        self.thinking = Thinking()
        self._outdated: dict[str, str | None] = {}
        """By key, how the reply ended that a `--redo` of its step had asked again: answers were built on it before."""
        self._built_on_later: dict[str, list[str]] = {}
        """By answer, where its record stands before one of those it is built on: that was lost, and asked again."""

    def add_call(self, name: CallName, record: dict[str, Any], offset: int) -> None:
        """Take one line of calls.jsonl; one that does not count any more was paid all the same."""
        key, ok = record["key"], record["status"] == "ok"
        usage = record.get("usage") or {}
        cost = record.get("cost_usd")
        spent = self.spending.setdefault((name.step, name.model), StepSpending(name.step, name.model))
        spent.input_tokens += usage.get("input_tokens") or 0
        spent.output_tokens += usage.get("output_tokens") or 0
        spent.cost_usd += cost or 0.0
        spent.cost_unknown += cost is None
        self.places.add(record)
        self.simulated |= bool(record.get("simulated"))
        self._time(name.model, record, usage.get("output_tokens") or 0)
        if self._redo.is_outdated(key.encode(), offset):
            if ok or key not in self._outdated:
                self._outdated[key] = finish_of(record.get("reply") or {}, ok=ok)
            return
        before = self.succeeded.get(key)
        if before is not None and not supersedes(before, ok):
            return
        spent.calls += before is None
        spent.failed += (not ok) - (before is False)
        self.succeeded[key] = ok
        reply, built_on = record.get("reply") or {}, record.get("built_on") or ()
        self.ends.are_built_on(built_on)
        finish = finish_of(reply, ok=ok)
        thought = ok and holds_thoughts(reply, usage)
        if ok:
            self.thinking.add(key, name.model, thought=thought, new=not before)
        if name.step in self.steps:
            answer = self.answers[key] = self._answer(name)
            answer.finish_reason = _interned(reply.get("finish_reason"))
            answer.finish = finish
            answer.built_on_finish = worst(map(self._end, built_on))
            if not all(self.succeeded.get(on) or on in self._outdated for on in built_on):
                self._built_on_later[key] = list(built_on)
            answer.truncated = ok and (is_at_limit(reply) or finish == "cut")
            answer.thought = thought
            answer.wordless = ok and finish != "filtered" and is_wordless(reply)
            answer.error = None if ok else intern(str((record.get("error") or {}).get("class", "unknown")))
            answer.input_tokens = usage.get("input_tokens")
            answer.output_tokens = usage.get("output_tokens")
            answer.cost_usd = cost
            answer.latency_s = (record.get("timing") or {}).get("latency")
        elif ok:
            self.ends.add(key, name, finish, str(reply.get("text") or ""), new=not before)

    def all_calls_added(self) -> None:
        """The last line of calls.jsonl was taken: what was built on is known now, wherever it stands."""
        for key, built_on in self._built_on_later.items():
            self.answers[key].built_on_finish = worst(map(self._end, built_on))

    def _end(self, key: str) -> str | None:
        """How the reply to a call ended, as it stands on record now: a call comes after what it builds on."""
        answer = self.answers.get(key)
        if answer is not None:
            return answer.finish
        if self.succeeded.get(key):
            return self.ends.of(key)
        return self._outdated.get(key)

    def _time(self, model: str, record: dict[str, Any], output_tokens: int) -> None:
        timing = record.get("timing") or {}
        sent = timing.get("started")
        if sent is None:
            return
        start = bisect(self._starts, sent)
        pace = self.pace[model]
        pace.output_tokens += output_tokens
        pace.add(start, sent, timing.get("latency") or 0.0)
        if record.get("slot") is None:
            return
        provider = record["provider"]
        if start > self._slots_start.setdefault(provider, start):
            self._slots_start[provider] = start
            for place in [place for place in self.slot_tokens if place[0] == provider]:
                del self.slot_tokens[place]
        if start == self._slots_start[provider]:
            self.slot_tokens[provider, record["slot"]] += output_tokens

    def add_grade(self, name: CallName, grade: dict[str, Any]) -> None:
        """Take one line of grades.jsonl, after all calls: the newest wins, within what the record allows."""
        key, verdict = grade["key"], intern(grade["verdict"])
        answer = self.answers.get(key)
        if answer is None:
            if name.step not in self.steps or key in self._outdated:  # then it is still to come
                return
            if verdict != "failed":
                self.orphans += 1
                return
            # Never sent, because what it builds on failed: it was expected, so it counts.
            answer = self.answers[key] = self._answer(name)
            answer.error = "not_recorded"
        succeeded = answer.error is None
        if succeeded and verdict == "failed":
            return  # older than the success
        answer.gold = _interned(grade.get("gold"))
        if succeeded:
            answer.verdict, answer.answer = verdict, grade.get("answer")
            answer.grader = _interned(grade.get("grader"))
            if "rule_verdict" in grade:
                self.judged = True
                answer.rule, answer.rule_verdict = _interned(grade["rule"]), _interned(grade["rule_verdict"])

    def _answer(self, name: CallName) -> _Answer:
        variant = (name.model, tuple(sorted(name.tags.items())))
        return _Answer(intern(name.problem), self._variants.setdefault(variant, variant))

    def ordered(self) -> list[tuple[str, _Answer]]:
        """Answers by problem, model and tags; numbers before texts, by value."""
        for answer in self.answers.values():
            if answer.error is not None:
                answer.verdict, answer.answer = "failed", None
        ranks = {variant: rank for rank, variant in enumerate(sorted(self._variants, key=_variant_order))}
        keyed = [(a.problem, ranks[a.variant], call, a) for call, a in self.answers.items()]
        keyed.sort(key=itemgetter(0, 1, 2))
        return [(call, answer) for _, _, call, answer in keyed]

    def tag_names(self) -> tuple[str, ...]:
        """Every tag that any answer has, sorted.

        Raises:
            RunFolderError: a tag is called like another column.
        """
        names = sorted({tag for _, tags in self._variants for tag, _ in tags})
        for name in names:
            if name in _COLUMNS or name in _LEADING or name in _JUDGED:
                raise RunFolderError(
                    f"the tag {name!r} is called like a column of results.jsonl: the protocol must rename it"
                )
        return tuple(names)


def build_results(
    run_dir: Path, steps: Collection[str], starts: Sequence[float] = (), redo: Mapping[str, int] | None = None
) -> Results:
    """Read the journal and the verdicts of a run folder and write results.jsonl and results.parquet.

    Both files are replaced at once or not at all, and hold the same bytes for the same input lines. A torn
    last line (a run may be writing) is left for the next time.

    Args:
        run_dir: the run folder; a missing calls.jsonl or grades.jsonl counts as empty.
        steps: the steps whose calls are graded answers.
        starts: when the run was started each time, unix seconds.
        redo: by step, from which byte of calls.jsonl on its records count; None: all do.

    Raises:
        JournalDamagedError: a complete line of calls.jsonl or grades.jsonl can't be read.
        RunFolderError: a file can't be read at all, or a tag is called like a column.
        StorageError: a result file can't be written.
    """
    journal = _Journal(steps, starts, Redo(redo))
    remedy = "run the job again with --repair to set such lines aside"
    for offset, name, record in _entries(run_dir / CALLS, "status", remedy):
        journal.add_call(name, record, offset)
    journal.all_calls_added()
    for _, name, grade in _entries(run_dir / GRADES, "verdict", "delete the file and run the job again to remake it"):
        journal.add_grade(name, grade)
    rows = journal.ordered()
    tags = journal.tag_names()
    judged = _JUDGED if journal.judged else ()
    with replacing(run_dir / "results.jsonl") as draft, draft.open("wb", buffering=1 << 20) as file:
        for call, answer in rows:
            if answer.verdict is not None:
                row = _row(call, answer, tags) | {name: getattr(answer, name) for name in judged}
                file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    frame = _frame(rows, tags, judged)
    with replacing(run_dir / "results.parquet") as draft:
        frame.filter(pl.col("verdict").is_not_null()).write_parquet(draft)
    spending = [journal.spending[at] for at in sorted(journal.spending)]
    graders = Counter(answer.grader for _, answer in rows if answer.grader is not None and answer.verdict != "failed")
    return Results(
        frame,
        tags,
        journal.ends.built_on(),
        spending,
        journal.places.sorted(),
        dict(journal.pace),
        journal.thinking.counts,
        dict(journal.slot_tokens),
        journal.simulated,
        journal.orphans,
        dict(sorted(graders.items())),
    )


def _entries(path: Path, needed: str, remedy: str) -> Iterator[tuple[int, CallName, dict[str, Any]]]:
    """The objects of a JSON Lines file, with their offsets and parsed keys; `needed` is a text in each."""
    try:
        file = path.open("rb", buffering=1 << 20)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFolderError(f"{path} can't be read: {error.strerror or error}") from error
    with file:
        for number, (offset, line) in enumerate(whole_lines(file), 1):
            try:
                record = orjson.loads(line)
                name = parse_key(record["key"])
                intern(record[needed])
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise JournalDamagedError(f"{path}:{number}: this line can't be read ({error}); {remedy}") from error
            yield offset, name, record


def _row(call: str, answer: _Answer, tags: tuple[str, ...]) -> dict[str, Any]:
    model, values = answer.variant
    own = dict(values)
    made_here = {"correct": answer.verdict == "correct", "call": call}
    return {
        "problem": answer.problem,
        "model": model,
        **{tag: own.get(tag) for tag in tags},
        **{name: made_here[name] if name in made_here else getattr(answer, name) for name in _COLUMNS},
    }


def _frame(rows: list[tuple[str, _Answer]], tags: tuple[str, ...], judged: Sequence[str]) -> pl.DataFrame:
    """The rows as columns, one built at a time so that never two copies of all are in memory."""
    answers = [answer for _, answer in rows]
    columns = [
        pl.Series("problem", [a.problem for a in answers], dtype=pl.String),
        pl.Series("model", [a.variant[0] for a in answers], dtype=pl.String),
    ]
    by_variant = {variant: dict(variant[1]) for variant in {a.variant for a in answers}}
    for tag in tags:
        values = [by_variant[a.variant].get(tag) for a in answers]
        if all(value is None or isinstance(value, int) for value in values):
            columns.append(pl.Series(tag, values, dtype=pl.Int64))
        else:
            texts = [None if value is None else str(value) for value in values]
            columns.append(pl.Series(tag, texts, dtype=pl.String))
    for name, kind in _COLUMNS.items():
        if name == "correct":
            columns.append(pl.Series(name, [a.verdict == "correct" for a in answers], dtype=kind))
        elif name == "call":
            columns.append(pl.Series(name, [call for call, _ in rows], dtype=kind))
        else:
            columns.append(pl.Series(name, [getattr(a, name) for a in answers], dtype=kind))
    columns += [pl.Series(name, [getattr(a, name) for a in answers], dtype=pl.String) for name in judged]
    return pl.DataFrame(columns)


def _variant_order(variant: tuple[str, Tags]) -> tuple[str, tuple[tuple[str, bool, str | int], ...]]:
    return variant[0], tuple((tag, isinstance(value, str), value) for tag, value in variant[1])


def _interned(text: str | None) -> str | None:
    return None if text is None else intern(text)
