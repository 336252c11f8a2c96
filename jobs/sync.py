"""The one job: an id comes in, a service is called."""

from __future__ import annotations

import logging
import os
import socket
import traceback
from pathlib import Path

from jobs import worker

log = logging.getLogger(__name__)


def run(run_id: str) -> None:
    """Does one pass of a run. What became of it is in its row; nothing is given back to the queue.

    An error of ours ends here: a traceback in Redis could hold anything. The row stays running, its lease ends, and the
    timer has it taken up again.
    """
    from pwserver.services.sync import execute

    with worker.application().app_context():
        try:
            execute(run_id, f"{socket.gethostname()}:{os.getpid()}")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
            log.error("run %s ended by an error of ours: %s at %s", run_id, type(error).__name__, where)
