"""Which login, which linked credential, which of their values: decided late, per attempt (rules 23, 32, 33)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import bindparam, select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.connectors.windows import same_machine
from pwserver.models import Entry, EntryVersion, LinkAttempt, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services.sync.accounts import account_name, key_by_name, key_of, key_of_login, login_name
from pwserver.sync.chain import NotNow

Session = scoped_session[Any]


def is_usable(agent: SyncAgent) -> bool:
    """Approved, and tested since its address, fingerprint, login or linked credential changed (rule 34); the way over
    SSH from this server needs no such test."""
    return agent.state == "approved" and (agent.transport == "ssh" or agent.health != "untested")


def serves(agent: SyncAgent, chain: SyncChain) -> bool:
    """Whether anything may be sent for this chain: the agent is usable, and shows the certificate that an owner of the
    chain goes by."""
    return is_usable(agent) and agent.pin == chain.agent_pin


def may_reach(agent: SyncAgent, machine: str) -> bool:
    """Whether a machine stands on the agent's list; its own always does. A directory reaches its one domain; which
    accounts there, its connector asks (rule 34)."""
    known = (agent.machine, agent.domain) if agent.transport == "ldaps" else (agent.machine, *agent.allowed_machines)
    return machine.casefold() in {name.casefold() for name in known if name}


def names_another_device(session: Session, entry: Entry, kind: str, machine: str, settings: Mapping[str, Any]) -> bool:
    """Whether a credential is an account of another device than the link's, so that its password is not to be shown
    to this one. A credential that names no machine, or a domain, may be good anywhere."""
    if kind != "device_ssh" or entry.type == "domain" or entry.domain:
        return False
    prefix, _, _ = entry.user_name.rpartition("\\")
    named = _host(entry.machine) or prefix
    if not named or any(same_machine(named, each) for each in (machine, str(settings.get("address", ""))) if each):
        return False
    if entry.type == "device" and entry.host_key and entry.host_key == settings.get("host_key"):
        return False  # the same device by another name
    chain_id = session.scalar(select(SyncChain.id).where(SyncChain.entry_id == entry.id))
    return chain_id is None or own_link(session, chain_id, machine) is None


def _host(machine: str) -> str:
    """The host of a machine or an address, as far as there is one."""
    return (urlsplit(machine).hostname or "") if "://" in machine else machine.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Login:
    """A credential of ours, named: whose entry, which version, and the account key its tries are booked on.

    ``typed``: an override's one-time credential; it has no entry.
    """

    entry_id: str | None
    version_id: str | None
    user_name: str
    key: str
    typed: bool = False


@dataclass(frozen=True, slots=True)
class Ways:
    """How a link is reached: the agent's login and the linked credential, each where the kind needs one."""

    login: Login | None
    linked: Login | None


def ways_to(session: Session, link: SyncLink, agent: SyncAgent, at: datetime, busy_for: float) -> Ways | NotNow:
    """The credentials for one link. NotNow when one is missing, or may hold two values just now."""
    kind = LINK_KINDS[link.kind]
    login = linked = None
    if agent.transport == "winrm":
        if agent.login_entry_id is None:
            return NotNow("no_login")
        found = bind(session, agent.login_entry_id, agent.machine, link.chain_id, at, busy_for)
        if isinstance(found, NotNow):
            return found
        login = found
    linked_entry = link.linked_entry_id or agent.linked_entry_id
    if linked_entry is not None and kind.needs_linked:
        credential = session.get_one(Entry, linked_entry)
        if names_another_device(session, credential, link.kind, link.machine, link.settings):
            return NotNow("linked_elsewhere", blocked=True)
        found = bind(session, linked_entry, link.machine, link.chain_id, at, busy_for)
        if isinstance(found, NotNow):
            return found
        linked = found
    if kind.needs_linked and linked is None:
        return NotNow("no_linked_credential")
    return Ways(login, linked)


def typed(session: Session, user_name: str, machine: str) -> Login:
    """An override's credential, by its name; its value stays sealed with the run."""
    return Login(None, None, user_name, key_of(session, account_name(user_name, machine)), typed=True)


CREDENTIAL = (
    select(Entry, SyncChain.id, EntryVersion.id)
    .outerjoin(SyncChain, SyncChain.entry_id == Entry.id)
    .outerjoin(EntryVersion, (EntryVersion.entry_id == Entry.id) & (EntryVersion.stage == "current"))
    .where(Entry.id == bindparam("entry"))
)


def bind(
    session: Session, entry_id: str, machine: str, using_chain: str, at: datetime, busy_for: float
) -> Login | NotNow:
    """The version its own link on that machine holds, or starts from, else current; not while it may hold two, or is
    being written, unless it is its own chain that asks (an agent's login: see ``Reacher``)."""
    entry, chain_id, version_id = session.execute(CREDENTIAL, {"entry": entry_id}).one()
    if chain_id is not None:
        if chain_id != using_chain and is_moving(session, chain_id):
            return NotNow("credential_busy", at + timedelta(seconds=6 * busy_for))
        own = own_link(session, chain_id, machine)
        version_id = (own and (own.holds_version_id or own.starts_from_version_id)) or version_id
    if version_id is None:
        return NotNow("no_login")
    of_login = key_of_login if chain_id is not None else key_by_name
    return Login(entry_id, version_id, login_name(entry), of_login(session, entry, machine))


def own_link(session: Session, chain_id: str, machine: str) -> SyncLink | None:
    """The account link of a credential's own chain on a machine, by its full or its short name. A domain account is
    the same one on every machine."""
    links = session.scalars(
        select(SyncLink)
        .where(SyncLink.chain_id == chain_id, SyncLink.active, SyncLink.is_account)
        .order_by(SyncLink.position)
        .execution_options(populate_existing=True)
    ).all()
    if links and links[0].kind == "domain" and links[0].position == 0:
        return links[0]
    exact = [link for link in links if link.machine.casefold() == machine.casefold()]
    spelled = [link for link in links if same_machine(link.machine, machine) or same_machine(machine, link.machine)]
    return exact[0] if exact else spelled[0] if len(spelled) == 1 else None


def is_moving(session: Session, chain_id: str) -> bool:
    """Whether an account of this chain may hold two values, or is being written at this moment."""
    accounts = select(SyncLink.id).where(SyncLink.chain_id == chain_id, SyncLink.is_account)
    if session.scalar(select(LinkMaybe.link_id).where(LinkMaybe.link_id.in_(accounts)).limit(1)):
        return True
    writing = (
        select(LinkAttempt.id)
        .join(SyncRun, SyncRun.id == LinkAttempt.run_id)
        .where(SyncRun.chain_id == chain_id, LinkAttempt.outcome.is_(None), LinkAttempt.step.in_(("change", "reset")))
    )
    return session.scalar(writing.limit(1)) is not None
