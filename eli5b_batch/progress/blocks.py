"""The parts of the dashboard: a block each for steps, providers, GPU slots and accuracy.

Must not know: where the snapshot comes from, terminals, files. All functions are pure.

A block says how many lines it would like and draws itself in any number from `FLOOR` on. Rows that do not fit are
summed up in one line "+n more".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Group
from rich.table import Column
from rich.text import Text

from eli5b_batch.progress.block import LEFT, Block, bar, column, grid, rows_drawn
from eli5b_batch.progress.slots_block import slots_block
from eli5b_batch.text import NONE, amount, clean, count, duration, percent, speed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from eli5b_batch.progress.snapshot import ArmProgress, ProviderProgress, Snapshot, StepProgress

_LABEL_WIDTH: Final = 28


def blocks(snapshot: Snapshot, width: int) -> list[Block]:
    """Return every part that has something to show, the most important first, for `width` columns."""
    made = []
    if snapshot["steps"]:
        made.append(_steps(snapshot["steps"]))
    if snapshot["providers"]:
        made.append(_providers(snapshot["providers"], width))
    if snapshot["slots"]:
        made.append(slots_block(snapshot["slots"], width))
    if snapshot["accuracy"]:
        made.append(_accuracy(snapshot["accuracy"], width))
    return made


def _alarm(number: int, style: str) -> Text:
    return Text(count(number), style=style if number else "dim")


# Steps


def _steps(steps: Sequence[StepProgress]) -> Block:
    def build(lines: int) -> RenderableType:
        table = grid(
            column("step", LEFT),
            column("model", LEFT),
            column("", LEFT, ratio=1),
            column("done"),
            column(""),
            column("rate"),
            column("left"),
            column("failed"),
            column("journal"),
        )
        kept = rows_drawn(len(steps), lines - 1)
        for step in steps[:kept]:
            _add_step(table, step)
        if rest := steps[kept:]:
            _add_step(table, _sum_of_steps(rest))
        return table

    return Block("calls", len(steps) + 1, build)


def _add_step(table: Table, step: StepProgress) -> None:
    finished = step["done"] >= step["total"]
    table.add_row(
        Text(clean(step["step"])),
        Text(clean(step["model"]), style="bold"),
        bar(step["done"], step["total"]),
        Text(f"{count(step['done'])}/{count(step['total'])}"),
        Text(percent(step["done"], step["total"]), style="dim"),
        Text(NONE if finished else speed(step["rate_per_s"])),
        Text("done", style="green") if finished else Text(duration(step["eta_s"])),
        _alarm(step["failed"], "bold red"),
        Text(count(step["replayed"]), style="dim"),
    )


def _sum_of_steps(steps: Sequence[StepProgress]) -> StepProgress:
    etas = [step["eta_s"] for step in steps if step["done"] < step["total"]]
    estimates = [eta for eta in etas if eta is not None]
    return {
        "step": f"+{len(steps)} more",
        "model": "",
        "total": sum(step["total"] for step in steps),
        "done": sum(step["done"] for step in steps),
        "failed": sum(step["failed"] for step in steps),
        "replayed": sum(step["replayed"] for step in steps),
        "rate_per_s": sum(step["rate_per_s"] for step in steps),
        "eta_s": max(estimates) if estimates and len(estimates) == len(etas) else None,
        "began_s": None,
        "ended_s": None,
    }


# Providers


def _providers(providers: Sequence[ProviderProgress], width: int) -> Block:
    remarks = [_wait(p) for p in providers if p["waiting_for"]]
    remarks += [line for p in providers if p["last_error"] for line in _last_failure(p, width)]

    def build(lines: int) -> RenderableType:
        table = grid(
            column("provider", LEFT),
            column("", LEFT, ratio=1),
            column("req/min"),
            column("tok/min"),
            column("in flight"),
            column("waiting"),
            column("429s"),
            column("retries"),
        )
        room = lines - 1
        kept_remarks = remarks[: max(room - min(len(providers), 2), 0)]
        kept = rows_drawn(len(providers), room - len(kept_remarks))
        for provider in providers[:kept]:
            _add_provider(table, provider)
        if rest := providers[kept:]:
            _add_provider(table, _sum_of_providers(rest))
        return Group(table, *kept_remarks)

    return Block("providers", len(providers) + len(remarks) + 1, build)


def _wait(provider: ProviderProgress) -> Text:
    name = clean(provider["provider"])
    return _one_line(Text.assemble((f"{name} waits for ", "yellow"), clean(provider["waiting_for"] or "")))


def _last_failure(provider: ProviderProgress, width: int) -> list[Text]:
    """Return the last failure in the host's words: one line, or two where `width` columns are too few for them."""
    ago = "" if provider["last_error_s"] is None else f" {duration(provider['last_error_s'])} ago"
    down = provider["down_s"] and not provider["waiting_for"]
    probing = f"down for {duration(provider['down_s'])}, probing; " if down else ""
    head = f"{clean(provider['provider'])}, {probing}last failure{ago}: "
    words = clean(provider["last_error"] or "").split(" ")
    fitting = len(words)
    used = cell_len(head) - 1
    for number, word in enumerate(words):
        used += cell_len(word) + 1
        if used > width:
            fitting = number or len(words)  # a first word that is longer than the line is cut at its end
            break
    lines = [Text.assemble((head, "yellow"), " ".join(words[:fitting]))]
    if rest := " ".join(words[fitting:]):
        lines.append(Text(f"  {rest}"))
    return [_one_line(line) for line in lines]


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _add_provider(table: Table, provider: ProviderProgress) -> None:
    limit = provider["requests_limit"]
    retries = Text(count(provider["retries"]), style="" if provider["retries"] else "dim")
    if provider["retry_waiting"]:
        retries.append(f" ({count(provider['retry_waiting'])} now)", style="yellow")
    table.add_row(
        Text(clean(provider["provider"]), style="bold"),
        bar(provider["requests_per_minute"], limit) if limit else "",
        _against(provider["requests_per_minute"], limit),
        _against(provider["tokens_per_minute"], provider["tokens_limit"]),
        Text(f"{count(provider['in_flight'])}/{count(provider['concurrency'])}"),
        Text(count(provider["queued"])),
        _alarm(provider["rate_limited"], "bold yellow"),
        retries,
    )


def _against(rate: float, limit: float | None) -> Text:
    return Text(amount(rate) if limit is None else f"{amount(rate)}/{amount(limit)}")


def _sum_of_providers(providers: Sequence[ProviderProgress]) -> ProviderProgress:
    # Limits of different providers have no common limit, so the sum shows none.
    return {
        "provider": f"+{len(providers)} more",
        "in_flight": sum(p["in_flight"] for p in providers),
        "concurrency": sum(p["concurrency"] for p in providers),
        "queued": sum(p["queued"] for p in providers),
        "requests_per_minute": sum(p["requests_per_minute"] for p in providers),
        "requests_limit": None,
        "tokens_per_minute": sum(p["tokens_per_minute"] for p in providers),
        "tokens_limit": None,
        "rate_limited": sum(p["rate_limited"] for p in providers),
        "retry_waiting": sum(p["retry_waiting"] for p in providers),
        "retries": sum(p["retries"] for p in providers),
        "waiting_for": None,
        "last_error": None,
        "last_error_s": None,
        "down_s": None,
        "limit_history": [],
    }


# Accuracy


def arm_label(arm: ArmProgress) -> str:
    """Return the tags of an arm in words: texts as they are, numbers with their tag's name.

    The text `any` is left out. The name of the answering model becomes `own`, so that "a hint written for the model
    that got it" is one line and not one line per model.
    """
    words = []
    for tag, value in arm["tags"].items():
        if isinstance(value, int):
            words.append(f"{tag} {value}")
        elif value != "any":
            words.append("own" if value == arm["model"] else value)
    return clean(" ".join(words)) or "all"


def _accuracy(arms: Sequence[ArmProgress], width: int) -> Block:
    cells: dict[str, dict[str, tuple[int, int]]] = {}
    models = list(dict.fromkeys(arm["model"] for arm in arms))
    for arm in arms:
        row = cells.setdefault(arm_label(arm), {})
        correct, n = row.get(arm["model"], (0, 0))
        row[arm["model"]] = (correct + arm["correct"], n + arm["n"])
    labels = list(cells)
    room = width - min(max(len("accuracy"), *(len(label) for label in labels)), _LABEL_WIDTH)
    counted = _columns_that_fit(models, cells, room, with_counts=True) == len(models)
    shown = models[: _columns_that_fit(models, cells, room, with_counts=counted)]

    def build(lines: int) -> RenderableType:
        unseen = len(models) - len(shown)
        table = grid(
            Column("accuracy", max_width=_LABEL_WIDTH),
            *(column(clean(model)) for model in shown),
            *([column(f"+{unseen} more")] if unseen else []),
        )
        kept = rows_drawn(len(labels), lines - 1)
        for label in labels[:kept]:
            row = cells[label]
            table.add_row(Text(label), *(_cell(row.get(model), with_counts=counted) for model in shown))
        if kept < len(labels):
            table.add_row(Text(f"+{len(labels) - kept} more", style="dim"))
        return table

    return Block("accuracy so far", len(labels) + 1, build)


def _cell(score: tuple[int, int] | None, *, with_counts: bool) -> Text:
    if score is None:
        return Text("")
    correct, n = score
    text = Text()
    if with_counts:
        text.append(f"{correct}/{n} ", style="dim")
    return text.append(f"{percent(correct, n):>5}", style="bold")


def _columns_that_fit(
    models: Sequence[str], cells: dict[str, dict[str, tuple[int, int]]], room: int, *, with_counts: bool
) -> int:
    """Return how many of the models' columns, from the left, fit into `room` columns of text, with a gap of 2 each."""
    used = 0 if with_counts else len("+99 more") + 2
    for fitting, model in enumerate(models):
        widths = (len(_cell(row.get(model), with_counts=with_counts)) for row in cells.values())
        used += max(len(clean(model)), *widths) + 2
        if used > room:
            return fitting
    return len(models)
