"""Many passwords at once, written straight into the rows: for lists and searches, not for runs."""

from __future__ import annotations

from datetime import timedelta

from pwserver.core.states import STATUS, Status
from pwserver.extensions import db
from pwserver.models import (
    Entry,
    EntryVersion,
    Favourite,
    Incident,
    SyncAgent,
    SyncChain,
    SyncLink,
    SyncRun,
    Vault,
    new_id,
)
from pwserver.services.transaction import now, write
from tests.web.things import PIN

CHAINED = [status for status in STATUS if status not in (Status.NOT_SYNCED, Status.UNSYNCABLE)]
DETAILS = {Status.OUT_OF_SYNC: "2 of 4, one refused", Status.NOT_CONFIGURED: "a link has no linked credential"}
PLACES = ("LAB", "SRV", "KIOSK", "PRN")


def fill(vault: Vault, count: int, *, links: int = 4, start: int = 0, stars_of: str = "") -> None:
    """``count`` passwords; every second one has a chain of ``links`` links, with every status in turn; those
    out of sync have an open Sync Issue. ``stars_of``: the id of a person who stars one in twenty."""
    at = now()
    vault_id = vault.id  # the writing transaction expires what was read before
    with write() as session:
        agent_id = session.scalar(db.select(SyncAgent.id).where(SyncAgent.name == "LAB-01")) or _agent(session)
        for number in range(start, start + count):
            machine = f"{PLACES[number % 4]}-{number:05}"
            entry = Entry(
                id=new_id(), vault_id=vault_id, name=f"{machine} administrator", type="standalone_windows",
                user_name="Administrator", machine=machine,
            )  # fmt: skip
            version = EntryVersion(
                id=new_id(), entry_id=entry.id, number=1, stage="current", sealed=b"-", key_id="k", digest="-",
                origin="created", created_at=at,
            )  # fmt: skip
            session.add(entry)
            session.flush()
            session.add(version)
            if stars_of and number % 20 == 0:
                session.add(Favourite(user_id=stars_of, entry_id=entry.id))
            if number % 2 == 0:
                _chain(session, entry, version, agent_id, number, links)
            if number % 500 == 499:
                session.flush()
                session.expunge_all()


def _agent(session) -> str:  # type: ignore[no-untyped-def]
    agent = SyncAgent(
        id=new_id(), name="LAB-01", transport="winrm", machine="LAB-01", host="127.0.0.1", pin=PIN, state="approved",
        health="healthy",
    )  # fmt: skip
    session.add(agent)
    session.flush()
    return agent.id


def _chain(session, entry: Entry, version: EntryVersion, agent_id: str, number: int, links: int) -> None:  # type: ignore[no-untyped-def]
    status = CHAINED[number // 2 % len(CHAINED)]
    chain = SyncChain(
        id=new_id(), entry_id=entry.id, agent_id=agent_id, agent_pin=PIN, status=status,
        status_detail=DETAILS.get(status, ""), status_since=now(),
    )  # fmt: skip
    session.add(chain)
    session.flush()
    if status == Status.OUT_OF_SYNC:
        session.add(Incident(id=new_id(), chain_id=chain.id, opened_at=now() - timedelta(minutes=number)))
    for position in range(links):
        machine = entry.machine if position == 0 else f"{PLACES[position % 4]}-{(number * 7 + position) % 9973:05}"
        session.add(
            SyncLink(
                id=new_id(), chain_id=chain.id, position=position, kind="remote_windows", is_account=True,
                settings={"machine": machine, "user_name": "Administrator"}, machine=machine,
                account_key=f"{machine}\\administrator-{number}", state="in_sync", holds_version_id=version.id,
                proved_at=now(),
            )
        )  # fmt: skip


def fill_tasks(vault: Vault, count: int, *, links: int = 40, start: int = 0) -> None:
    """What an owner's Dashboard may have, ``count`` of each: a password that refuses at one link, two that wait for a
    refused agent, two for a refused linked credential, one whose agent is disabled, one that cannot be changed, and a
    run under way."""
    at, vault_id = now(), vault.id
    with write() as session:
        for number in range(start, start + count):
            since = at - timedelta(minutes=number)
            agents = [_named_agent(session, f"AGENT-{number:03}-{which}") for which in ("a", "b", "c")]
            agents[2].state = "disabled"
            credential, _version = _entry(session, vault_id, f"credential {number:03}")
            by_agent = Incident(id=new_id(), agent_id=agents[1].id, opened_at=since)
            by_credential = Incident(id=new_id(), credential_id=credential.id, opened_at=since)
            session.add_all([by_agent, by_credential])
            session.flush()
            out = Status.OUT_OF_SYNC
            for name, agent, cause, reason in (
                ("alone", agents[0], None, "holds_another"),
                ("login one", agents[1], by_agent, "login_refused"),
                ("login two", agents[1], by_agent, "login_refused"),
                ("linked one", agents[0], by_credential, "linked_refused"),
                ("linked two", agents[0], by_credential, "linked_refused"),
            ):
                chain = _tasked(session, vault_id, f"{name} {number:03}", agent, out, links, reason)
                session.add(Incident(id=new_id(), chain_id=chain.id, cause_id=cause and cause.id, opened_at=since))
            _tasked(session, vault_id, f"resting {number:03}", agents[2], Status.AGENT_DISABLED, links)
            _tasked(session, vault_id, f"fixed {number:03}", agents[0], Status.NOT_CONFIGURED, links)
            running = _tasked(session, vault_id, f"running {number:03}", agents[0], Status.BEING_SYNCED, links)
            session.add(
                SyncRun(
                    id=new_id(), number=number, chain_id=running.id, kind="test", state="running", requested_at=at,
                    due_at=at,
                )
            )  # fmt: skip
            session.flush()


def _named_agent(session, name: str) -> SyncAgent:  # type: ignore[no-untyped-def]
    agent = SyncAgent(
        id=new_id(), name=name, transport="winrm", machine=name, host="127.0.0.1", pin=PIN, state="approved",
        health="healthy",
    )  # fmt: skip
    session.add(agent)
    session.flush()
    return agent


def _entry(session, vault_id: str, name: str) -> tuple[Entry, EntryVersion]:  # type: ignore[no-untyped-def]
    entry = Entry(
        id=new_id(), vault_id=vault_id, name=name, type="standalone_windows", user_name="Administrator", machine="M"
    )
    session.add(entry)
    session.flush()
    version = EntryVersion(
        id=new_id(), entry_id=entry.id, number=1, stage="current", sealed=b"-", key_id="k", digest="-",
        origin="created", created_at=now(),
    )  # fmt: skip
    session.add(version)
    session.flush()
    return entry, version


def _tasked(  # type: ignore[no-untyped-def]
    session, vault_id: str, name: str, agent: SyncAgent, status: Status, links: int, reason: str = ""
) -> SyncChain:
    """A chain of ``links`` good links, the last of which is stopped for ``reason``."""
    entry, version = _entry(session, vault_id, name)
    chain = SyncChain(
        id=new_id(),
        entry_id=entry.id,
        agent_id=agent.id,
        agent_pin=PIN,
        status=status,
        status_since=now(),
        status_detail=DETAILS.get(status, ""),
    )
    session.add(chain)
    session.flush()
    for position in range(links):
        machine, last = f"{name} {position:02}".replace(" ", "-"), position == links - 1
        state = {"": "in_sync", "holds_another": "refused"}.get(reason, "blocked") if last else "in_sync"
        session.add(
            SyncLink(
                id=new_id(), chain_id=chain.id, position=position, kind="remote_windows", is_account=True,
                settings={"machine": machine, "user_name": "Administrator"}, machine=machine, proved_at=now(),
                account_key=f"{machine}\\administrator", holds_version_id=version.id, state=state,
                reason=reason if last else "",
            )
        )  # fmt: skip
    session.flush()
    return chain
