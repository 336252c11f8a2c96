"""A worker process: ``python -m jobs.worker now``. The application is loaded once; every run gets a fork of it."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import time
from functools import cache
from typing import Any

from flask import Flask
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from pwserver import queueing
from pwserver.config import from_environment
from pwserver.core import stopping
from pwserver.logging import configure
from pwserver.orphans import die_with_parent

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10
"""A job whose horse, worker or host died is found again this soon. RQ's own default is minutes."""
PRELOADED = (
    "jobs.sync", "jobs.mail", "pwserver.services.mail.letters", "pwserver.services.sync",
    "pwserver.services.sync.connect", "spnego._ntlm",
)  # fmt: skip
"""What a run imports late, since pages and commands do without it; the last one even in the middle of a login."""
STOP_SECONDS = 20
"""How long the link in hand may take after SIGTERM."""


@cache
def application() -> Flask:
    """The application, built once per process and inherited by every fork."""
    from pwserver import create_app

    return create_app(pages=False)


class RunWorker(Worker):
    """RQ's forking worker with a short heartbeat, whose forks end with it."""

    max_connection_wait_time = 2.0
    stop_asked_at = 0.0
    worker_pid = 0

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        self.worker_pid = os.getpid()
        super().fork_work_horse(job, queue)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        return HEARTBEAT_SECONDS

    def setup_work_horse_signals(self) -> None:
        """Runs first in the fork. SIGTERM means: finish the link in hand."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with_parent(self.worker_pid, lambda *_: stopping.request())
        forget_connections()

    def handle_warm_shutdown_request(self) -> None:
        self.stop_asked_at = time.monotonic()
        if self.horse_pid:
            self.kill_horse(signal.SIGTERM)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Every few seconds while a fork works. A queue that is away does not end the fork's work."""
        if self.stop_asked_at and time.monotonic() - self.stop_asked_at > STOP_SECONDS:
            log.warning("the link in hand did not end in %s s; ended", STOP_SECONDS)
            self.kill_horse()
        try:
            super().maintain_heartbeats(job, execution)
        except (RedisError, OSError) as error:
            log.warning("no heartbeat: %s", type(error).__name__)


def forget_connections() -> None:
    """In a fork: the parent's database connections are left alone, not closed and not used."""
    from pwserver.extensions import db

    app = application()
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose(close=False)


def make(queue_name: str) -> RunWorker:
    connection = queueing.connect(queueing.redis_url(), timeout=None)
    queue: Queue = queueing.queue(queue_name, connection)
    return RunWorker(
        [queue],
        name=f"{queue_name}-{os.uname().nodename}-{os.getpid()}",
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=20,
        maintenance_interval=2,
        job_monitoring_interval=3,
        default_result_ttl=0,
        log_job_description=False,
    )


def work(queue_name: str) -> int:
    """Works on one queue until SIGTERM or SIGINT; 1 when the queue went away."""
    try:
        make(queue_name).work(logging_level="WARNING")
    except RedisError as error:  # at a moment that RQ does not bridge: whoever started us starts us anew
        log.warning("the queue went away: %s", type(error).__name__)
        return 1
    return 0


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in queueing.QUEUES:
        sys.stderr.write(f"usage: python -m jobs.worker {'|'.join(queueing.QUEUES)}\n")
        return 2
    configure(f"worker-{arguments[0]}", from_environment().instance)
    application()
    preload()
    return work(arguments[0])


def preload() -> None:
    """Imports what a run needs, so that a fork starts working at once."""
    for name in PRELOADED:
        importlib.import_module(name)


def _main_module() -> Any:
    """The job imports ``jobs.worker``; started with ``-m`` it would otherwise be there twice, with two applications."""
    return sys.modules.setdefault("jobs.worker", sys.modules["__main__"])


if __name__ == "__main__":
    _main_module()
    sys.exit(main(sys.argv[1:]))
