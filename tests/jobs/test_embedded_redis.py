"""One queue server per instance, whoever starts it and whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pwserver import embedded_redis
from pwserver.embedded_redis import QueueServer, QueueServerError

pytestmark = pytest.mark.enable_socket

STARTER = """
import sys
from pathlib import Path
from pwserver import embedded_redis
server = embedded_redis.start(Path(sys.argv[1]))
print(server.process.pid if server.process else 0, flush=True)
sys.stdin.readline()
embedded_redis.stop(server)
"""


def test_four_starters_at_once_get_one_server(instance: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    starters = [spawn("-c", STARTER, str(instance), stdin=subprocess.PIPE) for _ in range(4)]
    pids = [int(starter.stdout.readline()) for starter in starters]  # type: ignore[union-attr]
    assert sum(pid > 0 for pid in pids) == 1, "one started it, three found it"
    with embedded_redis.client(embedded_redis.socket_path(instance)) as connection:
        assert connection.info()["process_id"] == max(pids)
    for starter in starters:
        starter.stdin.close()  # type: ignore[union-attr]
        assert starter.wait(10) == 0


def test_the_server_ends_with_its_starter_even_by_kill_9(
    instance: Path,
    spawn: Callable[..., subprocess.Popen[str]],
    eventually: Callable[..., None],
    lives: Callable[[int], bool],
) -> None:
    starter = spawn("-c", STARTER, str(instance), stdin=subprocess.PIPE)
    pid = int(starter.stdout.readline())  # type: ignore[union-attr]
    assert lives(pid)
    starter.kill()
    starter.stdin.close()  # type: ignore[union-attr]
    eventually(lambda: not lives(pid), "no orphan is left")


def test_what_was_queued_is_there_after_kill_9_of_the_server(instance: Path, server: QueueServer) -> None:
    with embedded_redis.client(server.socket) as connection:
        connection.set("waiting", "1")
        # everysec: what was acknowledged reaches the kernel at once, the disk within a second
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert not embedded_redis.alive(server.socket)
    again = embedded_redis.start(instance)
    try:
        with embedded_redis.client(again.socket) as connection:
            assert connection.get("waiting") == b"1"
    finally:
        embedded_redis.stop(again)


def test_data_that_does_not_load_is_put_aside_and_the_server_starts(instance: Path) -> None:
    first = embedded_redis.start(instance)
    with embedded_redis.client(first.socket) as connection:
        connection.set("waiting", "1")
    embedded_redis.stop(first)
    manifest = next((embedded_redis.data_folder(instance) / "appendonlydir").glob("*.manifest"))
    manifest.write_text("this is no manifest\n")
    again = embedded_redis.start(instance)
    try:
        assert embedded_redis.alive(again.socket)
        assert list(embedded_redis.data_folder(instance).glob("unreadable-*"))
    finally:
        embedded_redis.stop(again)


def test_a_living_server_is_adopted_and_not_ended_by_who_adopted_it(instance: Path, server: QueueServer) -> None:
    adopted = embedded_redis.start(instance)
    assert adopted.process is None
    embedded_redis.stop(adopted)
    assert embedded_redis.alive(server.socket)


def test_a_deep_folder_gets_a_short_socket_that_only_we_may_enter(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    path = embedded_redis.socket_path(deep)
    assert len(os.fsencode(path)) < 108
    assert path == embedded_redis.socket_path(deep)
    started = embedded_redis.start(deep)
    try:
        assert embedded_redis.alive(path)
        assert path.parent.stat().st_mode & 0o077 == 0
        assert path.stat().st_mode & 0o077 == 0
    finally:
        embedded_redis.stop(started)
        path.parent.joinpath("valkey.sock").unlink(missing_ok=True)
        path.parent.rmdir()


def test_a_socket_folder_of_somebody_else_is_refused(instance: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a folder away needs root")
    folder = embedded_redis.data_folder(instance)
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(QueueServerError, match="somebody else"):
        embedded_redis.start(instance)


def test_it_listens_on_no_port_and_ends_on_sigterm(server: QueueServer) -> None:
    with embedded_redis.client(server.socket) as connection:
        assert connection.config_get("port") == {"port": "0"}
        assert connection.config_get("appendonly") == {"appendonly": "yes"}
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 0
