"""A summary as a page to read: report/summary.md.

Must not know: how the numbers came about; it writes down what `summary.summarize` found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.progress.snapshot import SLOT_SECONDS
from eli5b_batch.report.finish import spoilt
from eli5b_batch.report.wording import (
    arm_label,
    decimal,
    hint_label,
    how_lost,
    level,
    p_value,
    percent_range,
    points,
    points_range,
    size_of,
    title,
)
from eli5b_batch.text import cost, count_and_share, duration, percent, rounded, seconds_and_share, tenths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_METHOD = """\
- Accuracy: right answers over all graded answers. A failed call and a reply without an answer count as wrong.
- Interval of an arm: 95% Wilson score interval at the effective sample size (problems are clusters of their \
samples).
- Differences: per-problem mean accuracy over the problems both arms have, in percentage points, with a 95% \
bootstrap interval over problems. p: exact McNemar test for single answers, else sign-flip permutation test; \
p (Holm) is corrected over the students of one contrast.
- Cost: every line of the journal, calls that failed included.
"""


def markdown(summary: dict[str, Any]) -> str:
    """The page, with SIMULATED in its first line where that is so."""
    parts = [f"# {title(summary)}", f"Protocol {summary['protocol']}; {size_of(summary)}{_by(summary)}."]
    if summary["notes"]:
        parts.append("\n".join(f"> {note}  " for note in summary["notes"]))
    sections: tuple[tuple[str, Any, Callable[[Any], str]], ...] = (
        ("Accuracy by arm", summary["arms"], _arms),
        (f"Answers {how_lost(summary['arms'])}", [arm for arm in summary["arms"] if _has_losses(arm)], _losses),
        ("Replies in prompts: cut off, filtered, or with thoughts in them", spoilt(summary["built_on"]), _built_on),
        ("Thinking, asked and seen", [row for row in summary["thinking"] if row["asked"] or row["thought"]], _thinking),
        ("The judge beside the rules", summary["judging"], _judging),
        ("Differences within a student, percentage points", summary["contrasts"], _contrasts),
        ("What thinking is worth, percentage points", summary["modes"], _modes),
        ("Does it matter for whom a hint was written?", summary["interaction"], _interaction),
        ("Gap to the teacher closed by tailored hints", summary["gap_closed"], _gaps),
        ("Calls, tokens and cost", summary["spending"] if summary["spending"]["by_step"] else None, _spending),
        ("Answers by member", summary["members"], _members),
        ("Students, all starts", summary["pace"], _pace),
        ("Slots, last start that used them", summary["slots"], _slots),
        ("Request limits in use, last start", summary["limits"], _limits),
    )
    for heading, found, write in sections:
        if found:
            parts += [f"## {heading}", write(found)]
    parts += ["## How these numbers are made", _METHOD.rstrip()]
    return "\n\n".join(parts) + "\n"


def _by(summary: dict[str, Any]) -> str:
    return f"; graded by {', '.join(summary['graders'])}" if summary["graders"] else ""


def _arms(arms: Sequence[dict[str, Any]]) -> str:
    head = ("arm", "accuracy", "95%", "right", "answers", "problems", "pass@k", "failed", "no answer")
    thought = ["with thoughts"] if any(arm["thought"] for arm in arms) else []
    rows = [
        (
            arm_label(arm),
            percent(arm["accuracy"]),
            percent_range(arm["interval"]),
            f"{arm['correct']:,}",
            f"{arm['answers']:,}",
            f"{arm['problems']:,}",
            f"{percent(arm['pass_at']['share'])} (k={arm['pass_at']['k']})" if arm["pass_at"] else "-",
            count_and_share(arm["failed"], arm["answers"]),
            count_and_share(arm["no_answer"], arm["answers"]),
            count_and_share(arm["truncated"], arm["answers"]),
            *([count_and_share(arm["thought"], arm["answers"])] if thought else []),
            str(arm["grader_gave_up"]),
            f"{arm['ungraded']:,}",
            rounded(arm["mean_output_tokens"]),
            cost(arm["cost_usd"], arm["cost_unknown"]),
        )
        for arm in arms
    ]
    return _table((*head, "cut off", *thought, "grader gave up", "ungraded", "mean output tokens", "cost"), rows)


_LOSSES: Final = {
    "truncated": "cut off",
    "filtered": "filtered",
    "wordless": "without a word",
    "built_on_unfinished": "built on a reply cut off or filtered",
}


def _has_losses(arm: dict[str, Any]) -> bool:
    return bool(arm["failures"]) or any(arm[name] for name in _LOSSES)


def _losses(arms: Sequence[dict[str, Any]]) -> str:
    """By arm: answers cut off or filtered, those built on such a reply, and calls that failed, by class."""
    classes = sorted({name for arm in arms for name in arm["failures"]})
    shown = [name for name in _LOSSES if name == "truncated" or any(arm[name] for arm in arms)]
    rows = [
        (
            arm_label(arm),
            f"{arm['answers']:,}",
            *(count_and_share(arm[name], arm["answers"]) for name in shown),
            *(count_and_share(arm["failures"].get(name, 0), arm["answers"]) for name in classes),
        )
        for arm in arms
    ]
    table = _table(("arm", "answers", *(_LOSSES[name] for name in shown), *classes), rows)
    filtered = "Filtered: by the host, or the model declined. " if "filtered" in shown else ""
    wordless = "Spent on thoughts alone: no text; most are cut off as well. " if "wordless" in shown else ""
    return (
        f"{table}\n\nCut off: ended at max_tokens or with the window full. {filtered}{wordless}"
        "The others: failed calls, by class."
    )


def _built_on(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        (
            row["step"],
            arm_label(row),
            f"{row['replies']:,}",
            count_and_share(row["cut"], row["replies"]),
            count_and_share(row["filtered"], row["replies"]),
            count_and_share(row["holding_thoughts"], row["replies"]),
        )
        for row in rows
    ]
    table = _table(("step", "replies of", "replies", "cut off", "filtered", "with thoughts"), cells)
    return (
        f"{table}\n\nAnswers whose prompts hold one that was cut off or filtered are marked in the results:"
        " `built_on_finish`."
    )


def _thinking(rows: Sequence[dict[str, Any]]) -> str:
    """What models were asked, and what came."""
    cells = [
        (row["model"], level(row["asked"]), f"{row['replies']:,}", count_and_share(row["thought"], row["replies"]))
        for row in rows
    ]
    return _table(("model", "thinking asked", "replies", "with thoughts"), cells)


def _judging(found: dict[str, Any]) -> str:
    rows = [
        (
            arm_label(row) if "model" in row else "all",
            f"{row['judged']:,}",
            percent(row["judge_correct"]),
            percent(row["rules_correct"]),
            percent(row["agreement"]),
            decimal(row["kappa"]),
            f"{row['judge_only']:,}",
            f"{row['rules_only']:,}",
            *(count_and_share(row[name], row["judged"]) for name in ("orders_disagree", "unreadable", "calls_failed")),
        )
        for row in (*found["arms"], found["all"])
    ]
    head = ("arm", "judged", "right by judge", "right by rules", "agree", "kappa", "judge only", "rules only")
    return (
        _table((*head, "orders disagree", "unreadable", "call failed"), rows)
        + f"\n\nJudge: {found['judge']}. Agreement is over the answers that it came to a verdict on; kappa: Cohen's. An"
        " answer is right where every order says so; where the orders disagree it counts as wrong."
    )


def _contrasts(contrasts: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            row["contrast"],
            row["student"],
            points(row["difference"]),
            points_range(row["interval"]),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            f"{row['differing']:,} of {row['problems']:,}",
            row["test"],
        )
        for row in contrasts
    ]
    return _table(("contrast", "student", "difference", "95%", "p", "p (Holm)", "problems that differ", "test"), rows)


def _modes(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        (
            hint_label(row["hint"]),
            f"{row['student']} ({level(row['thinking'])}) - {row['other']} ({level(row['thinking_other'])})",
            points(row["difference"]),
            points_range(row["interval"]),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            f"{row['differing']:,} of {row['problems']:,}",
            row["test"],
            *(rounded(row[name]) for name in ("output_tokens", "output_tokens_other")),
        )
        for row in rows
    ]
    head = ("hint", "student (thinking)", "difference", "95%", "p", "p (Holm)", "problems that differ", "test")
    table = _table((*head, "output tokens", "of the other"), cells)
    return (
        f"{table}\n\nThe same model in two modes, the one that thinks more minus the other. p (Holm) is corrected over"
        " the models under one hint. Output tokens: mean of an answer, thoughts included."
    )


def _interaction(found: dict[str, Any]) -> str:
    small, large = found["small"], found["large"]
    return (
        f"[{small} for {small} - {small} for {large}] - [{large} for {small} - {large} for {large}] ="
        f" {points(found['difference'])} points (95% {points_range(found['interval'])};"
        f" p {p_value(found['p'])}, {found['test']}; {found['problems']:,} problems)."
        " Above 0: each does better with its own."
    )


def _gaps(gaps: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            gap["student"],
            "not defined" if gap["value"] is None else f"{100 * gap['value']:.0f}%",
            "-" if gap["interval"] is None else " to ".join(f"{100 * end:.0f}" for end in gap["interval"]),
            f"{gap['problems']:,}",
        )
        for gap in gaps
    ]
    table = _table(("student", "(tailored - none) / (teacher - none)", "95%", "problems"), rows)
    if all(gap["value"] is not None for gap in gaps):
        return table
    return table + "\n\nNot defined: the teacher is not surely better than the student without a hint."


def _spending(spending: dict[str, Any]) -> str:
    rows = [
        (
            row["step"],
            row["model"],
            f"{row['calls']:,}",
            count_and_share(row["failed"], row["calls"]),
            f"{row['input_tokens']:,}",
            f"{row['output_tokens']:,}",
            cost(row["cost_usd"], row["cost_unknown"]),
        )
        for row in [*spending["by_step"], {"step": "all", "model": "", **spending["total"]}]
    ]
    return _table(("step", "model", "calls", "failed", "input tokens", "output tokens", "cost"), rows)


def _members(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        (
            row["model"],
            row["provider"] if row["member"] is None else f"{row['provider']}/{row['member']}",
            f"{row['calls']:,}",
            f"{row['answered']:,}",
            count_and_share(row["failed"], row["calls"]),
            cost(row["cost_usd"], row["cost_unknown"]),
        )
        for row in rows
    ]
    table = _table(("model", "member", "calls", "answered", "failed", "cost"), cells)
    return table + "\n\nWhere each call was sent last; one that was asked again counts again."


def _pace(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        (row["student"], f"{row['calls']:,}", duration(row["makespan_s"]), tenths(row["tokens_per_s"])) for row in rows
    ]
    table = _table(("student", "calls", "makespan", "output tokens/s"), cells)
    return table + "\n\nMakespan: first sending to last answer, without the pauses between starts."


def _slots(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        (
            f"{row['provider']}/{row['slot']}",
            f"{row['calls']:,}",
            *(seconds_and_share(row[part], row["seconds"]) for part in SLOT_SECONDS),
            f"{row['loads']:,}",
            tenths(row["tokens_per_s"]),
            percent(row["on_gpu"]),
        )
        for row in rows
    ]
    head = ("slot", "calls", "busy", "loading", "idle", "down", "models loaded", "output tokens/s", "in GPU memory")
    return _table(head, cells) + "\n\nBusy: places in use, of all; the four add up to the time of the start."


def _limits(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        (
            row["provider"],
            f"{row['rate_limited']:,}",
            *(f"{row[k]:,.0f}" for k in ("first", "lowest", "highest", "last")),
        )
        for row in rows
    ]
    table = _table(("provider", "429s", "first, per minute", "lowest", "highest", "last"), cells)
    return table + "\n\nEvery change of it, with its time: `limits` in summary.json."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; its first two columns may be words, the rest reads best to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
