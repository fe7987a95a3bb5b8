"""How a sum of money is written for people, the same in `check`, on the dashboard and in the report.

Must not know: what was paid for, or that a price can be unknown.
"""

from __future__ import annotations

from typing import Final

_LEAST: Final = 0.005
"""USD that two decimals show."""


def dollars(usd: float) -> str:
    """`$1,234.50`; a sum that would read as nothing is `<$0.01`."""
    return "<$0.01" if 0 < usd < _LEAST else f"${usd:,.2f}"
