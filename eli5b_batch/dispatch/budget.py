"""The budget: money reserved before a call is sent, settled after it.

Must not know: calls or providers. The sum of what is spent, what may have been spent and what is reserved never
exceeds the cap, so the cap holds however long the replies turn out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from eli5b_batch.errors import BudgetError, StorageError
from eli5b_batch.text import dollars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eli5b_batch.job.prices import Price

_MILLION: Final = 1_000_000
_TOKENS_PER_MESSAGE: Final = 32
_TOKENS_PER_PROMPT: Final = 128
"""Upper bounds on what a chat template adds to a message, and of its own: a date, a default system prompt."""


def cost(price: Price, usage: Mapping[str, float]) -> float:
    """Return the USD for a reply's tokens: cached input at its own price where the job gives one, else in full.

    Reasoning tokens are part of the output tokens that a server counts, and cost as much.
    """
    cached = usage.get("cached_input_tokens", 0) if price.cached_input is not None else 0
    fresh = usage.get("input_tokens", 0) - cached
    total = price.input * fresh + (price.cached_input or 0.0) * cached + price.output * usage.get("output_tokens", 0)
    return total / _MILLION


def input_bound(messages: Sequence[Mapping[str, str]]) -> int:
    """Return an upper bound on the prompt's tokens: a byte-level tokeniser makes at most one token of a byte."""
    return _TOKENS_PER_PROMPT + sum(len(m["content"].encode()) + _TOKENS_PER_MESSAGE for m in messages)


def worst_cost(price: Price, messages: Sequence[Mapping[str, str]], max_tokens: int) -> float:
    """Return the USD that a call can cost at most."""
    return (price.input * input_bound(messages) + price.output * max_tokens) / _MILLION


class SpendingLedger(Protocol):
    """A record on disk of what a budget spent and reserved; sums are in USD and have the names of `Budget`."""

    spent: float
    unconfirmed: float

    def reserved(self, usd: float) -> None:
        """Record that `usd` is set aside."""
        ...

    def settled(self, reserved: float, usd: float | None) -> None:
        """Record that a reservation of `reserved` came to `usd`; None: to an unknown sum of at most `reserved`."""
        ...


class Budget:
    """A cap in USD over a whole run, restarts included.

    Args:
        cap: USD; None: spending is counted and never refused.
        spent: USD already on record.
    """

    def __init__(self, cap: float | None, spent: float = 0.0) -> None:
        self.cap = cap
        self.spent = spent
        self.unconfirmed = 0.0
        self._ledger: SpendingLedger | None = None
        self._trouble: StorageError | None = None
        self._reserved = 0.0
        self._reservations = 0
        self._waiters: list[asyncio.Future[None]] = []

    def keep(self, ledger: SpendingLedger) -> None:
        """Go on from the sums of `ledger`, and write every paid reservation and settlement to it."""
        self.spent, self.unconfirmed = ledger.spent, ledger.unconfirmed
        self._ledger = ledger

    async def reserve(self, amount: float) -> None:
        """Set `amount` USD aside; where it does not fit, wait for calls in flight to settle.

        An amount of 0 always fits.

        Raises:
            BudgetError: the amount does not fit, and no call is in flight that could settle for less.
            StorageError: the cost of an earlier call could not be written down.
        """
        if amount and self._trouble:
            raise self._trouble
        while amount and self.cap is not None and self.spent + self.unconfirmed + self._reserved + amount > self.cap:
            if not self._reservations:
                raise BudgetError(
                    f"the budget of ${self.cap:g} is used up: {dollars(self.spent, 4)} spent, "
                    f"{dollars(self.unconfirmed, 4)} more may have been billed for calls that broke off, "
                    f"and the next may cost {dollars(amount, 4)}; "
                    "raise budget.usd to go on"
                )
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if amount and self._ledger:
            self._ledger.reserved(amount)
        self._reserved += amount
        self._reservations += amount > 0

    def settle(self, reserved: float, actual: float | None) -> None:
        """Replace a reservation by the actual USD; None: the call broke off and may have been billed in full."""
        self._reservations -= reserved > 0
        self._reserved = self._reserved - reserved if self._reservations else 0.0  # without rounding errors left over
        if actual is None:
            self.unconfirmed += reserved
        else:
            self.spent += actual
        if reserved and self._ledger:
            try:
                self._ledger.settled(reserved, actual)
            except StorageError as error:  # not raised here: this reply is paid for, so it must still be written down
                self._trouble = error  # `reserve` raises it for the next call
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
