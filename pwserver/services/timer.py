"""What time alone makes due. Called every two seconds by the timer process; safe to run in several at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import scoped_session

from pwserver.extensions import db
from pwserver.models import Override, SyncAgent, SyncChain, SyncRun
from pwserver.services import locking
from pwserver.services.mail import alerts, retention, summary
from pwserver.services.sync.accounts import unlock_for_run
from pwserver.services.sync.requeue import active_test, follow_up, queue_daily_test
from pwserver.services.sync.status import next_test, refresh, timing
from pwserver.services.transaction import end_read, now, retried, write

log = logging.getLogger(__name__)
Session = scoped_session[Any]


AT_ONCE = 50
"""Chains whose test is queued, or whose status is refreshed, in one tick: it stays short."""


def tick(room: int | None = None) -> list[tuple[str, str]]:
    """Makes due tests, expires overrides, refreshes what time has changed; returns (run id, queue) to nudge.

    ``room``: how many runs the queue ``later`` takes; the others are returned by a later tick. None: all.
    """
    _expire_overrides()
    queue_tests(now(), AT_ONCE)
    _refresh_stale()
    nudged = _nudge(room)
    _see_to_mails()
    return nudged


def _due(at: datetime) -> Any:
    pace = timing()
    renudge = at - timedelta(seconds=pace.renudge)
    dead = at - timedelta(seconds=pace.lease_grace)
    waiting = SyncRun.state.in_(("queued", "waiting")) & (SyncRun.due_at <= at)
    return or_(waiting, (SyncRun.state == "running") & (SyncRun.lease_until < dead)) & or_(
        SyncRun.nudged_at.is_(None), SyncRun.nudged_at < renudge
    )


def _nudge(room: int | None) -> list[tuple[str, str]]:
    """Runs that are due and were not nudged lately, the longest due first. The claimer decides; a nudge too many does
    no harm, but one that the queue has no room for would keep its run from being nudged for a while."""
    at = now()
    if db.session.scalar(select(SyncRun.id).where(_due(at)).limit(1)) is None:
        end_read()
        return []
    with write() as session:
        # A run that somebody has at this moment is looked at again by the next tick, and nobody waits.
        free = locking.rows(session, select(SyncRun.id).where(_due(at)).order_by(SyncRun.id), SyncRun, skip=True)
        due = select(SyncRun.id, SyncRun.kind, SyncRun.started_at).where(SyncRun.id.in_(free)).order_by(SyncRun.due_at)
        found = [(row.id, queue_for(row.kind, row.started_at is None)) for row in session.execute(due)]
        later = [each for each in found if each[1] == "later"][:room]
        chosen = [each for each in found if each[1] == "now"] + later
        ids = [run_id for run_id, _ in chosen]
        session.execute(update(SyncRun).where(SyncRun.id.in_(ids)).values(nudged_at=at))
    return chosen


def queue_for(kind: str, first: bool) -> str:
    """Clicks go to ``now``; tests and retries to ``later``."""
    return "now" if first and kind != "test" else "later"


@dataclass(frozen=True, slots=True)
class DueTest:
    """A chain whose daily test was due, and its run; not ``new``: one that was under way already."""

    chain_id: str
    run_id: str
    new: bool


def queue_tests(due_at: datetime, limit: int | None = None) -> list[DueTest]:
    """Queues every daily test that is due at ``due_at``, to begin now, those first that are due first."""
    at = now()
    due = (
        select(SyncChain.id)
        .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
        .where(SyncChain.enabled, SyncAgent.state == "approved", SyncAgent.pin == SyncChain.agent_pin)
        .where(SyncChain.next_test_at <= due_at)
        .order_by(SyncChain.next_test_at)
        .limit(limit)
    )
    chain_ids = list(db.session.scalars(due))
    end_read()
    found = []
    for chain_id in chain_ids:
        if queued := _queue_test(chain_id, at, due_at):
            found.append(queued)
    return found


@retried
def _queue_test(chain_id: str, at: datetime, due_at: datetime) -> DueTest | None:
    with write() as session:
        locking.passwords_of_chains(session, [chain_id])
        chain = session.get_one(SyncChain, chain_id)
        if chain.next_test_at is None or chain.next_test_at > due_at:
            return None  # another timer was first
        chain.next_test_at = next_test(chain.id, at)
        run = queue_daily_test(session, chain.id, at)
        there = run or active_test(session, chain.id)
        assert there is not None
        refresh(session, chain.id)
        return DueTest(chain.id, there.id, run is not None)


def _refresh_stale() -> None:
    chain_ids = list(db.session.scalars(select(SyncChain.id).where(SyncChain.recheck_at <= now()).limit(AT_ONCE)))
    end_read()
    for chain_id in chain_ids:
        _refresh(chain_id)


@retried
def _refresh(chain_id: str) -> None:
    with write() as session:
        locking.passwords_of_chains(session, [chain_id])
        refresh(session, chain_id)


def _see_to_mails() -> None:
    """Rows of the mails that are due are made, those of long ago removed. An error of ours in there stops no run."""
    for see_to in (alerts.make_due, summary.make_due, retention.make_due):
        try:
            see_to()
        except Exception:
            db.session.rollback()
            log.exception("mails were not made, or not forgotten")


def _expire_overrides() -> None:
    """Typed credentials are gone after their time, whatever became of the run (a crash included)."""
    at = now()
    expired = db.session.scalars(select(Override.run_id).where(Override.expires_at <= at)).all()
    end_read()
    for run_id in expired:
        _expire(run_id, at)


@retried
def _expire(run_id: str, at: datetime) -> None:
    with write() as session:
        locking.password_of_run(session, run_id)
        gone = delete(Override).where(Override.run_id == run_id, Override.expires_at <= at)
        if not session.scalars(gone.returning(Override.run_id)).all():
            return  # it was taken up a moment ago and lasts longer now, or is gone
        run = session.get_one(SyncRun, run_id, populate_existing=True)
        if run.state in ("queued", "waiting"):
            run.state, run.result, run.finished_at = "done", "expired", at
            unlock_for_run(session, run_id)
            session.flush()
            follow_up(session, run, at)
        elif run.state == "running" and run.cancel_at is None:
            run.cancel_at, run.result = at, "expired"  # it never goes on with other credentials in their place
        refresh(session, run.chain_id)
