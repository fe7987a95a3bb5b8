"""What JSON can hold in one place, taken for what should stand there.

Must not know: what the places mean.
"""

from __future__ import annotations

from typing import Any, Final

_LARGEST: Final = 2**53
"""What a number of JSON can be trusted to."""


def as_count(value: object) -> int:
    """A number that a server tells, whole and not negative; 0 for everything else that JSON can hold there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(value, 0), _LARGEST))


def as_text(value: object) -> str:
    """A text that a server sends; empty for everything else that JSON can hold there."""
    return value if isinstance(value, str) else ""


def as_object(value: object) -> dict[str, Any]:
    """An object that a server sends; empty for everything else that JSON can hold there."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A list that a server sends; empty for everything else that JSON can hold there."""
    return value if isinstance(value, list) else []
