from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.backends.base import Advice
from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.capacity import Need
from eli5b_batch.errors import ProviderDownError, RateLimitedError, RetryableError
from eli5b_batch.job.schema import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from eli5b_batch.dispatch.capacity import Place
    from eli5b_batch.errors import CallError

    Virtual = Callable[[Coroutine[Any, Any, None]], None]

pytestmark = pytest.mark.looptime(idle_timeout=0.1, noop_cycles=0)

URL = "https://api/v1"
BROKEN = RetryableError("server_error", "503", status=503)
REFUSED = RetryableError("connection", "can't connect", unsent=True)


def new_gate(**limits: float | bool) -> Gate:
    return Gate([Account(URL, Limits.model_validate(limits), now)], now)


def of_members(*members: Account, give_up_after_s: float = 1e9) -> Gate:
    return Gate(members, now, give_up_after_s=give_up_after_s)


def member(name: str, concurrency: int = 16, weight: float = 1.0, per_minute: float = 60_000) -> Account:
    limits = Limits(concurrency=concurrency, requests_per_minute=per_minute)
    return Account(f"https://{name}/v1", limits, now, name=name, weight=weight)


def now() -> float:
    return asyncio.get_running_loop().time()


def need(order: int = 0, tokens: float = 0.0) -> Need:
    return Need("m", order, tokens)


def ask(gate: Gate, order: int = 0, tokens: float = 0.0) -> asyncio.Task[Place]:
    return asyncio.create_task(gate.acquire(need(order, tokens)))


def give_back(gate: Gate, place: Place, failure: CallError | None = None) -> None:
    gate.release(place, tokens=int(place.need.tokens), failure=failure)


def too_many(retry_after: float | None = None) -> RateLimitedError:
    return RateLimitedError("429", retry_after=retry_after)


async def opened_at(gate: Gate) -> float:
    """Return when the next call is let through; give its place back at once, as after a reply."""
    give_back(gate, await gate.acquire(need()))
    return now()


async def test_a_place_says_where_the_call_goes() -> None:
    place = await new_gate(concurrency=1).acquire(need())
    assert (place.base_url, place.slot, place.need, place.loading) == (URL, None, need(), False)


@given(orders=st.lists(st.integers(0, 5), min_size=1, max_size=30))
@settings(max_examples=50)
def test_the_oldest_problem_comes_first_and_within_it_the_call_that_waited_longest(
    virtual: Virtual, orders: list[int]
) -> None:
    async def main() -> None:
        gate = new_gate(concurrency=1)
        served: list[tuple[int, int]] = []

        async def call(order: int, i: int) -> None:
            place = await gate.acquire(need(order))
            served.append((order, i))
            give_back(gate, place)

        taken = await gate.acquire(need())
        async with asyncio.TaskGroup() as group:
            for i, order in enumerate(orders):
                group.create_task(call(order, i))
            await asyncio.sleep(1)
            give_back(gate, taken)
        assert served == sorted((order, i) for i, order in enumerate(orders))

    virtual(main())


@given(
    concurrency=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    calls=st.lists(
        st.tuples(
            st.floats(0, 3), st.floats(0, 3), st.sampled_from([None, too_many(), BROKEN, REFUSED]), st.integers(0, 9)
        ),
        max_size=40,
    ),
    per_minute=st.sampled_from([None, 60, 600, 6000]),
    adaptive=st.booleans(),
)
@settings(max_examples=50)
def test_everybody_is_served_and_never_more_at_once_than_the_concurrency(
    virtual: Virtual,
    concurrency: list[int],
    calls: list[tuple[float, float, CallError | None, int]],
    per_minute: float | None,
    *,
    adaptive: bool,
) -> None:
    async def main() -> None:
        shared: dict[str, Any] = {"requests_per_minute": per_minute, "tokens_per_minute": 60_000, "adaptive": adaptive}
        gate = of_members(
            *(Account(URL, Limits(concurrency=c, **shared), now, name=f"m{i}") for i, c in enumerate(concurrency))
        )
        most: Counter[str | None] = Counter()
        in_flight: Counter[str | None] = Counter()

        async def call(delay_s: float, lasts_s: float, failure: CallError | None, order: int) -> None:
            await asyncio.sleep(delay_s)
            place = await gate.acquire(need(order, tokens=100))
            in_flight[place.slot] += 1
            most[place.slot] = max(most[place.slot], in_flight[place.slot])
            await asyncio.sleep(lasts_s)
            in_flight[place.slot] -= 1
            give_back(gate, place, failure)

        async with asyncio.TaskGroup() as group:
            for delay_s, lasts_s, failure, order in calls:
                group.create_task(call(delay_s, lasts_s, failure, order))
        assert all(most[f"m{i}"] <= c for i, c in enumerate(concurrency))
        assert gate.snapshot()["in_flight"] == gate.snapshot()["queued"] == 0

    virtual(main())


async def test_calls_keep_their_distance_under_requests_per_minute() -> None:
    gate = new_gate(concurrency=100, requests_per_minute=120)
    assert [await opened_at(gate) for _ in range(4)] == pytest.approx([0, 0.5, 1.0, 1.5])


async def test_calls_wait_for_their_estimate_of_tokens_and_settle_what_was_used() -> None:
    gate = new_gate(concurrency=100, tokens_per_minute=6000)
    place = await gate.acquire(need(tokens=100))
    assert now() == pytest.approx(0.25)
    gate.release(place, tokens=75)
    await gate.acquire(need(tokens=25))
    assert now() == pytest.approx(1.0)


async def test_a_caller_that_is_cancelled_uses_nothing_up() -> None:
    gate = new_gate(concurrency=100, tokens_per_minute=6000, requests_per_minute=60)
    give_back(gate, await gate.acquire(need()))
    leaving = ask(gate, tokens=80)
    await asyncio.sleep(0.9)
    leaving.cancel()
    await asyncio.sleep(0.2)
    await gate.acquire(need(tokens=25))
    assert now() == pytest.approx(1.1)


async def test_a_large_call_at_the_head_is_not_overtaken() -> None:
    gate = new_gate(concurrency=100, tokens_per_minute=6000, requests_per_minute=60_000)
    large, small = ask(gate, order=1, tokens=5000), [ask(gate, order=2, tokens=1) for _ in range(50)]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in (large, *small))
    await asyncio.sleep(0.1)
    assert large.done()
    await asyncio.sleep(49)
    assert not any(task.done() for task in small)  # the tokens of the large call are paid for first
    await asyncio.gather(*small)
    assert now() == pytest.approx(0.25 + 49.75 + 0.5, abs=0.3)


async def test_an_older_call_that_comes_later_goes_out_first() -> None:
    gate = new_gate(concurrency=100, requests_per_minute=60)
    give_back(gate, await gate.acquire(need()))
    young = ask(gate, order=9)
    await asyncio.sleep(0.5)
    await gate.acquire(need(order=1))
    assert now() == pytest.approx(1)
    assert not young.done()
    await young
    assert now() == pytest.approx(2)


async def test_a_429_without_advice_slows_everyone_once() -> None:
    gate = new_gate(concurrency=8, requests_per_minute=600)
    places = [await gate.acquire(need()) for _ in range(5)]
    for place in places:
        give_back(gate, place, too_many())
    shown = gate.snapshot()
    assert (shown["rate_limited"], shown["concurrency"]) == (5, 8)
    times = [await opened_at(gate) for _ in range(3)]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([0.2, 0.2], abs=0.02)


async def test_no_call_is_let_through_during_a_pause_not_even_the_one_that_was_next() -> None:
    gate = new_gate(concurrency=8, requests_per_minute=60)
    place = await gate.acquire(need())
    following = ask(gate)
    await asyncio.sleep(0.5)
    give_back(gate, place, too_many(30))
    await following
    assert now() == pytest.approx(30.5)


async def test_a_night_of_429s_is_survived() -> None:
    gate = new_gate(concurrency=1)
    for _ in range(1100):
        give_back(gate, await gate.acquire(need()), too_many(1))
    assert now() == pytest.approx(1099, rel=0.01)


async def test_limits_that_are_not_adaptive_stay() -> None:
    gate = new_gate(concurrency=100, requests_per_minute=600, adaptive=False)
    for _ in range(5):
        give_back(gate, await gate.acquire(need()), too_many())
    times = [await opened_at(gate) for _ in range(4)]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([0.1] * 3)
    assert gate.snapshot()["requests_limit"] == 600


async def test_a_reply_that_names_a_limit_changes_the_pace() -> None:
    gate = new_gate(concurrency=100)
    gate.release(await gate.acquire(need()), tokens=1, advice=Advice(requests_per_s=2))
    times = [await opened_at(gate) for _ in range(4)]
    assert [b - a for a, b in itertools.pairwise(times)][1:] == pytest.approx([0.5, 0.5])


async def test_members_share_the_calls_by_weight_while_they_have_room() -> None:
    gate = of_members(member("a", 100, weight=1.0), member("b", 100, weight=3.0))
    places = [await gate.acquire(need()) for _ in range(40)]
    assert Counter(place.slot for place in places) == {"a": 10, "b": 30}
    assert {place.base_url for place in places} == {"https://a/v1", "https://b/v1"}


async def test_a_member_that_is_full_leaves_the_calls_to_the_others() -> None:
    gate = of_members(member("a", 2, weight=100.0), member("b", 100))
    places = [await gate.acquire(need()) for _ in range(10)]
    assert Counter(place.slot for place in places) == {"a": 2, "b": 8}
    waiting = [ask(gate) for _ in range(95)]
    await asyncio.sleep(1)
    assert sum(task.done() for task in waiting) == 92
    give_back(gate, next(place for place in places if place.slot == "a"))
    await asyncio.sleep(1)
    assert sum(task.done() for task in waiting) == 93


async def test_two_limits_add_up() -> None:
    gate = of_members(member("a", per_minute=600), member("b", per_minute=1200))
    times = [await opened_at(gate) for _ in range(61)]
    assert times[-1] == pytest.approx(2.0, abs=0.05)


async def test_a_member_that_is_down_or_paused_leaves_the_calls_to_the_others() -> None:
    gate = of_members(member("a"), member("b"), member("c"))
    first = {place.slot: place for place in [await gate.acquire(need()) for _ in range(3)]}
    give_back(gate, first["a"], REFUSED)
    give_back(gate, first["b"], too_many(30))
    places = [await gate.acquire(need()) for _ in range(15)]
    assert (gate.is_down(first["a"]), gate.is_down(first["b"]), now()) == (True, False, 0)
    assert {place.slot for place in places} == {"c"}


async def test_one_dropped_connection_and_four_failures_are_nothing() -> None:
    gate = new_gate(concurrency=10)
    for _ in range(4):
        place = await gate.acquire(need())
        await asyncio.sleep(1)
        give_back(gate, place, RetryableError("connection", "dropped"))
        assert not gate.is_down(place)
    assert now() == 4


async def test_in_an_outage_one_probe_goes_out_at_a_time_and_when_it_is_answered_all_do() -> None:
    gate = new_gate(concurrency=10, requests_per_minute=60_000)
    sent: list[float] = []

    async def call() -> None:
        while True:
            place = await gate.acquire(need())
            sent.append(now())
            await asyncio.sleep(0.1)
            if now() < 60:
                give_back(gate, place, REFUSED)
            else:
                give_back(gate, place)
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(call())
    probes = [at for at in sent if 0 < at < 61.65]
    assert probes == pytest.approx([1.1, 3.2, 7.3, 15.4, 31.5, 61.6])
    assert len(sent) == 10 + 5 + 50
    assert max(sent) < 63


async def test_a_probe_whose_caller_is_cancelled_leaves_its_turn_to_the_next() -> None:
    gate = new_gate(concurrency=10)
    give_back(gate, await gate.acquire(need()), REFUSED)
    probe = await gate.acquire(need())
    waiting = ask(gate)
    await asyncio.sleep(5)
    assert not waiting.done()
    gate.release(probe)
    await waiting
    assert now() == pytest.approx(6)


async def fail_until_given_up(gate: Gate, failure: RetryableError) -> None:
    async def fail() -> None:
        while True:
            give_back(gate, await gate.acquire(need()), failure)

    failing = asyncio.create_task(fail())
    try:
        await gate.run()
    finally:
        failing.cancel()


async def test_an_outage_of_every_member_that_lasts_too_long_ends_the_run() -> None:
    gate = of_members(member("a"), member("b"), give_up_after_s=100)
    with pytest.raises(ProviderDownError, match=r"nothing has worked for \d+m \d\ds, the last failure: can't connect"):
        await fail_until_given_up(gate, REFUSED)
    assert 100 <= now() <= 131


@pytest.mark.parametrize("works", ["one member", "one call a minute"])
async def test_while_anything_works_nobody_gives_up(works: str) -> None:
    gate = of_members(member("a"), member("b"), give_up_after_s=100)

    async def call() -> None:
        while now() < 5000:
            place = await gate.acquire(need())
            await asyncio.sleep(1)
            good = place.slot == "b" if works == "one member" else now() % 60 < 40
            give_back(gate, place, None if good else REFUSED)

    watching = asyncio.create_task(gate.run())
    await call()
    assert not watching.done()
    watching.cancel()


async def test_nobody_gives_up_on_a_provider_that_no_call_waits_for() -> None:
    gate = of_members(member("a"), give_up_after_s=100)
    watching = asyncio.create_task(gate.run())
    give_back(gate, await gate.acquire(need()), REFUSED)
    await asyncio.sleep(1e5)
    assert not watching.done()
    watching.cancel()


async def test_the_dashboard_sees_what_goes_on() -> None:
    gate = new_gate(concurrency=2, requests_per_minute=6000)
    first = await gate.acquire(need(tokens=50))
    await gate.acquire(need())
    waiting = ask(gate)
    await asyncio.sleep(1)
    shown = gate.snapshot()
    assert (shown["in_flight"], shown["queued"], shown["concurrency"]) == (2, 1, 2)
    assert (shown["requests_limit"], shown["tokens_limit"], shown["rate_limited"]) == (6000, None, 0)
    assert (shown["down_s"], shown["limit_history"]) == (None, [(0.0, 6000.0)])
    give_back(gate, first)
    await waiting
    assert gate.snapshot()["tokens_per_minute"] == pytest.approx(50 * 60, rel=0.1)
    assert gate.snapshot()["requests_per_minute"] == pytest.approx(3 * 60, rel=0.1)


async def test_the_dashboard_sees_all_members_together() -> None:
    gate = of_members(member("a", 2, per_minute=600), member("b", 3, per_minute=60))
    for _ in range(2):
        give_back(gate, await gate.acquire(need()), REFUSED)
    await asyncio.sleep(2)
    shown = gate.snapshot()
    assert (shown["concurrency"], shown["requests_limit"], shown["tokens_limit"]) == (5, 660, None)
    assert shown["down_s"] == 2


async def test_a_model_held_up_by_its_own_limits_leaves_its_places_to_others() -> None:
    account = Account(URL, Limits(concurrency=4, requests_per_minute=60_000), now, several_models=True)
    gate = Gate([account], now)
    first = await gate.acquire(Need("small", 0, 0.0))
    gate.release(first, tokens=0, failure=RateLimitedError("small", retry_after=None, of_model=True))
    waiting = [asyncio.create_task(gate.acquire(Need("small", 0, 0.0))) for _ in range(20)]
    await asyncio.sleep(0.1)
    assert (gate.is_held_up(), gate.is_full(0.0)) == (True, False)
    large = [await gate.acquire(Need("large", 9, 0.0)) for _ in range(4)]
    assert not gate.is_held_up()
    assert not any(task.done() for task in waiting)
    for place in large:
        give_back(gate, place)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
