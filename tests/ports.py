"""Ports for servers that are started later, or again."""

import random
import socket


def free_port() -> int:
    """Return a port that nobody uses, and that no other server or client is given by chance.

    Systems give ports from 32768 (Linux) or 49152 to those that ask for any, such as the servers of
    the tests that run at the same time.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
