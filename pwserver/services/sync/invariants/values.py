"""Values: exactly one is current, what was sent is kept, and whatever is kept opens (rules 2, 6 and 8)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.models import Entry, EntryVersion, LinkAttempt, LinkMaybe, Override, SyncChain, SyncLink, SyncRun
from pwserver.services.keys import opens
from pwserver.services.sync.invariants.violation import Violation

Session = scoped_session[Any]


def check(session: Session) -> Iterator[Violation]:
    rows = session.execute(
        select(
            Entry.name, EntryVersion.id, EntryVersion.entry_id, EntryVersion.number, EntryVersion.stage,
            EntryVersion.first_sent_at, EntryVersion.sealed,
        ).join(Entry, Entry.id == EntryVersion.entry_id)
    ).all()  # fmt: skip
    named = _named(session)
    yield from _stages(session, rows)
    yield from _sent(session, rows, named)
    yield from _foreign(rows, named)
    yield from _opens(session, rows, named)


def _named(session: Session) -> dict[str, list[tuple[str, str, str, str]]]:
    """Version → who names it, in the order of the chain: password, its entry's id, machine, how."""
    links = session.execute(
        select(
            Entry.name, SyncChain.entry_id, SyncLink.machine, SyncLink.id, SyncLink.holds_version_id,
            SyncLink.starts_from_version_id, SyncLink.proof_version_id,
        )
        .join(SyncChain, SyncChain.id == SyncLink.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .order_by(SyncLink.position)
    ).all()  # fmt: skip
    maybes = defaultdict(list)
    for link_id, version_id in session.execute(select(LinkMaybe.link_id, LinkMaybe.version_id)):
        maybes[link_id].append(version_id)
    found = defaultdict(list)
    for name, entry_id, machine, link_id, holds, starts_from, proof in links:
        pointers = [(holds, "holds"), (starts_from, "starts from"), (proof, "was proved with")]
        for pointer, how in pointers + [(each, "may hold") for each in maybes[link_id]]:
            if pointer is not None:
                found[pointer].append((name, entry_id, machine, how))
    return found


def _stages(session: Session, versions: Any) -> Iterator[Violation]:
    counts = Counter((row.entry_id, row.stage) for row in versions)
    for entry_id, name in session.execute(select(Entry.id, Entry.name)):
        if counts[entry_id, "current"] != 1:
            yield Violation("one_current", name, f"has {counts[entry_id, 'current']} current values")
        for stage in ("pending", "previous"):
            if counts[entry_id, stage] > 1:
                yield Violation("one_current", name, f"has {counts[entry_id, stage]} {stage} values")


def _sent(session: Session, versions: Any, named: dict[str, Any]) -> Iterator[Violation]:
    """A value was sent when it says so, when an attempt carried it, or when a link has, or may have, it."""
    tried = set(session.scalars(select(LinkAttempt.version_id).where(LinkAttempt.version_id.is_not(None)).distinct()))
    for row in versions:
        subject = f"{row.name}, version {row.number}"
        if row.stage == "discarded" and (row.first_sent_at or row.id in tried or row.id in named):
            yield Violation("sent_is_kept", subject, "was sent, or some place has it, and is discarded")
        elif row.id in tried and row.first_sent_at is None:
            yield Violation("sent_is_kept", subject, "was sent, and nothing keeps it from being discarded")


def _foreign(versions: Any, named: dict[str, Any]) -> Iterator[Violation]:
    """What a link names is a value of its own password."""
    owners = {row.id: row.entry_id for row in versions}
    for version_id, by in named.items():
        for name, entry_id, machine, how in by:
            if owners.get(version_id) != entry_id:
                yield Violation("own_value", f"{name}, {machine}", f"{how} a value that is not of this password")


def _opens(session: Session, versions: Any, named: dict[str, Any]) -> Iterator[Violation]:
    """Every stored value opens with this master key as this very row; above all what links hold, may hold or start
    from. Nothing is made of what opened."""
    for row in versions:
        if not opens("entry_version", row.id, row.sealed):
            places = ", ".join(f"{machine} {how}" for _, _, machine, how in named.get(row.id, ()))
            where = f"; of it: {places}" if places else ""
            yield Violation("opens", f"{row.name}, version {row.number}", f"does not open{where}")
    typed = select(SyncRun.number, SyncRun.id, Override.sealed).join(Override, Override.run_id == SyncRun.id)
    for number, run_id, sealed in session.execute(typed):
        if not opens("override", run_id, sealed):
            yield Violation("opens", f"run {number}", "has typed credentials that do not open")
