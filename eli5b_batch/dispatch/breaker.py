"""The circuit breaker of one server or account: on persistent failure everything waits, and one probe goes out.

Must not know: what a call asks. A breaker is a pure state on a given clock: nothing here waits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeGuard

from eli5b_batch.dispatch.timing import TICK_S, doubling
from eli5b_batch.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.errors import CallError

_FAILURES: Final = 5
_LASTING_S: Final = 0.25
_PROBE_S: Final = 1.0
_LONGEST_PROBE_S: Final = 30.0

_STALLS: Final = frozenset({"timeout", "connection", "server_error"})


def is_stall(failure: CallError | None) -> TypeGuard[RetryableError]:
    """True if the server may be at fault: no answer, a broken connection, a 5xx."""
    return isinstance(failure, RetryableError) and failure.kind in _STALLS


class Breaker:
    """The breaker of one server: it opens on persistent failure, and any success closes it.

    The breaker opens after five failures in a row that span a quarter of a second, or at once if the server can't be
    reached. While the breaker is open, one probe goes out at a time, after 1, 2, 4, ... 30 s. A success closes it,
    whether of the probe or of a call that was still under way.

    Args:
        clock: seconds, monotonic.
        longest_probe_s: most seconds between two probes.
    """

    def __init__(self, clock: Callable[[], float], longest_probe_s: float = _LONGEST_PROBE_S) -> None:
        self._clock = clock
        self._longest_probe_s = longest_probe_s
        self._failures = 0
        self._first_failed = 0.0
        self._failed_probes = 0
        self._probe = 0
        self._last_probe = 0
        self._next_probe = 0.0
        self.down_since: float | None = None
        """The clock when the breaker opened, seconds; None while it is closed."""

    @property
    def is_open(self) -> bool:
        """True if only probes may go out."""
        return self.down_since is not None

    def due_in(self) -> float:
        """Return the seconds until a call may go out: 0 for now, infinite while a probe is under way."""
        if self.down_since is None:
            return 0.0
        left = self._next_probe - self._clock()
        return math.inf if self._probe else left if left > TICK_S else 0.0

    def started(self) -> int:
        """Count a call that goes out; return its number if it is a probe, else 0."""
        if self.is_open:
            self._last_probe += 1
            self._probe = self._last_probe
        return self._probe

    def succeeded(self) -> None:
        """Close the breaker: a call was answered in a way that shows that the server works."""
        self._failures = self._failed_probes = self._probe = 0
        self.down_since = None

    def failed(self, *, probe: int, unreachable: bool) -> None:
        """Count a failure that may be the server's fault: no answer, a broken connection, a 5xx.

        Args:
            probe: the number that `started` gave the call.
            unreachable: the server could not be reached, so the breaker opens at once.
        """
        now = self._clock()
        if self.down_since is None:
            self._failures += 1
            if self._failures == 1:
                self._first_failed = now
            if unreachable or (self._failures >= _FAILURES and now - self._first_failed >= _LASTING_S):
                self.down_since = now
                self._next_probe = now + _PROBE_S
        elif probe and probe == self._probe:  # a probe of an earlier outage says nothing of this one
            self._probe = 0
            self._failed_probes += 1
            self._next_probe = now + doubling(_PROBE_S, self._failed_probes, self._longest_probe_s)

    def trip(self) -> None:
        """Open the breaker: something other than a call showed that the server is dead."""
        self.failed(probe=self._probe, unreachable=True)

    def reachable(self) -> None:
        """Allow the next probe at once: something other than a call showed that the server is alive."""
        self._next_probe = min(self._next_probe, self._clock())

    def gave_up(self, *, probe: int) -> None:
        """Let another call be the probe: this one was not sent, or its outcome says nothing of the server."""
        if probe == self._probe:
            self._probe = 0
