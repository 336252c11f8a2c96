"""The timer: every two seconds it asks the database what is due, and nudges."""

from __future__ import annotations

import logging
import signal
import threading

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from pwserver import queueing

log = logging.getLogger(__name__)


def beat() -> int:
    """One round, inside an application context. Returns how many runs were nudged."""
    from pwserver.services import timer, watch
    from pwserver.services.mail import outbox

    nudged = sum(queueing.enqueue(run_id, queue) for run_id, queue in timer.tick(queueing.room()))
    for outbox_id, queue in outbox.due():
        queueing.enqueue(outbox_id, queue, queueing.MAIL)
    watch.look()
    return nudged


def run(app: Flask) -> int:
    """Beats until SIGTERM or SIGINT."""
    from pwserver.services import watch

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    new = True
    while not ended.is_set():
        with app.app_context():
            try:
                if new:
                    watch.begin()
                    new = False
                beat()
            except (SQLAlchemyError, OSError) as error:  # a database or a disk that is away: the next round asks again
                log.warning("nothing was asked: %s", type(error).__name__)
        ended.wait(app.config["PWSERVER"].timing.tick)
    return 0
