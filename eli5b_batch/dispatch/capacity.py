"""What both kinds of capacity, an API account and a set of GPU slots, look like to the dispatcher.

Must not know: how either hands out its places.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from eli5b_batch.dispatch.timing import TICK_S
from eli5b_batch.errors import ProviderDownError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from eli5b_batch.backends.base import Advice
    from eli5b_batch.errors import CallError


@dataclass(frozen=True, slots=True)
class Need:
    """What one call needs of a provider.

    `order` is the call's age: the place of its problem in the run, so that old problems are finished before new ones
    are begun. `tokens` is an estimate of both sides together.
    """

    model: str
    order: int
    tokens: float


@dataclass(slots=True, eq=False)
class Place:
    """Permission to send one call: where to and as which slot or member (None for a single account).

    `owner` is its capacity's own mark. `loading`: a model must be loaded first, which may take minutes. Where the place
    is `recallable`, `lifeline` is set while the call is under way: found dead, the server's calls are made to run out.
    `suspect`: the call was refused by a 429 before, and others have been answered since, so that one more 429 is
    likely to be its own and says nothing of the limits.
    """

    base_url: str
    slot: str | None
    need: Need
    owner: Any = None
    loading: bool = False
    recallable: bool = False
    lifeline: asyncio.Timeout | None = None
    suspect: bool = False


class Capacity(Protocol):
    """Hands out places, oldest call first."""

    async def acquire(self, need: Need) -> Place:
        """Wait for a place."""
        ...

    def release(
        self,
        place: Place,
        *,
        tokens: int | None = None,
        failure: CallError | None = None,
        advice: Advice | None = None,
        load_s: float = 0.0,
        work_s: float = 0.0,
    ) -> None:
        """Give a place back, with what it came to; neither tokens nor a failure: nothing was sent.

        `load_s` and `work_s` are what the server says of loading and of working on the call; 0 where it does not.
        """
        ...

    def is_full(self, lead_s: float) -> bool:
        """Whether so many calls wait that more problems would only wait behind them."""
        ...

    def is_down(self, place: Place) -> bool:
        """Whether the server of this place is taken to be down, so that a failure there is not the call's own."""
        ...

    def take_out(self, urls: Collection[str]) -> None:
        """Do without the servers at these addresses, which do not answer, until they do."""
        ...

    def was_at_fault(self, place: Place) -> bool:
        """Whether the server of this place has been taken out while others do the work of its calls."""
        ...

    async def run(self) -> None:
        """Watch over the servers until cancelled.

        Raises:
            ProviderDownError: none has worked for too long.
        """
        ...

    def snapshot(self) -> dict[str, Any]:
        """Figures for the dashboard."""
        ...


class CapacityBase:
    """Base of a capacity: `_hand_out` is called at the end of a turn of the loop, and when a timer is due.

    Args:
        clock: the event loop's clock, seconds.
        give_up_after_s: seconds that all servers of a call may be down before the run ends.
    """

    def __init__(self, clock: Callable[[], float], give_up_after_s: float) -> None:
        self._clock = clock
        self._give_up_after_s = give_up_after_s
        self._pumping: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None
        self._last_failure: CallError | None = None

    async def run(self) -> None:
        """Watch over the servers until cancelled.

        Raises:
            ProviderDownError: none that a call could go to has worked for too long.
        """
        self._over = asyncio.get_running_loop().create_future()
        await self._over

    def _hand_out(self) -> None:
        raise NotImplementedError

    def _pump_soon(self) -> None:
        """Hand out places at the end of this turn of the loop: calls that come in one turn are seen together."""
        if self._pumping is None:
            self._pumping = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hand_out()

    def _pump_in(self, seconds: float) -> None:
        """Hand out places again in so many seconds; infinite: when something changes."""
        if math.isfinite(seconds):
            self._timer = asyncio.get_running_loop().call_later(seconds, self._pump)

    def _give_up_on(self, down_since: Sequence[float | None], model: str = "") -> float:
        """End the run where every server (of `model`) has been down for too long, None standing for one that works.

        Returns:
            Seconds until that would be; infinite where it would not.
        """
        downs = [since for since in down_since if since is not None]
        if self._over is None or self._over.done() or len(downs) < len(down_since):
            return math.inf
        down_s = self._clock() - max(downs)
        left = self._give_up_after_s - down_s
        if left > TICK_S:
            return left
        self._over.set_exception(ProviderDownError(down_s, self._last_failure, model))
        return math.inf


async def granted(future: asyncio.Future[Place], capacity: Capacity) -> Place:
    """Wait for a place; one granted in the very moment its caller is cancelled is given back."""
    try:
        return await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled():
            capacity.release(future.result())
        raise


class Waiting:
    """Calls waiting for a place, oldest first; the ones whose caller has gone are passed over."""

    _numbers = itertools.count()  # of all queues, so that calls of two can be compared

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Need, asyncio.Future[Place]]] = []

    def __len__(self) -> int:
        self._drop_gone()
        return len(self._heap)

    def join(self, need: Need) -> asyncio.Future[Place]:
        """Queue up; the future is the place."""
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (need.order, next(self._numbers), need, future))
        return future

    def first(self) -> tuple[Need, asyncio.Future[Place]] | None:
        """The oldest waiting call, left where it is."""
        self._drop_gone()
        return self._heap[0][2:] if self._heap else None

    @property
    def age(self) -> tuple[int, int]:
        """Of the oldest waiting call: its order, and its number among all that ever waited. There must be one."""
        return self._heap[0][:2]

    def pop(self) -> tuple[Need, asyncio.Future[Place]]:
        """The oldest waiting call, taken out."""
        self._drop_gone()
        return heapq.heappop(self._heap)[2:]

    def _drop_gone(self) -> None:
        while self._heap and self._heap[0][3].done():
            heapq.heappop(self._heap)
