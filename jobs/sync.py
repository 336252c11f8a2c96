"""The one job: an id comes in, a service is called."""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
from pathlib import Path

from rq import get_current_job

from jobs import worker
from pwserver import queueing
from pwserver.core import stopping

log = logging.getLogger(__name__)

GOES_ON_SECONDS = 10.0
"""So long a fork takes one run after the other, which saves each of them a fork that has everything to warm up."""


def run(run_id: str) -> None:
    """Does one pass of a run, then of others that wait in the same queue. What became of them is in their rows; nothing
    is given back to the queue."""
    job = get_current_job()
    until = time.monotonic() + GOES_ON_SECONDS
    _pass(run_id)
    while job is not None and time.monotonic() < until and not stopping.requested():
        following = queueing.take(job.origin)
        if following is None:
            return
        _pass(following)


def _pass(run_id: str) -> None:
    """An error of ours ends here: a traceback in Redis could hold anything. The row stays running, its lease ends, and
    the timer has it taken up again."""
    from pwserver.services.sync import execute

    with worker.application().app_context():
        try:
            execute(run_id, f"{socket.gethostname()}:{os.getpid()}")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
            log.error("run %s ended by an error of ours: %s at %s", run_id, type(error).__name__, where)
