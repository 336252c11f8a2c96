"""Which incident is mailed to whom, and when: the rows of its mails, made by the timer (rule 41)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import scoped_session

from pwserver.extensions import db
from pwserver.models import AT_REST, AppUser, Entry, Incident, Outbox, SyncAgent, SyncChain
from pwserver.services import vaults
from pwserver.services.mail.outbox import Moot, put
from pwserver.services.sync.resting import rests, unconfirmed
from pwserver.services.transaction import end_read, now, write
from pwserver.services.users import administrators

Session = scoped_session[Any]

OVER = "over"
AGENT_OVER = "agent_over"
"""The same of an agent that serves again."""
OVER_UNSENT = "It was over before this mail could be sent."


def make_due() -> None:
    """Rows for every incident whose mail is due: the first one, the turn, and the end. Each in its own transaction."""
    at = now()
    begins = Incident.closed_at.is_(None) & Incident.mailed_at.is_(None) & (Incident.mail_due_at <= at)
    ends = Incident.closed_at.is_not(None) & Incident.told & Incident.over_mailed_at.is_(None)
    ids = list(db.session.scalars(select(Incident.id).where(Incident.cause_id.is_(None), begins | ends)))
    end_read()
    for incident_id in ids:
        with write() as session:
            locked = select(Incident).where(Incident.id == incident_id).with_for_update(skip_locked=True)
            incident = session.scalar(locked.execution_options(populate_existing=True))
            if incident is None:
                continue  # a run has it just now; the next tick asks again
            if incident.closed_at is not None:
                _make_over(session, incident, at)
            elif incident.cause_id is None:
                _make_first(session, incident, at)


def _make_first(session: Session, incident: Incident, at: datetime) -> None:
    for user in recipients(session, incident):
        put(session, user, incident.kind, incident.id, incident.kind, incident=incident.id)
    incident.mailed_at, incident.told = at, True


def _make_over(session: Session, incident: Incident, at: datetime) -> None:
    """To those who had the first one, or may have had it. Whose first is still here needs neither."""
    rows = mails_of(session, incident.id)
    template = AGENT_OVER if incident.kind in AT_REST else OVER
    for user_id in {row.to_user_id for row in rows if row.state in ("sent", "sending", "kept")}:
        put(session, session.get_one(AppUser, user_id), template, incident.id, OVER, incident=incident.id)
    waiting = [row.id for row in rows if row.state == "waiting"]
    session.execute(
        update(Outbox)
        .where(Outbox.id.in_(waiting), Outbox.state == "waiting")
        .values(state="dropped", answer=OVER_UNSENT, ended_at=at)
    )
    incident.over_mailed_at = at


def mails_of(session: Session, subject: str) -> list[Outbox]:
    """The first mails of an incident or trouble, not those that say it is over."""
    # By no range: collations order signs as they like.
    named = Outbox.dedupe_key.startswith(f"{subject}:", autoescape=True)
    return [row for row in session.scalars(select(Outbox).where(named)) if f":{OVER}:" not in row.dedupe_key]


def firsts_to(session: Session, incident: Incident, user: AppUser) -> list[Outbox]:
    """The mails of an incident to one person. Raises :class:`Moot` when none was taken: the end needs none either."""
    had = [row for row in mails_of(session, incident.id) if row.to_user_id == user.id]
    if not any(row.state in ("sent", "sending", "kept") for row in had):
        raise Moot("The mail that said it began was never taken, so this one is not sent either.")
    return had


def recipients(session: Session, incident: Incident) -> list[AppUser]:
    """Who answers for the vaults concerned. Organization administrators also hear of an agent that needs them, since
    only they repair it."""
    found = answering(vaults_of(session, incident))
    if incident.agent_id and incident.kind in ("needs_override", "agent_disabled"):
        found |= {user.id: user for user in administrators()}
    return sorted(found.values(), key=lambda user: user.email)


def answering(vault_ids: Collection[str]) -> dict[str, AppUser]:
    """By id: every active owner of these vaults; of a vault without one, the organization administrators."""
    found: dict[str, AppUser] = {}
    for owners in vaults.owners_of(vault_ids).values():
        found |= {user.id: user for user in owners or administrators()}
    return found


def chains_of(session: Session, incident: Incident) -> list[SyncChain]:
    """The chain of an incident; of a cause, those that wait for it, or that waited when it ended."""
    if incident.chain_id:
        return [session.get_one(SyncChain, incident.chain_id)]
    if incident.kind in AT_REST:
        return _resting(session, incident)
    query = select(SyncChain).join(Incident, Incident.chain_id == SyncChain.id).where(Incident.cause_id == incident.id)
    if incident.closed_at is None:
        query = query.where(Incident.closed_at.is_(None))
    rows = session.scalars(query.join(Entry, Entry.id == SyncChain.entry_id).order_by(Entry.name))
    return list(dict.fromkeys(rows))


def _resting(session: Session, incident: Incident) -> list[SyncChain]:
    """The chains that an agent does not serve; when that is over, those that it serves."""
    agent = session.get_one(SyncAgent, incident.agent_id)
    wanted = SyncChain.agent_id == agent.id
    if incident.closed_at is None:
        wanted = unconfirmed(agent) if incident.kind == "needs_confirm" else rests(agent)
    query = select(SyncChain).join(Entry, Entry.id == SyncChain.entry_id).where(wanted, Entry.deleted_at.is_(None))
    return list(session.scalars(query.order_by(Entry.name)))


def vaults_of(session: Session, incident: Incident) -> set[str]:
    return {chain.entry.vault_id for chain in chains_of(session, incident)}


def owners_of(vault_id: str) -> list[AppUser]:
    """Active owners, by name."""
    return vaults.owners_of([vault_id])[vault_id]
