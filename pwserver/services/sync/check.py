"""``flask sync check``: recomputes everything that is cached or implied, and reports what is not as it must be."""

from __future__ import annotations

from datetime import timedelta

from pwserver.extensions import db
from pwserver.services.sync.invariants import budget, caches, greens, links, runs, values
from pwserver.services.sync.invariants.violation import Violation
from pwserver.services.transaction import now

TIMER_LAG = timedelta(minutes=1)
"""What time alone changes is the timer's to write down, every two seconds; later than this it did not."""


def check(*, recheck_lag: timedelta = TIMER_LAG) -> list[Violation]:
    """Every invariant of the tables that a transaction could have broken; an empty list: all is as it must be.

    Reads only. ``recheck_lag``: how long a status that only time has changed may wait for the timer.
    """
    session, at = db.session, now()
    return [
        *values.check(session),
        *links.check(session),
        *caches.check(session, at, recheck_lag),
        *greens.check(session, at, recheck_lag),
        *runs.check(session, at, TIMER_LAG),
        *budget.check(session),
    ]
