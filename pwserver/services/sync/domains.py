"""The two names of a domain: ``CORP\\x``, ``corp.example\\x`` and ``x@corp.example`` are one account, also before it
was ever asked who it is.

A domain is known once a directory was registered with both its names, or the test of a Windows machine that stands in
it told them. Its accounts are then booked under its full name, however their own is spelled.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import scoped_session

from pwserver.models import SyncAgent

Session = scoped_session[Any]


def in_full(session: Session, name: str) -> str:
    """An account's case-folded name with its domain's full name; as it is where that is not known, or where several
    domains are called so: two accounts would have one budget."""
    place, slash, user = name.partition("\\")
    if not slash:
        return name
    known = select(func.lower(SyncAgent.domain)).where(
        func.lower(SyncAgent.short_domain) == place, SyncAgent.domain != ""
    )
    found = set(session.scalars(known))
    return f"{found.pop()}\\{user}" if len(found) == 1 else name
