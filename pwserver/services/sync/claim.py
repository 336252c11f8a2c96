"""Taking a run up: exactly one worker, under a new fence; what a dead one left open becomes *unknown*."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session

from pwserver.core.timing import Timing
from pwserver.models import LinkAttempt, Override, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services import locking
from pwserver.services.sync.accounts import lock_for_run, touched
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now, retried, write

Session = scoped_session[Any]


class _NotClaimed(Exception):
    """Leaves the transaction without a trace."""


@retried
def claim(run_id: str, worker: str, timing: Timing) -> int | None:
    """The new fence, or None: not due, someone else has it, or its accounts or agent are busy (due again shortly)."""
    try:
        with write() as session:
            return _claim(session, run_id, worker, timing)
    except (_NotClaimed, IntegrityError):  # another run of this chain is running: the partial unique index says so
        _postpone(run_id, timing)
        return None


def _claim(session: Session, run_id: str, worker: str, timing: Timing) -> int:
    agents = _lock(session, run_id)
    at = now()
    dead = at - timedelta(seconds=timing.lease_grace)
    taken = touched(
        session,
        update(SyncRun)
        .where(
            SyncRun.id == run_id,
            SyncRun.due_at <= at,
            or_(
                SyncRun.state.in_(("queued", "waiting")),
                (SyncRun.state == "running") & (SyncRun.lease_until < dead),
            ),
        )
        .values(
            state="running",
            fence=SyncRun.fence + 1,
            worker=worker,
            lease_until=at + timedelta(seconds=timing.lease),
            started_at=func.coalesce(SyncRun.started_at, at),
        ),
    )
    if taken != 1:
        raise _NotClaimed
    fence, chain_id, kind = session.execute(
        select(SyncRun.fence, SyncRun.chain_id, SyncRun.kind).where(SyncRun.id == run_id)
    ).one()
    keys = session.scalars(
        select(SyncLink.account_key).where(SyncLink.chain_id == chain_id, SyncLink.active, SyncLink.is_account)
    )
    if kind != "test" and not lock_for_run(session, run_id, [key for key in keys if key]):
        raise _NotClaimed
    if agents != _agents_in_question(session, run_id) or _agent_is_taken(session, run_id, chain_id, kind):
        raise _NotClaimed
    if kind == "test" and _instruction_is_due(session, chain_id, at):
        raise _NotClaimed
    if kind == "override" and not _credentials_last(session, run_id, timing, at):
        raise _NotClaimed
    bury(session, run_id, fence, at)
    refresh(session, chain_id)
    return int(fence)


def _agents_in_question(session: Session, run_id: str) -> set[str]:
    """The agent this run goes through, and those whose own login its password is."""
    chain = select(SyncChain).join(SyncRun, SyncRun.chain_id == SyncChain.id).where(SyncRun.id == run_id).subquery()
    mine = (SyncAgent.id == chain.c.agent_id) | (SyncAgent.login_entry_id == chain.c.entry_id)
    return set(session.scalars(select(SyncAgent.id).where(mine)))


def _lock(session: Session, run_id: str) -> set[str]:
    """Agents first (rule 33), then the password. Returns the agents that were locked."""
    agents = locking.agents(session, SyncAgent.id.in_(_agents_in_question(session, run_id)))
    locking.password_of_run(session, run_id)
    return set(agents)


def bury(session: Session, run_id: str, fence: int, at: datetime) -> None:
    """Ends what an earlier worker left open. A write may have happened: unknown; ``maybe`` stays as its intent set it.
    A call that cannot write was at most a try, whose reservation stays."""
    open_ones = (LinkAttempt.run_id == run_id, LinkAttempt.outcome.is_(None), LinkAttempt.fence < fence)
    writes = ("change", "reset", "set")
    linked = select(LinkAttempt.link_id).where(*open_ones, LinkAttempt.step.in_(writes))
    session.execute(
        update(SyncLink)
        .where(SyncLink.id.in_(linked))
        .values(state="unknown", reason="worker_died", state_since=at, next_try_at=None)
    )
    session.execute(
        update(LinkAttempt)
        .where(*open_ones)
        .values(
            outcome=case((LinkAttempt.step.in_(writes + ("restart",)), "unknown"), else_="unreachable"),
            reason="worker_died",
            code="worker_died",
            finished_at=at,
        )
    )


def _instruction_is_due(session: Session, chain_id: str, at: datetime) -> bool:
    """A test gives way to any instruction (rule 25)."""
    queued = select(SyncRun.id).where(
        SyncRun.chain_id == chain_id, SyncRun.kind != "test", SyncRun.state == "queued", SyncRun.due_at <= at
    )
    return session.scalar(queued.limit(1)) is not None


def _credentials_last(session: Session, run_id: str, timing: Timing, at: datetime) -> bool:
    """Typed credentials live a quarter of an hour while the run waits for a worker, an hour from its start (rule 30).
    False: their time is over, though nobody swept them yet."""
    row = session.get(Override, run_id)
    if row is None:
        return True
    if row.expires_at <= at:
        return False
    started = session.scalar(select(SyncRun.started_at).where(SyncRun.id == run_id))
    assert started is not None
    row.expires_at = started + timedelta(seconds=timing.override_running)
    session.flush()
    return True


def _agent_is_taken(session: Session, run_id: str, chain_id: str, kind: str) -> bool:
    """A chain that changes an agent's own login has that agent to itself (rule 33)."""
    entry_id, agent_id = session.execute(
        select(SyncChain.entry_id, SyncChain.agent_id).where(SyncChain.id == chain_id)
    ).one()
    login_of = select(SyncAgent.login_entry_id).where(SyncAgent.id == agent_id).scalar_subquery()
    running = (
        select(SyncRun.id)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .where(SyncRun.state == "running", SyncRun.id != run_id)
    )
    changes_my_login = running.where(SyncChain.entry_id == login_of, SyncRun.kind != "test")
    if session.execute(changes_my_login.limit(1)).first():
        return True
    if kind == "test":
        return False
    agents_i_change = select(SyncAgent.id).where(SyncAgent.login_entry_id == entry_id)
    return session.execute(running.where(SyncChain.agent_id.in_(agents_i_change)).limit(1)).first() is not None


@retried
def _postpone(run_id: str, timing: Timing) -> None:
    """A run whose accounts are busy is due again shortly; a run that someone has is left alone."""
    with write() as session:
        at = now()
        session.execute(
            update(SyncRun)
            .where(SyncRun.id == run_id, SyncRun.state.in_(("queued", "waiting")), SyncRun.due_at <= at)
            .values(due_at=at + timedelta(seconds=timing.busy_account), nudged_at=None)
        )
