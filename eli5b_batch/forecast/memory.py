"""What a rehearsal writes to in place of a run folder: the same interface, nothing on disk.

Must not know: models, clocks. It keeps a short row a call, and the texts of replies that later prompts may quote.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.grading.verdict import Verdict
from eli5b_batch.records.index import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.grading.verdict import ByRules
    from eli5b_batch.records.grades import Arm

_UNGRADED: Final = Verdict("no_answer", None, "rehearsal", 0.0)


class Row(NamedTuple):
    """One record. Times are seconds; `ended` is on the loop's clock, `error` the class of a failure."""

    key: str
    problem: str
    step: str
    model: str
    provider: str
    slot: str | None
    ended: float
    latency: float
    load: float
    queued: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    attempts: int
    error: str | None


class MemoryJournal:
    """Records in memory.

    Args:
        final: steps whose replies no prompt quotes: their texts are not kept.
        clock: the event loop's, seconds.
        tell: told after each record how many there are.
    """

    path = Path("rehearsal")

    def __init__(self, final: Collection[str], clock: Callable[[], float], tell: Callable[[int], None]) -> None:
        self._clock = clock
        self._tell = tell
        self.rows: list[Row] = []
        self._final = frozenset(final)
        self._index: dict[str, Entry] = {}
        self._kept: dict[str, dict[str, Any]] = {}

    def find(self, key: str) -> Entry | None:
        """The record that counts for `key`."""
        return self._index.get(key)

    def read(self, key: str, entry: Entry) -> dict[str, Any]:  # noqa: ARG002 (as the journal's)
        """What was kept of a record: reply, error and request of a step that is not final; else the error alone."""
        return self._kept[key]

    def append(self, record: Mapping[str, Any]) -> Entry:
        """Keep one record."""
        usage, timing, error = record["usage"] or {}, record["timing"] or {}, record["error"]
        key = record["key"]
        row = Row(
            key=key,
            problem=record["problem"],
            step=record["step"],
            model=record["model"],
            provider=record["provider"],
            slot=record["slot"],
            ended=self._clock(),
            latency=timing.get("latency", 0.0),
            load=timing.get("load", 0.0),
            queued=timing.get("queued", 0.0),
            input_tokens=usage.get("input_tokens", 0),
            output_tokens=usage.get("output_tokens", 0),
            cost_usd=record["cost_usd"],
            attempts=timing.get("attempts", 0),
            error=error["class"] if error else None,
        )
        entry = self._index[key] = Entry(len(self.rows), error is None, record["request_hash"])
        self.rows.append(row)
        if record["step"] not in self._final or error:
            self._kept[key] = {"reply": record["reply"], "error": error, "request": record["request"]}
        self._tell(len(self.rows))
        return entry


class MemoryBook:
    """Verdicts that nobody asks for again."""

    def __init__(self) -> None:
        self.arms: dict[Arm, list[int]] = {}

    def verdict(self, key: str) -> str | None:  # noqa: ARG002 (as the book's)
        """None: there is none."""
        return None

    def add(self, key: str, gold: str, verdict: Verdict, grader: str, by_rules: ByRules | None = None) -> None:
        """Forget it."""

    def add_failed(self, key: str, gold: str, grader: str, by_rules: ByRules | None = None) -> None:
        """Forget it."""


class MemoryRecords:
    """Journal and book of one rehearsal.

    Args:
        journal: where calls are written.
    """

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.book = MemoryBook()
        self.finished: list[Problem] = []

    def finish(self, problem: Problem) -> None:
        """Nothing to do: a problem is asked once."""

    def checkpoint(self) -> None:
        """Nothing to do: a rehearsal is never resumed."""


class NoGrader:
    """Grading takes no time here: it runs beside the calls and has never been what a run waits for."""

    def decide(self, text: str, gold: str) -> Verdict:  # noqa: ARG002 (as the grader's)
        """No verdict."""
        return _UNGRADED

    async def grade(self, text: str, gold: str) -> Verdict:
        """No verdict."""
        return self.decide(text, gold)
