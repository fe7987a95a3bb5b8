"""Calls from threads: each blocks until its end, and takes no longer than its caller says.

Must not know: event loops, what is called.
"""

from __future__ import annotations

import atexit
import os
import queue
import time
from typing import TYPE_CHECKING

from eli5b_batch.workers.program import Bounds
from eli5b_batch.workers.worker import NO_WORKER, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.workers.worker import Ending, Worker


class BlockingWorkers:
    """A few workers for the threads of one process, and for those of any process forked off it.

    Args:
        workers: theirs alone, and so calls in hand at once; each starts its process when a call finds no other free.
        clock: the workers'; what is left of a call is reckoned by it.
    """

    def __init__(self, workers: Sequence[Worker], clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._all_idle()
        os.register_at_fork(after_in_child=self._all_idle)
        atexit.register(self.close)

    def call(self, seconds: float, function: Callable[..., object], *arguments: object) -> Ending:
        """What comes of `function(*arguments)` in a worker; arguments as of `worker.packed`.

        Args:
            seconds: of wall time, for all of it: waiting for a worker, starting it and killing it come out of it.
            function: called.
            *arguments: given to it.
        """
        call = packed(function, *arguments)
        until = self._clock() + seconds
        try:
            worker = self._idle.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return NO_WORKER
        try:
            return worker.call(call, Bounds(seconds, seconds), until)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the workers; the next call starts one anew."""
        for worker in self._workers:
            worker.stop()

    def _all_idle(self) -> None:
        """Begin with free workers, whatever a process that this one was forked from was doing with its own."""
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()  # the worker used last is the one that is warm
        for worker in self._workers:
            self._idle.put(worker)
