"""Doing a run: claim it, walk the chain, leave. Called by a worker with nothing but the run's id."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pwserver.services.sync.claim import claim
from pwserver.services.sync.journal import SqlJournal
from pwserver.services.sync.reach import Connect, Reacher
from pwserver.services.sync.status import timing
from pwserver.sync.chain import FenceLost
from pwserver.sync.engine import walk

log = logging.getLogger(__name__)


def execute(run_id: str, worker: str, connect: Callable[[], Connect] | None = None) -> bool:
    """One pass of a run. False: it was not ours to take. Safe to call twice, at any time, by any number of workers."""
    pace = timing()
    fence = claim(run_id, worker, pace)
    if fence is None:
        return False
    connections = (connect or _real)()
    journal = SqlJournal(run_id, fence, Reacher(run_id, connections, pace), pace)
    try:
        walk(journal, pace)
    except FenceLost:
        log.warning("run %s was taken over by another worker", run_id)
    return True


def _real() -> Connect:
    from pwserver.services.sync.connect import Connections

    return Connections()
