"""``flask sync check``: recomputes everything that is cached or implied, and reports differences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from pwserver.core.states import derive_status
from pwserver.extensions import db
from pwserver.models import Account, Entry, EntryVersion, LinkAttempt, Override, SyncChain, SyncLink, SyncRun
from pwserver.services.sync.status import read_facts, timing
from pwserver.services.transaction import now


@dataclass(frozen=True, slots=True)
class Difference:
    subject: str
    what: str


def check() -> list[Difference]:
    """Every invariant of the tables that a transaction could have broken. An empty list: all is as it must be."""
    return [*_statuses(), *_stages(), *_attempts(), *_leftovers()]


def _statuses() -> list[Difference]:
    found = []
    at, fresh = now(), timedelta(seconds=timing().proof_fresh)
    for chain in db.session.scalars(select(SyncChain).execution_options(populate_existing=True)):
        if chain.recheck_at is not None and chain.recheck_at <= at:
            continue  # the timer is about to write it
        derived = derive_status(read_facts(db.session, chain).chain, at, fresh)
        if chain.status != derived:
            found.append(Difference(chain.entry.name, f"says {chain.status}, the facts say {derived}"))
    return found


def _stages() -> list[Difference]:
    found = []
    counts = select(EntryVersion.entry_id, func.count()).where(EntryVersion.stage == "current")
    current = dict(db.session.execute(counts.group_by(EntryVersion.entry_id)).all())
    for entry_id, name in db.session.execute(
        select(Entry.id, Entry.name).where(select(EntryVersion.id).where(EntryVersion.entry_id == Entry.id).exists())
    ):
        if current.get(entry_id, 0) != 1:
            found.append(Difference(name, f"has {current.get(entry_id, 0)} current values"))
    numbers = db.session.execute(
        select(SyncLink.machine, SyncLink.id).where(
            SyncLink.holds_version_id.is_not(None),
            ~select(EntryVersion.id)
            .join(SyncChain, SyncChain.entry_id == EntryVersion.entry_id)
            .where(EntryVersion.id == SyncLink.holds_version_id, SyncChain.id == SyncLink.chain_id)
            .exists(),
        )
    )
    found.extend(Difference(machine, "holds a value of another password") for machine, _ in numbers)
    return found


def _attempts() -> list[Difference]:
    open_ones = select(LinkAttempt.id, SyncRun.number).join(SyncRun, SyncRun.id == LinkAttempt.run_id).where(
        LinkAttempt.outcome.is_(None), SyncRun.state != "running"
    )  # fmt: skip
    what = "does not run, and has an attempt still open"
    return [Difference(f"run {number}", what) for _, number in db.session.execute(open_ones)]


def _leftovers() -> list[Difference]:
    found = []
    done = select(SyncRun.number).where(SyncRun.state == "done")
    for number in db.session.scalars(done.join(Override, Override.run_id == SyncRun.id)):
        found.append(Difference(f"run {number}", "ended, but its typed credentials are still there"))
    swept = now() - timedelta(minutes=1)  # the timer has had its time
    late = select(SyncRun.number).join(Override, Override.run_id == SyncRun.id).where(Override.expires_at <= swept)
    for number in db.session.scalars(late):
        found.append(Difference(f"run {number}", "has typed credentials past their time"))
    for key in db.session.scalars(
        select(Account.key).join(SyncRun, SyncRun.id == Account.writer_run_id).where(SyncRun.state == "done")
    ):
        found.append(Difference(key, "is locked by a run that ended"))
    return found
