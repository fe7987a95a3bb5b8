"""Which model a GPU slot works on next, and when slots want more problems begun.

Must not know: servers, calls, clocks. These are pure functions of queue lengths, loaded models and costs; the reasons
stand in `docs/slots.md`. Seconds of work are seconds of one slot with all its places in use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from eli5b_batch.dispatch.timing import TICK_S

ROUND: Final = 64
"""A slot that serves several models in turn works this many times as long as the changes between them take."""

_PATIENCE_ROUNDS: Final = 4
_FULL_ROUNDS: Final = 2
_EARLY: Final = 2
"""A slot turns away from a model before its calls run out if another model's work is this many times the change."""
_HESITATION: Final = 2.0
"""An idle slot waits this many times the seconds of a load before it loads, for few calls, a model that no slot has."""
_LEADS: Final = 2.0
"""Slots keep this many times `lead_s` of work ahead, since hints take longer or shorter than their mean."""


class Backlog(NamedTuple):
    """The calls of one model that wait, and what they cost.

    Attributes:
        waiting: how many calls wait.
        unserved_s: seconds since a slot last took a call of the model, while calls waited.
        first: the age of the oldest call (smaller is older).
        call_s: seconds that one call takes on a place.
        load_s: seconds that loading the model takes.
        holders: how many slots have the model or are about to load it.
        slots: how many slots may serve the model.
        places: how many calls these slots work on at once, all together.
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
        """Seconds that a slot loses by turning to this model: its last calls run out one by one, then it loads."""
        return self.load_s + self.call_s


class SlotView(NamedTuple):
    """One slot as the policy sees it.

    Attributes:
        resident: the models in the memory of its server.
        models: the models that the job lets it serve; empty: all.
        in_flight: its calls in flight.
        parallel: how many calls its server works on at once.
        unfit: models that it could not load and should not try now.
    """

    resident: Collection[str]
    models: Collection[str]
    in_flight: int
    parallel: int
    unfit: Collection[str] = ()

    def serves(self, model: str) -> bool:
        """True if the slot may take calls of `model`."""
        return (not self.models or model in self.models) and model not in self.unfit

    def work_s(self, backlog: Backlog) -> float:
        """Return the seconds that this slot alone would need for the whole backlog."""
        return backlog.waiting * backlog.call_s / self.parallel


Backlogs = Mapping[str, Backlog]


def round_s(backlogs: Backlogs) -> float:
    """Return the seconds of work in one round through all models, of which changes should take a small share.

    The more slots may serve a model, the fewer of them ever have to change.
    """
    return ROUND * sum(b.change_s / max(1, b.slots) for b in backlogs.values()) if len(backlogs) > 1 else 0.0


def next_model(slot: SlotView, backlogs: Backlogs) -> str | None:
    """Choose the model whose call the slot should take next.

    A slot keeps to its loaded models while calls for them wait, unless no slot has taken calls of another model for
    four rounds. Otherwise the slot turns to the model with most work per slot, counting itself. A change has to be
    worth it: either the work of the model, shared with the slots that have it, lasts longer than the change, or no
    slot has the model and its calls have waited.

    Returns:
        A model in the slot's memory; or one that is to be loaded after the calls in flight; None where waiting is best.
    """
    servable = {model: b for model, b in backlogs.items() if b.waiting and slot.serves(model)}
    loaded = [model for model in servable if model in slot.resident]
    starved = [m for m, b in servable.items() if not b.holders and b.unserved_s > _PATIENCE_ROUNDS * round_s(backlogs)]
    if loaded and not starved:
        return min(loaded, key=lambda m: servable[m].first)
    share_s = {m: slot.work_s(b) / (1 + b.holders) for m, b in servable.items()}
    candidates = [m for m, b in servable.items() if m not in slot.resident and _is_worth_loading(slot, b)]
    if slot.in_flight and not starved:
        candidates = [m for m in candidates if share_s[m] > _EARLY * servable[m].change_s]
    return max(starved or candidates, key=share_s.__getitem__, default=None)


def _is_worth_loading(slot: SlotView, backlog: Backlog) -> bool:
    """True if the slot gains by loading the model of `backlog`, whatever else it could do."""
    if not backlog.holders and (not slot.resident or not hesitates_s(backlog)):
        return True
    least = backlog.change_s if slot.resident else backlog.call_s  # an empty slot loses no model
    return slot.work_s(backlog) / max(1, backlog.holders) > least


def hesitates_s(backlog: Backlog) -> float:
    """Return the seconds that an idle slot still keeps its models, while few calls wait for the model of `backlog`.

    Without them, slots would change the model for every single call where the teacher is slow.
    """
    left = _HESITATION * backlog.load_s - backlog.unserved_s
    return left if left > TICK_S else 0.0


def runs_dry(slot: SlotView, backlogs: Backlogs, lead_s: float) -> bool:
    """True if the slot's loaded models run out of calls before new problems lead to more; see `is_hungry`."""
    own = longest = 0.0
    for model in slot.resident:
        if model in backlogs and slot.serves(model):
            backlog = backlogs[model]
            own += slot.work_s(backlog) / max(1, backlog.holders)
            longest = max(longest, backlog.call_s)
    return own <= _LEADS * lead_s + longest


def is_hungry(slot: SlotView, backlogs: Backlogs, lead_s: float, dry: int = 1) -> bool:
    """True if the slot runs dry before new problems lead to calls for it, and no other model is worth turning to.

    Args:
        slot: the slot.
        backlogs: by model, with the calls that are coming counted as waiting.
        lead_s: seconds from the beginning of a problem to its calls on slots.
        dry: how many slots run dry, this one included: they share the work of the models that they could turn to.
    """
    if not runs_dry(slot, backlogs, lead_s):
        return False
    others = [b for model, b in backlogs.items() if slot.serves(model) and model not in slot.resident]
    other = sum(slot.work_s(b) / (b.holders + dry) for b in others)
    change = max((b.change_s for b in others), default=0.0)
    # Besides the work of the lead time, an empty slot needs enough work to make a load worth it.
    return other <= max(round_s(backlogs), _LEADS * lead_s + change)


def is_full(backlogs: Backlogs, lead_s: float) -> bool:
    """True if so many calls of one model wait that those of more problems would only wait behind them.

    Other slots may lack work all the same.
    """
    most = _FULL_ROUNDS * round_s(backlogs) + 2 * _LEADS * lead_s
    return any(b.waiting * b.call_s / b.places > most + 2 * b.call_s for b in backlogs.values() if b.places)
