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
    """USD for a reply's tokens, by class: cached input at its own price where the job gives one, else in full.

    Reasoning tokens are part of the output tokens a server tells, and are paid as such.
    """
    cached = usage.get("cached_input_tokens", 0) if price.cached_input is not None else 0
    fresh = usage.get("input_tokens", 0) - cached
    total = price.input * fresh + (price.cached_input or 0.0) * cached + price.output * usage.get("output_tokens", 0)
    return total / _MILLION


def input_bound(messages: Sequence[Mapping[str, str]]) -> int:
    """Never fewer tokens than the prompt has: a byte-level tokeniser makes at most one token of a byte."""
    return _TOKENS_PER_PROMPT + sum(len(m["content"].encode()) + _TOKENS_PER_MESSAGE for m in messages)


def worst_cost(price: Price, messages: Sequence[Mapping[str, str]], max_tokens: int) -> float:
    """USD that a call can cost at most."""
    return (price.input * input_bound(messages) + price.output * max_tokens) / _MILLION


class SpendingLedger(Protocol):
    """What a budget is written down in; sums in USD as `Budget` names them."""

    spent: float
    unconfirmed: float

    def reserved(self, usd: float) -> None:
        """So much is set aside."""
        ...

    def settled(self, reserved: float, usd: float | None) -> None:
        """A reservation came to `usd`, or to at most itself."""
        ...


class Budget:
    """A cap in USD over a whole run, restarts included.

    Args:
        cap: USD; None counts without a cap.
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
        """Go on from what a ledger holds, and write every paid reservation and settlement to it."""
        self.spent, self.unconfirmed = ledger.spent, ledger.unconfirmed
        self._ledger = ledger

    async def reserve(self, amount: float) -> None:
        """Set `amount` aside; waits for calls in flight to settle when it does not fit at once.

        Raises:
            BudgetError: it does not fit and nothing is in flight. What is free always fits.
            StorageError: what an earlier call came to could not be written down.
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
        """Replace a reservation by the real cost; None: the call broke off and may have been billed in full."""
        self._reservations -= reserved > 0
        self._reserved = self._reserved - reserved if self._reservations else 0.0  # no dust of floats is left
        if actual is None:
            self.unconfirmed += reserved
        else:
            self.spent += actual
        if reserved and self._ledger:
            try:
                self._ledger.settled(reserved, actual)
            except StorageError as error:  # the reply just paid for must still be written: the next call is refused
                self._trouble = error
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
