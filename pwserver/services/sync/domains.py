"""The two names of a domain: ``CORP\\x``, ``corp.example\\x`` and ``x@corp.example`` are one account, also before it
was ever asked who it is.

A domain is known once a directory was registered with both its names, or the test of a Windows machine that stands in
it told them. Its accounts are then booked under its full name, however their own is spelled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import scoped_session

from pwserver.models import SyncAgent

Session = scoped_session[Any]


KNOWN = select(func.lower(SyncAgent.short_domain), func.lower(SyncAgent.domain)).where(
    func.lower(SyncAgent.short_domain).in_(bindparam("places", expanding=True)), SyncAgent.domain != ""
)


def in_full(session: Session, names: Collection[str]) -> dict[str, str]:
    """Accounts' case-folded names with their domains' full names; as they are where that is not known, or where several
    domains are called so: two accounts would have one budget."""
    places = {name.partition("\\")[0] for name in names if "\\" in name}
    found: dict[str, set[str]] = defaultdict(set)
    for short, domain in session.execute(KNOWN, {"places": list(places)}) if places else ():
        found[short].add(domain)
    return {name: _in_full(name, found) for name in names}


def _in_full(name: str, known: Mapping[str, set[str]]) -> str:
    place, slash, user = name.partition("\\")
    domains = known.get(place, set()) if slash else set()
    return f"{next(iter(domains))}\\{user}" if len(domains) == 1 else name
