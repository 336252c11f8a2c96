"""Agents that do not serve: one incident for all the chains that are at rest for one of them (rules 34 and 41).

*Agent Disabled* is not *Out of Sync*, so a chain at rest has no incident of its own; what it had before stays.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import ColumnElement, and_, select, true

from pwserver.models import AT_REST, Incident, SyncAgent, SyncChain, new_id
from pwserver.services.locking import AnySession
from pwserver.services.sync.accounts import insert_new
from pwserver.services.sync.credentials import is_usable
from pwserver.services.sync.incidents import LEFT

SERVES = "serves"
"""Why the incident ended when the agent serves again; LEFT: when no chain is there any more that it does not serve."""


def rests(agent: SyncAgent) -> ColumnElement[bool]:
    """The chains for which nothing is sent because of this agent: see ``credentials.serves``."""
    not_served = SyncChain.agent_pin != agent.pin if is_usable(agent) else true()
    return and_(SyncChain.agent_id == agent.id, SyncChain.enabled, not_served)


def unconfirmed(agent: SyncAgent) -> ColumnElement[bool]:
    """Those of them that wait for an owner to confirm the agent's certificate."""
    return and_(SyncChain.agent_id == agent.id, SyncChain.enabled, SyncChain.agent_pin != agent.pin)


def kind_of(session: AnySession, agent: SyncAgent) -> str:
    """Who has to set it right: needs_confirm (an owner), agent_disabled (an administrator), or "" where no chain rests.
    An owner's turn comes once the agent is approved."""
    if agent.state == "approved" and session.scalar(select(SyncChain.id).where(unconfirmed(agent)).limit(1)):
        return "needs_confirm"
    return "agent_disabled" if session.scalar(select(SyncChain.id).where(rests(agent)).limit(1)) else ""


def follow_agent(session: AnySession, agent_id: str, at: datetime) -> None:
    """Opens, turns or ends the incident of an agent that does not serve, at the end of a transaction that changed the
    agent, or which of its chains are enabled or go by which certificate."""
    session.flush()
    found = _open_one(session, agent_id)  # locked first: who else ends the last wait has committed by now
    agent = session.get_one(SyncAgent, agent_id)
    kind = kind_of(session, agent)
    if not kind:
        if found is not None:
            found.closed_at, found.closed_why = at, _why_over(session, agent)
        return
    pace = current_app.config["PWSERVER"].timing
    due = at if kind == "needs_confirm" else at + timedelta(seconds=pace.mail_when_silent)
    if found is None:
        values = {"kind": kind, "opened_at": at, "mail_due_at": due, "told": False, "closed_why": ""}
        insert_new(session, Incident, id=new_id(), agent_id=agent_id, **values)  # type: ignore[arg-type]  # scoped everywhere
    elif found.kind != kind:
        found.kind, found.mail_due_at, found.mailed_at = kind, due, None
    else:
        found.mailed_at = None  # whoever owns what came to it since is told, too; nobody is told twice


def _open_one(session: AnySession, agent_id: str) -> Incident | None:
    query = select(Incident).where(
        Incident.agent_id == agent_id, Incident.kind.in_(AT_REST), Incident.closed_at.is_(None)
    )
    found: Incident | None = session.scalar(query.with_for_update().execution_options(populate_existing=True))
    return found


def _why_over(session: AnySession, agent: SyncAgent) -> str:
    served = select(SyncChain.id).where(SyncChain.agent_id == agent.id, SyncChain.enabled).limit(1)
    return SERVES if is_usable(agent) and session.scalar(served) else LEFT
