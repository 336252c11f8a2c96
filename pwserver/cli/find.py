"""From what is typed to the one row that is meant. Two that fit are said, never guessed between."""

from __future__ import annotations

from sqlalchemy import func, select

from pwserver.core.errors import Invalid, NotFound
from pwserver.extensions import db
from pwserver.models import Entry, SyncAgent, SyncChain, SyncLink, SyncRun, Vault
from pwserver.services import sync


def find_entry(typed: str) -> Entry:
    """``Vault/Password name``, or a password's id. A slash may also be part of either name."""
    alive = select(Entry).join(Vault).where(Entry.deleted_at.is_(None), Vault.deleted_at.is_(None))
    parts = typed.split("/")
    found: dict[str, Entry] = {entry.id: entry for entry in db.session.scalars(alive.where(Entry.id == typed))}
    for at in range(1, len(parts)):
        vault, name = "/".join(parts[:at]).strip().lower(), "/".join(parts[at:]).strip().lower()
        named = alive.where(func.lower(Vault.name) == vault, func.lower(Entry.name) == name)
        found |= {entry.id: entry for entry in db.session.scalars(named)}
    if not found:
        raise no_entry(typed)
    if len(found) > 1:
        ids = " or ".join(sorted(found))
        raise Invalid(f"{len(found)} passwords are called {typed}. Nothing was done. Say which by its id: {ids}")
    return next(iter(found.values()))


def no_entry(typed: str) -> NotFound:
    """Also for one that is there and may not be seen."""
    return NotFound(f"There is no password {typed}. ENTRY is 'Vault/Password name', as in 'Computer Lab/SW-01'.")


def find_link(chain: SyncChain, number: int) -> SyncLink:
    """A link in force by its number, from 1, as `flask sync status` shows it."""
    links = sync.active_links(chain)
    if not 1 <= number <= len(links):
        raise Invalid(f"This chain has no link {number}. `flask sync status` numbers them.", field="link")
    return links[number - 1]


def name_of(entry: Entry) -> str:
    """``Vault/Password name``."""
    return f"{entry.vault.name}/{entry.name}"


def find_run(typed: str) -> SyncRun:
    """A run by its number, as in *run 12*, or by its id."""
    by_number = typed.isascii() and typed.isdigit() and len(typed) < 10
    query = select(SyncRun).where(SyncRun.number == int(typed) if by_number else SyncRun.id == typed)
    run = db.session.scalar(query)
    if run is None:
        raise NotFound(f"There is no run {typed}.")
    return run


def find_agent(typed: str) -> SyncAgent:
    """A sync agent by its name."""
    agent = db.session.scalar(select(SyncAgent).where(func.lower(SyncAgent.name) == typed.strip().lower()))
    if agent is None:
        raise NotFound(f"There is no sync agent {typed}. `flask agent list` shows them.")
    return agent
