"""Incidents, mail to be sent, and the append-only table of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from pwserver.models.base import ID, Base, key_column, where


class Incident(Base):
    """A Sync Issue: a chain that is out of sync and needs its owners. One open per chain."""

    __tablename__ = "incident"

    id: Mapped[str] = key_column()
    chain_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_chain.id"))
    kind: Mapped[str] = mapped_column(String(16), default="needs_override")
    """needs_override, or unreachable: nothing to do yet."""
    opened_at: Mapped[datetime]
    mail_due_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    closed_why: Mapped[str] = mapped_column(String(24), default="")

    __table_args__ = (Index("uq_incident_open", "chain_id", unique=True, **where("closed_at IS NULL")),)


class Event(Base):
    """Audit and changes of status, append-only. ``facts`` never holds a secret."""

    __tablename__ = "event"

    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor_id: Mapped[str | None] = mapped_column(ID, ForeignKey("app_user.id"))
    verb: Mapped[str] = mapped_column(String(40))
    vault_id: Mapped[str | None] = mapped_column(ID, index=True)
    entry_id: Mapped[str | None] = mapped_column(ID, index=True)
    subject: Mapped[str] = mapped_column(String(255), default="")
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    __table_args__ = (Index("ix_event_entry_seq", "entry_id", "seq"),)
