"""Sync agents and the vaults that may use them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pwserver.models.base import ID, Base, key_column
from pwserver.models.entries import Entry


class SyncAgent(Base):
    """A helper that reaches targets. ``transport``: winrm (a Windows machine), ssh (this server), ldaps (a directory).

    ``health`` is a word of ``core/states.py``; ``allowed_machines`` a list of names, its own always among them. A
    directory's ``machine`` is the short name of its domain.
    """

    __tablename__ = "sync_agent"

    id: Mapped[str] = key_column()
    name: Mapped[str] = mapped_column(String(120), unique=True)
    transport: Mapped[str] = mapped_column(String(8))
    machine: Mapped[str] = mapped_column(String(255), default="")
    host: Mapped[str] = mapped_column(String(255), default="")
    port: Mapped[int] = mapped_column(default=5986)
    pin: Mapped[str] = mapped_column(String(64), default="")
    state: Mapped[str] = mapped_column(String(12), default="pending")
    login_entry_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry.id", ondelete="RESTRICT"))
    linked_entry_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry.id", ondelete="RESTRICT"))
    allowed_machines: Mapped[list[str]] = mapped_column(JSON, default=list)
    controllers: Mapped[list[str]] = mapped_column(JSON, default=list, server_default=text("'[]'"))
    """Directories: the domain controllers, in the order in which they are asked; ``host`` is the first."""
    domain: Mapped[str] = mapped_column(String(255), default="", server_default=text("''"))
    """Its domain's full name: a directory's as typed (``machine`` is its short one), a Windows machine's as it told."""
    short_domain: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))
    """Its domain's short name, kept beside the full one only where both are known."""
    ca_pem: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """Directories: the certificate that issued those of the controllers; ``pin`` is then its fingerprint."""
    allowed_accounts: Mapped[list[str]] = mapped_column(JSON, default=list, server_default=text("'[]'"))
    """Directories: the accounts by logon name, and the units, that may be touched; nothing else is."""
    health: Mapped[str] = mapped_column(String(16), default="untested")
    health_text: Mapped[str] = mapped_column(Text, default="")
    health_since: Mapped[datetime | None]
    last_contact_at: Mapped[datetime | None]
    machine_sid: Mapped[str] = mapped_column(String(80), default="")
    row_version: Mapped[int] = mapped_column(default=1)

    login_entry: Mapped[Entry | None] = relationship(foreign_keys=[login_entry_id])
    linked_entry: Mapped[Entry | None] = relationship(foreign_keys=[linked_entry_id])
    scopes: Mapped[list[AgentScope]] = relationship(cascade="all, delete-orphan")

    __table_args__ = (CheckConstraint("state IN ('pending', 'approved', 'disabled')", name="state"),)


class AgentScope(Base):
    __tablename__ = "agent_scope"

    agent_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_agent.id"), primary_key=True)
    vault_id: Mapped[str] = mapped_column(ID, ForeignKey("vault.id"), primary_key=True)
