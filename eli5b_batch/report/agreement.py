"""How far a judge agrees with the rules, by arm and in all.

Must not know: models, files, what a judge is asked. A run without a judge has none of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from eli5b_batch.grading.judge import CALL_FAILED, DISAGREE, UNREADABLE
from eli5b_batch.report.wording import decimal
from eli5b_batch.statistics.intervals import cohen_kappa
from eli5b_batch.text import count_and_share, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    JudgedArm = tuple[str, dict[str, str | int], pl.DataFrame]

COLUMNS: Final = ("rule", "rule_verdict")
"""What a judge's rows hold beside those of other graders."""

_CORRECT: Final = "correct"
_NOT_ASKED: Final = "failed"


def agreement(arms: Sequence[JudgedArm], judge: dict[str, Any] | None) -> dict[str, Any] | None:
    """The judge's verdicts beside those of the rules; None where no judge graded.

    Args:
        arms: the model, the tags and the rows of each, as `results` has them.
        judge: of the manifest: the job's name of the judge, and in which orders it is asked.
    """
    judged = [
        (model, tags, asked)
        for model, tags, rows in arms
        if "rule_verdict" in rows.columns
        for asked in [rows.filter(pl.col("rule_verdict").is_not_null() & (pl.col("verdict") != _NOT_ASKED))]
        if not asked.is_empty()
    ]
    if not judged or judge is None:
        return None
    return {
        "judge": judge["model"],
        "orders": judge["orders"],
        "all": _figures(pl.concat([rows for *_, rows in judged])),
        "arms": [{"model": model, "tags": tags, **_figures(rows)} for model, tags, rows in judged],
    }


def _figures(rows: pl.DataFrame) -> dict[str, Any]:
    """Of the answers put to the judge; shares are of those that it came to a verdict on (`compared`)."""
    compared = rows.filter(pl.col("verdict") != "error")
    by_judge, by_rules = compared["verdict"] == _CORRECT, compared["rule_verdict"] == _CORRECT
    both, neither = int((by_judge & by_rules).sum()), int((~by_judge & ~by_rules).sum())
    judge_only, rules_only = int(by_judge.sum()) - both, int(by_rules.sum()) - both
    n = compared.height
    return {
        "judged": rows.height,
        "compared": n,
        "judge_correct": (both + judge_only) / n if n else None,
        "rules_correct": (both + rules_only) / n if n else None,
        "judge_only": judge_only,
        "rules_only": rules_only,
        "agreement": (both + neither) / n if n else None,
        "kappa": cohen_kappa(both, judge_only, rules_only, neither),
        "orders_disagree": int((rows["rule"] == DISAGREE).sum()),
        "unreadable": int((rows["rule"] == UNREADABLE).sum()),
        "calls_failed": int((rows["rule"] == CALL_FAILED).sum()),
    }


def notes(judging: dict[str, Any] | None) -> list[str]:
    """What a reader must know of it before the numbers."""
    if judging is None:
        return []
    figures = judging["all"]
    judged = figures["judged"]
    found = (
        f"The verdicts are those of a judge, the model {judging['judge']}. It agrees with the rules on"
        f" {percent(figures['agreement'])} of {figures['compared']:,} answers (kappa {decimal(figures['kappa'])}), and"
        f" came to no verdict on {count_and_share(judged - figures['compared'], judged)}."
    )
    orders = f" Its two orders disagree on {count_and_share(figures['orders_disagree'], judged)}."
    return [found + orders if judging["orders"] == "both" else found]
