"""Ports for servers that start later, after others that take what the system gives them."""

import random
import socket

BELOW = range(20_000, 32_000)
"""Below the ports a system gives by itself, beside those of Ray's workers."""


def later_port() -> int:
    """Give a free TCP port of the loopback that nobody is given who does not ask for it."""
    for port in random.SystemRandom().sample(BELOW, 50):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"expected a free port of fifty in {BELOW}, was none")


def taken(port: int = 0) -> socket.socket:
    """Give a listener of another program; on any free port where none is said."""
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other.bind(("127.0.0.1", port))
    other.listen()
    return other
