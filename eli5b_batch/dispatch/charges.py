"""What the accounts that may serve a call charge for it: the budget goes by the dearest, the record by the one it used.

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
        by_account: by the account's name; "" is the only account, or every slot. None is free.
    """

    def __init__(self, by_account: Mapping[str, Charge | None]) -> None:
        self._by_account = by_account

    def at(self, slot: str | None) -> Charge | None:
        """Of the account or slot that a place is on."""
        name = slot or ""
        return self._by_account[name if name in self._by_account else ""]

    def dearest(self, messages: Sequence[Mapping[str, str]], max_tokens: int) -> float:
        """USD that a call can cost at most, whoever serves it; what is free or unknown adds nothing."""
        prices = [charge for charge in self._by_account.values() if isinstance(charge, Price)]
        return max((worst_cost(price, messages, max_tokens) for price in prices), default=0.0)
