"""What the dispatcher does with calls that get 429s: it waits for a limit, and gives a poisoned prompt up."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.backends.base import ChatReply, ChatRequest, ModelFacts
from eli5b_batch.backends.dialects import PLAIN, Manner
from eli5b_batch.dispatch.api.account import Account
from eli5b_batch.dispatch.api.gate import Gate
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.charges import Charges
from eli5b_batch.dispatch.dispatcher import Dispatcher, Outcome
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import ProviderDownError, RateLimitedError
from eli5b_batch.job.schema import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

pytestmark = pytest.mark.looptime(idle_timeout=0.1)

HALF_AN_HOUR = 1800.0


def now() -> float:
    return asyncio.get_running_loop().time()


def question(key: str, model: str = "m") -> ChatRequest:
    return ChatRequest(key, model, [{"role": "user", "content": "Why?"}], {"max_tokens": 100}, 7)


class Host:
    """A host that answers in a second, or refuses at once where `refuses` returns an error; `sent` counts by key."""

    def __init__(self, refuses: Callable[[ChatRequest], RateLimitedError | None]) -> None:
        self._refuses = refuses
        self.sent: Counter[str] = Counter()
        self.at: dict[str, list[float]] = {}
        self.silent: dict[str, str] = {}

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:  # noqa: ARG002
        self.sent[request.key] += 1
        self.at.setdefault(request.key, []).append(now())
        await asyncio.sleep(0.01)
        refusal = self._refuses(request)
        if refusal is not None:
            raise refusal
        await asyncio.sleep(1)
        return ChatReply("because", "stop", {"input_tokens": 20, "output_tokens": 40})

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        raise NotImplementedError

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:  # noqa: ARG002 (as `Backend` has it)
        return Manner(PLAIN, "in a test", {}, "")

    async def close(self) -> None:
        raise NotImplementedError


class Run:
    """A dispatcher of one provider with one account."""

    def __init__(self, host: Host, *, concurrency: int = 8, several_models: bool = False) -> None:
        limits = Limits(concurrency=concurrency, requests_per_minute=60_000)
        self.stop = Stop()
        self.account = Account("http://api", limits, now, several_models=several_models)
        self.dispatcher = Dispatcher(
            "api",
            backends={"": host},
            capacity=Gate([self.account], now),
            budget=Budget(None),
            stop=self.stop,
            attempts=6,
            timeout_s=600.0,
            clock=now,
            randomness=random.Random(1),
            give_up_after_s=HALF_AN_HOUR,
        )

    async def ask(self, *requests: ChatRequest) -> dict[str, Outcome]:
        """Send the requests; return their outcomes when each has one, or those so far when the run stops."""
        outcomes: dict[str, Outcome] = {}

        async def send(order: int, request: ChatRequest) -> None:
            await self.dispatcher.send(request, order, Charges({"": None}), partial(outcomes.__setitem__, request.key))

        tasks = [asyncio.create_task(send(i, request)) for i, request in enumerate(requests)]
        stopped = asyncio.create_task(self.stop.stopped())
        pending: set[asyncio.Task[None]] = {*tasks, stopped}
        while stopped in pending and len(pending) > 1:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, stopped, return_exceptions=True)
        return outcomes


def poisoned(*keys: str, retry_after: float | None = None) -> Callable[[ChatRequest], RateLimitedError | None]:
    refusal = RateLimitedError("the moon is full", retry_after=retry_after)
    return lambda request: refusal if request.key in keys else None


async def test_a_call_refused_six_times_while_six_others_are_answered_has_failed_with_the_hosts_sentence() -> None:
    host = Host(poisoned("3"))
    run = Run(host)
    outcomes = await run.ask(*(question(str(n)) for n in range(200)))
    error = outcomes["3"].error
    assert error is not None
    assert (error.kind, error.status, host.sent["3"]) == ("refused", 429, 6)
    assert "the moon is full" in str(error)
    assert [key for key, outcome in outcomes.items() if outcome.reply is None] == ["3"]
    assert host.sent.total() == 199 + 6


async def test_it_holds_nobody_up() -> None:
    async def seconds(*refused: str) -> float:
        began = now()
        await Run(Host(poisoned(*refused))).ask(*(question(str(n)) for n in range(400)))
        return now() - began

    undisturbed = await seconds()
    assert await seconds("3") <= 1.1 * undisturbed
    assert await seconds(*(str(n) for n in range(3, 400, 40))) <= 1.3 * undisturbed


async def test_the_first_429_of_a_model_after_a_long_while_does_not_end_the_run() -> None:
    refuses = {"now": True}
    host = Host(lambda _: RateLimitedError("busy", retry_after=None) if refuses["now"] else None)
    run = Run(host)
    assert (await run.ask(question("0")))["0"].error is not None
    await asyncio.sleep(4 * HALF_AN_HOUR)
    task = asyncio.create_task(run.ask(question("1")))
    await asyncio.sleep(0.5)
    refuses["now"] = False
    assert (await task)["1"].reply is not None
    assert run.stop.reason is None


@pytest.mark.parametrize("retry_after", [None, 7.0])
async def test_a_call_alone_has_failed_after_six_refusals_each_after_the_wait_that_the_host_asks_for(
    retry_after: float | None,
) -> None:
    host = Host(poisoned("3", retry_after=retry_after))
    (outcome,) = (await Run(host).ask(question("3"))).values()
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.attempts) == ("refused", 6)
    waits = [b - a - 0.01 for a, b in zip(host.at["3"], host.at["3"][1:], strict=False)]
    assert waits == pytest.approx([1, 2, 4, 8, 16] if retry_after is None else [7] * 5, abs=0.02)


async def test_several_refused_calls_that_are_left_fail_once_others_have_been_answered_meanwhile() -> None:
    host = Host(poisoned("0", "1", "2"))
    outcomes = await Run(host).ask(*(question(str(n)) for n in range(8)))
    assert {key: o.error.kind for key, o in outcomes.items() if o.error} == {
        "0": "refused",
        "1": "refused",
        "2": "refused",
    }
    assert set(host.sent.values()) == {1, 6}


async def test_several_refused_calls_fail_without_other_answers_where_no_more_problems_will_be_begun() -> None:
    run = Run(Host(poisoned("0", "1")))
    run.dispatcher.refused.nothing_to_come = True
    outcomes = await run.ask(question("0"), question("1"))
    assert [outcome.error.kind for outcome in outcomes.values() if outcome.error] == ["refused", "refused"]


async def test_an_account_that_lets_nothing_through_fails_no_call_and_the_run_gives_up() -> None:
    host = Host(lambda _: RateLimitedError("come back tomorrow", retry_after=None))
    run = Run(host)
    began = now()
    assert await run.ask(*(question(str(n)) for n in range(20))) == {}
    assert isinstance(run.stop.reason, ProviderDownError)
    assert "m has got nothing but 429s for 30m 00s, the last failure: come back tomorrow" in str(run.stop.reason)
    assert now() - began == pytest.approx(HALF_AN_HOUR, abs=1)
    assert max(host.sent.values()) > 6


async def test_a_wait_longer_than_the_patience_of_the_run_ends_it_in_time() -> None:
    run = Run(Host(lambda _: RateLimitedError("an hour", retry_after=3000.0)))
    began = now()
    await run.ask(question("0"), question("1"))
    assert isinstance(run.stop.reason, ProviderDownError)
    assert now() - began == pytest.approx(HALF_AN_HOUR, abs=1)


async def test_the_calls_of_a_model_that_is_limited_hold_up_no_other_model() -> None:
    allowed_at = {"until": 120.0}

    def limited(request: ChatRequest) -> RateLimitedError | None:
        if request.model == "small" and now() < allowed_at["until"]:
            return RateLimitedError("small is limited", retry_after=30.0, of_model=True)
        return None

    host = Host(limited)
    run = Run(host, several_models=True)
    ended: dict[str, float] = {}

    async def ask(model: str, n: int) -> None:
        key = f"{model}{n}"
        await run.dispatcher.send(question(key, model), n, Charges({"": None}), lambda _: ended.update({key: now()}))

    await asyncio.gather(*(ask(model, n) for n in range(40) for model in ("small", "large")))
    assert max(at for key, at in ended.items() if key.startswith("large")) < 15
    assert min(at for key, at in ended.items() if key.startswith("small")) > 119
    assert host.sent.total() < 80 + 5 * 8  # at each pause, one round of the calls in flight is refused


async def test_a_limit_that_is_met_again_and_again_fails_nobody() -> None:
    tokens = {"left": 5.0, "at": 0.0}

    def bucket(_: ChatRequest) -> RateLimitedError | None:
        tokens["left"] = min(5.0, tokens["left"] + 5.0 * (now() - tokens["at"]))
        tokens["at"] = now()
        if tokens["left"] < 1:
            return RateLimitedError("too fast", retry_after=None)
        tokens["left"] -= 1
        return None

    outcomes = await Run(Host(bucket), concurrency=64).ask(*(question(str(n)) for n in range(500)))
    assert [key for key, outcome in outcomes.items() if outcome.reply is None] == []


async def test_the_dashboard_sees_what_a_provider_waits_for() -> None:
    run = Run(Host(lambda _: RateLimitedError("wait", retry_after=30.0)))
    task = asyncio.create_task(run.ask(question("0")))
    await asyncio.sleep(10)
    figures = run.dispatcher.snapshot()
    assert figures["waiting_for"] == "the end of a pause that the host asks for, in 20s"
    assert (figures["last_error"], figures["last_error_s"]) == ("wait", pytest.approx(10, abs=0.1))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
