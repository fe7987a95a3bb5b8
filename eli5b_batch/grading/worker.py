"""The process `solo` asks: `python -m eli5b_batch.grading.worker MEMORY_BYTES MODULE`, its standard input a socket.

Must not know: who asks. It imports the module, says that it is ready, answers one question after another and
ends with the socket's other end.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import socket
import struct
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.grading.limits import confine, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.grading.limits import Grade
    from eli5b_batch.grading.verdict import Verdict

_SIZE: Final = struct.Struct("!Q")


def main() -> None:
    """Answer until there is nobody left who asks."""
    confine(int(sys.argv[1]))
    preload = sys.argv[2]
    with socket.socket(fileno=os.dup(0)) as channel, contextlib.suppress(EOFError, ConnectionError):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        if preload:
            importlib.import_module(preload)
        send(channel, "ready")
        while True:
            grade, text, gold, timeout_s = receive(channel)
            send(channel, run(partial(_grade_by, grade), text, gold, timeout_s))


def send(channel: socket.socket, message: object) -> None:
    """Send one message; any text survives pickling, lone surrogates too."""
    data = pickle.dumps(message)
    channel.sendall(_SIZE.pack(len(data)))
    channel.sendall(data)


def receive(channel: socket.socket, left: Callable[[], float | None] = lambda: None) -> Any:  # noqa: ANN401 - as sent
    """Receive one message.

    Args:
        channel: where from.
        left: gives the seconds left for the whole of it; None: for ever.

    Raises:
        EOFError: the other end is gone.
        TimeoutError: the time is over.
    """
    (size,) = _SIZE.unpack(_exactly(_SIZE.size, channel, left))
    return pickle.loads(_exactly(size, channel, left))  # noqa: S301 - both ends are this package's


def _exactly(size: int, channel: socket.socket, left: Callable[[], float | None]) -> bytes:
    data = bytearray()
    while len(data) < size:
        channel.settimeout(left())
        part = channel.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _grade_by(grade: bytes, text: str, gold: str) -> Verdict:
    """Grade by a pickled function: importing it is part of the answer's time, and may fail."""
    function: Grade = pickle.loads(grade)  # noqa: S301 - sent by `solo`
    return function(text, gold)


if __name__ == "__main__":
    main()
