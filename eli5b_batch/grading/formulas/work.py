"""How much may be spent on one answer, and what is said where that, or sense, ends.

Must not know: formulas.
"""

from __future__ import annotations

from typing import Final

_WORK: Final = 1_000_000
"""About microseconds."""


class UndefinedError(Exception):
    """No value here: a division by zero, a logarithm of zero, an operation that is not ours."""


class TooBigError(Exception):
    """More work than an answer is worth."""


class Work:
    """What is left to spend on one answer."""

    def __init__(self, units: int = _WORK) -> None:
        self._left = units

    def charge(self, units: float) -> None:
        """Take from the budget.

        Raises:
            TooBigError: it is spent.
        """
        self._left -= int(units) + 1
        if self._left < 0:
            raise TooBigError
