"""Runs: an open attempt belongs to a running run, and nothing outlives the run that it was for (rules 5, 11 and 30)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import scoped_session

from pwserver.models import Account, Entry, LinkAttempt, Override, SyncChain, SyncRun
from pwserver.services.sync.invariants.violation import Violation

Session = scoped_session[Any]


def check(session: Session, at: datetime, timer_lag: timedelta) -> Iterator[Violation]:
    yield from _attempts(session)
    yield from _several(session)
    yield from _overrides(session, at, timer_lag)
    locks = select(Account.key).outerjoin(SyncRun, SyncRun.id == Account.writer_run_id)
    ended = Account.writer_run_id.is_not(None) & func.coalesce(SyncRun.state, "done").in_(("done",))
    for key in session.scalars(locks.where(ended)):
        yield Violation("account_lock", key, "is locked by a run that ended")


def _attempts(session: Session) -> Iterator[Violation]:
    rows = session.execute(
        select(SyncRun.number, SyncRun.state)
        .join(LinkAttempt, LinkAttempt.run_id == SyncRun.id)
        .where(LinkAttempt.outcome.is_(None), SyncRun.state != "running")
    )
    for number, state in rows:
        yield Violation("open_attempt", f"run {number}", f"is {state}, and has an attempt still open")


def _several(session: Session) -> Iterator[Violation]:
    """One instruction and one test per chain, one of them running."""
    rows = session.execute(
        select(Entry.name, SyncRun.chain_id, SyncRun.kind, SyncRun.state)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(SyncRun.state != "done")
    ).all()
    for name, chain_id in {(row.name, row.chain_id) for row in rows}:
        own = [row for row in rows if row.chain_id == chain_id]
        for what, count in (
            ("instructions", sum(row.kind != "test" for row in own)),
            ("tests", sum(row.kind == "test" for row in own)),
            ("running runs", sum(row.state == "running" for row in own)),
        ):
            if count > 1:
                yield Violation("one_run", name, f"has {count} {what} at once")


def _overrides(session: Session, at: datetime, timer_lag: timedelta) -> Iterator[Violation]:
    rows = session.execute(
        select(SyncRun.number, SyncRun.state, Override.expires_at).join(Override, Override.run_id == SyncRun.id)
    )
    for number, state, expires_at in rows:
        if state == "done":
            yield Violation("override", f"run {number}", "ended, but its typed credentials are still there")
        elif expires_at <= at and at - expires_at >= timer_lag:
            yield Violation("override", f"run {number}", "has typed credentials past their time")
