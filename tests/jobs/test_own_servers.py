"""PostgreSQL and Redis of one's own, with two workers for each queue: the same as on the embedded ones."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pwserver import queueing
from tests.depth import deep
from tests.free_ports import free_port
from tests.jobs.kills import Killing, good, strike_all
from tests.postgres import Cluster
from tests.redis_server import PASSWORD, RedisServer

Spawn = Callable[..., "subprocess.Popen[str]"]
NEEDLE = "Postgres-needle-2208"
VICTIMS = deep(
    ("redis", "redis emptied", "everything"),
    ("horse", "worker-now", "redis", "timer", "redis emptied", "everything", "jobs"),
)
"""Quick: what is different here; a fork and a worker are killed on the embedded servers as well."""
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.sweep,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("own-servers"),
]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def env(cluster: Cluster, redis: RedisServer) -> dict[str, str]:
    """Both servers, both with a password. The scheme is the one that hosting companies hand out."""
    address = cluster.url(cluster.create()).replace("postgresql://pwserver@", f"postgres://pwserver:{NEEDLE}@")
    return {"DATABASE_URL": address, "REDIS_URL": redis.url, "PWSERVER_WORKERS": "2"}


class KillingTheirs(Killing):
    """The same kills, with a Redis that is nobody's child."""

    redis: RedisServer

    def kill(self, victim: str) -> None:
        if victim == "redis":
            self.redis.kill()
            self.wait(lambda: self.worker_says("the queue went away"), "a worker noticed", 30)
            self.redis.start()
        elif victim == "redis emptied":
            with queueing.connect(self.redis.url) as line:
                line.flushall()
        else:
            super().kill(victim)

    def worker_says(self, words: str) -> bool:
        logs = (self.folder / "logs").glob("worker-*.log")
        return any(words in path.read_text() for path in logs)


@pytest.mark.budget(deep(60, 180), "a whole instance on servers of its own, killed and started again")
def test_whatever_is_killed_the_truth_and_the_vault_agree_with_two_workers_on_servers_of_their_own(
    instance: Path, spawn: Spawn, env: dict[str, str], redis: RedisServer
) -> None:
    made = KillingTheirs(instance, spawn, env)
    made.redis = redis
    assert {"worker-now", "worker-now-2", "worker-later", "worker-later-2"} <= made.running.pids.keys()
    assert not (instance / "pwserver.db").exists()
    assert not (instance / "queue").exists()
    found = strike_all(made, VICTIMS)
    assert found["kills"] == found["open"] == len(VICTIMS)
    assert good(found), json.dumps(found)
    told = {path.name: path.read_text(errors="replace") for path in instance.rglob("*") if path.is_file()}
    assert {"timer.log", "worker-now.log", "web.log"} <= told.keys()
    for needle in (PASSWORD, NEEDLE):
        assert [name for name, text in told.items() if needle in text] == []
