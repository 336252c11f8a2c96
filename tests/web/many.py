"""Many passwords at once, written straight into the rows: for lists and searches, not for runs."""

from __future__ import annotations

from datetime import timedelta

from pwserver.core.states import STATUS, Status
from pwserver.extensions import db
from pwserver.models import Entry, EntryVersion, Favourite, Incident, SyncAgent, SyncChain, SyncLink, Vault, new_id
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
