"""The web server: granian with two forks of one loaded application. ``python -m pwserver.webserver``"""

from __future__ import annotations

import gc
import logging
import os
import sys
from functools import cache, partial
from threading import Event, Thread
from typing import Any

from flask import Flask
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server
from sqlalchemy.exc import SQLAlchemyError

from pwserver.config import from_environment
from pwserver.logging import configure
from pwserver.orphans import die_with_parent, exit_after_parent

log = logging.getLogger(__name__)

WORKERS, THREADS = 2, 4
WATCH_SECONDS = 30
KILL_SECONDS = 4
"""How long a request in hand may take when the server ends."""


@cache
def application() -> Flask:
    from pwserver import create_app

    configure("web", from_environment().instance)
    return create_app()


def load(parent: int, target: str) -> Any:
    """Runs in each worker. It must not outlive the web server ``parent``, nor use its database connections."""
    from pwserver.extensions import db

    die_with_parent(parent)
    Thread(target=exit_after_parent, args=[parent, KILL_SECONDS], name="parent", daemon=True).start()
    app = application()
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose(close=False)
    Thread(target=watch_timer, args=[app], name="watch", daemon=True).start()
    return app


def watch_timer(app: Flask, ended: Event | None = None) -> None:
    """Looks now and then whether the timer lives: dead, it cannot tell of itself."""
    from pwserver import queueing
    from pwserver.services import watch
    from pwserver.services.mail import outbox

    ended = ended or Event()
    while not ended.wait(WATCH_SECONDS):
        with app.app_context():
            try:
                for outbox_id, queue in outbox.due() if watch.notice_timer() else ():
                    queueing.enqueue(outbox_id, queue, queueing.MAIL)
            except SQLAlchemyError as error:
                log.warning("the timer was not looked after: %s", type(error).__name__)


def main() -> int:
    config = from_environment()
    application()
    gc.collect()
    gc.freeze()  # what is loaded stays shared between the forks
    Server(
        "app:app",
        address=config.host,
        port=config.port,
        interface=Interfaces.WSGI,
        workers=WORKERS,
        blocking_threads=THREADS,
        websockets=False,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        respawn_interval=0.5,
        workers_kill_timeout=KILL_SECONDS,
    ).serve(target_loader=partial(load, os.getpid()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
