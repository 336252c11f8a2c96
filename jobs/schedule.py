"""The timer process: every two seconds it asks the database what is due, and nudges. ``python -m jobs.schedule``."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from sqlalchemy.exc import SQLAlchemyError

from pwserver import queueing
from pwserver.config import from_environment
from pwserver.logging import configure

log = logging.getLogger(__name__)


def beat() -> int:
    """One round, inside an application context. Returns how many runs were nudged."""
    from pwserver.services import timer

    return sum(queueing.enqueue(run_id, queue) for run_id, queue in timer.tick())


def main() -> int:
    from pwserver import create_app

    config = from_environment()
    configure("timer", config.instance)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    app = create_app(config)
    while not ended.is_set():
        with app.app_context():
            try:
                beat()
            except SQLAlchemyError as error:  # a database that is busy or away: the next round asks again
                log.warning("nothing was asked: %s", type(error).__name__)
        ended.wait(config.timing.tick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
