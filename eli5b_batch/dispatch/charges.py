"""What the accounts that may serve a call charge: the budget reserves for the dearest, the record names the one used.

Must not know: calls, providers, the budget's state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eli5b_batch.dispatch.budget import worst_cost
from eli5b_batch.job.prices import Price

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eli5b_batch.job.prices import Charge


class Charges:
    """What one model costs, by account.

    Args:
        by_account: the charge of each account, by its name; "" is the only account, or every slot. None: free.
    """

    def __init__(self, by_account: Mapping[str, Charge | None]) -> None:
        self._by_account = by_account

    def at(self, slot: str | None) -> Charge | None:
        """Return the charge of the account or slot with this name; None: the only account."""
        name = slot or ""
        return self._by_account[name if name in self._by_account else ""]

    def dearest(self, messages: Sequence[Mapping[str, str]], max_tokens: int) -> float:
        """Return the USD that a call can cost at most, whichever account serves it; free and unknown count as 0."""
        prices = [charge for charge in self._by_account.values() if isinstance(charge, Price)]
        return max((worst_cost(price, messages, max_tokens) for price in prices), default=0.0)
