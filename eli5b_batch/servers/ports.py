"""Ports of loopback for servers.

Must not know: which servers listen on them.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from typing import Final

HOST: Final = "127.0.0.1"
_RANGE: Final = range(20_000, 32_000)
"""The ports to choose from lie below those of outgoing connections (from 32,768 on with Linux, higher elsewhere): an
outgoing connection could take a server's port, or connect to itself, while the server is being restarted."""
_TRIES: Final = 1000


def free_ports(n: int) -> list[int]:
    """Return `n` different ports on which nobody listens now.

    Raises:
        OSError: there are not so many.
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
    """True if a server could listen on the port now; connections that are still being closed don't prevent that."""
    with _socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _socket() -> socket.socket:
    endpoint = socket.socket()
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return endpoint
