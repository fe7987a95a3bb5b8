"""How fast a provider was used, and what its 429s taught.

Must not know: calls, answers, files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eli5b_batch.progress.snapshot import ProviderProgress


def limit_row(provider: ProviderProgress) -> dict[str, Any]:
    """One provider's 429s, and the requests per minute decided on; it must have a `limit_history`.

    Returns:
        `provider`, `rate_limited`, `first`, `lowest`, `highest`, `last` and `history` ([seconds since the start,
        requests per minute]).
    """
    limits = [limit for _, limit in provider["limit_history"]]
    return {
        "provider": provider["provider"],
        "rate_limited": provider["rate_limited"],
        "first": limits[0],
        "lowest": min(limits),
        "highest": max(limits),
        "last": limits[-1],
        "history": provider["limit_history"],
    }
