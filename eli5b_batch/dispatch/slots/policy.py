"""Which model a GPU slot works on next, and when slots want more problems begun.

Must not know: servers, calls, clocks. Pure functions of queue lengths, loaded models and costs; `docs/slots.md` tells
the reasons. Seconds of work are seconds of one slot with all its places in use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from eli5b_batch.dispatch.timing import TICK_S

ROUND: Final = 64
"""A slot that goes through several models works this many times as long as changing between them costs."""

_PATIENCE_ROUNDS: Final = 4
_FULL_ROUNDS: Final = 2
_EARLY: Final = 2
"""A slot stops taking calls of a model that runs dry when others have this many times their load to do."""
_HESITATION: Final = 2.0
"""An idle slot waits so many times the load of a model nobody has, before it loads that for a call or two."""
_LEADS: Final = 2.0
"""Hints take longer or shorter than their mean: this much work is kept ahead, in times it takes to make a hint."""


class Backlog(NamedTuple):
    """The calls of one model that wait, and what they cost.

    `unserved_s` is how long they have waited with no slot taking any, `first` the age of the oldest (smaller is older).
    `call_s` is one call's time on a place, `load_s` loading the model. `holders` are slots that have the model or are
    about to load it; `slots` may serve it, with `places` calls at once in all.
    """

    waiting: float
    unserved_s: float
    first: int
    call_s: float
    load_s: float
    holders: int
    slots: int
    places: int

    @property
    def change_s(self) -> float:
        """What a slot loses by turning to this model: its last calls run out one by one, then it loads."""
        return self.load_s + self.call_s


class SlotView(NamedTuple):
    """One slot: the models in its memory, the ones it may serve (none: all), calls in flight of at most `parallel`.

    `unfit` are models that it could not load and is not to try now.
    """

    resident: Collection[str]
    models: Collection[str]
    in_flight: int
    parallel: int
    unfit: Collection[str] = ()

    def serves(self, model: str) -> bool:
        """Whether it may take calls of `model`."""
        return (not self.models or model in self.models) and model not in self.unfit

    def work_s(self, backlog: Backlog) -> float:
        """Seconds this slot would need for the whole backlog alone."""
        return backlog.waiting * backlog.call_s / self.parallel


Backlogs = Mapping[str, Backlog]


def round_s(backlogs: Backlogs) -> float:
    """Seconds of work that one round through all models should hold, so that changing costs a small share of it.

    The more slots may serve a model, the fewer of them ever have to change.
    """
    return ROUND * sum(b.change_s / max(1, b.slots) for b in backlogs.values()) if len(backlogs) > 1 else 0.0


def next_model(slot: SlotView, backlogs: Backlogs) -> str | None:
    """The model whose call the slot should take next; one it has not loaded means: let the others run out and load it.

    It keeps to what it has loaded while calls for that wait, unless another model has found no slot for four rounds.
    Then it turns to the model with most work per slot, counting itself. A change has to be worth it: the model's work,
    shared with the slots that have it, lasts longer than the change, or no slot has it and its calls have waited.

    Returns:
        None where waiting is best.
    """
    here = {model: b for model, b in backlogs.items() if b.waiting and slot.serves(model)}
    mine = [model for model in here if model in slot.resident]
    starved = [m for m, b in here.items() if not b.holders and b.unserved_s > _PATIENCE_ROUNDS * round_s(backlogs)]
    if mine and not starved:
        return min(mine, key=lambda m: here[m].first)
    worth = [m for m, b in here.items() if m not in slot.resident and _is_worth_loading(slot, b)]
    if slot.in_flight and not starved:
        worth = [m for m in worth if slot.work_s(here[m]) / (1 + here[m].holders) > _EARLY * here[m].change_s]
    return max(starved or worth, key=lambda m: slot.work_s(here[m]) / (1 + here[m].holders), default=None)


def _is_worth_loading(slot: SlotView, backlog: Backlog) -> bool:
    if not backlog.holders and (not slot.resident or not hesitates_s(backlog)):
        return True
    least = backlog.change_s if slot.resident else backlog.call_s  # an empty slot has nothing to lose
    return slot.work_s(backlog) / max(1, backlog.holders) > least


def hesitates_s(backlog: Backlog) -> float:
    """Seconds that a slot with nothing to do still keeps what it has loaded, while few calls wait for another model.

    Where the teacher is the slow one, slots would else change for every single call.
    """
    left = _HESITATION * backlog.load_s - backlog.unserved_s
    return left if left > TICK_S else 0.0


def runs_dry(slot: SlotView, backlogs: Backlogs, lead_s: float) -> bool:
    """Whether the work for what the slot has loaded ends before new problems become work for it; see `is_hungry`."""
    mine = longest = 0.0
    for model in slot.resident:
        if model in backlogs and slot.serves(model):
            backlog = backlogs[model]
            mine += slot.work_s(backlog) / max(1, backlog.holders)
            longest = max(longest, backlog.call_s)
    return mine <= _LEADS * lead_s + longest


def is_hungry(slot: SlotView, backlogs: Backlogs, lead_s: float, dry: int = 1) -> bool:
    """Whether the slot would run dry before new problems became work for it, and has no other model worth turning to.

    Args:
        slot: the slot.
        backlogs: by model, with the calls that are coming counted as waiting.
        lead_s: seconds from the beginning of a problem to its calls on slots.
        dry: how many slots run dry, this one included: they share what they could turn to.
    """
    if not runs_dry(slot, backlogs, lead_s):
        return False
    others = [b for model, b in backlogs.items() if slot.serves(model) and model not in slot.resident]
    other = sum(slot.work_s(b) / (b.holders + dry) for b in others)
    change = max((b.change_s for b in others), default=0.0)
    # Beyond what is coming, an empty slot needs the work that makes loading worth it.
    return other <= max(round_s(backlogs), _LEADS * lead_s + change)


def is_full(backlogs: Backlogs, lead_s: float) -> bool:
    """Whether a model has so much waiting that more problems would only wait behind it, whatever other slots lack."""
    most = _FULL_ROUNDS * round_s(backlogs) + 2 * _LEADS * lead_s
    return any(b.waiting * b.call_s / b.places > most + 2 * b.call_s for b in backlogs.values() if b.places)
