"""policy.py: which model a slot works on next, from queue lengths and costs alone; no server, no clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from eli5b_batch.dispatch.slots.policy import (
    ROUND,
    Backlog,
    SlotView,
    hesitates_s,
    is_full,
    is_hungry,
    next_model,
    round_s,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    Backlogs = dict[str, Backlog]

MODELS = ["1b", "3b", "8b", "70b"]
PATIENCE = 4
EARLY = 2
SOME_PASSED_OVER = settings(suppress_health_check=[HealthCheck.filter_too_much])


def backlog(waiting: float = 0, **fields: Any) -> Backlog:  # noqa: ANN401 (the fields have several types)
    """Return a backlog, by default of calls and loads of 1 s on one slot."""
    usual = {"unserved_s": 0.0, "first": 0, "call_s": 1.0, "load_s": 1.0, "holders": 0, "slots": 1, "places": 1}
    return Backlog(waiting=waiting, **{**usual, **fields})


def slot(
    resident: Collection[str] = (), models: Collection[str] = (), in_flight: int = 0, parallel: int = 1
) -> SlotView:
    return SlotView(resident, models, in_flight, parallel)


SECONDS = st.floats(0.01, 100)
A_BACKLOG = st.builds(
    Backlog,
    waiting=st.one_of(st.just(0), st.integers(0, 5000), st.floats(0, 5000)),
    unserved_s=st.one_of(SECONDS, st.floats(0, 1e6)),
    first=st.integers(0, 5),
    call_s=SECONDS,
    load_s=SECONDS,
    holders=st.integers(0, 4),
    slots=st.integers(1, 4),
    places=st.integers(1, 32),
)
BACKLOGS = st.dictionaries(st.sampled_from(MODELS), A_BACKLOG, max_size=4)
SOME = st.sets(st.sampled_from(MODELS))


@st.composite
def slots(draw: st.DrawFn) -> SlotView:
    models, parallel = draw(SOME), draw(st.integers(1, 8))
    resident = {model for model in draw(SOME) if not models or model in models}
    in_flight = draw(st.integers(0, parallel)) if resident else 0
    return SlotView(resident, models, in_flight, parallel)


def share_s(view: SlotView, of: Backlog) -> float:
    """Return the slot's share of the backlog in seconds, divided by the slots that have the model and this one."""
    return of.waiting * of.call_s / view.parallel / (1 + of.holders)


def starved(view: SlotView, backlogs: Backlogs) -> set[str]:
    longest = PATIENCE * round_s(backlogs)
    return {m for m, b in waited_for(view, backlogs).items() if not b.holders and b.unserved_s > longest}


def waited_for(view: SlotView, backlogs: Backlogs) -> Backlogs:
    """Return the backlogs of the models with waiting calls that the slot may take."""
    return {m: b for m, b in backlogs.items() if b.waiting and (not view.models or m in view.models)}


def a_change(of: Backlog) -> float:
    return of.load_s + of.call_s


@given(view=slots(), backlogs=BACKLOGS)
def test_only_a_model_that_is_waited_for_and_that_the_slot_may_serve_is_chosen(
    view: SlotView, backlogs: Backlogs
) -> None:
    chosen = next_model(view, backlogs)
    assert chosen is None or chosen in waited_for(view, backlogs)


@given(view=slots(), backlogs=BACKLOGS)
@SOME_PASSED_OVER
def test_a_slot_keeps_to_its_loaded_models_unless_another_model_starves(view: SlotView, backlogs: Backlogs) -> None:
    loaded = set(waited_for(view, backlogs)) & set(view.resident)
    assume(loaded and not starved(view, backlogs))
    chosen = next_model(view, backlogs)
    assert chosen in loaded
    assert backlogs[chosen].first == min(backlogs[model].first for model in loaded)


@given(view=slots(), backlogs=BACKLOGS, model=st.sampled_from(MODELS))
def test_a_model_that_no_slot_has_taken_for_four_rounds_comes_first(
    view: SlotView, backlogs: Backlogs, model: str
) -> None:
    backlogs, view = unheld(backlogs, model), view._replace(models=())
    hungry = starved(view, backlogs)
    assert model in hungry
    chosen = next_model(view, backlogs)
    assert chosen in hungry
    assert share_s(view, backlogs[chosen]) == max(share_s(view, backlogs[model]) for model in hungry)


@given(view=slots(), backlogs=BACKLOGS, model=st.sampled_from(MODELS), waited_s=st.floats(0, 10))
def test_a_slot_with_nothing_to_do_takes_a_model_that_nobody_has(
    view: SlotView, backlogs: Backlogs, model: str, waited_s: float
) -> None:
    """An empty slot takes it at once, a loaded slot after it has hesitated."""
    backlogs = unheld(backlogs, model, waited_s if not view.resident else 1e9)
    assert next_model(view._replace(models=(), in_flight=0), backlogs) is not None


def unheld(backlogs: Backlogs, model: str, waited_s: float = 1e9) -> Backlogs:
    """Return the backlogs with calls for `model`, which no slot has."""
    of = backlogs.get(model, backlog())
    return {**backlogs, model: of._replace(waiting=max(1, of.waiting), holders=0, unserved_s=waited_s)}


@given(view=slots(), backlogs=BACKLOGS)
def test_a_change_is_worth_it(view: SlotView, backlogs: Backlogs) -> None:
    view, backlogs = view._replace(models=()), idle(view, backlogs)
    chosen = next_model(view, backlogs)
    if chosen is None or starved(view, backlogs):
        return
    taken = backlogs[chosen]
    alone_s = taken.waiting * taken.call_s / view.parallel
    if taken.holders:
        assert alone_s / taken.holders > (a_change(taken) if view.resident else taken.call_s)
    elif view.resident and hesitates_s(taken):
        assert alone_s > a_change(taken)
    if view.in_flight:
        assert share_s(view, taken) > EARLY * a_change(taken)


def idle(view: SlotView, backlogs: Backlogs) -> Backlogs:
    """Return the backlogs without calls for the models that the slot has loaded."""
    return {m: b._replace(waiting=0) if m in view.resident else b for m, b in backlogs.items()}


@given(view=slots(), backlogs=BACKLOGS)
def test_a_slot_turns_to_the_model_with_most_work_for_it(view: SlotView, backlogs: Backlogs) -> None:
    view, backlogs = view._replace(in_flight=0), idle(view, backlogs)
    chosen = next_model(view, backlogs)
    ripe = [b for b in waited_for(view, backlogs).values() if not b.holders and hesitates_s(b) <= 0]
    if chosen is None:
        assert not ripe
    elif not starved(view, backlogs):
        assert all(share_s(view, backlogs[chosen]) >= share_s(view, b) for b in ripe)


def test_nothing_is_chosen_where_nothing_waits() -> None:
    assert next_model(slot(), {}) is None
    assert next_model(slot(["1b"]), {"1b": backlog(0, holders=1), "3b": backlog(0)}) is None


def test_of_two_models_in_memory_the_older_call_comes_first_whatever_the_queues() -> None:
    both = slot(["1b", "3b"], in_flight=1, parallel=4)
    for older in ("1b", "3b"):
        firsts = {m: 1 if m == older else 2 for m in ("1b", "3b")}
        waiting = {"1b": backlog(900, first=firsts["1b"], holders=1), "3b": backlog(1, first=firsts["3b"], holders=1)}
        assert next_model(both, waiting) == older


@pytest.mark.parametrize(
    ("holders", "waiting", "worth"), [(1, 22, False), (1, 23, True), (2, 44, False), (2, 45, True)]
)
def test_a_second_holder_is_worth_it_where_its_work_lasts_longer_than_the_change(
    holders: int, waiting: int, *, worth: bool
) -> None:
    # Two places at 4 s a call: 2 s of work each; loading takes 40 s and the last call 4.
    much = backlog(waiting, holders=holders, call_s=4.0, load_s=40.0, slots=4, places=8)
    assert (next_model(slot(["1b"], parallel=2), {"8b": much, "1b": backlog(0, holders=1)}) == "8b") == worth


@pytest.mark.parametrize(("holders", "waiting", "worth"), [(1, 2, False), (1, 3, True), (2, 4, False), (2, 5, True)])
def test_a_slot_with_nothing_loaded_has_nothing_to_lose_by_helping(holders: int, waiting: int, *, worth: bool) -> None:
    some = backlog(waiting, holders=holders, call_s=4.0, load_s=40.0, slots=4, places=8)
    assert (next_model(slot(parallel=2), {"8b": some}) == "8b") == worth


@pytest.mark.parametrize(("in_flight", "waiting", "turns"), [(1, 44, False), (1, 45, True), (0, 1, True)])
def test_a_slot_whose_queue_is_dry_stops_early_only_where_much_waits(
    in_flight: int, waiting: int, *, turns: bool
) -> None:
    # Two places at 4 s a call: 2 s of work each; two changes are 2 * (40 + 4) s.
    waits = {"1b": backlog(0, holders=1), "8b": backlog(waiting, call_s=4.0, load_s=40.0, unserved_s=1000)}
    assert (next_model(slot(["1b"], in_flight=in_flight, parallel=2), waits) == "8b") == turns


def test_a_loaded_slot_with_nothing_to_do_hesitates_before_it_changes_for_a_few_calls() -> None:
    loaded, empty = slot(["1b"]), slot()
    done = backlog(0, holders=1)
    longest_s = hesitates_s(backlog(2))
    assert 1 <= longest_s <= 10  # a few times the load
    for waited_s, chosen in ((0.0, None), (longest_s - 0.1, None), (longest_s, "3b")):
        assert next_model(loaded, {"1b": done, "3b": backlog(2, unserved_s=waited_s)}) == chosen
    assert next_model(loaded, {"1b": done, "3b": backlog(3)}) == "3b"  # worth the change by itself
    assert next_model(empty, {"1b": done, "3b": backlog(1)}) == "3b"


def test_a_starved_model_makes_a_busy_slot_turn() -> None:
    patience = PATIENCE * ROUND * (2 + 2)
    busy = slot(["1b"], in_flight=1, parallel=1)
    for waited_s, chosen in ((patience, "1b"), (patience + 1, "3b")):
        waits = {"1b": backlog(1000, holders=1), "3b": backlog(1, unserved_s=waited_s)}
        assert next_model(busy, waits) == chosen


def test_a_model_that_another_slot_works_on_never_starves() -> None:
    waits = {"1b": backlog(1000, holders=1), "3b": backlog(1, holders=1, unserved_s=1e9)}
    assert next_model(slot(["1b"], in_flight=1), waits) == "1b"


def test_a_round_grows_with_the_cost_of_changes_and_is_shared_by_the_slots() -> None:
    assert round_s({}) == round_s({"1b": backlog(5, load_s=100.0)}) == 0
    two = {"1b": backlog(load_s=4.0), "3b": backlog(call_s=5.0, load_s=10.0)}
    assert round_s(two) == ROUND * (5 + 15)
    assert round_s({**two, "3b": two["3b"]._replace(slots=3)}) == ROUND * (5 + 5)


@given(backlogs=BACKLOGS, model=st.sampled_from(MODELS), more=st.floats(0, 1000))
@SOME_PASSED_OVER
def test_a_round_does_not_depend_on_the_waiting_calls(backlogs: Backlogs, model: str, more: float) -> None:
    assert round_s(backlogs) == round_s(with_more(backlogs, model, more))


def with_more(backlogs: Backlogs, model: str, more: float) -> Backlogs:
    assume(model in backlogs)
    return {**backlogs, model: backlogs[model]._replace(waiting=backlogs[model].waiting + more)}


@given(
    view=slots(), backlogs=BACKLOGS, model=st.sampled_from(MODELS), more=st.floats(0, 1000), lead_s=st.floats(0, 100)
)
@SOME_PASSED_OVER
def test_a_slot_does_not_get_hungrier_by_waiting_calls(
    view: SlotView, backlogs: Backlogs, model: str, more: float, lead_s: float
) -> None:
    if is_hungry(view, with_more(backlogs, model, more), lead_s):
        assert is_hungry(view, backlogs, lead_s)


@given(view=slots(), backlogs=BACKLOGS, lead_s=st.floats(0, 100), longer_s=st.floats(0, 100))
def test_a_slot_is_hungrier_the_longer_new_work_takes_to_come(
    view: SlotView, backlogs: Backlogs, lead_s: float, longer_s: float
) -> None:
    if is_hungry(view, backlogs, lead_s):
        assert is_hungry(view, backlogs, lead_s + longer_s)


@given(view=slots(), lead_s=st.floats(0, 100))
def test_a_slot_without_any_work_is_hungry(view: SlotView, lead_s: float) -> None:
    nothing = {model: backlog(0, holders=int(model in view.resident)) for model in MODELS}
    for backlogs in ({}, {"1b": nothing["1b"]}, nothing):
        assert is_hungry(view, backlogs, lead_s)


@pytest.mark.parametrize(("waiting", "hungry"), [(20, True), (25, True), (26, False), (500, False)])
def test_a_loaded_slot_is_hungry_below_two_leads_and_a_call_of_work(waiting: int, *, hungry: bool) -> None:
    # Two places at 4 s a call, shared with one more slot: 1 s of work a call for each; hints take 10.5 s.
    work = backlog(waiting, call_s=4.0, holders=2)
    assert is_hungry(slot(["1b"], parallel=2), {"1b": work}, 10.5) == hungry
    assert is_hungry(slot(["1b"], parallel=2), {"1b": work, "3b": backlog(0)}, 10.5) == hungry


@pytest.mark.parametrize(("waiting", "hungry"), [(256, True), (257, False)])
def test_a_slot_is_not_hungry_where_a_round_of_other_work_waits(waiting: int, *, hungry: bool) -> None:
    waits = {"1b": backlog(0, holders=1), "3b": backlog(waiting)}
    assert round_s(waits) == 256
    assert is_hungry(slot(["1b"]), waits, 10.0) == hungry


def test_slots_want_enough_calls_of_one_model_to_make_a_load_on_a_second_slot_worth_it() -> None:
    """The calls left after the lead time must outlast the change, else the second slot would stay empty for ever."""
    for lead_s, load_s in ((0.0, 5.0), (5.0, 5.0), (0.1, 60.0), (60.0, 0.1)):
        for holders in (1, 2, 5):
            calls = backlog(0, load_s=load_s, holders=holders)
            wanted = next(n for n in range(100_000) if not is_hungry(slot(), {"1b": calls._replace(waiting=n)}, lead_s))
            left = wanted - holders * lead_s  # the other slots work off so many calls during the lead time
            assert next_model(slot(), {"1b": calls._replace(waiting=left)}) == "1b"


@given(backlogs=BACKLOGS, model=st.sampled_from(MODELS), more=st.floats(0, 1000), lead_s=st.floats(0, 100))
@SOME_PASSED_OVER
def test_slots_that_are_full_stay_full_when_more_calls_wait(
    backlogs: Backlogs, model: str, more: float, lead_s: float
) -> None:
    if is_full(backlogs, lead_s):
        assert is_full(with_more(backlogs, model, more), lead_s)


def test_slots_are_full_where_one_model_has_two_rounds_of_work_on_its_own_places() -> None:
    others = {"1b": backlog(0), "3b": backlog(0)}
    two_rounds = 2 * ROUND * (2 + 2 + 41)
    for waiting, full in ((two_rounds + 4 * 5 + 2, False), (two_rounds + 4 * 5 + 3, True)):
        assert is_full({**others, "8b": backlog(waiting, load_s=40.0)}, lead_s=5.0) == full
        assert is_full({**others, "8b": backlog(4 * waiting, load_s=40.0, places=4)}, lead_s=5.0) == full


def test_a_model_that_no_slot_serves_fills_nothing() -> None:
    assert not is_full({"1b": backlog(math.inf, places=0, slots=0)}, 0.0)
