"""How the passwords stand: how many of each vault have each status. One statement for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from pwserver.core.states import STATUS, Status
from pwserver.extensions import db
from pwserver.models import Entry, SyncChain, Vault
from pwserver.services.entries import unchained
from pwserver.services.views.said import listed

Counts = Sequence[tuple[Status, int]]
"""Every status with how many passwords have it, in the order of the table of statuses."""


@dataclass(frozen=True, slots=True)
class VaultHealth:
    id: str
    name: str
    counts: Counts

    @property
    def total(self) -> int:
        return sum(number for _status, number in self.counts)

    @property
    def words(self) -> str:
        return health_words(self.counts)


def health_words(counts: Counts) -> str:
    """The bar, said."""
    return listed([f"{number} {STATUS[status].label}" for status, number in counts if number]) or "none"


def read_health(vault_ids: Sequence[str]) -> list[VaultHealth]:
    """The vaults that have a password, by name."""
    rows = db.session.execute(
        select(Vault.id, Vault.name, Entry.type, SyncChain.status, func.count())
        .select_from(Entry)
        .join(Vault, Vault.id == Entry.vault_id)
        .outerjoin(SyncChain, SyncChain.entry_id == Entry.id)
        .where(Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
        .group_by(Vault.id, Vault.name, Entry.type, SyncChain.status)
        .order_by(func.lower(Vault.name), Vault.id)
    )
    names: dict[str, str] = {}
    found: dict[str, dict[Status, int]] = {}
    for vault_id, name, kind, status, number in rows:
        names[vault_id] = name
        counts = found.setdefault(vault_id, dict.fromkeys(STATUS, 0))
        counts[Status(status) if status else unchained(kind)] += number
    return [VaultHealth(vault_id, names[vault_id], list(counts.items())) for vault_id, counts in found.items()]
