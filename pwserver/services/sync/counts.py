"""How many links of a chain are done: one count for lists, the status in a few words, and the page of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.core.states import LinkState
from pwserver.models import LinkAttempt, LinkMaybe, SyncLink, SyncRun
from pwserver.services.sync.requeue import ACTIVE, outstanding_version

Session = scoped_session[Any]

GOOD = frozenset({LinkState.IN_SYNC, LinkState.UPDATED})
WRITING = ("change", "override", "adopt")


def run_to_show(session: Session, chain_id: str) -> SyncRun | None:
    """What runs now; else the instruction that waits, else the test."""
    runs = session.scalars(select(SyncRun).where(SyncRun.chain_id == chain_id, SyncRun.state.in_(ACTIVE))).all()
    return min(runs, key=lambda run: (run.state != "running", run.kind == "test"), default=None)


def goal_of(session: Session, chain_id: str, active: SyncRun | None) -> str | None:
    """The version a chain is on its way to: of the ``active`` run where that writes, else the outstanding one."""
    writing = active is not None and active.kind in WRITING
    return (active.version_id if active is not None and writing else None) or outstanding_version(session, chain_id)


def link_counts(session: Session, chain_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """By chain: its active links, and those done: they hold what the chain is on its way to and nothing is open, or
    Windows manages them. A good state alone does not count: it may be about the version before."""
    rows = session.execute(
        select(SyncLink.id, SyncLink.chain_id, SyncLink.state, SyncLink.holds_version_id).where(
            SyncLink.chain_id.in_(chain_ids), SyncLink.active
        )
    ).all()
    ids = [row[0] for row in rows]
    maybe = set(session.scalars(select(LinkMaybe.link_id).where(LinkMaybe.link_id.in_(ids))))
    at_work = set(
        session.scalars(
            select(LinkAttempt.link_id)
            .join(SyncRun, SyncRun.id == LinkAttempt.run_id)
            .where(LinkAttempt.link_id.in_(ids), LinkAttempt.outcome.is_(None), LinkAttempt.step != "probe")
            .where(SyncRun.state == "running")
        )
    )
    goals = {chain: goal_of(session, chain, run_to_show(session, chain)) for chain in chain_ids}
    found: dict[str, tuple[int, int]] = {}
    for link, chain, state, holds in rows:
        links, done = found.get(chain, (0, 0))
        good = state in GOOD and holds == goals[chain] and link not in maybe
        good = (good or state == LinkState.MANAGED) and link not in at_work
        found[chain] = (links + 1, done + good)
    return found
