"""The gate of one provider's accounts: which account is sent the oldest waiting call, and when.

Must not know: HTTP, retries, the journal. The gate holds the provider's queues; the accounts say when they have room.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from eli5b_batch.dispatch.capacity import CapacityBase, Need, Place, Waiting, granted
from eli5b_batch.dispatch.timing import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from eli5b_batch.backends.base import Advice
    from eli5b_batch.dispatch.api.account import Account
    from eli5b_batch.errors import CallError


class Gate(CapacityBase):
    """Hands out places on a provider's accounts, oldest call first.

    A large call at the head of the queue is not overtaken: it goes out as soon as there are enough tokens for it. Only
    where the host limits models one by one, the calls of each model wait for its limits while other models' calls go
    on. Of the accounts that have room, the least loaded by weight is sent the call.

    Args:
        accounts: at least one.
        clock: the event loop's clock, seconds.
        give_up_after_s: seconds that every account may be down before the run ends.
    """

    def __init__(
        self, accounts: Sequence[Account], clock: Callable[[], float], *, give_up_after_s: float = math.inf
    ) -> None:
        super().__init__(clock, give_up_after_s)
        self._accounts = accounts
        self._waiting: dict[str, Waiting] = {}

    async def acquire(self, need: Need) -> Place:
        """Wait for a place; see `Capacity`."""
        future = self._waiting.setdefault(need.model, Waiting()).join(need)
        self._pump_soon()
        return await granted(future, self)

    def release(
        self,
        place: Place,
        *,
        tokens: int | None = None,
        failure: CallError | None = None,
        advice: Advice | None = None,
        load_s: float = 0.0,  # noqa: ARG002 (part of the interface; an API loads nothing)
        work_s: float = 0.0,  # noqa: ARG002 (part of the interface)
    ) -> None:
        """Give a place back; see `Capacity`."""
        account: Account = place.owner.account
        account.finish(place, tokens=tokens, failure=failure, advice=advice)
        if failure is not None:
            self._last_failure = failure
        self._pump_soon()

    def is_full(self, lead_s: float) -> bool:  # noqa: ARG002 (part of the interface)
        """True if twice as many calls wait as may be in flight, not counting held-up models; see `Capacity`."""
        return self._due >= 2 * self._places

    def is_held_up(self) -> bool:
        """True if some models have to wait for their own limits and places are free that other problems could use."""
        in_flight = sum(account.in_flight for account in self._accounts)
        return self._due < self._queued and in_flight + self._due < self._places

    @property
    def _places(self) -> int:
        return sum(account.places for account in self._accounts)

    @property
    def _queued(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def _due(self) -> int:
        """How many calls wait whose model is not held up."""
        return sum(len(queue) for queue in self._waiting.values() if (head := queue.first()) and self._is_due(head[0]))

    def _is_due(self, need: Need) -> bool:
        return any(account.model_due_in(need) <= TICK_S for account in self._accounts)

    def is_down(self, place: Place) -> bool:
        """True if the account of this place is taken to be down; see `Capacity`."""
        account: Account = place.owner.account
        return account.breaker.is_open

    def take_out(self, urls: Collection[str]) -> None:
        """Do nothing: an API that does not answer at the start ends the run; see `Capacity`."""

    def was_at_fault(self, place: Place) -> bool:  # noqa: ARG002 (part of the interface)
        """Return False: accounts of one host fail together, so no other account shows whose fault a failure was."""
        return False

    def _hand_out(self) -> None:
        self._give_up_on([account.breaker.down_since for account in self._accounts])
        while (due := self._grant_next()) == 0:
            pass
        self._pump_in(due)

    def _grant_next(self) -> float:
        """Grant a place to the oldest call whose model is not held up.

        Returns:
            0 if a call was granted one; else the seconds until a call may go out; infinite: when something changes.
        """
        models_due = math.inf
        for queue in sorted(filter(len, self._waiting.values()), key=_age):
            need, future = queue.first() or (None, None)
            assert need is not None
            assert future is not None
            waits = [account.model_due_in(need) for account in self._accounts]
            if min(waits) > TICK_S:
                models_due = min(models_due, *waits)
                continue
            fit = [account for account, wait in zip(self._accounts, waits, strict=True) if wait <= TICK_S]
            dues = {account: account.due_in(need.tokens) for account in fit}
            ready = [account for account, due in dues.items() if due <= TICK_S]
            if not ready:
                return min(models_due, *dues.values())
            queue.pop()
            future.set_result(min(ready, key=_load).start(need))
            return 0
        return models_due

    def snapshot(self) -> dict[str, Any]:
        """Return the figures for the dashboard, of all accounts together; rates are per minute."""
        parts = [account.snapshot() for account in self._accounts]
        limits = [p["requests_limit"] for p in parts]
        token_limits = [p["tokens_limit"] for p in parts]
        downs = [p["down_since"] for p in parts]
        return {
            "in_flight": sum(p["in_flight"] for p in parts),
            "concurrency": sum(p["concurrency"] for p in parts),
            "queued": self._queued,
            "requests_per_minute": round(sum(p["requests_per_minute"] for p in parts), 1),
            "requests_limit": None if None in limits else round(sum(limits), 1),
            "tokens_per_minute": round(sum(p["tokens_per_minute"] for p in parts), 1),
            "tokens_limit": None if None in token_limits else round(sum(token_limits), 1),
            "rate_limited": sum(p["rate_limited"] for p in parts),
            "paused_s": round(min(p["paused_s"] for p in parts), 1),
            "down_s": None if None in downs else round(self._clock() - max(downs), 1),
            "limit_history": parts[0]["limit_history"] if len(parts) == 1 else [],
        }


def _age(queue: Waiting) -> tuple[int, int]:
    return queue.age


def _load(account: Account) -> float:
    return account.load
