"""The append-only table of events: who did what, and every change of a status."""

from __future__ import annotations

from typing import Any

from flask import g
from sqlalchemy.orm import Session, scoped_session

from pwserver.models import AppUser, Entry, Event, Vault
from pwserver.services.transaction import now


def at_console(person: str) -> None:
    """Says that what is done in this application context is done by ``person`` at the server's command line."""
    g.console = person


def record(
    session: Session | scoped_session[Session],
    actor: AppUser | None,
    verb: str,
    *,
    entry: Entry | None = None,
    vault: Vault | None = None,
    subject: str = "",
    facts: dict[str, Any] | None = None,
) -> None:
    """Adds one event inside the caller's transaction. ``facts`` never holds a secret.

    Without an actor it was the server itself, or somebody at the command line, whom ``facts["console"]`` then names;
    with both, somebody there for ``actor``.
    """
    person = g.get("console")
    if person and verb != "status":
        facts = {"console": person} | (facts or {})
    session.add(
        Event(
            at=now(),
            actor_id=actor and actor.id,
            verb=verb,
            vault_id=entry.vault_id if entry else vault and vault.id,
            entry_id=entry and entry.id,
            subject=subject or (entry.name if entry else vault.name if vault else ""),
            facts=facts or {},
        )
    )
