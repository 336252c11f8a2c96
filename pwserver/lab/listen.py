"""Listeners of the lab: on the port of last time where that is free, else on a new one."""

from __future__ import annotations

import random
import socket

RANGE = range(20000, 32000)
"""Below the ports that Linux gives to outgoing connections (32768 and up), which could take ours during a restart."""
TRIES = 50


def listen(host: str, port: int, backlog: int = 128) -> socket.socket:
    """A listening socket on ``port``; on a free one of :data:`RANGE` when it is 0 or somebody else has it now."""
    chosen = random.sample(RANGE, TRIES)
    for number in ([port] if port else []) + chosen + [0]:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            listener.listen(backlog)
            return listener
        except OSError:
            listener.close()
    raise OSError("no port is free")
