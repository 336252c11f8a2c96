"""Chains as they stand after this or that, for tests of pages and for looking at them.

Chains are set up by the services; what a run would have left in the rows is written as a worker's journal would.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import (
    AgentScope,
    Entry,
    EntryVersion,
    LinkAttempt,
    LinkMaybe,
    SyncAgent,
    SyncLink,
    SyncRun,
    new_id,
)
from pwserver.services import entries, sync, values
from pwserver.services.sync import status
from pwserver.services.sync.requeue import add_run
from pwserver.services.transaction import now, write
from tests.conftest import Cast
from tests.web.things import PIN, add_directory

MACHINES = [f"LAB-{number:02}" for number in range(1, 42)]


def agent(name: str = "LAB-01", state: str = "approved", *, scoped: bool = True, linked: bool = True) -> SyncAgent:
    """A Windows agent that reaches the lab, with a login and a linked credential of its own."""
    cast = Cast()

    def credential(user: str) -> str:
        settings = entries.Settings(f"{name} {user}", "generic", user, "")
        return entries.create_entry(cast.olivia, cast.vault, settings, Secret(f"secret of {user}")).id

    credentials = [credential(user) for user in (f"{name}\\svc-psrv", "CORP\\svc-pwagent")]
    with write() as session:
        row = SyncAgent(
            id=new_id(), name=name, transport="winrm", machine=name, host="127.0.0.1", port=5986, pin=PIN, state=state,
            health="healthy" if state == "approved" else "untested", allowed_machines=MACHINES,
            login_entry_id=credentials[0], linked_entry_id=credentials[1] if linked else None,
        )  # fmt: skip
        session.add(row)
        session.flush()
        if scoped:
            session.add(AgentScope(agent_id=row.id, vault_id=cast.vault.id))
    return row


def chain(
    machines: Sequence[str] = ("LAB-02", "LAB-03", "LAB-04", "LAB-05", "LAB-06"), *, places: bool = True
) -> Entry:
    """*Lab Administrator* on LAB-01 and ``machines``, with a service on LAB-03 and a task on LAB-01; all proved."""
    cast = Cast()
    entry = cast.entry
    row = sync.enable(cast.olivia, entry, agent().id)
    for machine in machines:
        sync.add_link(
            cast.olivia, entry, "remote_windows", {"machine": machine, "user_name": "Administrator"},
            revision=revision(entry),
        )  # fmt: skip
    if places:
        third = next(each for each in sync.active_links(row) if each.machine == "LAB-03")
        sync.add_link(
            cast.olivia, entry, "windows_service", {"machine": "LAB-03", "name": "LabImaging"},
            revision=revision(entry), account_link_id=third.id,
        )  # fmt: skip
        sync.add_link(
            cast.olivia, entry, "scheduled_task", {"path": "\\Lab\\Nightly reset"}, revision=revision(entry)
        )
    for link in links(entry):
        proved(link)
    end_runs(entry)
    return entry


def revision(entry: Entry) -> int:
    found = sync.chain_of(entry)
    assert found is not None
    db.session.refresh(found)
    return found.revision


def links(entry: Entry) -> list[SyncLink]:
    found = sync.chain_of(entry)
    assert found is not None
    db.session.expire_all()
    return sync.active_links(found)


def link(entry: Entry, machine: str, *, account: bool = True) -> SyncLink:
    return next(each for each in links(entry) if each.machine == machine and each.is_account == account)


def change(row: SyncLink, **columns: Any) -> None:
    """Writes columns of a link as the journal would, and the status with them."""
    chain_id = row.chain_id
    with write() as session:
        fresh = session.get_one(SyncLink, row.id)
        for name, value in columns.items():
            setattr(fresh, name, value)
        status.refresh(session, chain_id)


def proved(row: SyncLink, at: datetime | None = None, means: str = "") -> None:
    """Proved to hold the vault's password; a place is written."""
    at = at or now()
    current = values.current_version(row.chain.entry)
    means = means or ("logged on" if row.is_account else "written only")
    _answered(row, current, at)
    change(
        row, state="in_sync", reason="", holds_version_id=current.id, proof_version_id=current.id,
        proof_rev=row.settings_rev, proof_means=means, proof_host=row.machine, proved_at=at, logon_at=at,
        written_rev=row.settings_rev, state_since=at,
    )  # fmt: skip


def _answered(row: SyncLink, version: EntryVersion, at: datetime) -> None:
    """The answer in the journal that a proof leans on, in the last test of the chain."""
    with write() as session:
        run = session.scalars(
            db.select(SyncRun).filter_by(chain_id=row.chain_id, kind="test").order_by(SyncRun.number.desc())
        ).first()
        assert run is not None
        before = session.scalars(db.select(LinkAttempt).filter_by(run_id=run.id, link_id=row.id)).all()
        session.add(
            LinkAttempt(
                id=new_id(), run_id=run.id, link_id=row.id, n=len(before) + 1, step="test", version_id=version.id,
                settings_rev=row.settings_rev, fence=1, intent_at=at - timedelta(seconds=1), finished_at=at,
                hard_deadline=at + timedelta(seconds=60), outcome="applied",
            )
        )  # fmt: skip
        sent = session.get_one(EntryVersion, version.id)
        sent.first_sent_at = sent.first_sent_at or at


def refused(row: SyncLink, reason: str = "holds_another") -> None:
    change(
        row, state="refused", reason=reason, reason_text="The user name or password is incorrect.", reason_code="1326",
        state_since=now(), proof_version_id=None, proved_at=None,
    )  # fmt: skip


def silent(row: SyncLink) -> None:
    soon = now() + timedelta(minutes=4)
    change(row, state="unreachable", reason="no_answer", next_try_at=soon, tries=3, state_since=now())


def blocked(row: SyncLink) -> None:
    change(row, state="blocked", reason="linked_refused", reason_code="1326", state_since=now())


def unknown(row: SyncLink, version: EntryVersion) -> None:
    soon = now() + timedelta(minutes=1)
    with write() as session:
        session.add(LinkMaybe(link_id=row.id, version_id=version.id))
    change(row, state="unknown", reason="connection_lost", next_try_at=soon, state_since=now())


def end_runs(entry: Entry) -> None:
    found = sync.chain_of(entry)
    assert found is not None
    with write() as session:
        for run in session.scalars(db.select(SyncRun).filter_by(chain_id=found.id)):
            run.state, run.result, run.finished_at = "done", "done", now()
        session.flush()
        status.refresh(session, found.id)


def run(entry: Entry, kind: str = "change", state: str = "running", **columns: Any) -> SyncRun:
    """A run of this chain, as if a worker had it."""
    found, at = sync.chain_of(entry), now()
    assert found is not None
    with write() as session:
        values_of = {"requested_at": at, "due_at": at, "requested_by": Cast().olivia.id} | columns
        row = add_run(session, found.id, kind, **values_of)
        row.state, row.started_at, row.fence = state, at, 1
        session.flush()
        status.refresh(session, found.id)
    return row


def attempt(
    of: SyncRun, row: SyncLink, step: str, outcome: str | None, *, seconds: float = 2, reason: str = "", **columns: Any
) -> LinkAttempt:
    at = now()
    with write() as session:
        made = LinkAttempt(
            id=new_id(), run_id=of.id, link_id=row.id, n=1, step=step, settings_rev=row.settings_rev, fence=1,
            intent_at=at - timedelta(seconds=seconds), hard_deadline=at + timedelta(seconds=60), outcome=outcome,
            finished_at=at if outcome else None, reason=reason, **columns,
        )  # fmt: skip
        session.add(made)
        session.flush()
        status.refresh(session, row.chain_id)
    return made


def finish_attempts(entry: Entry, outcome: str = "applied") -> None:
    """Ends what is open, as its worker would."""
    found = sync.chain_of(entry)
    assert found is not None
    with write() as session:
        for open_one in session.scalars(db.select(LinkAttempt).where(LinkAttempt.outcome.is_(None))):
            open_one.outcome, open_one.finished_at = outcome, now()
        session.flush()
        status.refresh(session, found.id)


def out_of_sync() -> Entry:
    """LAB-05 refused, LAB-04 silent, LAB-06 refused our login."""
    entry = chain()
    refused(link(entry, "LAB-05"))
    silent(link(entry, "LAB-04"))
    blocked(link(entry, "LAB-06"))
    return entry


def changing() -> tuple[Entry, SyncRun]:
    """A change under way: LAB-01 and LAB-02 done, LAB-03 at work, LAB-05 refused."""
    entry = chain()
    cast = Cast()
    row = sync.request_change(cast.olivia, entry, Secret("Next-93kq#Rezun-2"))
    assert row is not None
    with write() as session:
        fresh = session.get_one(SyncRun, row.id)
        fresh.state, fresh.started_at, fresh.fence = "running", now(), 1
        values.shift_stages(session, entry.id)
        version = session.get_one(EntryVersion, fresh.version_id)
        version.stage, version.first_sent_at = "current", now()
    for machine in ("LAB-01", "LAB-02"):
        done = link(entry, machine)
        attempt(row, done, "change", "applied", evidence={"method": "change", "means": "logged on"})
        proved(done)
    attempt(row, link(entry, "LAB-05"), "change", "refused", reason="old_value_refused", code="1326")
    refused(link(entry, "LAB-05"), "old_value_refused")
    attempt(row, link(entry, "LAB-03"), "change", None)
    return entry, row


def domain_test() -> tuple[Entry, SyncRun]:
    """A test of a domain account through its directory: in the grace hour first, then proved by Kerberos."""
    cast, directory = Cast(), add_directory()
    with write() as session:
        fresh = session.get_one(SyncAgent, directory.id)
        fresh.state, fresh.health = "approved", "healthy"
        session.add(AgentScope(agent_id=directory.id, vault_id=cast.vault.id))
    settings = entries.Settings("CORP svc-backup", "domain", "svc-backup", "CORP")
    entry = entries.create_entry(cast.olivia, cast.vault, settings, Secret("First-93kq#Rezun"))
    sync.enable(cast.olivia, entry, directory.id)
    end_runs(entry)
    made, row = run(entry, "test"), links(entry)[0]
    names = "2 service names (SPN): its services take the new password at their restart"
    told = {"host": "dc1.corp.test", "notes": names}
    attempt(made, row, "test", "unknown", reason="grace_hour", evidence={**told, "by": "bind and last-set stamp"})
    proof = {**told, "means": "logged on", "by": "Kerberos"}
    attempt(made, row, "probe", "applied", evidence=proof, seconds=1)
    proved(row)
    return entry, made
