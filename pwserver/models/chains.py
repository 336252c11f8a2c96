"""Sync chains and their links: what is configured, and what is known about each place."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, Text, event, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pwserver.core.finding import account_name, text_of
from pwserver.models.agents import SyncAgent
from pwserver.models.base import ID, Base, key_column, where
from pwserver.models.entries import Entry


class SyncChain(Base):
    """Everything that must carry one entry's password. ``status`` is a cache of a pure function of facts."""

    __tablename__ = "sync_chain"

    id: Mapped[str] = key_column()
    entry_id: Mapped[str] = mapped_column(ID, ForeignKey("entry.id", ondelete="RESTRICT"), unique=True)
    agent_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_agent.id", ondelete="RESTRICT"), index=True)
    agent_pin: Mapped[str] = mapped_column(String(64), server_default=text("''"))
    """The agent's certificate that an owner of this chain goes by; after another one nothing is sent (rule 34)."""
    enabled: Mapped[bool] = mapped_column(default=True)
    on_failure: Mapped[str] = mapped_column(String(8), default="continue")
    revision: Mapped[int] = mapped_column(default=1)
    status: Mapped[str] = mapped_column(String(24), default="not_synced", index=True)
    status_detail: Mapped[str] = mapped_column(Text, default="")
    status_since: Mapped[datetime]
    recheck_at: Mapped[datetime | None] = mapped_column(index=True)
    next_test_at: Mapped[datetime | None] = mapped_column(index=True)

    entry: Mapped[Entry] = relationship()
    agent: Mapped[SyncAgent] = relationship()
    links: Mapped[list[SyncLink]] = relationship(back_populates="chain", order_by="SyncLink.position, SyncLink.id")

    __table_args__ = (CheckConstraint("on_failure IN ('continue', 'stop')", name="on_failure"),)


class SyncLink(Base):
    """One place. A removed or retargeted link stays as an inactive row with what it holds and may hold.

    ``holds``: the version it was last proved to hold. ``starts_from``: the version a never proved link starts from.
    ``proof_*``: the last proof; ``proof_rev`` the settings revision it was made under.
    """

    __tablename__ = "sync_link"

    id: Mapped[str] = key_column()
    chain_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_chain.id", ondelete="RESTRICT"), index=True)
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(24))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    settings_rev: Mapped[int] = mapped_column(default=1)
    is_account: Mapped[bool]
    account_link_id: Mapped[str | None] = mapped_column(ID, ForeignKey("sync_link.id", ondelete="RESTRICT"))
    linked_entry_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry.id", ondelete="RESTRICT"))
    reset_allowed: Mapped[bool] = mapped_column(default=False)
    machine: Mapped[str] = mapped_column(String(255))
    account_key: Mapped[str | None] = mapped_column(String(400))
    place_key: Mapped[str | None] = mapped_column(String(600))
    active: Mapped[bool] = mapped_column(default=True)
    find_text: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """What search looks at, folded: machine, account, task, service. Kept by :func:`keep_find_text`."""

    state: Mapped[str] = mapped_column(String(12), default="waiting")
    reason: Mapped[str] = mapped_column(String(40), default="")
    reason_text: Mapped[str] = mapped_column(Text, default="")
    reason_code: Mapped[str] = mapped_column(String(60), default="")
    state_since: Mapped[datetime | None]
    next_try_at: Mapped[datetime | None]
    first_try_at: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(default=0)

    holds_version_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"))
    starts_from_version_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"))
    proof_version_id: Mapped[str | None] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"))
    proof_rev: Mapped[int | None]
    proof_means: Mapped[str | None] = mapped_column(String(32))
    proof_host: Mapped[str | None] = mapped_column(String(255))
    proof_stamp: Mapped[str | None] = mapped_column(String(120))
    proved_at: Mapped[datetime | None]
    logon_at: Mapped[datetime | None]
    written_rev: Mapped[int | None]
    """Places: the settings revision under which we last wrote ``holds``; None: not written by us."""
    restart_pending: Mapped[bool] = mapped_column(default=False)
    told_machine_sid: Mapped[str | None] = mapped_column(String(80))
    told_account_sid: Mapped[str | None] = mapped_column(String(80))

    chain: Mapped[SyncChain] = relationship(back_populates="links")
    account_link: Mapped[SyncLink | None] = relationship(remote_side=[id])
    linked_entry: Mapped[Entry | None] = relationship()

    __table_args__ = (
        Index("uq_sync_link_account", "account_key", unique=True, **where("active AND is_account")),
        Index("uq_sync_link_place", "place_key", unique=True, **where("active AND place_key IS NOT NULL")),
        Index("uq_sync_link_primary", "chain_id", unique=True, **where("position = 0 AND active")),
        CheckConstraint("is_account OR account_link_id IS NOT NULL", name="place_names_its_account"),
    )


FOUND_BY = ("user_name", "path", "name", "domain", "device", "address")
"""The settings by which a person looks for a link."""


def link_find_text(link: SyncLink) -> str:
    settings = link.settings or {}
    account = account_name(link.machine or "", str(settings.get("user_name", "")))
    return text_of([account, link.machine or "", *(str(settings.get(name, "")) for name in FOUND_BY)])


@event.listens_for(SyncLink, "before_insert")
@event.listens_for(SyncLink, "before_update")
def keep_find_text(_mapper: Any, _connection: Any, link: SyncLink) -> None:
    link.find_text = link_find_text(link)


class LinkMaybe(Base):
    """A version that was sent to a link with an unknown end."""

    __tablename__ = "link_maybe"

    link_id: Mapped[str] = mapped_column(ID, ForeignKey("sync_link.id", ondelete="RESTRICT"), primary_key=True)
    version_id: Mapped[str] = mapped_column(ID, ForeignKey("entry_version.id", ondelete="RESTRICT"), primary_key=True)
