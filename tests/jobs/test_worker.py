"""Real worker processes: they fork, they end what they began, and nothing of them outlives them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue

from pwserver import embedded_redis, queueing
from pwserver.embedded_redis import QueueServer

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.timeout(90),
    pytest.mark.budget(25, "starts worker processes, and each of them a fork for each job"),
]

Spawn = Callable[..., "subprocess.Popen[str]"]


class Bench:
    """One worker on the queue ``now`` and what its jobs said."""

    def __init__(self, instance: Path, connection: Redis, spawn: Spawn) -> None:
        self.file = instance / "bench.jsonl"
        self.queue: Queue = queueing.queue("now", connection)
        self.instance, self.connection, self._spawn = instance, connection, spawn

    def worker(self) -> subprocess.Popen[str]:
        env = {"PWSERVER_INSTANCE": str(self.instance), "BENCH_FILE": str(self.file)}
        return self._spawn("-m", "jobs.worker", "now", env=env)

    def put(self, job: str, run_id: str) -> None:
        self.queue.enqueue_call(
            f"tests.jobs.job_bench.{job}", args=(run_id,), timeout=-1, result_ttl=0, description="bench"
        )

    def said(self, **facts: str) -> dict[str, Any] | None:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return next((line for line in map(json.loads, lines) if facts.items() <= line.items()), None)


@pytest.fixture
def bench(instance: Path, server: QueueServer, spawn: Spawn) -> Iterator[Bench]:
    with embedded_redis.client(server.socket) as connection:
        yield Bench(instance, connection, spawn)


def test_every_job_runs_in_a_fork_that_is_gone_afterwards(
    bench: Bench, eventually: Callable[..., None], lives: Callable[[int], bool]
) -> None:
    worker = bench.worker()
    bench.put("note", "a")
    bench.put("note", "b")
    eventually(lambda: bench.said(done="b"), "both jobs were done", 30)
    first, second = bench.said(done="a"), bench.said(done="b")
    assert first is not None
    assert second is not None
    assert first["pid"] != second["pid"]
    assert first["parent"] == second["parent"] == worker.pid
    eventually(lambda: not lives(second["pid"]), "the fork ended")
    eventually(lambda: not bench.connection.keys("rq:job:*"), "nothing of a done job stays in the queue")


def test_sigterm_ends_the_step_in_hand_and_then_the_worker(bench: Bench, eventually: Callable[..., None]) -> None:
    worker = bench.worker()
    bench.put("hold", "a")
    bench.put("note", "b")
    eventually(lambda: bench.said(began="a"), "the job began", 30)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert bench.said(done="a", asked=True), "asked to stop, it ended its step by itself"  # type: ignore[arg-type]
    assert not bench.said(done="b"), "nothing new was begun"


def test_a_fork_dies_with_its_worker(
    bench: Bench, eventually: Callable[..., None], lives: Callable[[int], bool]
) -> None:
    worker = bench.worker()
    bench.put("hold", "a")
    eventually(lambda: bench.said(began="a"), "the job began", 30)
    began = bench.said(began="a")
    assert began is not None
    worker.kill()
    eventually(lambda: not lives(began["pid"]), "no orphan works on")


def test_a_killed_fork_costs_the_worker_nothing(bench: Bench, eventually: Callable[..., None]) -> None:
    worker = bench.worker()
    bench.put("hold", "a")
    eventually(lambda: bench.said(began="a"), "the job began", 30)
    began = bench.said(began="a")
    assert began is not None
    os.kill(began["pid"], signal.SIGKILL)
    bench.put("note", "b")
    eventually(lambda: bench.said(done="b"), "the next job was done")
    assert worker.poll() is None


def test_the_queue_may_be_emptied_and_killed_under_a_worker(
    bench: Bench, server: QueueServer, eventually: Callable[..., None]
) -> None:
    worker = bench.worker()
    bench.put("note", "a")
    eventually(lambda: bench.said(done="a"), "the first job was done", 30)
    bench.connection.flushall()
    bench.put("note", "b")
    eventually(lambda: bench.said(done="b"), "a job after the queue was emptied", 20)
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    again = embedded_redis.start(bench.instance)
    try:
        with embedded_redis.client(again.socket) as connection:
            bench.queue = queueing.queue("now", connection)
            bench.put("note", "c")
            eventually(lambda: bench.said(done="c") or worker.poll() is not None, "it goes on, or it ends", 30)
            if worker.poll() is not None:
                assert worker.returncode == 1, "it ended by itself, for the supervisor to start it again"
                bench.worker()
            eventually(lambda: bench.said(done="c"), "a job after the queue came back", 30)
    finally:
        embedded_redis.stop(again)


def test_a_fork_opens_a_database_connection_of_its_own(bench: Bench, eventually: Callable[..., None]) -> None:
    bench.worker()
    bench.put("own_connections", "a")
    eventually(lambda: bench.said(done="a"), "the job was done", 30)
    said = bench.said(done="a")
    assert said is not None
    assert "Current Checked out connections: 1" in said["pool"]


def test_a_worker_of_no_queue_says_what_there_is(spawn: Spawn) -> None:
    worker = spawn("-m", "jobs.worker", "soon")
    assert "now|later" in worker.communicate(timeout=30)[0]
    assert worker.returncode == 2
