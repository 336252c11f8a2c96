"""Whose vaults, and how many Sync Issues and runs in them: for the menu of every page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import String, func, literal, select, union, union_all

from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Incident, Membership, SyncChain, SyncRun, Vault


@dataclass(frozen=True, slots=True)
class IssueCounts:
    """Open Sync Issues of one person. What many passwords wait for is one. ``loud``: those that need a person now."""

    total: int = 0
    loud: int = 0
    by_vault: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Those of each vault, with how many of them are loud; a cause is counted in every vault in which one waits."""


def visible_vaults(user: AppUser) -> list[str]:
    return owned_and_visible(user)[1]


def owned_and_visible(user: AppUser) -> tuple[list[str], list[str]]:
    """The vaults in which somebody is an owner, and those of which they may see something."""
    rows = db.session.execute(
        select(Vault.id, Membership.owner, Membership.owner | Membership.modify | Membership.read)
        .join(Membership, Membership.vault_id == Vault.id)
        .where(Membership.user_id == user.id, Vault.deleted_at.is_(None))
    ).all()
    return [each for each, owner, _seen in rows if owner], [each for each, _owner, seen in rows if seen]


def count_issues(user: AppUser) -> IssueCounts:
    """Of the vaults I own; for an administrator also the agents that need one. One statement, for every page's menu."""
    loud = Incident.kind == "needs_override"
    issues = (
        select(
            Entry.vault_id.label("vault"), func.coalesce(Incident.cause_id, Incident.id).label("issue"),
            loud.label("loud"),
        )
        .select_from(Incident)
        .join(SyncChain, SyncChain.id == Incident.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .join(Membership, Membership.vault_id == Entry.vault_id)
        .where(
            Incident.closed_at.is_(None),
            Entry.deleted_at.is_(None),
            Vault.deleted_at.is_(None),
            Membership.user_id == user.id,
            Membership.owner,
        )
    )  # fmt: skip
    nowhere = literal("", String)
    agents = select(nowhere, Incident.id, loud).where(
        Incident.closed_at.is_(None), Incident.agent_id.is_not(None), loud
    )
    rows = (union(issues, agents) if user.org_admin else union(issues)).cte("issues")
    counts = (func.count(rows.c.issue.distinct()), func.count(rows.c.issue.distinct()).filter(rows.c.loud))
    query = union_all(
        select(literal(None, String), *counts),
        select(rows.c.vault, *counts).where(rows.c.vault != "").group_by(rows.c.vault),
    )
    found = {vault: (int(total), int(loud)) for vault, total, loud in db.session.execute(query)}
    return IssueCounts(*found.pop(None), by_vault=found)


def count_running(user: AppUser) -> int:
    """Runs at work in vaults I may see, for the menu."""
    query = (
        select(func.count())
        .select_from(SyncRun)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .join(Membership, Membership.vault_id == Entry.vault_id)
        .where(
            SyncRun.state == "running",
            Entry.deleted_at.is_(None),
            Vault.deleted_at.is_(None),
            Membership.user_id == user.id,
        )
    )
    return db.session.scalar(query) or 0
