"""How a run used its providers: limits and 429s, and the time of each GPU slot in the last start that had slots.

Must not know: calls, answers, files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eli5b_batch.progress.snapshot import SLOT_SECONDS, slot_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eli5b_batch.progress.snapshot import ProviderProgress, SlotProgress


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


def slot_row(slot: SlotProgress, tokens: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """One slot's calls, models loaded, and what its time went into.

    Args:
        slot: as its start left it.
        tokens: output tokens by (provider, slot) of the last start that made calls on slots.

    Returns:
        `provider`, `slot`, `calls`, `loads`, `on_gpu` (0..1 or None), `seconds` (in all), `busy_s`, `loading_s`,
        `idle_s`, `down_s`, and `tokens_per_s` (output, over all the seconds; None where there were none).
    """
    seconds = slot_seconds(slot)
    made = tokens.get((slot["provider"], slot["slot"]), 0) if slot["calls"] else 0  # else they are of an earlier start
    return {
        "provider": slot["provider"],
        "slot": slot["slot"],
        "calls": slot["calls"],
        "loads": slot["loads"],
        "on_gpu": slot["on_gpu"],
        "seconds": round(seconds, 3),
        **{part: slot[part] for part in SLOT_SECONDS},
        "tokens_per_s": round(made / seconds, 1) if seconds else None,
    }
