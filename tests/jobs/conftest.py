"""Real queue servers and real worker processes, each ended by its pid."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pwserver import embedded_redis
from pwserver.embedded_redis import QueueServer

PROJECT = Path(__file__).resolve().parent.parent.parent


def _eventually(holds: Callable[[], object], what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"did not happen: {what}"
        select.select([], [], [], 0.02)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Polls until it holds; fails with the words after some seconds."""
    return _eventually


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    folder = tmp_path / "instance"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def server(instance: Path) -> Iterator[QueueServer]:
    started = embedded_redis.start(instance)
    yield started
    embedded_redis.stop(started)


@contextmanager
def spawning() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python processes of ours; whatever is left of them is killed in the end."""
    made: list[subprocess.Popen[str]] = []

    def start(*arguments: str, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PWSERVER_")}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=environ | {"PYTHONPATH": str(PROJECT)} | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
        made.append(process)
        return process

    try:
        yield start
    finally:
        for process in made:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with spawning() as start:
        yield start


def living(pid: int) -> bool:
    """Whether this process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def lives() -> Callable[[int], bool]:
    return living
