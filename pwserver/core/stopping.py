"""Whether this process was asked to end. A worker finishes the link in hand, and leaves the rest to the next one."""

from __future__ import annotations

import threading

_asked = threading.Event()


def request() -> None:
    """Called by the process's signal handler."""
    _asked.set()


def requested() -> bool:
    """Asked between links, never inside one."""
    return _asked.is_set()
