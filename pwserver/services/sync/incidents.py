"""Sync Issues: opened, turned and ended with the status of a chain (rules 41 and 43).

A chain whose only trouble is that an agent is silent, or that a login of ours was refused, belongs to the incident of
that cause: forty chains behind one refused login are one mail. Nothing here sends; the timer makes the mails' rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from flask import current_app
from sqlalchemy import delete, select, update
from sqlalchemy.orm import scoped_session

from pwserver.core.states import PERSON, LinkState, Status
from pwserver.models import AT_REST, Incident, LinkAttempt, SyncAgent, SyncChain, SyncLink, SyncRun, new_id
from pwserver.services.locking import AnySession
from pwserver.services.sync.accounts import insert_new
from pwserver.sync.settle import GIVEN_UP

Session = scoped_session[Any]

LOGIN_REFUSED = frozenset({"login_refused", "login_not_accepted"})
BEHIND_A_LOGIN = "waiting_for_login"
OF_LINKED = frozenset({"linked_refused", "linked_state", "linked_denied", "linked_unclear"})
"""Reasons of a link that stop every other link with the same linked credential."""
AGENT_SILENT = frozenset({"no_answer", "unreachable", "no_dns", "out_of_shells"})
"""Reasons of a link behind a Windows agent that speak of the agent itself: its machines are asked by it."""
LEFT = "left"
"""Why the incident of a cause ended when the last chain that waited for it waits for something else now."""
OVER = {Status.IN_SYNC: "in_sync", Status.PENDING_SYNC: "pending", Status.NOT_SYNCED: "disabled"}


@dataclass(frozen=True, slots=True)
class Cause:
    """What many chains may wait for: an agent, or a linked credential (an entry)."""

    column: Literal["agent_id", "credential_id"]
    id: str


def follow(session: Session, chain: SyncChain, status: Status, links: Sequence[SyncLink], at: datetime) -> None:
    """Opens, turns or ends the incident of a chain, at the end of a transaction that changed its status or links."""
    session.flush()
    mine = select(Incident).where(Incident.chain_id == chain.id, Incident.closed_at.is_(None))
    # Locked: what a mail has just made of it is not written over.
    found = session.scalar(mine.with_for_update().execution_options(populate_existing=True))
    silent_for_days = status == Status.PENDING_SYNC and any(link.reason == GIVEN_UP for link in links)
    if status == Status.OUT_OF_SYNC or silent_for_days:
        # A place skipped because its account's machine is off, and an unknown that is being probed, wait for nobody.
        silent = all(link.state not in PERSON for link in links)
        pace = current_app.config["PWSERVER"].timing
        due = at + timedelta(seconds=pace.mail_when_silent) if silent and not silent_for_days else at
        _stands(session, chain, found, "unreachable" if silent else "needs_override", due, at, links)
    elif found is not None and status in OVER and not (status == Status.PENDING_SYNC and _is_active(session, chain)):
        found.closed_at, found.closed_why = at, OVER[status]
        _leave(session, found, at)


def _stands(
    session: Session, chain: SyncChain, found: Incident | None, kind: str, due: datetime, at: datetime,
    links: Sequence[SyncLink],
) -> None:  # fmt: skip
    if found is None:
        found = Incident(id=new_id(), chain_id=chain.id, kind=kind, opened_at=at, mail_due_at=due)
        session.add(found)
    elif found.kind != kind and kind == "needs_override":
        found.kind, found.mail_due_at, found.mailed_at = kind, at, None
    cause = None if found.told else cause_of(session, chain, links)
    _belongs(session, found, cause, due, at)


def _belongs(session: Session, found: Incident, cause: Cause | None, due: datetime, at: datetime) -> None:
    """Joins the incident of its cause, or stands for itself once the cause is another or none."""
    held = None
    if found.cause_id:
        session.flush()
        held = session.get(Incident, found.cause_id, with_for_update=True, populate_existing=True)
    if held is not None and cause is not None and getattr(held, cause.column) == cause.id and held.closed_at is None:
        if held.kind == "unreachable" and found.kind == "needs_override":
            held.kind, held.mail_due_at, held.mailed_at = found.kind, at, None
        return
    if held is not None:
        _leave(session, found, at)
        found.cause_id = None
        found.mail_due_at, found.mailed_at = due, None
    if cause is not None:
        found.cause_id = _join(session, cause, found.kind, due, at)


def _join(session: Session, cause: Cause, kind: str, due: datetime, at: datetime) -> str:
    """The open incident of a cause, made when there is none; whoever owns what joins is mailed once, too."""
    session.flush()
    column = getattr(Incident, cause.column)
    is_open = (column == cause.id, Incident.kind.not_in(AT_REST), Incident.closed_at.is_(None))
    open_one = select(Incident).where(*is_open).with_for_update()
    parent = None
    while parent is None:  # another run may end the one that was there while we wait for it
        insert_new(
            session, Incident, id=new_id(), kind=kind, opened_at=at, mail_due_at=due, told=False, closed_why="",
            **{cause.column: cause.id},
        )  # fmt: skip
        parent = session.scalar(open_one.execution_options(populate_existing=True))
    if parent.kind == "unreachable" and kind == "needs_override":
        parent.kind, parent.mail_due_at = kind, at
    parent.mailed_at = None
    return str(parent.id)


def _leave(session: Session, found: Incident, at: datetime) -> None:
    """A chain waits for its cause no more; the last one ends the incident of the cause."""
    if found.cause_id is None:
        return
    session.flush()
    parent = session.get_one(Incident, found.cause_id, with_for_update=True, populate_existing=True)
    others = select(Incident.id).where(
        Incident.cause_id == parent.id, Incident.id != found.id, Incident.closed_at.is_(None)
    )
    if parent.closed_at is None and session.scalar(others.limit(1)) is None:
        parent.closed_at, parent.closed_why = at, found.closed_why or LEFT


def forget_agent(session: AnySession, agent_id: str) -> None:
    """Before an agent is removed: its incidents go with it, and chains that waited for it stand for themselves."""
    its = select(Incident.id).where(Incident.agent_id == agent_id)
    session.execute(update(Incident).where(Incident.cause_id.in_(its)).values(cause_id=None))
    session.execute(delete(Incident).where(Incident.agent_id == agent_id))


def cause_of(session: Session, chain: SyncChain, links: Sequence[SyncLink]) -> Cause | None:
    """The one thing all of a chain's trouble comes from, or None: a refused password, or a service that is down, is
    always its own."""
    if any(link.state in (LinkState.REFUSED, LinkState.DOWN) for link in links):
        return None
    agent = session.get_one(SyncAgent, chain.agent_id)
    blocked = [link for link in links if link.state == LinkState.BLOCKED]
    silent = [link for link in links if link.state == LinkState.UNREACHABLE]
    if blocked:
        causes = {_login_of(session, link, agent) for link in blocked}
    else:
        causes = {_silence_of(session, link, agent) for link in silent}
    return causes.pop() if len(causes) == 1 else None


def _login_of(session: Session, link: SyncLink, agent: SyncAgent) -> Cause | None:
    """Which login of ours stopped a link. One that only waits says not which: the one that has an open incident."""
    linked_id = link.linked_entry_id or agent.linked_entry_id
    by_agent = Cause("agent_id", agent.id)
    by_linked = Cause("credential_id", linked_id) if linked_id else None
    if link.reason in LOGIN_REFUSED:
        return by_agent
    if link.reason in OF_LINKED:
        return by_linked
    if link.reason != BEHIND_A_LOGIN:
        return None
    is_open = select(Incident.id).where(Incident.closed_at.is_(None), Incident.credential_id == linked_id)
    if by_linked and session.scalar(is_open.limit(1)):
        return by_linked
    return by_agent if agent.transport == "winrm" else by_linked


def _silence_of(session: Session, link: SyncLink, agent: SyncAgent) -> Cause | None:
    if agent.transport != "winrm":
        return None
    why = link.reason
    if why == GIVEN_UP:
        last = select(LinkAttempt.reason).where(LinkAttempt.link_id == link.id).order_by(LinkAttempt.intent_at.desc())
        why = session.scalar(last.limit(1)) or ""
    return Cause("agent_id", agent.id) if why in AGENT_SILENT else None


def _is_active(session: Session, chain: SyncChain) -> bool:
    """Whether a run of the chain has not ended, one that waits for a silent machine included."""
    active = select(SyncRun.id).where(SyncRun.chain_id == chain.id, SyncRun.state != "done")
    return session.scalar(active.limit(1)) is not None
