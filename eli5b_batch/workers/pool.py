"""Calls from an event loop: one for each free worker, the others wait in order.

Must not know: what is called.

A thread waits for each call in hand, so that the event loop goes on while processes start and end.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

from eli5b_batch.errors import WorkerError
from eli5b_batch.workers.worker import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.workers.program import Bounds
    from eli5b_batch.workers.worker import Ending, Worker

_PAUSES_S: Final = (0.2, 1.0, 5.0, 20.0)
"""Between tries to start a process: memory or processes may be scarce for a while."""


class WorkerPool:
    """Makes calls in some workers; leaving `async with` ends them.

    Args:
        workers: the pool's own, and so calls in hand at once; each starts its process when a call finds no other free.
        bounds: seconds for one call, from when a worker takes it up.
    """

    def __init__(self, workers: Sequence[Worker], bounds: Bounds) -> None:
        self._workers = workers
        self._bounds = bounds
        self._idle = list(workers)  # the one used last comes first: the others may never be needed
        self._places = asyncio.Semaphore(len(workers))
        self._threads = ThreadPoolExecutor(len(workers), thread_name_prefix="worker")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()
        await asyncio.to_thread(self._threads.shutdown)
        for worker in self._workers:
            worker.stop()

    async def call(self, function: Callable[..., object], *arguments: object) -> Ending:
        """What comes of `function(*arguments)` in a worker, within bounded time; arguments as of `worker.packed`.

        Raises:
            WorkerError: no process comes up.
        """
        call = packed(function, *arguments)
        for pause_s in (*_PAUSES_S, None):
            ending = await self._call(call)
            if ending.kind != "unstarted":
                return ending
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        raise WorkerError(
            f"no worker process comes up, tried {len(_PAUSES_S) + 1} times ({ending.what}): there must be memory and "
            "processes to spare, and what workers import must import here"
        )

    async def _call(self, call: bytes) -> Ending:
        await self._places.acquire()
        worker = self._idle.pop()
        worker.allow()
        loop = asyncio.get_running_loop()
        in_hand = self._threads.submit(worker.call, call, self._bounds)
        in_hand.add_done_callback(lambda _: loop.call_soon_threadsafe(self._give_back, worker))
        try:
            return await asyncio.wrap_future(in_hand)
        except asyncio.CancelledError:  # nobody waits for it any more
            worker.kill()
            raise

    def _give_back(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._places.release()
