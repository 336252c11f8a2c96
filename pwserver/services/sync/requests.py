"""What people ask of a chain: change, correct, retest, test, adopt, give up, cancel; to approve is in ``approvals``.

Each is one transaction that commits the version, the run and the audit line together; the caller then nudges the
queue. The caller has loaded the entry with the right it needs; what is dangerous is checked again here.
``actor`` None: a person at the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import scoped_session

from pwserver.core.errors import Conflict, Invalid
from pwserver.core.secrets import Secret, check_value
from pwserver.models import (
    AppUser,
    Entry,
    EntryVersion,
    LinkMaybe,
    Override,
    SyncAgent,
    SyncChain,
    SyncLink,
    SyncRun,
)
from pwserver.services import locking
from pwserver.services.audit import record
from pwserver.services.sync import requeue
from pwserver.services.sync.accounts import unlock_for_run
from pwserver.services.sync.requeue import active_instruction, add_run, is_nowhere, outstanding_links, stage_id
from pwserver.services.sync.status import is_configured, refresh
from pwserver.services.transaction import now, write
from pwserver.services.values import add_version, same_value, shift_stages
from pwserver.sync.chain import COUNTING

Session = scoped_session[Any]

UNDER_WAY = "A change is under way; this value was not saved. Wait for it to end, or give it up, then save again."
NOTHING = "This is the password the vault has already: nothing to do."



def request_change(
    actor: AppUser | None, entry: Entry, value: Secret, *, row_version: int | None = None
) -> SyncRun | None:
    """Change it everywhere. None: the entry has no enabled chain, the value was only saved."""
    check_value(value)
    with write() as session:
        chain = _fresh(session, entry, row_version)
        refuse_same(session, entry, value)
        at = now()
        if chain is None or not chain.enabled:
            _save_only(session, actor, entry, value, chain)
            return None
        agent = session.get_one(SyncAgent, chain.agent_id)
        for link in links_of(session, chain.id):
            if not is_configured(link, agent):
                raise Invalid(
                    f"{link.machine} cannot be changed yet: it needs a linked credential. Give its agent one, or take "
                    "the link out of the chain. Nothing was saved.",
                    field="value",
                )
        make_room(session, chain, at)
        base = stage_id(session, chain.id, "current")
        version = add_version(session, entry, value, stage="pending", origin="change", actor=actor)
        run = queue_run(session, actor, chain, "change", at, version_id=version.id, base_version_id=base)
        record(session, actor, "password.change", entry=entry, facts={"run": run.number, "version": version.number})
        refresh(session, chain.id)
        return run


def correct(
    actor: AppUser | None, entry: Entry, value: Secret, link_ids: Sequence[str], *, row_version: int | None = None
) -> SyncRun | None:
    """Correct the stored value: no target is written. The ticked account links may have it; they are settled by
    reading."""
    check_value(value)
    with write() as session:
        chain = _fresh(session, entry, row_version)
        refuse_same(session, entry, value)
        at = now()
        if chain is not None:
            make_room(session, chain, at)
        shift_stages(session, entry.id)
        version = add_version(session, entry, value, stage="current", origin="correct", actor=actor)
        session.execute(update(Entry).where(Entry.id == entry.id).values(row_version=Entry.row_version + 1))
        record(session, actor, "password.correct", entry=entry, facts={"version": version.number})
        requeue.value_was_edited(session, entry, at)
        if chain is None:
            return None
        for link in links_of(session, chain.id):
            if link.id in link_ids and link.is_account:
                session.add(LinkMaybe(link_id=link.id, version_id=version.id))
                link.state, link.reason, link.next_try_at = "unknown", "corrected", None
                link.tries, link.first_try_at = 0, None
        run = None
        if chain.enabled:
            run = queue_run(session, actor, chain, "correct", at, version_id=version.id)
        refresh(session, chain.id)
        return run


def _save_only(session: Session, actor: AppUser | None, entry: Entry, value: Secret, chain: SyncChain | None) -> None:
    """A password that is not synchronized: the new value simply becomes current. The links of a disabled chain keep
    what they hold, and its page goes on naming the places that do not have the current password."""
    if chain is not None:
        make_room(session, chain, now())
    shift_stages(session, entry.id)
    version = add_version(session, entry, value, stage="current", origin="saved", actor=actor)
    session.execute(update(Entry).where(Entry.id == entry.id).values(row_version=Entry.row_version + 1))
    record(session, actor, "password.saved", entry=entry, facts={"version": version.number})
    requeue.value_was_edited(session, entry, now())
    if chain is not None:
        refresh(session, chain.id)


def make_room(
    session: Session, chain: SyncChain, at: datetime, *, approve: bool = False, finish_pending: bool = False
) -> None:
    """A new value replaces a queued run that was never sent and supersedes a waiting one whose value is promoted or
    nowhere; Approve supersedes any waiting one. An override is never replaced. Otherwise :class:`Conflict`.

    A pending value left so gives way in the same transaction: it becomes old, or discarded if it was never sent;
    unless it is what Approve finishes.
    """
    run = active_instruction(session, chain.id)
    if run is not None:
        never_sent = run.state == "queued" and run.started_at is None
        settled = run.state == "waiting" and _promoted_or_nowhere(session, chain.id, run)
        replaceable = run.kind != "override" and (never_sent or settled or (approve and run.state == "waiting"))
        if not replaceable:
            raise Conflict(UNDER_WAY, field="value")
        _end(session, run, "superseded", at)
    pending = stage_id(session, chain.id, "pending")
    if pending is None or finish_pending:
        return
    if not is_nowhere(session, chain.id, pending):
        if approve:
            return
        raise Conflict(UNDER_WAY, field="value")
    lay_aside(session, pending)


def _promoted_or_nowhere(session: Session, chain_id: str, run: SyncRun) -> bool:
    if run.version_id is None:
        return True
    return stage_id(session, chain_id, "pending") != run.version_id or is_nowhere(session, chain_id, run.version_id)


def lay_aside(session: Session, version_id: str) -> None:
    """A pending value that is nowhere: old if it was ever sent, else discarded."""
    version = session.get_one(EntryVersion, version_id, populate_existing=True)
    version.stage = "old" if version.first_sent_at else "discarded"
    session.flush()


def _end(session: Session, run: SyncRun, result: str, at: datetime) -> None:
    run.state, run.result, run.finished_at, run.lease_until = "done", result, at, None
    session.execute(delete(Override).where(Override.run_id == run.id))
    unlock_for_run(session, run.id)
    session.flush()
    if run.kind != "test" and result != "superseded":
        requeue.probe_unknown(session, run.chain_id, at)
        requeue.take_up_test(session, run.chain_id, at)


def give_up(actor: AppUser | None, entry: Entry) -> None:
    """Gives the pending change up. Refused while some place has, or may have, the pending value."""
    with write() as session:
        locking.password(session, entry.id)
        chain = _chain(session, entry)
        pending = stage_id(session, chain.id, "pending") if chain else None
        if chain is None or pending is None:
            raise Invalid("There is no change to give up.")
        if not is_nowhere(session, chain.id, pending):
            raise Invalid(
                "Some place has the new password, or may have it, so it cannot be given up. Retest Sync, or put it "
                "right on the Approve page."
            )
        at = now()
        run = active_instruction(session, chain.id)
        if run is not None:
            if run.state == "running" or run.kind == "override":
                raise Conflict("The change is running at this moment. Cancel it first; it ends after the link in hand.")
            _end(session, run, "given_up", at)
        lay_aside(session, pending)
        current = stage_id(session, chain.id, "current")
        for link in links_of(session, chain.id):
            came_from_change = link.state in ("refused", "unreachable", "skipped", "waiting", "blocked")
            if link.holds_version_id == current and came_from_change:
                # Nothing of the change was applied here; whether it still holds what it held is for a test to say.
                link.state = "in_sync" if link.proof_means in COUNTING or not link.is_account else "waiting"
                link.reason = link.reason_text = link.reason_code = ""
                link.next_try_at = None
        record(session, actor, "change.given_up", entry=entry)
        refresh(session, chain.id)


def cancel(actor: AppUser | None, run: SyncRun) -> None:
    """Ends a run before its next link. A running one notices by itself; unknowns are still probed."""
    with write() as session:
        locking.password_of_run(session, run.id)
        at = now()
        fresh = session.get_one(SyncRun, run.id, populate_existing=True)
        if fresh.state == "done":
            raise Conflict("This run has ended already.")
        fresh.cancel_at = fresh.cancel_at or at
        if fresh.state != "running":
            fresh.due_at, fresh.nudged_at = min(fresh.due_at, at), None
        if fresh.state == "queued" and fresh.started_at is None:
            _end(session, fresh, "cancelled", at)
        chain = session.get_one(SyncChain, fresh.chain_id)
        entry = session.get_one(Entry, chain.entry_id)
        record(session, actor, "run.cancelled", entry=entry, facts={"run": fresh.number})
        refresh(session, chain.id)


def request_test(actor: AppUser | None, entry: Entry) -> SyncRun:
    """A test of the whole chain; a click while one is active shows that one."""
    with write() as session:
        chain = enabled_chain(session, entry)
        there = requeue.active_test(session, chain.id)
        if there is not None:
            return there
        run = queue_run(session, actor, chain, "test", now())
        record(session, actor, "sync.test", entry=entry, facts={"run": run.number})
        refresh(session, chain.id)
        return run


def retest(actor: AppUser | None, entry: Entry) -> SyncRun:
    """Retest Sync: the outstanding instruction is due now; else one try for each link that is not in sync.

    A second click while a run is active shows that run.
    """
    with write() as session:
        chain = enabled_chain(session, entry)
        at = now()
        active = active_instruction(session, chain.id)
        if active is not None and active.kind == "correct" and active.state == "waiting":
            # An ordinary run settles its unknowns too, and carries the value on to the others.
            _end(session, active, "superseded", at)
            active = None
        if active is not None:
            if active.state == "waiting":
                active.due_at, active.nudged_at, active.clicked_at = at, None, at
            session.flush()
            record(session, actor, "sync.retest", entry=entry, facts={"run": active.number})
            return active
        testing = requeue.active_test(session, chain.id)
        if testing is not None and testing.state != "waiting":
            return testing
        requeue.supersede_test(session, chain.id, at)
        version = requeue.outstanding_version(session, chain.id)
        left = outstanding_links(session, chain.id, version)
        if left:
            run = queue_run(session, actor, chain, "change", at, version_id=version)
        else:
            wrong = [link.id for link in links_of(session, chain.id) if needs_retest(link)]
            run = queue_run(session, actor, chain, "test", at, scope=wrong or None)
        record(session, actor, "sync.retest", entry=entry, facts={"run": run.number})
        refresh(session, chain.id)
        return run


def needs_retest(link: SyncLink) -> bool:
    return link.state not in ("in_sync", "updated", "managed")


def adopt(actor: AppUser | None, entry: Entry, link_ids: Sequence[str]) -> SyncRun:
    """An Owner's run that writes the proved value into places whose stored copy cannot be read."""
    with write() as session:
        chain = enabled_chain(session, entry)
        places = [link.id for link in links_of(session, chain.id) if link.id in link_ids and not link.is_account]
        if not places:
            raise Invalid("Choose at least one task or service to write.")
        at = now()
        make_room(session, chain, at)
        version = stage_id(session, chain.id, "current")
        run = queue_run(session, actor, chain, "adopt", at, version_id=version, scope=places)
        record(session, actor, "sync.adopt", entry=entry, facts={"run": run.number, "links": len(places)})
        refresh(session, chain.id)
        return run


# -- shared


def queue_run(
    session: Session, actor: AppUser | None, chain: SyncChain, kind: str, at: datetime, **values: Any
) -> SyncRun:
    run = add_run(
        session, chain.id, kind,
        requested_by=actor and actor.id, clicked_at=at, requested_at=at, due_at=at, **values,
    )  # fmt: skip
    if kind != "test":
        session.execute(
            update(SyncRun)
            .where(SyncRun.chain_id == chain.id, SyncRun.kind == "test", SyncRun.state == "running")
            .values(cancel_at=at)
        )
    return run


def _chain(session: Session, entry: Entry) -> SyncChain | None:
    return session.scalar(
        select(SyncChain).where(SyncChain.entry_id == entry.id).execution_options(populate_existing=True)
    )


def enabled_chain(session: Session, entry: Entry) -> SyncChain:
    """Begins a transaction about an enabled chain: locks its password."""
    locking.password(session, entry.id)
    chain = _chain(session, entry)
    if chain is None or not chain.enabled:
        raise Conflict("Synchronization is not enabled for this password.")
    return chain


def _fresh(session: Session, entry: Entry, row_version: int | None) -> SyncChain | None:
    """The entry's chain, after checking that the form was not stale. Begins a transaction that changes the value."""
    locking.value_of(session, entry.id)
    present = session.scalar(select(Entry.row_version).where(Entry.id == entry.id, Entry.deleted_at.is_(None)))
    if present is None:
        raise Conflict("This password was deleted meanwhile. Nothing was saved.")
    if row_version is not None and present != row_version:
        raise Conflict(field="value")
    return _chain(session, entry)


def refuse_same(
    session: Session, entry: Entry, value: Secret, field: str = "value", words: str = NOTHING
) -> None:
    current = session.scalar(select(EntryVersion).filter_by(entry_id=entry.id, stage="current"))
    if current is not None and same_value(entry, current, value):
        raise Invalid(words, field=field)


def links_of(session: Session, chain_id: str) -> list[SyncLink]:
    return list(
        session.scalars(
            select(SyncLink)
            .where(SyncLink.chain_id == chain_id, SyncLink.active)
            .order_by(SyncLink.position, SyncLink.id)
            .execution_options(populate_existing=True)
        )
    )
