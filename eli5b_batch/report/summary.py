"""What a run found, as one plain dictionary: report/summary.json.

Must not know: files, figures, how a terminal or a Markdown page shows it. The arms and their order come from
the rows and the manifest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from eli5b_batch.protocols.eli5b.conditions import CONDITIONS, by_hint
from eli5b_batch.report.agreement import COLUMNS, agreement
from eli5b_batch.report.agreement import notes as agreement_notes
from eli5b_batch.report.contrasts import ArmAnswers, contrasts, gaps_closed, interaction
from eli5b_batch.report.finish import SAMPLE
from eli5b_batch.report.finish import notes as ends_notes
from eli5b_batch.report.modes import modes
from eli5b_batch.report.places import by_member
from eli5b_batch.report.thinking import notes as thinking_notes
from eli5b_batch.report.thinking import thinking
from eli5b_batch.report.wording import SUMMARY_SCHEMA, arm_label, how_lost, named
from eli5b_batch.statistics import intervals as statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eli5b_batch.report.results import Results

FEW_PROBLEMS: Final = 30
"""Below this many problems every interval is a sketch."""

FEW_DIFFERING: Final = 10
"""Below this many problems on which two arms differ, a percentile bootstrap is clearly too narrow: four problems,
all won, give an interval above 0 and an exact p of 0.125."""


MUCH_LOST: Final = 0.01
"""Share of an arm's answers that may be lost before a note says so."""


def summarize(results: Results, manifest: dict[str, Any]) -> dict[str, Any]:
    """Everything a report says about a run, ready for JSON. Shares are in 0..1, costs in USD.

    Accuracy is right answers over all graded answers; a failed call counts as wrong. For k samples per
    problem and no gaps that is mean@k. Contrasts use per-problem means over the problems both arms have.

    Args:
        results: the rows of the run.
        manifest: the run's manifest.json, as `read_manifest` gives it.
    """
    arms = _arms(results, manifest)
    graded = results.frame.filter(pl.col("verdict").is_not_null())
    hinted = by_hint((arm.model, arm.tags, arm) for arm in arms)
    students = _students(arms, manifest)
    teacher = manifest["teacher"]
    answers = {
        "graded": len(graded),
        "ungraded": len(results.frame) - len(graded),
        "expected": manifest["expected_answers"],
        "verdicts_without_a_call": results.orphans,
    }
    summary: dict[str, Any] = {
        "schema": SUMMARY_SCHEMA,
        "name": manifest["name"],
        "protocol": manifest["protocol"],
        "simulated": manifest["simulated"] or results.simulated,
        "problems": graded["problem"].n_unique(),
        "samples": int(max((arm.answered.max() for arm in arms if len(arm.answered)), default=0)),
        "students": students,
        "teacher": teacher,
        "answers": answers,
        "graders": results.graders,
        "arms": [_describe(arm) for arm in arms],
        "judging": agreement([(arm.model, arm.tags, arm.rows) for arm in arms], manifest.get("judge")),
        "contrasts": contrasts(hinted, students),
        "modes": modes(hinted, students, manifest.get("models", {})),
        "interaction": interaction(hinted, students),
        "gap_closed": gaps_closed(hinted, students, teacher),
        "thinking": thinking(results.thinking, manifest.get("models", {})),
        "built_on": [asdict(row) for row in results.built_on],
        "spending": _spending(results),
        "members": by_member(results.places, manifest.get("providers", {})),
        "pace": [_pace(results, student) for student in students if student in results.pace],
    }
    summary["complete"] = not answers["ungraded"] and answers["graded"] >= answers["expected"]
    summary["notes"] = _notes(summary)
    return _rounded(summary)  # type: ignore[no-any-return]


def _arms(results: Results, manifest: dict[str, Any]) -> list[ArmAnswers]:
    """The arms in the order of a report: students as in the manifest, conditions as in `CONDITIONS`."""
    if results.frame.is_empty():
        return []
    names = ["model", *(tag for tag in results.tags if tag != SAMPLE)]
    judged = [name for name in COLUMNS if name in results.frame.columns]
    frame = results.frame.select(
        *names,
        *judged,
        "problem",
        "verdict",
        "correct",
        "output_tokens",
        "cost_usd",
        "truncated",
        "error",
        "finish",
        "built_on_finish",
        "thought",
        "wordless",
    ).with_columns(problem=pl.col("problem").rank("dense") - 1)
    problems = int(frame.select(pl.col("problem").max()).item()) + 1
    arms = []
    for values, part in frame.partition_by(names, as_dict=True, include_key=False).items():
        tags = {tag: value for tag, value in zip(names[1:], values[1:], strict=True) if value is not None}
        rows = part.filter(pl.col("verdict").is_not_null())
        at = rows["problem"].to_numpy()
        arms.append(
            ArmAnswers(
                model=values[0],
                tags=tags,
                rows=rows,
                ungraded=part.height - rows.height,
                answered=np.bincount(at, minlength=problems).astype(np.float64),
                correct=np.bincount(at[rows["correct"].to_numpy()], minlength=problems).astype(np.float64),
            )
        )
    students = manifest["students"] or []

    def place(arm: ArmAnswers) -> tuple[int, int, str, str]:
        hint = arm.tags.get("hint")
        student = students.index(arm.model) if arm.model in students else len(students)
        condition = CONDITIONS.index(hint) if hint in CONDITIONS else len(CONDITIONS)
        return student, condition, arm.model, str(sorted(arm.tags.items()))

    return sorted(arms, key=place)


def _students(arms: Sequence[ArmAnswers], manifest: dict[str, Any]) -> list[str]:
    if manifest["students"]:
        return list(manifest["students"])
    return sorted({arm.model for arm in arms} - {manifest["teacher"]})


def _describe(arm: ArmAnswers) -> dict[str, Any]:
    """One arm's row of the report."""
    answered, rows = int(arm.answered.sum()), arm.rows
    has = arm.answered > 0
    correct = int(arm.correct.sum())
    verdicts = rows["verdict"]
    return {
        "model": arm.model,
        "tags": arm.tags,
        "answers": answered,
        "problems": int(has.sum()),
        "correct": correct,
        "accuracy": correct / answered if answered else None,
        "interval": statistics.share_interval(arm.correct[has], arm.answered[has]) if answered else None,
        "pass_at": _pass_at(arm),
        "failed": int((verdicts == "failed").sum()),
        "no_answer": int((verdicts == "no_answer").sum()),
        "grader_gave_up": int(verdicts.is_in(["timeout", "error"]).sum()),
        "truncated": int(rows["truncated"].sum()),
        "filtered": int((rows["finish"] == "filtered").sum()),
        "thought": int(rows["thought"].sum()),
        "wordless": int(rows["wordless"].sum()),
        "lost": int(
            (
                rows["truncated"]
                | (rows["finish"] == "filtered").fill_null(value=False)
                | rows["wordless"]
                | (verdicts == "failed")
            ).sum()
        ),
        "built_on_unfinished": int(rows["built_on_finish"].is_in(["cut", "filtered"]).sum()),
        "failures": _by_class(rows["error"]),
        "ungraded": arm.ungraded,
        "mean_output_tokens": rows["output_tokens"].mean(),
        "cost_usd": rows["cost_usd"].sum(),
        "cost_unknown": rows["cost_usd"].null_count(),
    }


def _by_class(errors: pl.Series) -> dict[str, int]:
    """How many there are of each class of failure, the most frequent first."""
    counts = Counter(error for error in errors if error is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _pass_at(arm: ArmAnswers) -> dict[str, Any] | None:
    """Mean pass@k at the arm's k, over the problems that have all k answers; None for single answers."""
    k = int(arm.answered.max())
    if k < 2:  # noqa: PLR2004 - pass@1 is the accuracy
        return None
    rates = [
        statistics.pass_at_k(k, int(correct), k)
        for answered, correct in zip(arm.answered, arm.correct, strict=True)
        if answered == k
    ]
    return {"k": k, "share": sum(rates) / len(rates), "problems": len(rates)}


def _spending(results: Results) -> dict[str, Any]:
    """Calls, tokens and cost by step and model, and in all; `cost_usd` is what is known of the cost."""
    parts = [asdict(part) for part in results.spending]
    counts = ("calls", "failed", "input_tokens", "output_tokens", "cost_usd", "cost_unknown")
    by_model = sorted(parts, key=lambda part: str(part["model"]))
    return {
        "by_step": parts,
        "cost_by_model": {
            model: {name: sum(part[name] for part in group) for name in ("cost_usd", "cost_unknown")}
            for model, rows in groupby(by_model, key=lambda part: str(part["model"]))
            for group in [list(rows)]
        },
        "total": {name: sum(part[name] for part in parts) for name in counts},
    }


def _pace(results: Results, student: str) -> dict[str, Any]:
    """What a student was given to do and in what time, over all starts."""
    pace = results.pace[student]
    makespan_s = pace.makespan_s
    return {
        "student": student,
        "calls": sum(part.calls for part in results.spending if part.model == student),
        "makespan_s": makespan_s,
        "output_tokens": pace.output_tokens,
        "tokens_per_s": pace.output_tokens / makespan_s if makespan_s else None,
    }


def _losses(arm: dict[str, Any]) -> str:
    """An arm that lost answers, in a note."""
    wordless = f" ({arm['wordless']:,} without a word)" if arm["wordless"] > MUCH_LOST * arm["answers"] else ""
    return f"{arm_label(arm)}, {arm['lost']:,} of {arm['answers']:,}{wordless}"


def _notes(summary: dict[str, Any]) -> list[str]:
    """What a reader must know before the numbers, one sentence each."""
    notes = []
    answers = summary["answers"]
    if summary["simulated"]:
        notes.append("SIMULATED: the replies are made up by a simulator and say nothing about any model.")
    if not answers["graded"]:
        notes.append("There are no graded answers yet, so there is nothing to show.")
    if answers["graded"] < answers["expected"]:
        notes.append(
            f"Incomplete: {answers['graded']:,} of {answers['expected']:,} expected answers are graded."
            " Arms may rest on different problems; the differences between arms use only problems that"
            " both have."
        )
    if answers["ungraded"]:
        notes.append(f"{answers['ungraded']:,} answers have no verdict yet and are left out.")
    if answers["verdicts_without_a_call"]:
        count = answers["verdicts_without_a_call"]
        notes.append(f"{count:,} verdicts belong to no recorded call and are left out.")
    if len(summary["graders"]) > 1:
        mixed = ", ".join(f"{name} on {count:,}" for name, count in summary["graders"].items())
        notes.append(f"Verdicts of several graders are mixed ({mixed}): eli5b-batch regrade makes them all by one.")
    notes += agreement_notes(summary["judging"])
    notes += ends_notes(summary["built_on"])
    notes += thinking_notes(summary["thinking"])
    lossy = [arm for arm in summary["arms"] if arm["lost"] > MUCH_LOST * arm["answers"]]
    if lossy:
        lossy.sort(key=lambda arm: arm["lost"] / arm["answers"], reverse=True)
        notes.append(
            f"More than {MUCH_LOST:.0%} of the answers are {how_lost(lossy)} in {len(lossy)} of"
            f" {len(summary['arms'])} arms: {named(map(_losses, lossy))}."
        )
    if 0 < summary["problems"] < FEW_PROBLEMS:
        notes.append(f"{summary['problems']} problems are few: take every interval as a sketch.")
    if any(row["differing"] < FEW_DIFFERING for row in (*summary["contrasts"], *summary["modes"])):
        notes.append(
            f"Where arms differ on fewer than {FEW_DIFFERING} problems, the interval of their difference is too narrow:"
            " go by p."
        )
    return notes


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with floats at eight digits: more than any of them carries."""
    match value:
        case float():
            return float(f"{value:.8g}")
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
        case _:
            return value
