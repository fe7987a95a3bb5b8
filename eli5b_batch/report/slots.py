"""What the time of each GPU slot went into: from the progress of the last start.

Must not know: calls, answers. Without progress.json there is nothing to say, and the report says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PARTS: Final = ("busy_s", "loading_s", "idle_s", "down_s")


def slots_used(progress: Path, tokens: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """By slot: calls, models loaded, and what its time went into, in the last start.

    Args:
        progress: the run's progress.json.
        tokens: output tokens of that start by (provider, slot).

    Returns:
        Rows of `provider`, `slot`, `calls`, `loads`, `on_gpu` (0..1 or None), `seconds` (in all), `busy_s`,
        `loading_s`, `idle_s`, `down_s`, and `tokens_per_s` (output, over all the seconds); none where the file is
        missing or is not what this version writes.
    """
    try:
        return [_row(slot, tokens) for slot in orjson.loads(progress.read_bytes())["slots"]]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return []


def _row(slot: dict[str, Any], tokens: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    parts = {name: float(slot[name]) for name in _PARTS}
    seconds = sum(parts.values())
    made = tokens.get((slot["provider"], slot["slot"]), 0)
    return {
        "provider": slot["provider"],
        "slot": slot["slot"],
        "calls": slot["calls"],
        "loads": slot["loads"],
        "on_gpu": slot["on_gpu"],
        "seconds": round(seconds, 3),
        **parts,
        "tokens_per_s": round(made / seconds, 1) if seconds else None,
    }
