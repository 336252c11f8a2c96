"""Values: exactly one is current, what was sent is kept, and whatever is kept opens (rules 2, 6 and 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import scoped_session

from pwserver.models import Entry, EntryVersion, LinkAttempt, LinkMaybe, Override, SyncChain, SyncLink, SyncRun
from pwserver.services.keys import opens
from pwserver.services.sync.invariants.violation import Violation

Session = scoped_session[Any]

POINTERS = {"holds": SyncLink.holds_version_id, "starts from": SyncLink.starts_from_version_id}


def check(session: Session) -> Iterator[Violation]:
    yield from _stages(session)
    yield from _sent(session)
    yield from _foreign(session)
    yield from _opens(session)


def _stages(session: Session) -> Iterator[Violation]:
    rows = session.execute(
        select(Entry.id, Entry.name, EntryVersion.stage).outerjoin(EntryVersion, EntryVersion.entry_id == Entry.id)
    ).all()
    names = {row.id: row.name for row in rows}
    counts = Counter((row.id, row.stage) for row in rows)
    for entry_id, name in names.items():
        if counts[entry_id, "current"] != 1:
            yield Violation("one_current", name, f"has {counts[entry_id, 'current']} current values")
        for stage in ("pending", "previous"):
            if counts[entry_id, stage] > 1:
                yield Violation("one_current", name, f"has {counts[entry_id, stage]} {stage} values")


def _sent(session: Session) -> Iterator[Violation]:
    """A value was sent when it says so, when an attempt carried it, or when a link has, or may have, it."""
    tried = select(LinkAttempt.id).where(LinkAttempt.version_id == EntryVersion.id).exists()
    held = select(SyncLink.id).where(or_(*(column == EntryVersion.id for column in POINTERS.values()))).exists()
    maybe = select(LinkMaybe.link_id).where(LinkMaybe.version_id == EntryVersion.id).exists()
    discarded = EntryVersion.stage == "discarded"
    rows = session.execute(
        select(Entry.name, EntryVersion.number, EntryVersion.stage)
        .join(Entry, Entry.id == EntryVersion.entry_id)
        .where(
            or_(
                discarded & or_(EntryVersion.first_sent_at.is_not(None), tried, held, maybe),
                EntryVersion.first_sent_at.is_(None) & tried,
            )
        )
    )
    for name, number, stage in rows:
        gone = "was sent, or some place has it, and is discarded"
        loose = "was sent, and nothing keeps it from being discarded"
        yield Violation("sent_is_kept", f"{name}, version {number}", gone if stage == "discarded" else loose)


def _foreign(session: Session) -> Iterator[Violation]:
    """What a link names is a value of its own password."""
    named = {**POINTERS, "was proved with": SyncLink.proof_version_id, "may hold": LinkMaybe.version_id}
    for word, column in named.items():
        query = select(Entry.name, SyncLink.machine).select_from(SyncLink)
        if column is LinkMaybe.version_id:
            query = query.join(LinkMaybe, LinkMaybe.link_id == SyncLink.id)
        rows = session.execute(
            query.join(SyncChain, SyncChain.id == SyncLink.chain_id)
            .join(Entry, Entry.id == SyncChain.entry_id)
            .outerjoin(EntryVersion, EntryVersion.id == column)
            .where(column.is_not(None), EntryVersion.entry_id.is_distinct_from(Entry.id))
        )
        for name, machine in rows:
            yield Violation("own_value", f"{name}, {machine}", f"{word} a value that is not of this password")


def _opens(session: Session) -> Iterator[Violation]:
    """Every stored value opens with this master key as this very row; above all what links hold, may hold or start
    from. Nothing is made of what opened."""
    rows = session.execute(
        select(Entry.name, EntryVersion.id, EntryVersion.number, EntryVersion.sealed).join(
            Entry, Entry.id == EntryVersion.entry_id
        )
    )
    for name, version_id, number, sealed in rows:
        if not opens("entry_version", version_id, sealed):
            places = _named_by(session, version_id)
            where = f"; it is what {places}" if places else ""
            yield Violation("opens", f"{name}, version {number}", f"does not open{where}")
    typed = select(SyncRun.number, SyncRun.id, Override.sealed).join(Override, Override.run_id == SyncRun.id)
    for number, run_id, sealed in session.execute(typed):
        if not opens("override", run_id, sealed):
            yield Violation("opens", f"run {number}", "has typed credentials that do not open")


def _named_by(session: Session, version_id: str) -> str:
    """"LAB-02 holds, LAB-04 may hold", for the words."""
    found = []
    for word, column in POINTERS.items():
        machines = session.scalars(select(SyncLink.machine).where(column == version_id).order_by(SyncLink.position))
        found += [f"{machine} {word}" for machine in machines]
    maybe = select(SyncLink.machine).join(LinkMaybe, LinkMaybe.link_id == SyncLink.id)
    found += [f"{machine} may hold" for machine in session.scalars(maybe.where(LinkMaybe.version_id == version_id))]
    return ", ".join(found)
