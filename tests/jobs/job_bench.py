"""Jobs for the worker tests, instead of runs: each leaves a line in the file that the environment names."""

from __future__ import annotations

import json
import os
import select
import time
from pathlib import Path

from pwserver.core import stopping


def _say(**facts: object) -> None:
    with Path(os.environ["BENCH_FILE"]).open("a") as stream:
        stream.write(json.dumps({"pid": os.getpid(), "parent": os.getppid()} | facts) + "\n")


def note(run_id: str) -> None:
    _say(done=run_id)


def hold(run_id: str) -> None:
    """Works until it is asked to stop, then ends its step; never longer than half a minute."""
    _say(began=run_id)
    end = time.monotonic() + 30
    while not stopping.requested() and time.monotonic() < end:
        select.select([], [], [], 0.02)
    _say(done=run_id, asked=stopping.requested())


def own_connections(run_id: str) -> None:
    """Whether this fork's database connection is its own."""
    from jobs import worker
    from pwserver.extensions import db

    with worker.application().app_context():
        raw = db.session.connection().connection.dbapi_connection
        _say(done=run_id, raw=id(raw), pool=db.engine.pool.status())
