"""What both kinds of capacity, API accounts and GPU slots, look like to the dispatcher.

Must not know: how either kind hands out its places.
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

    `order` is the call's age: the position of its problem in the run, so that old problems are finished before new
    ones are begun. `tokens` is an estimate of prompt and reply together.
    """

    model: str
    order: int
    tokens: float


@dataclass(slots=True, eq=False)
class Place:
    """Permission to send one call to `base_url`, as one slot or account.

    Attributes:
        base_url: the address of the server or host.
        slot: the name of the slot or account; None where there is a single account.
        need: what the call needs.
        owner: a mark that the capacity keeps on the place for its own use.
        loading: a model must be loaded first, which may take minutes.
        recallable: the call can be made to end early, by its `lifeline`, when its server turns out to be dead.
        lifeline: the time-out of a recallable call, set while the call is under way.
        suspect: the call was refused by a 429 before, and others have been answered since: one more 429 is likely to
            be about this call alone and says nothing of the limits.
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
    """Something that hands out places to calls, oldest call first."""

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
        """Give a place back, with the outcome of its call.

        Args:
            place: the place.
            tokens: tokens of prompt and reply; None together with no `failure`: the call was not sent.
            failure: the error with which the call failed.
            advice: the limits in the headers of the reply.
            load_s: seconds that the server says loading the model took; 0 where it does not say.
            work_s: seconds that the server says it worked on the call; 0 where it does not say.
        """
        ...

    def is_full(self, lead_s: float) -> bool:
        """True if so many calls wait that those of more problems would only wait behind them.

        Args:
            lead_s: seconds from the beginning of a problem to its calls on slots.
        """
        ...

    def is_down(self, place: Place) -> bool:
        """True if the server of this place is taken to be down, so that a failure there is not the call's fault."""
        ...

    def take_out(self, urls: Collection[str]) -> None:
        """Use the servers at these addresses, which do not answer, no more until they answer."""
        ...

    def was_at_fault(self, place: Place) -> bool:
        """True if the server of this place has been taken out while others can do the work of its calls."""
        ...

    async def run(self) -> None:
        """Watch over the servers until cancelled.

        Raises:
            ProviderDownError: no server has worked for too long.
        """
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return the figures for the dashboard."""
        ...


class CapacityBase:
    """Base of both kinds of capacity: it calls `_hand_out` at the end of a turn of the event loop and on a timer.

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
            ProviderDownError: no server that a call could go to has worked for too long.
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
        """Hand out places again in `seconds`; infinite: only when something changes."""
        if math.isfinite(seconds):
            self._timer = asyncio.get_running_loop().call_later(seconds, self._pump)

    def _give_up_on(self, down_since: Sequence[float | None], model: str = "") -> float:
        """End the run if every server has been down for too long.

        Args:
            down_since: for each server (of `model`), the clock since which it is down; None: the server works.
            model: the model of which these are all servers; "" stands for every model.

        Returns:
            Seconds until the run would end; infinite if a server works or the run has ended.
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
    """Wait for a place; if the caller is cancelled in the moment of the grant, give the place back."""
    try:
        return await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled():
            capacity.release(future.result())
        raise


class Waiting:
    """A queue of calls that wait for a place, oldest first; calls whose caller has gone are passed over."""

    _numbers = itertools.count()  # one count for all queues, so that calls of two queues can be compared

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Need, asyncio.Future[Place]]] = []

    def __len__(self) -> int:
        self._drop_gone()
        return len(self._heap)

    def join(self, need: Need) -> asyncio.Future[Place]:
        """Queue a call up; return a future of its place."""
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (need.order, next(self._numbers), need, future))
        return future

    def first(self) -> tuple[Need, asyncio.Future[Place]] | None:
        """Return the oldest waiting call and leave it in the queue."""
        self._drop_gone()
        return self._heap[0][2:] if self._heap else None

    @property
    def age(self) -> tuple[int, int]:
        """The oldest waiting call's order, and its number among all calls that ever waited. The queue isn't empty."""
        return self._heap[0][:2]

    def pop(self) -> tuple[Need, asyncio.Future[Place]]:
        """Take the oldest waiting call out and return it."""
        self._drop_gone()
        return heapq.heappop(self._heap)[2:]

    def _drop_gone(self) -> None:
        while self._heap and self._heap[0][3].done():
            heapq.heappop(self._heap)
