"""The block of GPU slots: what each works on, and what its time goes into.

Must not know: where the snapshot comes from, terminals, files. All functions are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Column, Table
from rich.text import Text

from eli5b_batch.progress.block import LEFT, Block, bar, column, grid, rows_drawn
from eli5b_batch.progress.snapshot import slot_seconds
from eli5b_batch.text import amount, clean, count, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from eli5b_batch.progress.snapshot import SlotProgress

_ROOMY: Final = 94
"""Width, columns, from which the block shows every figure."""
_WITH_BAR: Final = 108
"""Width, columns, from which the block shows a bar as well."""
_FIGURES: Final = 84
"""Columns that the figures of a slot and its shortest bar take."""
_HALF: Final = 0.5
"""The bar of a slot whose busy share is smaller is yellow."""
_FULLY: Final = 0.995
"""A share that is not smaller is shown as 100%."""


def slots_block(slots: Sequence[SlotProgress], width: int) -> Block:
    """Return the block of the GPU slots, for `width` columns."""
    several = len({slot["provider"] for slot in slots}) > 1
    roomy, with_bar = width >= _ROOMY, width >= _WITH_BAR

    def build(lines: int) -> RenderableType:
        table = grid(
            column("slot", LEFT),
            Column("model loaded", max_width=width - _FIGURES) if with_bar else Column("model loaded", ratio=1),
            *([column("", LEFT, ratio=1)] if with_bar else []),
            column("busy"),
            column("loading"),
            *([column("down")] if roomy else []),
            column("tok/s"),
            column("in flight"),
            column("queue"),
            column("loads"),
            *([column("calls")] if roomy else []),
        )
        kept = rows_drawn(len(slots), lines - 1)
        for slot in slots[:kept]:
            name = f"{slot['provider']}/{slot['slot']}" if several else slot["slot"]
            _add_slot(table, name, _loaded(slot), slot, roomy=roomy, with_bar=with_bar)
        if rest := slots[kept:]:
            more = f"+{len(rest)} more"
            _add_slot(table, more, _worst(rest), _sum_of_slots(rest), roomy=roomy, with_bar=with_bar)
        return table

    return Block("GPU slots", len(slots) + 1, build)


def _loaded(slot: SlotProgress) -> Text:
    """Return what is wrong with a slot, the model that it works on, and how many more models it has in memory."""
    if slot["down"]:
        return Text("down", style="bold red")
    text = Text()
    if slot["on_gpu"] is not None and slot["on_gpu"] < _FULLY:
        text.append(f"{slot['on_gpu']:.0%} on GPU: ", style="yellow")
    text.append(clean(slot["model"] or "none"), style="" if slot["model"] else "dim")
    others = len(set(slot["resident"]) - {slot["model"]})
    return text.append(f" +{others}" if slot["model"] and others else "", style="dim")


def _worst(slots: Sequence[SlotProgress]) -> Text:
    """Return how many of the slots that are not shown one by one are down; else the idlest of them."""
    if down := sum(slot["down"] for slot in slots):
        return Text(f"{down} down", style="bold red")
    idlest = min(slots, key=lambda slot: slot["busy_share"])
    return Text(f"idlest {clean(idlest['slot'])} {percent(idlest['busy_share'], 1)}", style="dim")


def _add_slot(table: Table, name: str, loaded: Text, slot: SlotProgress, *, roomy: bool, with_bar: bool) -> None:
    share, in_all = slot["busy_share"], slot_seconds(slot)
    table.add_row(
        Text(clean(name), style="bold red" if slot["down"] else "bold"),
        loaded,
        *([bar(share, 1, "green" if share >= _HALF else "yellow")] if with_bar else []),
        Text(percent(share, 1)),
        Text(percent(slot["loading_s"], in_all)),
        *([Text(percent(slot["down_s"], in_all), style="red" if slot["down_s"] else "dim")] if roomy else []),
        Text(amount(slot["tokens_per_s"])),
        Text(f"{count(slot['in_flight'])}/{count(slot['parallel'])}"),
        Text(count(slot["queued"]) if slot["slot"] else ""),
        Text(count(slot["loads"])),
        *([Text(count(slot["calls"]))] if roomy else []),
    )


def _sum_of_slots(slots: Sequence[SlotProgress]) -> SlotProgress:
    return {
        "provider": "",
        "slot": "",
        "url": "",
        "model": None,
        "resident": [],
        "on_gpu": None,
        "in_flight": sum(slot["in_flight"] for slot in slots),
        "parallel": sum(slot["parallel"] for slot in slots),
        "queued": 0,  # not shown: a call that waits for its model is counted at every slot that has the model
        "busy_share": sum(slot["busy_share"] for slot in slots) / len(slots),
        "busy_s": sum(slot["busy_s"] for slot in slots),
        "loading_s": sum(slot["loading_s"] for slot in slots),
        "idle_s": sum(slot["idle_s"] for slot in slots),
        "down_s": sum(slot["down_s"] for slot in slots),
        "down": any(slot["down"] for slot in slots),
        "tokens_per_s": sum(slot["tokens_per_s"] for slot in slots),
        "calls": sum(slot["calls"] for slot in slots),
        "loads": sum(slot["loads"] for slot in slots),
    }
