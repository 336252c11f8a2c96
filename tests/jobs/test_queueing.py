"""What is in Redis: ids, as JSON, and nothing else."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis

from pwserver import embedded_redis, queueing
from pwserver.embedded_redis import QueueServer

pytestmark = pytest.mark.enable_socket

PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@pytest.fixture
def connection(instance: Path, server: QueueServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    monkeypatch.setenv("PWSERVER_INSTANCE", str(instance))
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("PWSERVER_WORKERS", raising=False)
    with embedded_redis.client(server.socket) as made:
        yield made
    queueing._connections.clear()


def everything(connection: Redis) -> bytes:
    """Every key and value of the server, one after the other."""
    found = []
    for key in connection.scan_iter():
        found.append(key)
        kind = connection.type(key)
        if kind == b"string":
            found.append(connection.get(key) or b"")
        elif kind == b"hash":
            found += [part for pair in connection.hgetall(key).items() for part in pair]
        elif kind == b"list":
            found += connection.lrange(key, 0, -1)
        elif kind == b"set":
            found += list(connection.smembers(key))
        elif kind == b"zset":
            found += connection.zrange(key, 0, -1)
        else:
            found.append(connection.dump(key) or b"")
    return b"\n".join(unpacked(part) for part in found)


def unpacked(part: bytes) -> bytes:
    """RQ packs a job's data with zlib."""
    return zlib.decompress(part) if part.startswith(b"x\x9c") else part


def test_a_nudge_holds_the_id_and_nothing_is_pickled(connection: Redis) -> None:
    assert queueing.enqueue("run-1", "now")
    job_id = connection.lrange("rq:queue:now", 0, -1)[0].decode()
    job = connection.hgetall(f"rq:job:{job_id}")
    assert unpacked(job[b"data"]) == b'["jobs.sync.run", null, ["run-1"], {}]'
    assert job[b"description"] == b"jobs.sync.run"
    assert job[b"timeout"] == b"-1"
    assert job[b"result_ttl"] == b"0"
    assert b'["jobs.sync.run", null, ["run-1"], {}]' in everything(connection)
    assert not any(start in everything(connection) for start in PICKLE_STARTS)


def test_the_same_run_waits_once_however_often_it_is_nudged(connection: Redis) -> None:
    assert queueing.enqueue("run-1", "now")
    assert not queueing.enqueue("run-1", "now")
    assert queueing.enqueue("run-1", "later"), "the other queue is another worker's"
    assert connection.llen("rq:queue:now") == 1


def test_later_never_takes_more_than_its_workers_do_between_two_beats(
    connection: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "LATER_PER_WORKER", 2)
    assert queueing.room() == 2
    assert [queueing.enqueue(f"run-{n}", "later") for n in range(4)] == [True, True, False, False]
    assert queueing.room() == 0
    monkeypatch.setenv("PWSERVER_WORKERS", "2")
    assert queueing.room() == 2
    assert [queueing.enqueue(f"run-{n}", "later") for n in range(2, 6)] == [True, True, False, False]
    assert queueing.enqueue("click", "now"), "a click waits for nothing"


def test_a_queue_that_is_away_has_no_room(connection: Redis, server: QueueServer) -> None:
    assert queueing.room() > 0
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert queueing.room() == 0


def test_a_fork_that_goes_on_takes_the_next_run_and_nothing_else(connection: Redis, server: QueueServer) -> None:
    for run_id in ("run-1", "run-2"):
        queueing.enqueue(run_id, "later")
    queueing.enqueue("mail-1", "later", queueing.MAIL)
    assert [queueing.take("later") for _ in range(3)] == ["run-1", "run-2", None], "a mail is not its business"
    assert len(connection.keys("rq:job:*")) == connection.llen("rq:queue:later") == 1
    assert queueing.enqueue("run-1", "later"), "what was taken may be nudged again"
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert queueing.take("later") is None


def test_an_emptied_queue_takes_the_next_nudge(connection: Redis) -> None:
    queueing.enqueue("run-1", "now")
    connection.flushall()
    assert queueing.enqueue("run-1", "now")


def test_a_queue_that_is_away_never_fails_a_click(connection: Redis, server: QueueServer) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert not queueing.enqueue("run-1", "now")


def test_a_redis_url_wins_over_the_embedded_server(instance: Path) -> None:
    config = SimpleNamespace(redis_url="redis://queue.example:6379/1", instance=instance)
    assert queueing.redis_url(config) == "redis://queue.example:6379/1"  # type: ignore[arg-type]
    config.redis_url = ""
    assert queueing.redis_url(config).startswith("unix:///")  # type: ignore[arg-type]


def test_an_unknown_queue_is_a_bug(connection: Redis) -> None:
    with pytest.raises(ValueError, match="no queue"):
        queueing.enqueue("run-1", "soon")


def test_a_forked_child_never_shares_the_connection(
    connection: Redis, instance: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    child = spawn(
        "-c",
        "import os; from pwserver import queueing as q; q.enqueue('a'); mine = next(iter(q._connections.values()))\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    q.enqueue('b'); os._exit(mine is next(iter(q._connections.values())))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        env={"PWSERVER_INSTANCE": str(instance)},
    )
    assert child.communicate(timeout=20)[0].strip() == "0"
    assert connection.llen("rq:queue:now") == 2
