from __future__ import annotations

import math

import pytest

from eli5b_batch.backends.base import Advice
from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.capacity import Need, Place
from eli5b_batch.errors import BadReplyError, CallError, RateLimitedError, RetryableError
from eli5b_batch.job.schema import Limits

URL = "https://api/v1"
BROKEN = RetryableError("server_error", "503", status=503)
REFUSED = RetryableError("connection", "can't connect", unsent=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def new_account(clock: Clock, **limits: float | bool) -> Account:
    return Account(URL, Limits.model_validate({"concurrency": 100, **limits}), clock)


def start(account: Account, tokens: float = 0.0) -> Place:
    assert account.due_in(tokens) == 0
    return account.start(Need("m", 0, tokens))


def finish(
    account: Account,
    place: Place,
    failure: CallError | None = None,
    *,
    tokens: int | None = 0,
    advice: Advice | None = None,
) -> None:
    account.finish(place, tokens=tokens, failure=failure, advice=advice)


def too_many(retry_after: float | None = None, scope: str | None = None) -> RateLimitedError:
    return RateLimitedError("429", retry_after=retry_after, scope=scope)


def refuse(account: Account, *failures: RateLimitedError, tokens: float = 0.0) -> None:
    """Send one call for each failure, all together, and let each come back with its failure."""
    places = [start(account, tokens) for _ in failures]
    for place, failure in zip(places, failures, strict=True):
        finish(account, place, failure)


def limit(account: Account, of: str = "requests") -> float | None:
    shown: float | None = account.snapshot()[f"{of}_limit"]
    return shown


def test_a_place_says_where_the_call_goes_and_as_which_member() -> None:
    clock = Clock()
    only, second = new_account(clock), Account(URL, Limits(), clock, name="b", weight=2.0)
    assert [(p.base_url, p.slot, p.need.model) for p in (start(only), start(second))] == [
        (URL, None, "m"),
        (URL, "b", "m"),
    ]


def test_never_more_are_in_flight_than_the_concurrency() -> None:
    account = new_account(Clock(), concurrency=3, requests_per_minute=60_000)
    places = [start(account) for _ in range(3)]
    assert (account.in_flight, account.due_in(0)) == (3, math.inf)
    finish(account, places[0])
    assert (account.in_flight, account.due_in(0)) == (2, 0)


def test_calls_keep_their_distance_under_requests_per_minute() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=120)
    start(account)
    assert account.due_in(0) == pytest.approx(0.45, abs=0.06)
    clock.now += account.due_in(0)
    start(account)
    assert account.due_in(0) == pytest.approx(0.5, abs=0.06)


def test_calls_wait_for_their_estimate_of_tokens_and_settle_what_was_used() -> None:
    clock = Clock()
    account = new_account(clock, tokens_per_minute=6000)
    clock.now += account.due_in(100)
    place = start(account, 100)
    assert account.due_in(20) == pytest.approx(0.95)
    finish(account, place, tokens=75)
    assert account.due_in(20) == pytest.approx(0.7)


def test_the_member_with_the_most_room_by_weight_is_the_least_loaded() -> None:
    clock = Clock()
    limits = Limits(requests_per_minute=60_000)
    light, heavy = Account(URL, limits, clock), Account(URL, limits, clock, name="b", weight=3.0)
    assert (light.load, heavy.load) == (0, 0)
    for account in (light, heavy, heavy, heavy):
        start(account)
    assert light.load == pytest.approx(heavy.load)


@pytest.mark.parametrize("advice", [0.3, 7.0, 60.0])
def test_after_a_429_everyone_waits_as_long_as_the_server_says(advice: float) -> None:
    account = new_account(Clock())
    finish(account, start(account), too_many(advice))
    assert account.due_in(0) == pytest.approx(advice)


@pytest.mark.parametrize("advice", [3600.0, math.inf])
def test_everyone_waits_an_hour_at_most_after_a_429(advice: float) -> None:
    account = new_account(Clock())
    finish(account, start(account), too_many(advice))
    assert account.due_in(0) == pytest.approx(3600)


def test_a_pause_that_headers_ask_for_is_kept_and_slows_nothing_down() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=6000)
    finish(account, start(account), tokens=10, advice=Advice(pause_s=4.0))
    assert account.due_in(0) == pytest.approx(4)
    assert limit(account) == 6000


def test_one_refused_call_slows_nobody_down_until_another_is_refused_too() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=60_000)
    refuse(account, too_many())
    assert limit(account) == 60_000
    refuse(account, too_many())
    assert limit(account) == pytest.approx(60_000 * 0.5 * 0.95)


def test_a_refusal_that_stayed_alone_among_twenty_answers_is_forgotten() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=60_000)
    refuse(account, too_many())
    for _ in range(20):
        clock.now += 1
        finish(account, start(account), tokens=10)
    refuse(account, too_many())
    assert limit(account) == 60_000
    refuse(account, too_many())
    assert limit(account) == pytest.approx(60_000 * 0.5 * 0.95, rel=0.02)


def test_a_call_that_is_refused_while_others_are_answered_says_nothing_of_the_limits() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=60_000)
    refuse(account, too_many())
    place = start(account)
    place.suspect = True
    finish(account, place, too_many(9.0))
    assert (limit(account), account.due_in(0), account.rate_limited) == (60_000, 0, 2)


def test_a_refusal_that_names_a_model_slows_and_pauses_that_model_alone() -> None:
    clock = Clock()
    account = Account(URL, Limits(requests_per_minute=60_000), clock, several_models=True)
    places = [account.start(Need("small", 0, 10.0)) for _ in range(20)]
    clock.now += 1
    for place in places[:10]:
        finish(account, place, RateLimitedError("429 small", retry_after=5.0, of_model=True))
    assert (account.due_in(0), limit(account)) == (0, 60_000)
    assert account.model_due_in(Need("small", 0, 10.0)) == pytest.approx(5)
    assert account.model_due_in(Need("large", 0, 10.0)) == 0


def test_a_model_that_is_refused_before_anything_got_through_is_probed_while_others_go_on() -> None:
    clock = Clock()
    account = Account(URL, Limits(requests_per_minute=60_000), clock, several_models=True)
    small, large = Need("small", 0, 10.0), Need("large", 0, 10.0)
    finish(
        account, account.start(small), RateLimitedError("small is limited upstream", retry_after=None, of_model=True)
    )
    waits = []
    for _ in range(4):
        waits.append(account.model_due_in(small))
        assert (account.due_in(0), account.model_due_in(large)) == (0, 0)
        clock.now += waits[-1]
        probe = account.start(small)
        assert account.model_due_in(small) == math.inf
        finish(account, probe, RateLimitedError("small is limited upstream", retry_after=None, of_model=True))
    assert waits == pytest.approx([1, 2, 4, 5])
    clock.now += 5
    finish(account, account.start(small), tokens=10)
    assert account.model_due_in(small) == 0


def test_limits_in_headers_are_a_models_own_where_those_of_another_model_differ() -> None:
    clock = Clock()
    account = Account(URL, Limits(), clock, several_models=True)
    small, large = Need("small", 0, 10.0), Need("large", 0, 10.0)
    finish(account, account.start(small), tokens=10, advice=Advice(requests_per_s=1.0))
    assert limit(account) == 60
    finish(account, account.start(large), tokens=10, advice=Advice(requests_per_s=1.0))
    assert limit(account) == 60
    finish(account, account.start(large), tokens=10, advice=Advice(requests_per_s=50.0))
    assert limit(account) is None
    clock.now += 5
    account.model_due_in(small)
    account.start(small)
    assert account.model_due_in(small) > 0.5
    assert account.model_due_in(large) == 0
    assert account.due_in(0) < 0.2
    for model in (small, large):
        finish(account, account.start(model), tokens=10, advice=Advice(requests_per_s=50.0))
    assert limit(account) == 3000
    clock.now += 5
    assert account.model_due_in(small) == 0


def test_the_cut_that_a_call_made_is_taken_back_when_it_is_refused_while_others_are_answered() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=60_000)
    poisoned, other = Need("m", 0, 10.0), Need("m", 1, 10.0)
    finish(account, account.start(other), too_many())
    finish(account, account.start(poisoned), too_many())
    assert limit(account) == pytest.approx(60_000 * 0.5 * 0.95)
    clock.now += 1
    place = account.start(poisoned)
    place.suspect = True
    finish(account, place, too_many())
    assert limit(account) == 60_000


@pytest.mark.parametrize("advice", [None, 0.0])
def test_without_advice_nobody_waits_and_all_go_more_slowly(advice: float | None) -> None:
    account = new_account(Clock(), requests_per_minute=6000)
    refuse(account, too_many(advice), too_many(advice))
    assert account.due_in(0) < 0.1
    assert limit(account) == pytest.approx(6000 * 0.5 * 0.95)


def test_calls_sent_before_a_429_came_back_slow_nobody_down_again() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=60_000)
    places = [start(account) for _ in range(50)]
    for place in places:
        finish(account, place, too_many(2.0))
        clock.now += 0.001
    assert account.rate_limited == 50
    assert limit(account) == pytest.approx(60_000 * 0.5 * 0.95, rel=0.02)
    assert account.due_in(0) == pytest.approx(2.0 - 0.049)


@pytest.mark.parametrize(
    ("limits", "scope", "slowed"),
    [
        ({"requests_per_minute": 6000.0, "tokens_per_minute": 60_000.0}, "requests", "requests"),
        ({"requests_per_minute": 6000.0, "tokens_per_minute": 60_000.0}, "tokens", "tokens"),
        ({"requests_per_minute": 6000.0, "tokens_per_minute": 60_000.0}, None, "requests"),
        ({"tokens_per_minute": 60_000.0}, None, "tokens"),
        ({"requests_per_minute": 6000.0}, None, "requests"),
        ({"tokens_per_minute": 60_000.0}, "requests", "requests"),
    ],
)
def test_a_429_slows_down_the_limit_it_is_about(limits: dict[str, float], scope: str | None, slowed: str) -> None:
    clock = Clock()
    account = new_account(clock, **limits)
    clock.now += 1
    for _ in range(2):
        refuse(account, too_many(scope=scope), tokens=10)
    for of in ("requests", "tokens"):
        job_limit = limits.get(f"{of}_per_minute")
        if of == slowed:
            assert limit(account, of) == pytest.approx((job_limit or 1200) * 0.5 * 0.95, rel=0.1)
        elif job_limit:
            assert limit(account, of) == job_limit


def test_limits_that_headers_name_are_heeded_and_never_exceed_the_jobs() -> None:
    account = new_account(Clock(), requests_per_minute=6000)
    finish(account, start(account), tokens=10, advice=Advice(requests_per_s=50, tokens_per_s=1000))
    assert (limit(account), limit(account, "tokens")) == (3000, 60_000)
    finish(account, start(account), tokens=10, advice=Advice(requests_per_s=500))
    assert (limit(account), limit(account, "tokens")) == (6000, 60_000)


def test_limits_that_are_not_adaptive_are_used_as_written() -> None:
    account = new_account(Clock(), requests_per_minute=6000, adaptive=False)
    finish(account, start(account), tokens=10, advice=Advice(requests_per_s=1))
    finish(account, start(account), too_many())
    assert (limit(account), account.snapshot()["concurrency"]) == (6000, 100)


def test_an_account_is_down_when_it_can_not_be_reached_and_one_probe_goes_out() -> None:
    clock = Clock()
    account = new_account(clock)
    finish(account, start(account), REFUSED)
    assert account.breaker.is_open
    assert account.due_in(0) == pytest.approx(1)
    clock.now += 1
    probe = start(account)
    assert account.due_in(0) == math.inf
    finish(account, probe, tokens=5)
    assert (account.breaker.is_open, account.due_in(0)) == (False, 0)


@pytest.mark.parametrize(
    "lives",
    [None, too_many(), CallError("bad_request", "400", status=400), RetryableError("bad_reply", "no JSON"),
     BadReplyError("empty_reply", "no content")],
)  # fmt: skip
def test_whatever_an_account_answers_shows_that_it_works(lives: CallError | None) -> None:
    clock = Clock()
    account = new_account(clock)
    finish(account, start(account), REFUSED)
    clock.now += 1
    finish(account, start(account), lives, tokens=0)  # not every server counts tokens
    assert not account.breaker.is_open


def test_a_probe_that_is_given_back_unsent_says_nothing() -> None:
    clock = Clock()
    account = new_account(clock)
    finish(account, start(account), REFUSED)
    clock.now += 1
    finish(account, start(account), tokens=None)
    assert (account.breaker.is_open, account.due_in(0), account.in_flight) == (True, 0, 0)


def test_a_call_that_is_given_back_unsent_costs_no_tokens() -> None:
    clock = Clock()
    account = new_account(clock, tokens_per_minute=6000)
    clock.now += 10
    finish(account, start(account, 1000), tokens=None)
    assert account.due_in(25) == 0


def test_failures_of_the_server_put_growth_off_and_cut_nothing() -> None:
    clock = Clock()
    account = new_account(clock, requests_per_minute=6000)
    for _ in range(4):
        finish(account, start(account), BROKEN)
        clock.now += 1
    assert limit(account) == 6000
    refuse(account, too_many(), too_many())
    before = limit(account)
    clock.now += 0.1
    finish(account, start(account), BROKEN)
    clock.now += 4
    assert limit(account) == pytest.approx(before, rel=0.05)


def test_the_dashboard_sees_what_goes_on() -> None:
    clock = Clock()
    account = new_account(clock, concurrency=2, requests_per_minute=6000)
    first = start(account, 50)
    start(account)
    finish(account, first, tokens=60)
    clock.now += 1
    shown = account.snapshot()
    assert (shown["in_flight"], shown["concurrency"], shown["rate_limited"], shown["down_since"]) == (1, 2, 0, None)
    assert (shown["requests_limit"], shown["tokens_limit"]) == (6000, None)
    assert (shown["requests_per_minute"], shown["tokens_per_minute"]) == pytest.approx((120, 3600), rel=0.1)
    assert shown["limit_history"] == [(1000, 6000)]
