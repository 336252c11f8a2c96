"""What mails about sync agents say: one that does not serve, one that serves again, and one that was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from pwserver.extensions import db
from pwserver.models import AppUser, Incident, Outbox, SyncAgent, SyncChain, Vault
from pwserver.services import vaults
from pwserver.services.mail.about_chains import LINES
from pwserver.services.mail.alerts import OVER_UNSENT, chains_of, firsts_to
from pwserver.services.mail.outbox import Moot
from pwserver.services.sync.credentials import is_usable
from pwserver.services.sync.resting import SERVES
from pwserver.services.transaction import now
from pwserver.services.views.said import clock, counted, lasted

Facts = dict[str, Any]
REMOVED = "The agent it was about was removed."


def write_rest(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    """An agent does not serve: an administrator sets it right, or an owner confirms its certificate."""
    incident = _incident(ids)
    if incident.closed_at is not None:
        raise Moot(OVER_UNSENT)
    if incident.kind != ids["template"]:
        raise Moot("Somebody else has to set it right by now; another mail says so.")
    chains = chains_of(db.session, incident)
    repairs = user.org_admin and incident.kind == "agent_disabled"
    facts = _facts(db.session.get_one(SyncAgent, incident.agent_id), chains, user, repairs)
    return incident.kind, facts | {"first": next((chain.entry_id for chain in facts["own"]), "")}


def write_over(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    """That it serves again, or that nothing waits for it any more; to whoever had one of the first."""
    incident = _incident(ids)
    firsts_to(db.session, incident, user)
    assert incident.closed_at is not None
    agent = db.session.get_one(SyncAgent, incident.agent_id)
    return "agent_over", {
        "agent": agent,
        "serves": incident.closed_why == SERVES,
        "closed": clock(incident.closed_at, now()),
        "lasted": lasted((incident.closed_at - incident.opened_at).total_seconds()),
    }


CHANGED = {
    "address": "another address",
    "certificate": "another certificate",
    "login": "another login",
    "linked credential": "another linked credential",
}


def write_changed(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    """What an administrator changed about an agent, to the owners of what is sent through it (rule 34)."""
    agent = db.session.get(SyncAgent, ids["agent"], populate_existing=True)
    if agent is None:
        raise Moot(REMOVED)
    row = db.session.get_one(Outbox, ids["outbox"])
    by = db.session.get(AppUser, ids["by"]) if ids["by"] else None
    chains = db.session.scalars(select(SyncChain).where(SyncChain.agent_id == agent.id)).all()
    return "agent_changed", _facts(agent, chains, user, repairs=False) | {
        "what": CHANGED[ids["what"]],
        "new_certificate": ids["what"] == "certificate",
        "by": by.name if by else "Somebody at the command line",
        "at": clock(row.created_at, now()),
        "tested": is_usable(agent),
    }


def _incident(ids: Mapping[str, str]) -> Incident:
    found = db.session.get(Incident, ids["incident"], populate_existing=True)
    if found is None:
        raise Moot(REMOVED)
    return found


def _facts(agent: SyncAgent, chains: Sequence[SyncChain], user: AppUser, repairs: bool) -> Facts:
    """Raises :class:`Moot` for somebody who has no part in it any more."""
    homes = {chain.entry.vault_id for chain in chains}
    owners = vaults.owners_of(homes)
    own = [chain for chain in chains if user.id in {each.id for each in owners[chain.entry.vault_id]}]
    orphaned = user.org_admin and not all(owners.values())
    if not (own or repairs or orphaned):
        raise Moot(f"{user.name} owns none of the passwords concerned any more.")
    names: dict[str, str] = dict(db.session.execute(select(Vault.id, Vault.name).where(Vault.id.in_(homes))).all())
    own.sort(key=lambda chain: chain.entry.name.casefold())
    return {
        "agent": agent,
        "own": own,
        "repairs": repairs,
        "orphaned": orphaned,
        "waiting": counted(len(chains), "password"),
        "yours": counted(len(own), "password"),
        "one": len(chains) == 1,
        "mine": [f"{chain.entry.name}, in {names[chain.entry.vault_id]}" for chain in own[:LINES]],
        "more": max(0, len(own) - LINES),
        "elsewhere": len(chains) - len(own),
    }
