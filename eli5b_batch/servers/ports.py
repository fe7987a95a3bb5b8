"""Ports of loopback for servers.

Must not know: what listens there.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from typing import Final

HOST: Final = "127.0.0.1"
_RANGE: Final = range(20_000, 32_000)
"""Below the ports that systems give to outgoing connections (from 32,768 on with Linux, later elsewhere): one of those
could take the port, or connect to itself, while a server is being restarted."""
_TRIES: Final = 1000


def free_ports(n: int) -> list[int]:
    """`n` different ports that nobody listens on now.

    Raises:
        OSError: there are none.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(_RANGE, _TRIES):
            if len(ports) == n:
                break
            held = stack.enter_context(_socket())
            try:
                held.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
    if len(ports) < n:
        raise OSError(f"no free port of {HOST} from {_RANGE.start} to {_RANGE.stop - 1}")
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen there now; connections that are still being closed are in nobody's way."""
    with _socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _socket() -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made
