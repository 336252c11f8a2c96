"""How many links of a chain are done: one count for lists, the status in a few words, and the page of the chain."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.core.states import LinkState
from pwserver.models import EntryVersion, LinkAttempt, LinkMaybe, SyncChain, SyncLink, SyncRun
from pwserver.services.sync.requeue import ACTIVE

Session = scoped_session[Any]

GOOD = frozenset({LinkState.IN_SYNC, LinkState.UPDATED})
WRITING = ("change", "override", "adopt")


def runs_to_show(session: Session, chain_ids: Sequence[str]) -> dict[str, SyncRun]:
    """By chain: what runs now; else the instruction that waits, else the test. A chain without any is left out."""
    rows = session.scalars(select(SyncRun).where(SyncRun.chain_id.in_(chain_ids), SyncRun.state.in_(ACTIVE)))
    ordered = sorted(rows, key=lambda run: (run.state == "running", run.kind != "test"))
    return {run.chain_id: run for run in ordered}


def goals_of(session: Session, chain_ids: Sequence[str], active: Mapping[str, SyncRun]) -> dict[str, str | None]:
    """By chain: the version it is on its way to; see :func:`goal`."""
    rows = session.execute(
        select(SyncChain.id, EntryVersion.stage, EntryVersion.id)
        .join(EntryVersion, EntryVersion.entry_id == SyncChain.entry_id)
        .where(SyncChain.id.in_(chain_ids), EntryVersion.stage.in_(("pending", "current")))
    ).all()
    stages = {(chain, stage): version for chain, stage, version in rows}
    held = somewhere(session, [version for (_chain, stage), version in stages.items() if stage == "pending"])
    return {
        chain: goal(stages.get((chain, "current")), stages.get((chain, "pending")), held, active.get(chain))
        for chain in chain_ids
    }


def goal(current: str | None, pending: str | None, held: Collection[str], active: SyncRun | None) -> str | None:
    """The version of the ``active`` run where that writes, else the outstanding one, which is the pending value unless
    that is nowhere (see ``requeue.outstanding_version``), else the current one. ``held``: see :func:`somewhere`."""
    if active is not None and active.kind in WRITING and active.version_id:
        return active.version_id
    return pending if pending in held else current


def somewhere(session: Session, version_ids: Sequence[str]) -> set[str]:
    """Those of the versions that some link, active or not, holds or may hold."""
    if not version_ids:
        return set()
    holds = select(SyncLink.holds_version_id).where(SyncLink.holds_version_id.in_(version_ids))
    maybe = select(LinkMaybe.version_id).where(LinkMaybe.version_id.in_(version_ids))
    return {version for version in session.scalars(holds.union(maybe)) if version}


def shown_state(state: str, *, step: str | None, maybe: bool, holds_goal: bool) -> LinkState:
    """A link's stored state as it is shown: at work while an attempt is open (``step``: of that attempt), and waiting
    while it holds another version than it is to hold, however well that was proved."""
    if step is not None and step != "probe":
        return LinkState.TESTING if step in ("test", "prove") else LinkState.CHANGING
    if maybe and state in (*GOOD, LinkState.WAITING):
        return LinkState.UNKNOWN
    return LinkState.WAITING if state in GOOD and not holds_goal else LinkState(state)


def link_states(session: Session, chain_ids: Sequence[str]) -> dict[str, list[LinkState]]:
    """By chain: the shown states of its active links, in their order."""
    if not chain_ids:
        return {}
    rows = session.execute(
        select(SyncLink.id, SyncLink.chain_id, SyncLink.state, SyncLink.holds_version_id)
        .where(SyncLink.chain_id.in_(chain_ids), SyncLink.active)
        .order_by(SyncLink.position, SyncLink.id)
    ).all()
    ids = [row[0] for row in rows]
    maybe = set(session.scalars(select(LinkMaybe.link_id).where(LinkMaybe.link_id.in_(ids))))
    steps: dict[str, str] = dict(
        session.execute(
            select(LinkAttempt.link_id, LinkAttempt.step)
            .join(SyncRun, SyncRun.id == LinkAttempt.run_id)
            .where(LinkAttempt.link_id.in_(ids), LinkAttempt.outcome.is_(None), SyncRun.state == "running")
        ).all()
    )
    goals = goals_of(session, chain_ids, runs_to_show(session, chain_ids))
    found: dict[str, list[LinkState]] = {}
    for link, chain, state, holds in rows:
        shown = shown_state(state, step=steps.get(link), maybe=link in maybe, holds_goal=holds == goals[chain])
        found.setdefault(chain, []).append(shown)
    return found


def is_done(state: LinkState) -> bool:
    """It needs nothing more: it holds what the chain is on its way to and nothing is open, or Windows manages it."""
    return state in GOOD or state == LinkState.MANAGED


def link_counts(session: Session, chain_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """By chain: its active links, and those done. A good state alone does not count: it may be about the version
    before."""
    states = link_states(session, chain_ids)
    return {chain: (len(shown), sum(map(is_done, shown))) for chain, shown in states.items()}
