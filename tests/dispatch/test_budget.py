from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.dispatch.budget import Budget, cost, input_bound, worst_cost
from eli5b_batch.errors import BudgetError
from eli5b_batch.job.prices import Price

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)

PRICE = Price(input=0.27, output=0.85, as_of=dt.date(2026, 3, 1))


def byte_level_tokens(messages: list[dict[str, str]]) -> int:
    """Return the tokens of a tokeniser that knows no words, with the longest chat template in common use, Llama 3's.

    The template has a token for the beginning and three around each role, a system message of its own with two dates,
    and an open header of the assistant at the end. Other text has one token per byte.
    """
    dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2026\n\n"
    turns = [("system", dates), *((m["role"], m["content"]) for m in messages), ("assistant", "")]
    return 1 + sum(3 + len(f"{role}\n\n{content}".encode()) for role, content in turns)


@given(contents=st.lists(st.text(), min_size=1, max_size=8))
def test_the_bound_of_a_prompt_is_never_below_its_tokens(contents: list[str]) -> None:
    roles = ["system", "user", "assistant"]
    messages = [{"role": roles[i % 3], "content": content} for i, content in enumerate(contents)]
    assert input_bound(messages) >= byte_level_tokens(messages)


def test_money_is_counted_in_usd_per_million_tokens() -> None:
    assert cost(PRICE, {"input_tokens": 1_000_000, "output_tokens": 2_000_000}) == pytest.approx(0.27 + 1.70)
    assert cost(PRICE, {}) == 0
    message = [{"role": "user", "content": "x" * 1000}]
    assert worst_cost(PRICE, message, 1024) == pytest.approx((0.27 * input_bound(message) + 0.85 * 1024) / 1e6)
    assert worst_cost(PRICE, message, 1024) > cost(PRICE, {"input_tokens": 1000, "output_tokens": 1024})


@given(
    cap=st.floats(0.001, 10),
    spent=st.floats(0, 2),
    calls=st.lists(
        st.tuples(
            st.one_of(st.just(0.0), st.floats(1e-6, 3)),  # the most that the call can cost
            st.one_of(st.none(), st.floats(0, 1)),  # the share of the most that it does cost; None: it broke off
            st.floats(0, 5),
            st.floats(0, 5),
            st.booleans(),
        ),
        max_size=30,
    ),
)
@settings(max_examples=100)
def test_the_cap_holds_for_any_order_of_events_and_nobody_waits_for_ever(
    virtual: Virtual,
    cap: float,
    spent: float,
    calls: list[tuple[float, float | None, float, float, bool]],
) -> None:
    async def main() -> None:
        budget = Budget(cap, spent)
        in_flight = 0.0
        bill = spent
        most = spent

        async def call(worst: float, share: float | None, delay_s: float, work_s: float, *, impatient: bool) -> None:
            nonlocal in_flight, bill, most
            await asyncio.sleep(delay_s)
            try:
                async with asyncio.timeout(1 if impatient else None):
                    await budget.reserve(worst)
            except TimeoutError:
                return
            except BudgetError:
                assert in_flight == pytest.approx(0)
                assert bill + worst > cap - 1e-9
                return
            in_flight += worst
            most = max(most, (bill + in_flight) * (worst > 0))
            await asyncio.sleep(work_s)
            in_flight -= worst
            bill += worst if share is None else worst * share  # at worst, a call that broke off is billed in full
            budget.settle(worst, None if share is None else worst * share)

        async with asyncio.TaskGroup() as group:
            for worst, share, delay_s, work_s, impatient in calls:
                group.create_task(call(worst, share, delay_s, work_s, impatient=impatient))
        assert most <= max(cap, spent) + 1e-9
        assert budget.spent + budget.unconfirmed == pytest.approx(bill)

    virtual(main())


async def test_a_call_that_does_not_fit_waits_for_one_in_flight_to_cost_less_than_its_most() -> None:
    budget = Budget(1.0)
    await budget.reserve(0.6)
    waiting = asyncio.create_task(budget.reserve(0.6))
    await asyncio.sleep(1)
    assert not waiting.done()
    budget.settle(0.6, 0.1)
    await waiting
    assert budget.spent == 0.1


async def test_with_nothing_in_flight_to_wait_for_the_budget_is_used_up_and_the_message_says_what_to_do() -> None:
    budget = Budget(1.0, spent=0.75)
    with pytest.raises(BudgetError, match=r"budget of \$1 is used up: \$0.7500 spent.*raise budget.usd"):
        await budget.reserve(0.26)
    await budget.reserve(0.25)  # a smaller amount still fits, to the cent


async def test_a_waiting_call_fails_when_the_last_call_in_flight_leaves_too_little() -> None:
    budget = Budget(1.0)
    await budget.reserve(0.9)
    waiting = asyncio.create_task(budget.reserve(0.5))
    await asyncio.sleep(1)
    budget.settle(0.9, 0.9)
    with pytest.raises(BudgetError):
        await waiting


async def test_a_call_that_broke_off_keeps_its_reservation_as_possibly_spent() -> None:
    budget = Budget(1.0)
    await budget.reserve(0.7)
    budget.settle(0.7, None)
    assert (budget.spent, budget.unconfirmed) == (0.0, 0.7)
    with pytest.raises(BudgetError, match=r"\$0.7000 more may have been billed"):
        await budget.reserve(0.4)


async def test_free_calls_go_on_when_the_budget_is_used_up_or_was_lowered() -> None:
    budget = Budget(1.0, spent=2.0)
    await budget.reserve(0.0)
    budget.settle(0.0, 0.0)
    with pytest.raises(BudgetError):
        await budget.reserve(0.0001)


async def test_free_calls_in_flight_are_not_waited_for() -> None:
    budget = Budget(1.0)
    await budget.reserve(0.0)
    with pytest.raises(BudgetError):
        await budget.reserve(1.1)


async def test_without_a_cap_money_is_only_counted() -> None:
    budget = Budget(None)
    for _ in range(10):
        await budget.reserve(1e6)
        budget.settle(1e6, 5.0)
    assert budget.spent == 50


async def test_a_long_run_of_awkward_amounts_leaves_nothing_reserved() -> None:
    budget = Budget(1e6)
    for i in range(20_000):
        await budget.reserve(1e4 / 3 + i * 1e-7)
        await budget.reserve(0.1)
        budget.settle(1e4 / 3 + i * 1e-7, 0.0)
        if i % 1000 == 999:
            budget.settle(0.1, 0.0)
    for _ in range(20_000 - 20):
        budget.settle(0.1, 0.0)
    with pytest.raises(BudgetError):  # and does not wait, as no call is in flight
        await budget.reserve(1e6 + 1)
    await budget.reserve(1e6)


def test_cached_input_has_its_own_price_where_the_job_gives_one() -> None:
    usage = {"input_tokens": 1_000_000, "cached_input_tokens": 400_000, "output_tokens": 0}
    day = dt.date(2026, 3, 1)
    assert cost(Price(input=1.0, output=2.0, as_of=day), usage) == pytest.approx(1.0)
    assert cost(Price(input=1.0, output=2.0, cached_input=0.1, as_of=day), usage) == pytest.approx(0.64)
