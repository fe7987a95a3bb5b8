"""How fast each provider was used, and what its 429s taught: from the progress of the last start.

Must not know: calls, answers. Without progress.json there is nothing to say, and the report says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from pathlib import Path


def limits_used(progress: Path) -> list[dict[str, Any]]:
    """By provider that was ever bounded: 429s, and the requests per minute decided on.

    Returns:
        Rows of `provider`, `rate_limited`, `first`, `lowest`, `highest`, `last` and `history` ([seconds since the
        start, requests per minute]); none where the file is missing or is not what this version writes.
    """
    try:
        providers = orjson.loads(progress.read_bytes())["providers"]
        return [_row(p) for p in providers if p["limit_history"]]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return []


def _row(provider: dict[str, Any]) -> dict[str, Any]:
    limits = [float(limit) for _, limit in provider["limit_history"]]
    return {
        "provider": provider["provider"],
        "rate_limited": provider["rate_limited"],
        "first": limits[0],
        "lowest": min(limits),
        "highest": max(limits),
        "last": limits[-1],
        "history": provider["limit_history"],
    }
