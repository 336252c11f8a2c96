"""Search over names, user names and machines of everything a person may see, and of nothing else. Reads only.

Notes are never searched: people keep codes and second passwords in them, and a search that says for every letter
whether it matches would read them out without a trace in the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from pwserver.core.finding import fold, words_of
from pwserver.core.states import LINK, LinkState, Row
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, SyncChain, SyncLink
from pwserver.services.listing import Asked, Page, page_of
from pwserver.services.views import visible_vaults
from pwserver.services.views.links import SHORT, who_of

MOST_MACHINES = 5
MOST_LINKS = 10
"""Links of a machine that are named; the rest is counted."""
NAMED = 3
"""Links that are named beside a password that was found by them."""


@dataclass(frozen=True, slots=True)
class MachineLink:
    entry: Entry
    look: Row
    kind: str
    who: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that chains reach. ``links`` and ``passwords`` count; ``named`` are the first of them."""

    name: str
    links: int
    passwords: int
    last_proved: datetime | None
    named: Sequence[MachineLink]


@dataclass(frozen=True, slots=True)
class Found:
    """``places``: by password, the links by which it was found, where its own names do not say it all."""

    page: Page
    machines: Sequence[Machine]
    machines_in_all: int
    places: dict[str, Sequence[str]]
    places_in_all: dict[str, int]


def search(user: AppUser, asked: Asked) -> Found:
    """What matches every word of ``asked.find``; without a word, what has the status that is asked for."""
    seen = visible_vaults(user)
    words = words_of(asked.find)
    page = page_of(seen, asked, user)
    machines, in_all = _machines(seen, words) if words and page.number == 1 else ([], 0)
    places = _places([row.entry for row in page.rows], words) if words else {}
    return Found(
        page=page,
        machines=machines,
        machines_in_all=in_all,
        places={entry_id: names[:NAMED] for entry_id, names in places.items()},
        places_in_all={entry_id: len(names) for entry_id, names in places.items()},
    )


def _machines(vault_ids: Sequence[str], words: Sequence[str]) -> tuple[list[Machine], int]:
    """The first machines whose name has all the words, one that is exactly so named first; and how many there are."""
    name = func.lower(SyncLink.machine)
    query = (
        select(
            name,
            func.min(SyncLink.machine),
            func.count(),
            func.count(SyncLink.chain_id.distinct()),
            func.max(SyncLink.proved_at),
        )
        .join(SyncChain, SyncChain.id == SyncLink.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(SyncLink.active, Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None), SyncLink.machine != "")
        .group_by(name)
        .order_by(name != " ".join(words), name)
    )
    for word in words:
        query = query.where(name.contains(word, autoescape=True))
    rows = db.session.execute(query).all()
    shown = rows[:MOST_MACHINES]
    named = _links_at(vault_ids, [row[0] for row in shown])
    found = [
        Machine(label, links, passwords, proved, named.get(key, ())[:MOST_LINKS])
        for key, label, links, passwords, proved in shown
    ]
    return found, len(rows)


def _links_at(vault_ids: Sequence[str], machines: Sequence[str]) -> dict[str, list[MachineLink]]:
    """The links on some machines, what is not right first."""
    if not machines:
        return {}
    name = func.lower(SyncLink.machine)
    rows = db.session.execute(
        select(name, SyncLink, Entry)
        .join(SyncChain, SyncChain.id == SyncLink.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(SyncLink.active, Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None), name.in_(machines))
        .order_by(SyncLink.state == LinkState.IN_SYNC, func.lower(Entry.name), SyncLink.position)
        .limit(MOST_MACHINES * MOST_LINKS * 4)
    )
    found: dict[str, list[MachineLink]] = {}
    for machine, link, entry in rows:
        one = MachineLink(entry, LINK[LinkState(link.state)], SHORT.get(link.kind, link.kind), who_of(link))
        found.setdefault(machine, []).append(one)
    return found


def _places(entries: Sequence[Entry], words: Sequence[str]) -> dict[str, list[str]]:
    """The links of these passwords that have one of the words, for those whose own names lack one of them."""
    wanted = [entry.id for entry in entries if not all(word in entry.find_text for word in words)]
    if not wanted:
        return {}
    rows = db.session.execute(
        select(SyncChain.entry_id, SyncLink)
        .join(SyncLink, SyncLink.chain_id == SyncChain.id)
        .where(SyncChain.entry_id.in_(wanted), SyncLink.active)
        .order_by(SyncLink.position)
    )
    found: dict[str, list[str]] = {}
    for entry_id, link in rows:
        if any(word in link.find_text for word in words):
            found.setdefault(entry_id, []).append(f"{link.machine} {who_of(link)}".strip())
    return found


def marked(text: str, words: Sequence[str]) -> list[tuple[str, bool]]:
    """A text in pieces, and whether each piece is one of the words that were looked for."""
    folded = fold(text)
    if len(folded) != len(text):  # folding moved the letters: nothing is marked rather than the wrong ones
        return [(text, False)]
    hit = [False] * len(text)
    for word in words:
        at = folded.find(word)
        while at >= 0:
            hit[at : at + len(word)] = [True] * len(word)
            at = folded.find(word, at + 1)
    pieces: list[tuple[str, bool]] = []
    for letter, is_hit in zip(text, hit, strict=True):
        if pieces and pieces[-1][1] == is_hit:
            pieces[-1] = (pieces[-1][0] + letter, is_hit)
        else:
            pieces.append((letter, is_hit))
    return pieces
