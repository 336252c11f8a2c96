"""Incidents, and the append-only table of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from pwserver.models.base import ID, Base, key_column, where

OPEN = "closed_at IS NULL"
AT_REST = ("agent_disabled", "needs_confirm")
"""Kinds of incident of an agent that does not serve its chains: an administrator sets it right, or an owner."""


class Incident(Base):
    """A Sync Issue: a chain that is out of sync and needs its owners; or the one cause of many of them, an agent or a
    linked credential, which is then mailed in their place; or an agent that does not serve, for which chains are at
    rest without being out of sync. One open per subject; an agent may also have one that it does not serve.

    ``cause_id``: the incident of the cause; such a chain's own incident is not mailed.
    """

    __tablename__ = "incident"

    id: Mapped[str] = key_column()
    chain_id: Mapped[str | None] = mapped_column(ID, ForeignKey("sync_chain.id"))
    agent_id: Mapped[str | None] = mapped_column(ID, ForeignKey("sync_agent.id"))
    credential_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry.id"))
    cause_id: Mapped[str | None] = mapped_column(ID, ForeignKey("incident.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16), default="needs_override")
    """needs_override, or unreachable: nothing to do yet. Of an agent that does not serve: one of AT_REST."""
    opened_at: Mapped[datetime]
    mail_due_at: Mapped[datetime | None]
    mailed_at: Mapped[datetime | None]
    """When the rows of the mail that is due were made; None: not yet, or due again."""
    told: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Some mail of this incident was made, so that its end is mailed too."""
    over_mailed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None] = mapped_column(index=True)
    closed_why: Mapped[str] = mapped_column(String(24), default="")

    __table_args__ = (
        Index("uq_incident_open", "chain_id", unique=True, **where(OPEN)),
        Index("uq_incident_open_agent", "agent_id", unique=True, **where(f"{OPEN} AND kind NOT IN {AT_REST}")),
        Index("uq_incident_open_rest", "agent_id", unique=True, **where(f"{OPEN} AND kind IN {AT_REST}")),
        Index("uq_incident_open_credential", "credential_id", unique=True, **where(OPEN)),
        CheckConstraint(
            "(chain_id IS NOT NULL AND agent_id IS NULL AND credential_id IS NULL) OR "
            "(chain_id IS NULL AND (agent_id IS NULL) <> (credential_id IS NULL))",
            name="one_subject",
        ),
    )


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
