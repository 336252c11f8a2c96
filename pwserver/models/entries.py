"""Stored credentials and their values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, event, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pwserver.core.finding import account_name, text_of
from pwserver.models.base import ID, Base, key_column, where
from pwserver.models.people import Vault

STAGES = ("pending", "current", "previous", "old", "discarded")


class Entry(Base):
    """A password as people know it. ``row_version`` guards forms against stale saves."""

    __tablename__ = "entry"

    id: Mapped[str] = key_column()
    vault_id: Mapped[str] = mapped_column(ID, ForeignKey("vault.id"), index=True)
    name: Mapped[str] = mapped_column(String(120))
    type: Mapped[str] = mapped_column(String(32))
    user_name: Mapped[str] = mapped_column(String(120), default="")
    machine: Mapped[str] = mapped_column(String(255), default="")
    domain: Mapped[str] = mapped_column(String(255), default="")
    address: Mapped[str] = mapped_column(String(255), default="")
    port: Mapped[int] = mapped_column(default=22)
    host_key: Mapped[str] = mapped_column(String(120), default="")
    notes: Mapped[str] = mapped_column(Text, default="")
    find_text: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """What search looks at, folded: kept by :func:`keep_find_text`. Never the notes, which may hold a secret."""
    row_version: Mapped[int] = mapped_column(default=1)
    deleted_at: Mapped[datetime | None]

    vault: Mapped[Vault] = relationship()

    __table_args__ = (
        Index("uq_entry_name_in_vault", "vault_id", text("lower(name)"), unique=True, **where("deleted_at IS NULL")),
    )


def entry_find_text(entry: Entry) -> str:
    """Name, account and where it lives."""
    account = account_name(entry.domain or entry.machine or "", entry.user_name or "")
    return text_of([entry.name, account, *(place or "" for place in (entry.machine, entry.domain, entry.address))])


@event.listens_for(Entry, "before_insert")
@event.listens_for(Entry, "before_update")
def keep_find_text(_mapper: Any, _connection: Any, entry: Entry) -> None:
    entry.find_text = entry_find_text(entry)


class EntryVersion(Base):
    """One value of an entry, sealed and bound to this row. A value that was ever sent is never discarded."""

    __tablename__ = "entry_version"

    id: Mapped[str] = key_column()
    entry_id: Mapped[str] = mapped_column(ID, ForeignKey("entry.id", ondelete="RESTRICT"))
    number: Mapped[int]
    stage: Mapped[str] = mapped_column(String(12))
    sealed: Mapped[bytes]
    key_id: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    origin: Mapped[str] = mapped_column(String(16))
    created_by: Mapped[str | None] = mapped_column(ID, ForeignKey("app_user.id"))
    created_at: Mapped[datetime]
    first_sent_at: Mapped[datetime | None]

    entry: Mapped[Entry] = relationship()

    __table_args__ = (
        UniqueConstraint("entry_id", "number"),
        *(
            Index(f"uq_entry_version_{stage}", "entry_id", unique=True, **where(f"stage = '{stage}'"))
            for stage in ("pending", "current", "previous")
        ),
        CheckConstraint("NOT (stage = 'discarded' AND first_sent_at IS NOT NULL)", name="sent_is_never_discarded"),
        CheckConstraint(f"stage IN {STAGES}", name="stage"),
    )


class KeyCanary(Base):
    """One sealed row made with the master key; it must open or nothing starts."""

    __tablename__ = "key_canary"

    id: Mapped[str] = key_column()
    sealed: Mapped[bytes]
    key_id: Mapped[str] = mapped_column(String(16))


class Setting(Base):
    """Small facts of the installation that are no secrets (a hash of the one-time first-run code among them)."""

    __tablename__ = "setting"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
