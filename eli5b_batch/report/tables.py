"""A summary for the terminal.

Must not know: how the numbers came about, where they are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from eli5b_batch.progress.snapshot import SLOT_SECONDS
from eli5b_batch.protocols.eli5b.conditions import CONDITIONS, by_hint, own_size
from eli5b_batch.report.wording import (
    arm_label,
    decimal,
    hint_label,
    p_value,
    percent_range,
    points,
    points_range,
    size_of,
    title,
)
from eli5b_batch.text import cost, duration, percent, rounded, tenths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType


_SLOTS: Final = 8
"""So many slots are shown; a cluster's would fill the screen."""
_FULLY: Final = 0.9995
"""A share from here on is shown as 100.0%."""


def render(summary: dict[str, Any]) -> Group:
    """Student rows by condition columns, the contrasts below them, then notes and cost."""
    parts: list[RenderableType] = [
        Text.assemble((title(summary), "bold"), f"  {size_of(summary)}"),
    ]
    parts += [Text(note, style="yellow") for note in summary["notes"]]
    if any(arm["answers"] for arm in summary["arms"]):
        parts.append(_grid(summary) or _arms(summary["arms"]))
    if summary["judging"]:
        parts.append(_judging(summary["judging"]))
    if summary["contrasts"]:
        parts.append(_contrasts(summary["contrasts"]))
    if summary["modes"]:
        parts.append(_modes(summary["modes"]))
    if summary["members"]:
        parts.append(_members(summary["members"]))
    if summary["pace"]:
        parts.append(_pace(summary["pace"]))
    if summary["slots"]:
        parts.append(_slots(summary["slots"]))
    total = summary["spending"]["total"]
    parts.append(
        Text(
            f"{total['calls']:,} calls, {total['failed']:,} failed; {total['input_tokens']:,} tokens in,"
            f" {total['output_tokens']:,} out; cost {cost(total['cost_usd'], total['cost_unknown'])}"
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


def _judging(found: dict[str, Any]) -> Table:
    table = _narrow("judged", caption=f"right by the judge {found['judge']}, right by rules, and how far they agree")
    for head in ("n", "judge", "rules", "agree", "kappa", "orders differ"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in (*found["arms"], found["all"]):
        table.add_row(
            Text(arm_label(row) if "model" in row else "all"),
            f"{row['judged']:,}",
            *(percent(row[name]) for name in ("judge_correct", "rules_correct", "agreement")),
            decimal(row["kappa"]),
            f"{row['orders_disagree']:,}",
        )
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


def _members(rows: Sequence[dict[str, Any]]) -> Table:
    table = _narrow("model", "member")
    for head in ("calls", "answered", "failed", "cost"):
        table.add_column(head, justify="right")
    for row in rows:
        member = row["provider"] if row["member"] is None else row["member"]
        figures = (f"{row[name]:,}" for name in ("calls", "answered", "failed"))
        table.add_row(row["model"], member, *figures, cost(row["cost_usd"], row["cost_unknown"]))
    return table


def _modes(rows: Sequence[dict[str, Any]]) -> Table:
    """What thinking is worth and what it takes, each hint a section."""
    caption = "the mode that thinks more minus the other, percentage points; Holm over the models; tokens of both"
    table = _narrow("thinking", caption=caption)
    for head in ("points", "95%", "p (Holm)", "differ", "output tokens"):
        table.add_column(head, justify="right", no_wrap=True)
    before = None
    for row in rows:
        if row["hint"] != before:
            table.add_section()
            table.add_row(Text(hint_label(row["hint"]), style="bold"))
        table.add_row(
            f"{row['student']} - {row['other']}",
            points(row["difference"]),
            points_range(row["interval"]),
            p_value(row["p_holm"]),
            f"{row['differing']:,}/{row['problems']:,}",
            f"{rounded(row['output_tokens'])} / {rounded(row['output_tokens_other'])}",
        )
        before = row["hint"]
    return table


def _pace(rows: Sequence[dict[str, Any]]) -> Table:
    table = _narrow("student")
    for head in ("calls", "makespan", "output tokens/s"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(row["student"], f"{row['calls']:,}", duration(row["makespan_s"]), tenths(row["tokens_per_s"]))
    return table


def _slots(rows: Sequence[dict[str, Any]]) -> Table:
    """What the slots' time went into; of many slots those that were busy least."""
    few = rows
    caption = "last start that used them"
    if len(rows) > _SLOTS:
        few = sorted(rows, key=lambda row: _share_of(row, "busy_s"))[:_SLOTS]
        caption = f"last start that used them; the {_SLOTS} least busy of {len(rows)} slots, all are in summary.md"
    table = _narrow("slot", caption=caption)
    for head in ("calls", "busy", "loading", "idle", "down", "loads", "tok/s"):
        table.add_column(head, justify="right", no_wrap=True)
    several = len({row["provider"] for row in rows}) > 1
    for row in few:
        table.add_row(
            Text.assemble(f"{row['provider']}/{row['slot']}" if several else row["slot"], (_off_gpu(row), "yellow")),
            f"{row['calls']:,}",
            *(percent(_share_of(row, part)) for part in SLOT_SECONDS),
            f"{row['loads']:,}",
            tenths(row["tokens_per_s"]),
        )
    return table


def _off_gpu(row: dict[str, Any]) -> str:
    partly = row["on_gpu"] is not None and row["on_gpu"] < _FULLY
    return f", {percent(row['on_gpu'])} on GPU" if partly else ""


def _share_of(row: dict[str, Any], part: str) -> float:
    return float(row[part]) / row["seconds"] if row["seconds"] else 0.0


def _narrow(*heads: str, caption: str | None = None) -> Table:
    """A table without frames: six conditions fit into 80 columns."""
    return Table(*heads, box=SIMPLE, caption=caption, pad_edge=False, collapse_padding=True)
