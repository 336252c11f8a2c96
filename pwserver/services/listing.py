"""Lists of passwords, a page at a time: of one vault, or of all that a person may see. Reads only.

The number of statements is the same for one password as for ten thousand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVarTuple

from sqlalchemy import ColumnElement, Select, case, func, or_, select

from pwserver.core.finding import words_of
from pwserver.core.marks import digest
from pwserver.core.passwords import TYPES
from pwserver.core.states import STATUS, Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Favourite, SyncChain, SyncLink
from pwserver.services.entries import Listed, listed

Row = TypeVarTuple("Row")

PAGE = 50
"""Passwords on a page."""

GROUPS: dict[str, frozenset[Status]] = {
    "loud": frozenset(status for status, row in STATUS.items() if row.loud),
    "busy": frozenset(status for status, row in STATUS.items() if row.tone == "run"),
    "good": frozenset(status for status, row in STATUS.items() if row.tone == "ok"),
    "none": frozenset(status for status, row in STATUS.items() if row.tone == "off"),
}
"""The chips above a list, and the statuses that fall under each."""

SORTS = ("name", "user")
"""By name, by user name; with a hyphen in front: backwards. Without: what needs a person first."""

_ORDER = list(STATUS)
_SYNCABLE = [key for key, kind in TYPES.items() if kind.link_kind]
_RANK: ColumnElement[int] = case(
    *((SyncChain.status == status, rank) for rank, status in enumerate(_ORDER)),
    (Entry.type.in_(_SYNCABLE), _ORDER.index(Status.NOT_SYNCED)),
    else_=_ORDER.index(Status.UNSYNCABLE),
)
"""The place of a password's status in the table of statuses; one without a chain is Not Synced or Unsyncable."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks of a list. ``find``: words that must all match; ``only``: a chip or a status; ``sort``: one of
    SORTS; ``page`` counts from 1. Anything else that is sent counts as not sent."""

    find: str = ""
    only: str = ""
    sort: str = ""
    page: int = 1

    @property
    def statuses(self) -> frozenset[Status] | None:
        if self.only in set(Status):
            return frozenset({Status(self.only)})
        return GROUPS.get(self.only)


@dataclass(frozen=True, slots=True)
class Page:
    """``counts``: how many passwords that match ``find`` have each status, whatever ``only`` says; ``total``: how many
    the list has in all its pages."""

    asked: Asked
    rows: Sequence[Listed]
    counts: Mapping[Status, int]
    total: int
    number: int
    starred: frozenset[str] = frozenset()

    @property
    def busy(self) -> bool:
        """A password of this page is in motion: the page asks again."""
        return any(STATUS[row.status].tone == "run" for row in self.rows)

    @property
    def mark(self) -> str:
        """Another one whenever this page would look otherwise."""
        shown = [(one.entry.id, one.entry.row_version, one.status, one.detail, one.states) for one in self.rows]
        return digest([shown, sorted(self.counts.items()), self.total])

    @property
    def found(self) -> int:
        return sum(self.counts.values())

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE))

    @property
    def first(self) -> int:
        return (self.number - 1) * PAGE + 1

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1

    @property
    def near(self) -> list[int | None]:
        """The pages to name: the first, the last, and those about this one; None where some are left out."""
        named = sorted({1, self.pages, *range(max(1, self.number - 1), min(self.pages, self.number + 1) + 1)})
        found: list[int | None] = []
        for one in named:
            if found and one != (found[-1] or 0) + 1:
                found.append(None)
            found.append(one)
        return found

    def group(self, key: str) -> int:
        """How many fall under a chip; "" is all of them."""
        return sum(number for status, number in self.counts.items() if not key or status in GROUPS[key])


def page_of(vault_ids: Sequence[str], asked: Asked, user: AppUser | None = None) -> Page:
    """The page that was asked for, or the last one there is. ``user``: whose stars to show."""
    counts = _counts(vault_ids, asked.find)
    wanted = asked.statuses
    total = sum(number for status, number in counts.items() if wanted is None or status in wanted)
    number = min(max(1, asked.page), max(1, -(-total // PAGE)))
    # Ids first: what is sorted to be skipped is then no more than the names.
    query = _matching(select(Entry.id).outerjoin(SyncChain), vault_ids, asked.find)
    if wanted is not None:
        query = query.where(_RANK.in_([_ORDER.index(status) for status in wanted]))
    query = query.order_by(*_order(asked.sort)).limit(PAGE).offset((number - 1) * PAGE)
    rows = listed(_read(list(db.session.scalars(query))))
    stars = starred(user, [row.entry.id for row in rows]) if user else frozenset[str]()
    return Page(asked, rows, counts, total, number, starred=stars)


def _read(entry_ids: Sequence[str]) -> list[tuple[Entry, SyncChain | None]]:
    """Passwords with their chains, in the order of their ids."""
    rows = db.session.execute(select(Entry, SyncChain).outerjoin(SyncChain).where(Entry.id.in_(entry_ids)))
    by_id: dict[str, tuple[Entry, SyncChain | None]] = {entry.id: (entry, chain) for entry, chain in rows}
    return [by_id[entry_id] for entry_id in entry_ids]


def _matching(query: Select[*Row], vault_ids: Sequence[str], find: str) -> Select[*Row]:
    query = query.where(Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
    for word in words_of(find):
        query = query.where(or_(Entry.find_text.contains(word, autoescape=True), Entry.id.in_(_by_link(word))))
    return query


def _by_link(word: str) -> Select[str]:
    """Passwords whose chain has a link with this word: a machine, an account, a task, a service."""
    return (
        select(SyncChain.entry_id)
        .join(SyncLink, SyncLink.chain_id == SyncChain.id)
        .where(SyncLink.active, SyncLink.find_text.contains(word, autoescape=True))
    )


def _counts(vault_ids: Sequence[str], find: str) -> dict[Status, int]:
    query = _matching(select(_RANK, func.count()).select_from(Entry).outerjoin(SyncChain), vault_ids, find)
    found = {_ORDER[rank]: number for rank, number in db.session.execute(query.group_by(_RANK))}
    return {status: found.get(status, 0) for status in _ORDER}


def _order(sort: str) -> list[ColumnElement[Any]]:
    by: dict[str, list[ColumnElement[Any]]] = {
        "name": [func.lower(Entry.name)],
        "user": [func.lower(Entry.user_name), func.lower(Entry.machine)],
    }
    first = by.get(sort.removeprefix("-"), [_RANK])
    if sort.startswith("-"):
        first = [column.desc() for column in first]
    return [*first, func.lower(Entry.name), Entry.id.asc()]


def starred(user: AppUser, entry_ids: Sequence[str]) -> frozenset[str]:
    """Those of the passwords that this person starred."""
    query = select(Favourite.entry_id).where(Favourite.user_id == user.id, Favourite.entry_id.in_(entry_ids))
    return frozenset(db.session.scalars(query))
