"""Who waits for whom. Every writing transaction takes its locks in this one order, so that nobody waits in a circle:

``alone`` (configuration, signing in) → people, vaults → agents → passwords → runs (the fence) → accounts.

On SQLite one writer is let in at a time (BEGIN IMMEDIATE): nothing is locked row by row, and what was read stays true.
PostgreSQL lets all of them in, at READ COMMITTED: what was read a moment ago may be changed before it is acted on,
unless its row is locked. A lock is a statement of its own, before whatever depends on it is read: a statement sees what
was committed when it began, so one that waits for a lock and reads in one go would decide from what was before. What
the session had read is forgotten with each lock.

One row stands for everything about a password (versions, chain, links, runs, status, incident): its entry.
FOR NO KEY UPDATE: rows that merely refer to a locked one can still be added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from zlib import crc32

from sqlalchemy import ColumnElement, Select, or_, select, text
from sqlalchemy.orm import Session, scoped_session

from pwserver.models import AppUser, Entry, SyncAgent, SyncChain, SyncLink, SyncRun, Vault

AnySession = Session | scoped_session[Any]

CONFIGURATION = "configuration"
"""Which account, agent and credential is used where: what no two people may change at once, since the checks look at
other chains and agents (one account one manager, no cycles, nothing in use is removed). Runs do not wait for it."""
SIGNING_IN = "signing in"
NUMBERS = {CONFIGURATION: crc32(b"pwserver configuration"), SIGNING_IN: crc32(b"pwserver signing in")}


def is_postgres(session: AnySession) -> bool:
    return bool(session.get_bind().dialect.name == "postgresql")


def alone(session: AnySession, what: str = CONFIGURATION) -> None:
    """Nobody else is inside ``what`` until this transaction ends. The first lock of a transaction."""
    if is_postgres(session):
        session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": NUMBERS[what]})
    session.expire_all()


def administrators(session: AnySession) -> None:
    """All organization administrators: one of them always stays."""
    _take(session, select(AppUser.id).where(AppUser.org_admin), AppUser)


def vault(session: AnySession, vault_id: str) -> None:
    """Who may do what in a vault: one owner always stays."""
    _take(session, select(Vault.id).where(Vault.id == vault_id), Vault)


def agents(session: AnySession, condition: ColumnElement[bool]) -> list[str]:
    """The agents that meet ``condition``; returns their ids."""
    return rows(session, select(SyncAgent.id).where(condition).order_by(SyncAgent.id), SyncAgent)


def password(session: AnySession, entry_id: str) -> None:
    """Everything about one password."""
    _take(session, select(Entry.id).where(Entry.id == entry_id), Entry)


def password_of_run(session: AnySession, run_id: str, *chain_ids: str) -> None:
    """The password of a run, and those of some more chains."""
    own = select(SyncChain.entry_id).join(SyncRun, SyncRun.chain_id == SyncChain.id).where(SyncRun.id == run_id)
    others = select(SyncChain.entry_id).where(SyncChain.id.in_(chain_ids))
    wanted = Entry.id.in_(own)
    _take(session, select(Entry.id).where(wanted | Entry.id.in_(others) if chain_ids else wanted), Entry)


def passwords_of_chains(session: AnySession, chain_ids: Collection[str]) -> None:
    if chain_ids:
        entries = select(SyncChain.entry_id).where(SyncChain.id.in_(chain_ids))
        _take(session, select(Entry.id).where(Entry.id.in_(entries)), Entry)


def value_of(session: AnySession, entry_id: str) -> None:
    """A password whose value is about to be another one, and all that are reached with it: what its refusal stopped
    goes on in the same transaction."""
    uses = (
        select(SyncChain.entry_id)
        .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
        .outerjoin(SyncLink, (SyncLink.chain_id == SyncChain.id) & SyncLink.active)
        .where(
            or_(
                SyncAgent.login_entry_id == entry_id,
                SyncAgent.linked_entry_id == entry_id,
                SyncLink.linked_entry_id == entry_id,
            )
        )
    )
    _take(session, select(Entry.id).where(or_(Entry.id == entry_id, Entry.id.in_(uses))), Entry)


def rows(session: AnySession, query: Select[Any], of: type[Any], *, skip: bool = False) -> list[Any]:
    """Locks what ``query`` finds of table ``of``, in the order it says. ``skip``: without those that somebody has."""
    if not is_postgres(session):
        return list(session.scalars(query).all())
    locking = query.with_for_update(key_share=True, of=of, skip_locked=skip)
    found: Iterable[Any] = session.scalars(locking).all()
    session.expire_all()
    return list(found)


def _take(session: AnySession, query: Select[Any], of: type[Any]) -> None:
    if is_postgres(session):
        rows(session, query.order_by(of.id), of)
