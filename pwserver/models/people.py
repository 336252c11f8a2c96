"""Who may do what: users, vaults, memberships."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pwserver.models.base import ID, Base, key_column


class AppUser(Base):
    """A person. ``session_epoch`` counts up to end all of their sessions (password changed, deactivated)."""

    __tablename__ = "app_user"

    id: Mapped[str] = key_column()
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(120))
    password_hash: Mapped[str] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    org_admin: Mapped[bool] = mapped_column(default=False)
    session_epoch: Mapped[int] = mapped_column(default=0)
    theme: Mapped[str] = mapped_column(String(8), default="")
    created_at: Mapped[datetime]

    __table_args__ = (Index("uq_app_user_email", func.lower(email), unique=True),)


class Vault(Base):
    """A container of passwords with members. ``kind``: shared, personal, system (agents' logins live there)."""

    __tablename__ = "vault"

    id: Mapped[str] = key_column()
    name: Mapped[str] = mapped_column(String(120))
    kind: Mapped[str] = mapped_column(String(12), default="shared")
    deleted_at: Mapped[datetime | None]

    memberships: Mapped[list[Membership]] = relationship(back_populates="vault", cascade="all, delete-orphan")


class Membership(Base):
    __tablename__ = "membership"

    vault_id: Mapped[str] = mapped_column(ID, ForeignKey("vault.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ID, ForeignKey("app_user.id"), primary_key=True)
    owner: Mapped[bool] = mapped_column(default=False)
    modify: Mapped[bool] = mapped_column(default=False)
    read: Mapped[bool] = mapped_column(default=True)

    vault: Mapped[Vault] = relationship(back_populates="memberships")
    user: Mapped[AppUser] = relationship()


class Favourite(Base):
    """A password that somebody starred. Shown only while they may see it."""

    __tablename__ = "favourite"

    user_id: Mapped[str] = mapped_column(ID, ForeignKey("app_user.id"), primary_key=True)
    entry_id: Mapped[str] = mapped_column(ID, ForeignKey("entry.id"), primary_key=True, index=True)
