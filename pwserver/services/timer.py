"""What time alone makes due. Called every two seconds by the timer process; safe to run in several at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import scoped_session

from pwserver.extensions import db
from pwserver.models import Override, SyncAgent, SyncChain, SyncRun
from pwserver.services.sync.accounts import unlock_for_run
from pwserver.services.sync.requeue import follow_up, queue_daily_test
from pwserver.services.sync.status import next_test, refresh, timing
from pwserver.services.transaction import end_read, now, write

Session = scoped_session[Any]


def tick() -> list[tuple[str, str]]:
    """Makes due tests, expires overrides, refreshes what time has changed; returns (run id, queue) to nudge."""
    _expire_overrides()
    _queue_tests()
    _refresh_stale()
    return _nudge()


def _due(at: datetime) -> Any:
    pace = timing()
    renudge = at - timedelta(seconds=pace.renudge)
    dead = at - timedelta(seconds=pace.lease_grace)
    waiting = SyncRun.state.in_(("queued", "waiting")) & (SyncRun.due_at <= at)
    return or_(waiting, (SyncRun.state == "running") & (SyncRun.lease_until < dead)) & or_(
        SyncRun.nudged_at.is_(None), SyncRun.nudged_at < renudge
    )


def _nudge() -> list[tuple[str, str]]:
    """Runs that are due and were not nudged lately. The claimer decides; a nudge too many does no harm."""
    at = now()
    if db.session.scalar(select(SyncRun.id).where(_due(at)).limit(1)) is None:
        end_read()
        return []
    with write() as session:
        rows = session.execute(select(SyncRun.id, SyncRun.kind, SyncRun.started_at).where(_due(at))).all()
        session.execute(update(SyncRun).where(SyncRun.id.in_([row.id for row in rows])).values(nudged_at=at))
    return [(row.id, queue_for(row.kind, row.started_at is None)) for row in rows]


def queue_for(kind: str, first: bool) -> str:
    """Clicks go to ``now``; tests and retries to ``later``."""
    return "now" if first and kind != "test" else "later"


def _queue_tests() -> None:
    at = now()
    due = (
        select(SyncChain.id)
        .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
        .where(SyncChain.enabled, SyncAgent.state == "approved", SyncAgent.pin == SyncChain.agent_pin)
        .where(SyncChain.next_test_at <= at)
        .limit(50)
    )
    chain_ids = list(db.session.scalars(due))
    end_read()
    for chain_id in chain_ids:
        with write() as session:
            chain = session.get_one(SyncChain, chain_id)
            chain.next_test_at = next_test(chain.id, at)
            queue_daily_test(session, chain.id, at)
            refresh(session, chain.id)


def _refresh_stale() -> None:
    chain_ids = list(db.session.scalars(select(SyncChain.id).where(SyncChain.recheck_at <= now()).limit(50)))
    end_read()
    for chain_id in chain_ids:
        with write() as session:
            refresh(session, chain_id)


def _expire_overrides() -> None:
    """Typed credentials are gone after their time, whatever became of the run (a crash included)."""
    at = now()
    expired = db.session.scalars(select(Override.run_id).where(Override.expires_at <= at)).all()
    end_read()
    for run_id in expired:
        with write() as session:
            session.execute(delete(Override).where(Override.run_id == run_id))
            run = session.get_one(SyncRun, run_id, populate_existing=True)
            if run.state in ("queued", "waiting"):
                run.state, run.result, run.finished_at = "done", "expired", at
                unlock_for_run(session, run_id)
                session.flush()
                follow_up(session, run, at)
            elif run.state == "running" and run.cancel_at is None:
                run.cancel_at, run.result = at, "expired"  # it never goes on with other credentials in their place
            refresh(session, run.chain_id)
