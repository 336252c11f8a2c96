"""Favourites: passwords that a person starred, for themselves alone. Shown only while they may see them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select

from pwserver.core.errors import Invalid
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Favourite, SyncChain
from pwserver.services.entries import Listed, listed
from pwserver.services.listing import starred
from pwserver.services.transaction import write
from pwserver.services.values import AnySession

MOST = 50
"""Favourites of one person: a list to look at, not another vault."""


def is_favourite(user: AppUser, entry: Entry) -> bool:
    return bool(starred(user, [entry.id]))


def set_favourite(user: AppUser, entry: Entry, on: bool) -> None:
    """Stars a password, or takes the star off; doing it twice is the same. Raises :class:`Invalid` above MOST."""
    with write() as session:
        row = session.get(Favourite, (user.id, entry.id))
        if on and row is None:
            mine = session.scalar(select(func.count()).select_from(Favourite).where(Favourite.user_id == user.id))
            if mine and mine >= MOST:
                raise Invalid(f"{MOST} favourites are the most. Take the star off another password first.")
            session.add(Favourite(user_id=user.id, entry_id=entry.id))
        elif not on and row is not None:
            session.delete(row)


def favourites_of(user: AppUser, vault_ids: Sequence[str]) -> list[Listed]:
    """By name; ``vault_ids``: the vaults this person may see. A password in the trash is left out until it is back."""
    rows = db.session.execute(
        select(Entry, SyncChain)
        .join(Favourite, Favourite.entry_id == Entry.id)
        .outerjoin(SyncChain)
        .where(Favourite.user_id == user.id, Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
        .order_by(func.lower(Entry.name), Entry.id)
    )
    return listed([(entry, chain) for entry, chain in rows])


def forget_in_vault(session: AnySession, user_id: str, vault_id: str) -> None:
    """Inside the caller's transaction: whoever leaves a vault keeps no star on what is in it."""
    inside = select(Entry.id).where(Entry.vault_id == vault_id)
    session.execute(delete(Favourite).where(Favourite.user_id == user_id, Favourite.entry_id.in_(inside)))
