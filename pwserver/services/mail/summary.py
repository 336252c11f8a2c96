"""The week of an owner in one mail, Monday morning, quiet weeks included: silence would look like a dead server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select

from pwserver.core.states import Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Incident, Membership, Setting, SyncChain, SyncLink, Vault
from pwserver.services.mail.outbox import put
from pwserver.services.sync.accounts import insert_new
from pwserver.services.transaction import end_read, now, write

HOUR = 7
"""Of Monday, UTC."""
MADE = "mail.summary"
"""The setting that names the last week whose summaries were made, as ``2026-W48``."""


@dataclass(frozen=True, slots=True)
class Week:
    """``oldest``: how long ago the one that waits longest for its proof was proved, in words; "" when all are."""

    total: int
    proved: int
    open: int
    oldest: str

    @property
    def words(self) -> str:
        oldest = f", oldest unproved {self.oldest}" if self.oldest else ""
        return f"{self.proved:,} of {self.total:,} proved, {self.open:,} open{oldest}"


def make_due() -> None:
    """Rows for every owner of a synchronized password, once a week. A server that was off on Monday does it later; a
    new one begins with its first Monday."""
    at = now()
    week = week_of(at)
    made = db.session.get(Setting, MADE)
    end_read()
    if made is not None and made.text >= week:
        return
    with write() as session:
        known = session.get(Setting, MADE, with_for_update=True, populate_existing=True)
        if known is None:
            insert_new(session, Setting, name=MADE, text=week)
        elif known.text < week:
            known.text = week
            for user in session.scalars(_owners()):
                put(session, user, "summary", "summary", week)


def week_of(at: datetime) -> str:
    """The last week whose Monday, 07:00 UTC, is over; sorts as text."""
    year, week, _day = (at - timedelta(hours=HOUR)).isocalendar()
    return f"{year}-W{week:02}"


def _owners() -> Select[AppUser]:
    chains = (
        select(Membership.user_id)
        .join(Entry, Entry.vault_id == Membership.vault_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .join(SyncChain, SyncChain.entry_id == Entry.id)
        .where(Membership.owner, SyncChain.enabled, Entry.deleted_at.is_(None), Vault.deleted_at.is_(None))
    )
    return select(AppUser).where(AppUser.active, AppUser.id.in_(chains)).order_by(AppUser.email)


def of(user: AppUser) -> Week | None:
    """How the synchronized passwords of the vaults that ``user`` owns stand now; None without any."""
    mine = (
        select(SyncChain.id, SyncChain.status)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .join(Membership, Membership.vault_id == Vault.id)
        .where(SyncChain.enabled, Entry.deleted_at.is_(None), Vault.deleted_at.is_(None))
        .where(Membership.user_id == user.id, Membership.owner)
    )
    rows = db.session.execute(mine).all()
    if not rows:
        return None
    chains = mine.with_only_columns(SyncChain.id)
    issues = select(func.count()).where(Incident.chain_id.in_(chains), Incident.closed_at.is_(None))
    unproved = chains.where(SyncChain.status != Status.IN_SYNC)
    oldest = select(func.min(SyncLink.proved_at)).where(SyncLink.active, SyncLink.chain_id.in_(unproved))
    proved = sum(1 for row in rows if row.status == Status.IN_SYNC)
    return Week(len(rows), proved, db.session.scalar(issues) or 0, _age(db.session.scalar(oldest), proved == len(rows)))


def _age(since: datetime | None, all_proved: bool) -> str:
    if all_proved:
        return ""
    if since is None:
        return "never proved yet"
    days = (now() - since).days
    return "less than a day" if days < 1 else "1 day" if days == 1 else f"{days} days"
