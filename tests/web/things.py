"""Rows that some routes need: an agent, a chain with its Default Sync, a run, an incident, a password in the trash."""

from __future__ import annotations

from flask import Flask
from sqlalchemy import select

from pwserver.core.secrets import Secret
from pwserver.models import (
    AgentScope,
    EntryVersion,
    Incident,
    LinkAttempt,
    Outbox,
    SyncAgent,
    SyncChain,
    SyncLink,
    SyncRun,
    new_id,
)
from pwserver.services import directories, entries, values
from pwserver.services.mail.outbox import put
from pwserver.services.sync import status
from pwserver.services.transaction import now, write
from tests.conftest import Cast

PIN = "4f9ac21e77b01d6ca8e30f529bd46617e0c93a85d17f24b658ec91a07d33c4f8"


def add_agent(name: str = "LAB-01", state: str = "approved", health: str = "healthy") -> SyncAgent:
    with write() as session:
        agent = SyncAgent(
            id=new_id(), name=name, transport="winrm", machine=name, host="127.0.0.1", port=5986, pin=PIN, state=state,
            health=health, allowed_machines=[name],
        )  # fmt: skip
        session.add(agent)
    return agent


def add_directory() -> SyncAgent:
    typed = directories.Typed("corp.test", "CORP", ("dc1.corp.test",))
    return directories.register(Cast().ada, "", typed, PIN)


def add_chain(state: str = "in_sync") -> SyncChain:
    """A chain of *Lab Administrator* with its Default Sync only, proved a moment ago by its first test."""
    cast, agent = Cast(), add_agent()
    entry, current = cast.entry, values.current_version(cast.entry)
    with write() as session:
        session.add(AgentScope(agent_id=agent.id, vault_id=entry.vault_id))
        chain = SyncChain(
            id=new_id(), entry_id=entry.id, agent_id=agent.id, agent_pin=agent.pin, status_since=now()
        )  # fmt: skip
        session.add(chain)
        session.flush()
        link = SyncLink(
            id=new_id(), chain_id=chain.id, position=0, kind="standalone_windows", is_account=True, state=state,
            settings={"user_name": "Administrator"}, machine="LAB-01", account_key="lab-01\\administrator",
            holds_version_id=current.id, starts_from_version_id=current.id, settings_rev=1,
            proof_version_id=current.id, proof_rev=1, proof_means="logged on", proved_at=now(), logon_at=now(),
        )  # fmt: skip
        test = SyncRun(
            id=new_id(), number=0, chain_id=chain.id, kind="test", state="done", requested_at=now(), due_at=now()
        )
        session.add_all([link, test])
        session.flush()
        session.add(
            LinkAttempt(
                id=new_id(), run_id=test.id, link_id=link.id, n=1, step="test", version_id=current.id, settings_rev=1,
                fence=1, intent_at=now(), hard_deadline=now(), finished_at=now(), outcome="applied",
            )
        )  # fmt: skip
        session.get_one(EntryVersion, current.id).first_sent_at = now()
        status.refresh(session, chain.id)
    return chain


def add_run(chain: SyncChain, state: str = "done", kind: str = "test") -> SyncRun:
    with write() as session:
        run = SyncRun(
            id=new_id(), number=1, chain_id=chain.id, kind=kind, state=state, requested_at=now(), due_at=now()
        )
        session.add(run)
        status.refresh(session, chain.id)
    return run


def add_everything(app: Flask) -> dict[str, str]:
    """One of each; their ids by the name they have in addresses."""
    with app.app_context():
        cast = Cast()
        chain = add_chain()
        run = add_run(chain)
        with write() as session:
            incident = Incident(id=new_id(), chain_id=chain.id, opened_at=now())
            session.add(incident)
            put(session, cast.olivia, "test", "test", "seen")
            mail = session.scalars(select(Outbox)).one()
            mail.state, mail.tries = "failed", 1
        gone = entries.create_entry(
            cast.olivia, cast.vault, entries.Settings("Old one", "generic"), Secret("gone-by-now")
        )
        entries.trash_entry(cast.olivia, gone, row_version=gone.row_version)
        return {
            "vault_id": cast.vault.id,
            "entry_id": cast.entry.id,
            "user_id": cast.vera.id,
            "agent_id": chain.agent_id,
            "run_id": run.id,
            "incident_id": incident.id,
            "mail_id": mail.id,
            "link_id": chain.links[0].id,
            "version_id": values.current_version(cast.entry).id,
            "trashed": gone.id,
            "machine": "LAB-01",
            "directory": add_directory().id,
        }
