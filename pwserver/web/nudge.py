"""After the commit: a worker is told that a run is due. Nothing is lost when nobody hears it; the timer asks too."""

from __future__ import annotations

from pwserver import queueing
from pwserver.models import SyncRun


def nudge(run: SyncRun | None) -> None:
    """``None``: there is nothing to do."""
    if run is not None and run.state != "done":
        queueing.enqueue(run.id, queueing.NOW)
