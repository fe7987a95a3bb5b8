"""A summary for the terminal.

Must not know: how the numbers came about, where they are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from eli5b_batch.report.conditions import CONDITIONS, by_hint, own_size
from eli5b_batch.report.wording import (
    arm_label,
    hint_label,
    money,
    p_value,
    percent,
    percent_range,
    points,
    points_range,
    size_of,
    title,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType


def render(summary: dict[str, Any]) -> Group:
    """Student rows by condition columns, the contrasts below them, then notes and cost."""
    parts: list[RenderableType] = [
        Text.assemble((title(summary), "bold"), f"  {size_of(summary)}"),
    ]
    parts += [Text(note, style="yellow") for note in summary["notes"]]
    if any(arm["answers"] for arm in summary["arms"]):
        parts.append(_grid(summary) or _arms(summary["arms"]))
    if summary["contrasts"]:
        parts.append(_contrasts(summary["contrasts"]))
    total = summary["spending"]["total"]
    parts.append(
        Text(
            f"{total['calls']:,} calls, {total['failed']:,} failed; {total['input_tokens']:,} tokens in,"
            f" {total['output_tokens']:,} out; cost {money(total['cost_usd'], total['cost_unknown'])}"
        )
    )
    return Group(*parts)


def _grid(summary: dict[str, Any]) -> Table | None:
    """Students by conditions, own-size hints; None where no arm has a hint."""
    arms = by_hint((arm["model"], arm["tags"], arm) for arm in summary["arms"])
    hints = [hint for hint in CONDITIONS if any(own_size(arms, one, hint) for one in summary["students"])]
    if not hints:
        return None
    table = _narrow(caption="accuracy, 95% interval, answers (failed ones count as wrong)")
    table.add_column("")
    for hint in hints:
        table.add_column(hint_label(hint), justify="right")
    for student in summary["students"]:
        table.add_row(student, *(_cell(own_size(arms, student, hint)) for hint in hints))
    ceiling = arms.get((summary["teacher"], "none", "any"))
    if ceiling:
        table.add_row(f"{summary['teacher']} alone", *(_cell(ceiling if hint == "none" else None) for hint in hints))
    return table


def _cell(arm: dict[str, Any] | None) -> Text:
    if arm is None or not arm["answers"]:
        return Text("-", style="dim")
    low, high = arm["interval"]
    return Text.assemble(
        (percent(arm["accuracy"]), "bold"),
        f"\n{100 * low:.1f}-{100 * high:.1f}\n",
        (f"n {arm['answers']:,}", "dim"),
        (f"\n{arm['failed']:,} failed" if arm["failed"] else "", "red"),
    )


def _arms(arms: Sequence[dict[str, Any]]) -> Table:
    """One row per arm, for protocols without hints."""
    table = _narrow("arm")
    for head in ("accuracy", "95%", "answers", "failed"):
        table.add_column(head, justify="right")
    for arm in arms:
        figures = (f"{arm['answers']:,}", f"{arm['failed']:,}")
        table.add_row(Text(arm_label(arm)), percent(arm["accuracy"]), percent_range(arm["interval"]), *figures)
    return table


def _contrasts(contrasts: Sequence[dict[str, Any]]) -> Table:
    tests = ", ".join(sorted({row["test"] for row in contrasts}))
    table = _narrow(
        "difference", "student", caption=f"percentage points; problems that differ; p: {tests}, Holm over students"
    )
    for head in ("points", "95%", "p", "p (Holm)", "differ"):
        table.add_column(head, justify="right", no_wrap=True)
    before = None
    for row in contrasts:
        if before not in {None, row["contrast"]}:
            table.add_section()
        table.add_row(
            row["contrast"] if row["contrast"] != before else "",
            row["student"],
            points(row["difference"]),
            points_range(row["interval"]),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            f"{row['differing']:,}/{row['problems']:,}",
        )
        before = row["contrast"]
    return table


def _narrow(*heads: str, caption: str | None = None) -> Table:
    """A table without frames: six conditions fit into 80 columns."""
    return Table(*heads, box=SIMPLE, caption=caption, pad_edge=False, collapse_padding=True)
