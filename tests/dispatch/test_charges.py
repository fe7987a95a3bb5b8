"""charges.py: what a call may cost at most, and what each account charges."""

from __future__ import annotations

import datetime as dt

from eli5b_batch.dispatch.budget import worst_cost
from eli5b_batch.dispatch.charges import Charges
from eli5b_batch.job.prices import Price

MESSAGES = [{"role": "user", "content": "Why?" * 50}]
CHEAP = Price(input=0.15, output=0.6, as_of=dt.date(2026, 7, 1))
DEAR = Price(input=0.27, output=0.85, as_of=dt.date(2026, 7, 1))


def test_the_dearest_account_decides_what_a_call_may_cost() -> None:
    charges = Charges({"a": CHEAP, "b": DEAR, "c": "free"})
    assert charges.dearest(MESSAGES, 100) == worst_cost(DEAR, MESSAGES, 100)


def test_which_account_is_dearest_depends_on_the_call() -> None:
    long_input, long_output = CHEAP.model_copy(update={"output": 0.0}), CHEAP.model_copy(update={"input": 0.0})
    charges = Charges({"a": long_input, "b": long_output})
    assert charges.dearest(MESSAGES, 1) == worst_cost(long_input, MESSAGES, 1)
    assert charges.dearest(MESSAGES, 9999) == worst_cost(long_output, MESSAGES, 9999)


def test_a_model_that_is_free_or_of_unknown_price_everywhere_reserves_nothing() -> None:
    assert Charges({"a": "unknown", "b": "free"}).dearest(MESSAGES, 100) == 0.0
    assert Charges({"": None}).dearest(MESSAGES, 100) == 0.0


def test_each_account_has_its_own_charge_and_the_charge_of_the_only_account_holds_for_every_slot() -> None:
    charges = Charges({"a": CHEAP, "b": "unknown"})
    assert (charges.at("a"), charges.at("b")) == (CHEAP, "unknown")
    assert [Charges({"": DEAR}).at(slot) for slot in (None, "gpu0")] == [DEAR, DEAR]
