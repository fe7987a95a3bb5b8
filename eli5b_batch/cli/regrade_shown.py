"""How far a regrade is, and what it found, for people.

Must not know: how answers are graded.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final, Self

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from eli5b_batch.cli.progress_bar import ProgressBar
from eli5b_batch.protocols.eli5b.conditions import CONDITIONS
from eli5b_batch.records.grades import FAILED
from eli5b_batch.regrade.drafts import REGRADED
from eli5b_batch.report.wording import arm_label, points
from eli5b_batch.text import clean, duration, percent, plural

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console, RenderableType

    from eli5b_batch.records.grades import Arm
    from eli5b_batch.regrade.rows import RegradeResult, Tally

VERDICT_ORDER: Final = ("correct", "incorrect", "no_answer", "timeout", "error", FAILED)
_LONGEST: Final = 70
"""Characters of an answer or a gold answer that are shown."""


class RegradeBar:
    """Shows how far a regrade is, see `regrade.Watcher`.

    Args:
        console: where a bar is drawn, if it is a terminal.
        lines: where lines go.
        quiet: show nothing but what came of it.
    """

    def __init__(self, console: Console, lines: IO[str], *, quiet: bool = False) -> None:
        self._bar = ProgressBar(console, lines, patience_s=0.0)
        self._quiet = quiet
        self._lines = lines

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def tell(self, answers: int, share: float) -> None:
        """Move the bar, or write a line, unless that was just done."""
        if not self._quiet:
            self._bar.show(f"grading again: {plural(answers, 'answer')}", share)

    def done(self, run_dir: Path, outcome: RegradeResult) -> None:
        """Say what came of a regrade that nobody had asked for."""
        for line in told(run_dir, outcome):
            self._lines.write(f"eli5b-batch: {line}\n")
        self._lines.flush()


def told(run_dir: Path, outcome: RegradeResult) -> Iterator[str]:
    """What came of a regrade, in a line or two."""
    others = sorted(name for name in outcome.before if name != outcome.grader)
    before = f" (before: {', '.join(others)})" if others else ""
    what = f"{'SIMULATED, ' if outcome.simulated else ''}{plural(outcome.graded, 'answer')}"
    took = duration(outcome.seconds)
    yield f"{run_dir}: {what} graded again by {outcome.grader}{before} in {took}: {_changes(outcome)}"
    if outcome.changed:
        yield f"the changed ones are in {run_dir / REGRADED}"


def show(run_dir: Path, outcome: RegradeResult, console: Console) -> None:
    """Print what a regrade found: counts, arms, the first changed verdicts."""

    def say(line: RenderableType) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=isinstance(line, str))

    first, *_ = told(run_dir, outcome)
    say(first)
    if outcome.dropped:
        say(f"{outcome.dropped:,} verdicts on answers that are not on record are left out")
    if not outcome.replaced:
        say("grades.jsonl already says just that and is left as it is")
    say(_moves(outcome))
    say(_arms(outcome))
    for row in outcome.first:
        say(_change(row))
    if outcome.changed > len(outcome.first):
        say(f"  ... and {outcome.changed - len(outcome.first):,} more")
    if outcome.changed:
        say(f"\nall changed verdicts  {run_dir / REGRADED}")
        say(f"one, step by step     eli5b-batch regrade {run_dir} --explain '{outcome.first[0]['key']}'")


def _changes(outcome: RegradeResult) -> str:
    n = outcome.changed
    changed = f"{plural(n, 'verdict')} changed" if n else "no verdict changed"
    failed = plural(outcome.failed, "call")
    parts = (
        f", {outcome.added:,} are new" if outcome.added else "",
        f"; {failed} failed" if outcome.failed else "",
        f"; {outcome.unjudged:,} have still to be judged, by the next run of the job" if outcome.unjudged else "",
    )
    return changed + "".join(parts)


def _moves(outcome: RegradeResult) -> Table:
    """Verdicts before by verdicts now; what changed stands out."""
    seen = {verdict for pair in outcome.moved for verdict in pair if verdict is not None}
    verdicts = [verdict for verdict in VERDICT_ORDER if verdict in seen]
    table = _table("before \\ now", *(verdict.replace("_", " ") for verdict in verdicts))
    for old in (*verdicts, None):
        counts = [outcome.moved[old, new] for new in verdicts]
        if any(counts):
            cells = [
                Text(f"{n:,}" if n else "-", style="bold yellow" if n and old not in (None, new) else "")
                for n, new in zip(counts, verdicts, strict=True)
            ]
            table.add_row("(none)" if old is None else old.replace("_", " "), *cells)
    return table


def _arms(outcome: RegradeResult) -> Table:
    table = _table("accuracy", "answers", "before", "now", "points", "changed")
    for arm, tally in sorted(outcome.arms.items(), key=lambda item: _place(item[0])):
        table.add_row(*_arm(arm, tally))
    return table


def _place(arm: Arm) -> tuple[str, int, str]:
    hint = dict(arm.tags).get("hint")
    return arm.model, CONDITIONS.index(hint) if hint in CONDITIONS else len(CONDITIONS), str(arm.tags)


def _arm(arm: Arm, tally: Tally) -> tuple[str, ...]:
    before = tally.correct_before / tally.graded_before if tally.graded_before else None
    now = tally.correct / tally.graded
    moved = "-" if before is None else points(now - before)
    label = arm_label({"model": arm.model, "tags": dict(arm.tags)})
    return label, f"{tally.graded:,}", percent(before), percent(now), moved, f"{tally.changed:,}"


def _change(row: dict[str, Any]) -> Text:
    old = row["earlier"][-1]
    return Text.assemble(
        f"{row['key']}\n  ",
        (f"{old['verdict']} -> {row['verdict']}", "bold yellow"),
        f"   gold {_short(row['gold'])}\n",
        f"  was {_short(old['answer'])}   by {old['rule']} ({old['grader']})\n",
        f"  now {_short(row['answer'])}   by {row['rule']} ({row['grader']})",
    )


def _short(text: str | None) -> str:
    if text is None:
        return "-"
    line = clean(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _table(*heads: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column(heads[0])
    for head in heads[1:]:
        table.add_column(head, justify="right", no_wrap=True)
    return table
