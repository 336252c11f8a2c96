"""From an id in an address to the thing, for one who may: 404 when they may not know of it, 403 when they may see only.

An organization administrator sees no vault by that right alone.
"""

from __future__ import annotations

from flask import g
from sqlalchemy import select

from pwserver.core.access import ASK, Right, allows, highest
from pwserver.core.errors import Forbidden, NotFound
from pwserver.extensions import db
from pwserver.models import Entry, Incident, Membership, SyncAgent, SyncChain, SyncLink, SyncRun, Vault
from pwserver.web.session import me


def right_in(vault_id: str) -> Right | None:
    """What the person who asks may do in a vault; read once per request."""
    known: dict[str, Right | None] = g.setdefault("rights", {})
    if vault_id not in known:
        row = db.session.scalar(select(Membership).filter_by(vault_id=vault_id, user_id=me().id))
        known[vault_id] = highest(owner=row.owner, modify=row.modify, read=row.read) if row else None
    return known[vault_id]


def may(vault_id: str, right: str) -> bool:
    """Whether to show a button. Doing is checked again by the loader."""
    return allows(right_in(vault_id), Right(right))


def demand(vault_id: str, right: Right) -> None:
    """Raises :class:`NotFound` without any right there, :class:`Forbidden` without this one."""
    held = right_in(vault_id)
    if held is None:
        raise NotFound()
    if not allows(held, right):
        raise Forbidden(ASK.get(right))


def load_vault(vault_id: str, right: Right) -> Vault:
    vault = db.session.get(Vault, vault_id)
    if vault is None or vault.deleted_at:
        raise NotFound()
    demand(vault.id, right)
    return vault


def load_entry(entry_id: str, right: Right) -> Entry:
    """An entry that is not in the trash, of a vault that is there."""
    entry = db.session.get(Entry, entry_id)
    if entry is None or entry.deleted_at or entry.vault.deleted_at:
        raise NotFound()
    demand(entry.vault_id, right)
    return entry


def load_trashed(entry_id: str, right: Right) -> Entry:
    entry = db.session.get(Entry, entry_id)
    if entry is None or entry.deleted_at is None or entry.vault.deleted_at:
        raise NotFound()
    demand(entry.vault_id, right)
    return entry


def load_run(run_id: str, right: Right) -> SyncRun:
    run = db.session.get(SyncRun, run_id)
    if run is None:
        raise NotFound()
    load_entry(run.chain.entry_id, right)
    return run


def load_incident(incident_id: str, right: Right) -> Incident:
    incident = db.session.get(Incident, incident_id)
    if incident is None or incident.chain_id is None:
        raise NotFound()
    load_entry(db.session.get_one(SyncChain, incident.chain_id).entry_id, right)
    return incident


def load_link(entry: Entry, link_id: str) -> SyncLink:
    """A link of this entry's chain; the caller holds the right on the entry."""
    link = db.session.get(SyncLink, link_id)
    if link is None or link.chain.entry_id != entry.id:
        raise NotFound()
    return link


def load_agent(agent_id: str) -> SyncAgent:
    """For organization administrators; the guard has asked."""
    if not me().org_admin:
        raise NotFound()
    agent = db.session.get(SyncAgent, agent_id)
    if agent is None:
        raise NotFound("There is no such sync agent.")
    return agent
