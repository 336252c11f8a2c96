"""The nudge: puts a run's id into a queue, after its row was committed.

Nothing but the id is in Redis, as JSON. That a nudge is lost, doubled, or cannot be given loses nothing: the timer asks
the database what is due and nudges again.
"""

from __future__ import annotations

import logging
import os
import secrets
from datetime import UTC, datetime
from typing import Literal

from flask import current_app, has_app_context
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, Worker
from rq.serializers import JSONSerializer
from rq.utils import as_text

from pwserver import embedded_redis
from pwserver.config import Config, from_environment

log = logging.getLogger(__name__)

NOW = "now"
"""Clicks: a person waits."""
LATER = "later"
"""Tests and retries."""
QUEUES = (NOW, LATER)

JOB = "jobs.sync.run"
MAIL = "jobs.mail.send"
FAILURE_SECONDS = 60
"""How long the trace of a job that died is kept; what happened to the run is in its row."""

LATER_PER_WORKER = 20
"""How many runs of ``later`` are in Redis for each worker: what it can do between two beats of the timer, and not all
that is due, since what waits as a row may still be cancelled, superseded or overtaken."""

_connections: dict[tuple[int, str], Redis] = {}


def redis_url(config: Config | None = None) -> str:
    """``REDIS_URL``, or the embedded server of the instance."""
    config = config or (current_app.config["PWSERVER"] if has_app_context() else from_environment())
    return config.redis_url or embedded_redis.url(config.instance)


def connect(url: str, *, timeout: float | None = 3) -> Redis:
    """A new connection that fails at once instead of retrying."""
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=1, socket_timeout=timeout)


def queue(name: str, connection: Redis) -> Queue:
    return Queue(name, connection=connection, serializer=JSONSerializer)


def workers() -> dict[str, int]:
    """How many worker processes each queue has: ``PWSERVER_WORKERS``, or one each."""
    count = int(os.environ.get("PWSERVER_WORKERS") or 1)
    return {NOW: max(1, count), LATER: max(1, count)}


def enqueue(run_id: str, queue_name: Literal["now", "later"] | str = NOW, job: str = JOB) -> bool:
    """Nudges a worker to do this run, or to send this mail (``job`` MAIL). Call it after the commit. Never raises for
    a queue that is away.

    False: nothing was queued, since the queue is away, this run waits in it already, or ``later`` is full (the row
    waits, and the timer asks again).
    """
    if queue_name not in QUEUES:
        raise ValueError(f"there is no queue {queue_name}")
    try:
        target = queue(queue_name, _connection(redis_url()))
        waiting = target.get_job_ids()
        if any(job_id.rsplit("_", 1)[0] == run_id for job_id in waiting):
            return False
        if queue_name == LATER and _room(target, len(waiting)) <= 0:
            return False
        target.enqueue_call(
            job,
            args=(run_id,),
            job_id=f"{run_id}_{secrets.token_hex(4)}",
            timeout=-1,  # RQ's limit is SIGALRM, which could strike between a send and its commit
            result_ttl=0,
            failure_ttl=FAILURE_SECONDS,
            description=job,
        )
    except (RedisError, OSError) as error:
        log.warning("the queue is away (%s); the timer will nudge again", type(error).__name__)
        return False
    return True


def take(queue_name: str) -> str | None:
    """The id of the next run that waits in this queue, taken out of it: the caller does it now. None when nothing or
    something else is next, or the queue is away. A taken id that is not done is nudged again, as any that got lost."""
    try:
        target = queue(queue_name, _connection(redis_url()))
        job = next(iter(target.get_jobs(0, 1)), None)
        if job is None or job.func_name != JOB or not target.remove(job):
            return None  # or another worker was faster
        run_id = str(job.args[0])
        job.delete(remove_from_queue=False)
    except (RedisError, OSError) as error:
        log.warning("no further run was taken: %s", type(error).__name__)
        return None
    return run_id


def room() -> int:
    """How many more runs ``later`` takes now; 0 when the queue is away. Never raises for that."""
    try:
        target = queue(LATER, _connection(redis_url()))
        return max(0, _room(target, target.count))
    except (RedisError, OSError):
        return 0


def _room(later: Queue, waiting: int) -> int:
    return LATER_PER_WORKER * _workers_of(later) - waiting - int(later.started_job_registry.count)


def youngest_worker(queue_name: str) -> float | None:
    """Seconds since a worker of this queue told of itself last, by our clock; None when none is registered. Raises for
    a queue that is away."""
    connection = _connection(redis_url())
    ages = []
    for key in connection.smembers(f"rq:workers:{queue_name}"):
        told = connection.hget(as_text(key), "last_heartbeat")
        if told:
            ages.append((datetime.now(UTC) - datetime.fromisoformat(as_text(told))).total_seconds())
    return min(ages, default=None)


def _workers_of(target: Queue) -> int:
    """Those of every machine that works on this queue; ours before they have said so."""
    return max(workers()[LATER], Worker.count(queue=target))


def _connection(url: str) -> Redis:
    """One connection per process: a forked child never shares its parent's."""
    key = (os.getpid(), url)
    if key not in _connections:
        _connections.clear()
        _connections[key] = connect(url)
    return _connections[key]
