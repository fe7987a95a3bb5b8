"""How much may be spent on one answer, and what is said where that, or sense, ends.

Must not know: formulas.
"""

from __future__ import annotations

import math
import time
from typing import Final

_WORK: Final = 1_000_000
"""Units of a microsecond or a few."""


class UndefinedError(Exception):
    """No value here: a division by zero, a logarithm of zero, an operation that is not ours."""


class TooBigError(Exception):
    """More work than an answer is worth."""


class OutOfTimeError(Exception):
    """More time than the caller has; somebody with more may go on."""


class WorkBudget:
    """What is left to spend on one answer.

    Args:
        units: of work, the same on every machine.
        seconds: of wall time; where a caller has little, in a process that does other things as well.
    """

    def __init__(self, units: int = _WORK, seconds: float = math.inf) -> None:
        self._left = units
        self._until = time.perf_counter() + seconds

    def charge(self, units: float) -> None:
        """Take from the budget.

        Raises:
            TooBigError: it is spent.
            OutOfTimeError: the time is over.
        """
        self._left -= int(units) + 1
        if self._left < 0:
            raise TooBigError
        if time.perf_counter() > self._until:
            raise OutOfTimeError
