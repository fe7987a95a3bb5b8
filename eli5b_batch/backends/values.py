"""Any value of JSON, taken for the type that should stand in its place: a count, a text, an object, a list.

Must not know: what the places mean.
"""

from __future__ import annotations

from typing import Any, Final

_LARGEST: Final = 2**53
"""Largest whole number that every reader of JSON keeps exactly."""


def as_count(value: object) -> int:
    """Return a number as a whole one, 0 to 2**53; 0 for a value of any other type."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(value, 0), _LARGEST))


def as_text(value: object) -> str:
    """Return a text as it is; "" for a value of any other type."""
    return value if isinstance(value, str) else ""


def as_object(value: object) -> dict[str, Any]:
    """Return an object as it is; an empty one for a value of any other type."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a list as it is; an empty one for a value of any other type."""
    return value if isinstance(value, list) else []
