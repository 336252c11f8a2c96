"""No process outlives the one that started it, and a start ends what did.

The kernel signals a child when its starter dies, but only a starter that dies after the child asked for it. The child
therefore compares its parent with the pid that was taken before the fork.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.5
MARK = "PWSERVER_SUPERVISOR"
"""In the environment of a supervisor's web server: which lock file that supervisor holds. Set by us alone."""

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(parent: int, on_sigterm: Callable[..., Any] | signal.Handlers = signal.SIG_DFL) -> None:
    """Call first in a child: it gets SIGTERM when ``parent`` dies, even by kill -9, and exits here if that is so.

    ``parent`` is the starter's pid, taken before the fork. ``on_sigterm`` is set first: a handler inherited from the
    starter would swallow the signal. The signal is bound to the thread that forks, so fork from the main thread.
    """
    signal.signal(signal.SIGTERM, on_sigterm)
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def exit_after_parent(parent: int, seconds: float) -> None:
    """Run in a thread of a child: once ``parent`` is dead, send SIGTERM to ourselves, and exit ``seconds`` later.

    That is what the parent would do at its end. The kernel's signal alone is not enough: it can come before the program
    of the child is ready for it, and something in hand may take for ever.
    """
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os._exit(1)


def mark_of(lock: int) -> str:
    """The identity of an open lock file. One process at a time holds the lock, so while we do, the holder is dead."""
    found = os.fstat(lock)
    return f"{found.st_dev}:{found.st_ino}"


def leftovers(mark: str) -> list[int]:
    """The processes of our user whose environment has ``mark``: their supervisor held the lock that we hold now."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return sorted(pid for pid in pids if pid != os.getpid() and _has(pid, mark))


def _has(pid: int, mark: str) -> bool:
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):  # it ended meanwhile, or belongs to another user
        environment = folder.joinpath("environ").read_bytes().split(b"\0")
        return folder.stat().st_uid == os.getuid() and f"{MARK}={mark}".encode() in environment
    return False


def end_leftovers(mark: str, seconds: float) -> list[int]:
    """End what :func:`leftovers` finds: SIGTERM, and SIGKILL after ``seconds``. Return the pids."""
    handles = _open(leftovers(mark), mark)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _send(handles.values(), number)
        _await_end(list(handles.values()), seconds)
    for handle in handles.values():
        os.close(handle)
    return list(handles)


def _open(pids: list[int], mark: str) -> dict[int, int]:
    """Handles of the processes, which a pid that is used again cannot mislead: the mark is read once it is open."""
    handles: dict[int, int] = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            handles[pid] = os.pidfd_open(pid)
    for pid in [pid for pid in handles if not _has(pid, mark)]:
        os.close(handles.pop(pid))
    return handles


def _send(handles: Any, number: signal.Signals) -> None:
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)


def _await_end(handles: list[int], seconds: float) -> None:
    """A handle is readable once its process ended."""
    end = time.monotonic() + seconds
    while handles and (left := end - time.monotonic()) > 0:
        ended = select.select(handles, [], [], left)[0]
        handles = [handle for handle in handles if handle not in ended]
