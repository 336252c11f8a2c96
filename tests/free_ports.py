"""Ports for servers of tests, which stay theirs while the server is away for a moment."""

from __future__ import annotations

import random
import socket

from pwserver.lab import listen

RANGE = range(10000, 20000)
"""Below the ports of the lab (20000) and those that Linux gives to whoever asks for any: of these, an outgoing
connection may take one while its server is being started again, and keeps it for a minute."""

PORTS_OF_A_PROCESS = 1000


def keep_labs_apart(process: int) -> None:
    """Labs in the test process of this number, from 0 on, listen where no other process looks for a port.

    Tests are shuffled by a seed that all processes share, and draw the same ports from one range: what one lab gave up
    for a moment was another one's, and a password meant for a switch met somebody else's door.
    """
    first = 2000 + process * PORTS_OF_A_PROCESS
    if first + PORTS_OF_A_PROCESS > RANGE.start:
        raise ValueError(f"no ports are left for process {process}")
    listen.RANGE = range(first, first + PORTS_OF_A_PROCESS)


def free_port() -> int:
    while True:
        port = random.choice(RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
