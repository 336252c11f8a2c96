"""Ports for servers of tests, which stay theirs while the server is away for a moment."""

from __future__ import annotations

import random
import socket

RANGE = range(10000, 20000)
"""Below the ports of the lab (20000) and those that Linux gives to whoever asks for any: of these, an outgoing
connection may take one while its server is being started again, and keeps it for a minute."""


def free_port() -> int:
    while True:
        port = random.choice(RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
