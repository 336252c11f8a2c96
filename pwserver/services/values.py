"""Versions of a password: sealed and added here, revealed here. One of the three doors where a value is opened."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, scoped_session

from pwserver.core.errors import NotFound
from pwserver.core.secrets import Sealed, Secret, bound_to
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, EntryVersion, new_id
from pwserver.services.audit import record
from pwserver.services.keys import keyring
from pwserver.services.transaction import now, write

AnySession = Session | scoped_session[Session]


def add_version(
    session: AnySession, entry: Entry, secret: Secret, *, stage: str, origin: str, actor: AppUser | None
) -> EntryVersion:
    """Adds a version inside the caller's transaction. The caller has made room for its stage."""
    ring = keyring()
    version_id = new_id()
    sealed = ring.seal(secret, bound_to("entry_version", version_id, "sealed"))
    last = session.scalar(select(func.max(EntryVersion.number)).where(EntryVersion.entry_id == entry.id)) or 0
    version = EntryVersion(
        id=version_id,
        entry_id=entry.id,
        number=last + 1,
        stage=stage,
        sealed=sealed.data,
        key_id=sealed.key_id,
        digest=ring.digest(entry.id, secret),
        origin=origin,
        created_by=actor and actor.id,
        created_at=now(),
    )
    session.add(version)
    session.flush()
    return version


def current_version(entry: Entry) -> EntryVersion:
    version = find_version(entry, "current")
    if version is None:
        raise NotFound("This password has no value yet.")
    return version


def find_version(entry: Entry, stage: str) -> EntryVersion | None:
    return db.session.scalar(select(EntryVersion).filter_by(entry_id=entry.id, stage=stage))


def shift_stages(session: AnySession, entry_id: str) -> None:
    """Makes room for a new current version: previous → old, current → previous. Exactly one row each, by id."""
    for stage, into in (("previous", "old"), ("current", "previous")):
        row = session.scalar(select(EntryVersion.id).filter_by(entry_id=entry_id, stage=stage))
        if row is not None:
            session.execute(update(EntryVersion).where(EntryVersion.id == row).values(stage=into))


def same_value(entry: Entry, version: EntryVersion, secret: Secret) -> bool:
    """Whether ``secret`` equals ``version``, by keyed digest: nothing is opened."""
    return keyring().digest(entry.id, secret) == version.digest


def reveal(actor: AppUser | None, entry: Entry, version: EntryVersion | None = None, *, how: str = "shown") -> Secret:
    """The plaintext, for a person who may read it (the caller has checked). Writes the audit line first."""
    version = version or current_version(entry)
    version_id, number, sealed = version.id, version.number, Sealed(version.sealed)
    with write() as session:
        record(session, actor, f"password.{how}", entry=entry, facts={"version": number})
    return keyring().open(sealed, bound_to("entry_version", version_id, "sealed"))
