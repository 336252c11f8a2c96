"""Caches: the status of a chain, and its few words, are those that the facts give (rule 40); so is what search sees."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.models import AT_REST, Entry, Incident, SyncAgent, SyncChain, SyncLink
from pwserver.models.chains import link_find_text
from pwserver.models.entries import entry_find_text
from pwserver.services.sync.invariants.violation import Violation
from pwserver.services.sync.resting import kind_of
from pwserver.services.sync.status import compute

Session = scoped_session[Any]


def check(session: Session, at: datetime, recheck_lag: timedelta) -> Iterator[Violation]:
    yield from _check_search(session)
    yield from _check_resting(session)
    for chain in session.scalars(select(SyncChain).execution_options(populate_existing=True)).all():
        if waits_for_timer(chain, at, recheck_lag):
            continue
        found = compute(session, chain, at)
        name = chain.entry.name
        if chain.status != found.status:
            yield Violation("status", name, f"says {chain.status}, the facts say {found.status}")
        elif chain.status_detail != found.detail:
            yield Violation("status", name, f'says "{chain.status_detail}", the facts say "{found.detail}"')


def _check_resting(session: Session) -> Iterator[Violation]:
    """An agent that does not serve has its incident, and no other has one (rule 41)."""
    resting = select(Incident.agent_id, Incident.kind).where(Incident.kind.in_(AT_REST), Incident.closed_at.is_(None))
    known = dict(session.execute(resting).all())
    for agent in session.scalars(select(SyncAgent).execution_options(populate_existing=True)).all():
        kind = kind_of(session, agent)
        if kind != known.get(agent.id, ""):
            yield Violation("resting", agent.name, f'is "{known.get(agent.id, "")}", the facts say "{kind}"')


def _check_search(session: Session) -> Iterator[Violation]:
    for entry in session.scalars(select(Entry).execution_options(populate_existing=True)):
        if entry.find_text != entry_find_text(entry):
            yield Violation("search", entry.name, "is searched by names that are not its own")
    for link in session.scalars(select(SyncLink).execution_options(populate_existing=True)):
        if link.find_text != link_find_text(link):
            yield Violation("search", f"link at {link.machine}", "is searched by names that are not its own")


def waits_for_timer(chain: SyncChain, at: datetime, recheck_lag: timedelta) -> bool:
    """Time alone has changed its status, and the timer is about to write that down."""
    return chain.recheck_at is not None and chain.recheck_at <= at and at - chain.recheck_at < recheck_lag
