"""Runs, attempts, overrides and the lock-out budget."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, Integer, Sequence, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pwserver.models.base import ID, Base, UtcTime, key_column, where
from pwserver.models.chains import SyncChain, SyncLink

RUN_KINDS = ("change", "correct", "adopt", "test", "override", "rollback")
RUN_STATES = ("queued", "running", "waiting", "done")
STEPS = ("test", "change", "reset", "set", "probe", "restart", "prove")
RUN_NUMBER = Sequence("sync_run_number", metadata=Base.metadata)
"""On PostgreSQL, where two runs may be queued at once. SQLite has no sequences and needs none."""
_ACTIVE = "state IN ('queued', 'running', 'waiting')"


class SyncRun(Base):
    """One pass over a chain. The row is the truth; the queue carries only its id.

    ``scope``: the link ids this run is limited to (override, adopt, correct), or null for the whole chain.
    """

    __tablename__ = "sync_run"

    id: Mapped[str] = key_column()
    number: Mapped[int] = mapped_column(Integer, unique=True)
    chain_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_chain.id", ondelete="RESTRICT"), index=True)
    kind: Mapped[str] = mapped_column(String(12))
    version_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"))
    base_version_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"))
    scope: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    whole_chain: Mapped[bool] = mapped_column(default=True)
    """An override of the whole chain: links outside of its scope are changed the ordinary way."""
    unlock: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(8), default="queued")
    result: Mapped[str] = mapped_column(String(24), default="")
    requested_by: Mapped[str | None] = mapped_column(ID, ForeignKey("app_user.id"))
    requested_at: Mapped[datetime]
    clicked_at: Mapped[datetime | None]
    """When a person last asked for this run; None: the server did by itself."""
    fence: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str] = mapped_column(String(120), default="")
    lease_until: Mapped[datetime | None]
    due_at: Mapped[datetime]
    nudged_at: Mapped[datetime | None]
    cancel_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    chain: Mapped[SyncChain] = relationship()
    attempts: Mapped[list[LinkAttempt]] = relationship(back_populates="run", order_by="LinkAttempt.intent_at")

    __table_args__ = (
        Index("uq_sync_run_instruction", "chain_id", unique=True, **where(f"{_ACTIVE} AND kind <> 'test'")),
        Index("uq_sync_run_test", "chain_id", unique=True, **where(f"{_ACTIVE} AND kind = 'test'")),
        Index("uq_sync_run_running", "chain_id", unique=True, **where("state = 'running'")),
        Index("ix_sync_run_due", "state", "due_at"),
        CheckConstraint(f"kind IN {RUN_KINDS}", name="kind"),
        CheckConstraint(f"state IN {RUN_STATES}", name="state"),
    )


class LinkAttempt(Base):
    """One try of a link: the intent before anything is sent, the outcome after."""

    __tablename__ = "link_attempt"

    id: Mapped[str] = key_column()
    run_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_run.id", ondelete="RESTRICT"), index=True)
    link_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_link.id", ondelete="RESTRICT"), index=True)
    n: Mapped[int]
    step: Mapped[str] = mapped_column(String(8))
    version_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"))
    from_version_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"))
    settings_rev: Mapped[int]
    fence: Mapped[int]
    uses_key: Mapped[str | None] = mapped_column(String(400))
    """The account key of the linked credential in use: its own chain waits for the end of this attempt."""
    intent_at: Mapped[datetime]
    hard_deadline: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(12))
    reason: Mapped[str] = mapped_column(String(40), default="")
    code: Mapped[str] = mapped_column(String(60), default="")
    text: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    late_outcome: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    run: Mapped[SyncRun] = relationship(back_populates="attempts")
    link: Mapped[SyncLink] = relationship()

    __table_args__ = (
        Index("uq_link_attempt_open", "link_id", unique=True, **where("outcome IS NULL")),
        CheckConstraint(f"step IN {STEPS}", name="step"),
    )


class Account(Base):
    """One identity wherever it is seen; every try that may cost it a wrong logon is booked on its key."""

    __tablename__ = "account"

    key: Mapped[str] = mapped_column(String(400), primary_key=True)
    writer_run_id: Mapped[str | None] = mapped_column(ID)
    threshold: Mapped[int | None]
    window_s: Mapped[int | None]
    next_safe_at: Mapped[datetime | None]


class AccountName(Base):
    """Other spellings of a key."""

    __tablename__ = "account_name"

    name: Mapped[str] = mapped_column(String(400), primary_key=True)
    key: Mapped[str] = mapped_column(String(400), index=True)
    united_at: Mapped[datetime | None]
    """When it proved to be another name of the account: until then it had a count of its own."""


class AccountTry(Base):
    """A reserved or spent try; giving back deletes the row."""

    __tablename__ = "account_try"

    key: Mapped[str] = mapped_column(String(400), primary_key=True)
    attempt_id: Mapped[str] = mapped_column(ID, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime, index=True)


class AccountAnswer(Base):
    """What an account last said to one value, by keyed digest: accepted, or refused and why."""

    __tablename__ = "account_answer"

    key: Mapped[str] = mapped_column(String(400), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    accepted: Mapped[bool]
    reason: Mapped[str] = mapped_column(String(40), default="")
    at: Mapped[datetime]


class Override(Base):
    """Typed administrative credentials of one run, sealed; gone when it ends or expires."""

    __tablename__ = "override"

    run_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_run.id"), primary_key=True)
    sealed: Mapped[bytes]
    key_id: Mapped[str] = mapped_column(String(16))
    expires_at: Mapped[datetime]
