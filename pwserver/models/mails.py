"""Mail to be sent, and what is wrong with the server itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pwserver.models.base import ID, Base, key_column, where
from pwserver.models.people import AppUser

MAIL_STATES = ("waiting", "sending", "sent", "failed", "kept", "dropped")


class Outbox(Base):
    """One mail to one person. The row is the truth, the queue a nudge. It is written when it is sent, from the rows as
    they are then; ``subject`` and ``text`` are what was written last. No secret is ever in it.

    ``state``: waiting (until ``next_try_at``), sending (by the claim that counted ``tries``, until ``lease_until``),
    sent, failed (refused for good, or given up), kept (no SMTP is configured), dropped (it was over before it was sent,
    or somebody put it away).
    """

    __tablename__ = "outbox"

    id: Mapped[str] = key_column()
    dedupe_key: Mapped[str] = mapped_column(String(160), unique=True)
    to_user_id: Mapped[str] = mapped_column(ID, ForeignKey("app_user.id"))
    to_address: Mapped[str] = mapped_column(String(254))
    """Where it went or goes: the person's address, read anew at each try."""
    template: Mapped[str] = mapped_column(String(32))
    ids: Mapped[dict[str, str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(8), default="waiting")
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    nudged_at: Mapped[datetime | None]
    give_up_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    answer: Mapped[str] = mapped_column(Text, default="")
    """What the mail server said last, or why it was not asked."""
    subject: Mapped[str] = mapped_column(Text, default="")
    text: Mapped[str] = mapped_column(Text, default="")

    to_user: Mapped[AppUser] = relationship()

    __table_args__ = (
        Index("ix_outbox_due", "state", "next_try_at"),
        CheckConstraint(f"state IN {MAIL_STATES}", name="state"),
    )


class Trouble(Base):
    """Something wrong with the server itself, for its administrators. One open per kind."""

    __tablename__ = "trouble"

    id: Mapped[str] = key_column()
    kind: Mapped[str] = mapped_column(String(24))
    words: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    __table_args__ = (Index("uq_trouble_open", "kind", unique=True, **where("closed_at IS NULL")),)
