"""The demo: people, passwords and chains over the practice lab, made once, all through the services.

The logins are derived from the instance's master key: every instance has its own, none is stored, and each start can
print them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from pwserver.core.errors import Conflict
from pwserver.core.generator import LOWER
from pwserver.core.secrets import Secret
from pwserver.core.states import Health
from pwserver.extensions import db
from pwserver.lab import defaults, truth
from pwserver.models import AppUser, Entry, Event, SyncAgent, SyncChain, Vault
from pwserver.services import agent_test, agents, entries, firstrun, sync, users, vaults
from pwserver.services.keys import keyring

VAULT = "Computer Lab"
DOMAIN = "northfield.example"
LINKED = tuple(f"LAB-{number:02}" for number in range(2, 9))
"""The machines that share the password of *Lab Administrator* with LAB-01."""
REACH = (*defaults.LAB_MACHINES, *defaults.SERVERS, defaults.DOMAIN)
BACKUP_PLACES = (
    ("scheduled_task", {"machine": "SRV-01", "path": "\\Backup\\Nightly"}),
    ("windows_service", {"machine": "SRV-01", "name": "backupd"}),
    ("windows_service", {"machine": "SRV-01", "name": "indexd"}),
)
OFFSITE_PLACES = (
    ("scheduled_task", {"machine": "SRV-01", "path": "\\Backup\\Offsite copy"}),
    ("windows_service", {"machine": "SRV-01", "name": "offsited"}),
)


@dataclass(frozen=True, slots=True)
class Person:
    email: str
    name: str
    right: str
    """In the vault *Computer Lab*; "" for none."""
    what: str


OLIVIA = Person(f"olivia@{DOMAIN}", "Olivia Ortiz", "owner", "owns Computer Lab, organization administrator")
OTHERS = (
    Person(f"eddie@{DOMAIN}", "Eddie Evans", "modify", "may modify Computer Lab"),
    Person(f"vera@{DOMAIN}", "Vera Voss", "read", "may read Computer Lab"),
    Person(f"nora@{DOMAIN}", "Nora Nash", "", "is a member of nothing"),
)


def ensure(addresses: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Makes what is missing, and returns lines for the console: the logins.

    ``addresses``: machine → host, port, fingerprint, as the lab prints them. Safe to call at every start, also after
    one that was killed in the middle.
    """
    olivia = _person(OLIVIA)
    vault = _vault(olivia)
    for person in OTHERS:
        _member(olivia, vault, person)
    agent = _agent(olivia, vault, addresses[defaults.AGENT])
    _lab_administrator(olivia, vault, agent)
    _backup(olivia, vault, agent)
    if defaults.DOMAIN in agent.allowed_machines:  # else the demo, and its lab, were made before there was this chain
        _offsite(olivia, vault, agent)
    if defaults.DEVICE in addresses:
        _switch(olivia, vault, addresses[defaults.DEVICE])
    return _lines()


def password_of(person: Person) -> Secret:
    """Four groups of five letters, always the same in this instance: about 90 bits."""
    number, letters = int(keyring().token(f"demo login {person.email}"), 16), ""
    for _ in range(20):
        number, at = divmod(number, len(LOWER))
        letters += LOWER[at]
    return Secret("-".join(letters[start : start + 5] for start in range(0, 20, 5)))


def _lines() -> list[str]:
    lines = ["", "Sign in as one of these (made for this instance alone, printed at every start, stored nowhere):"]
    for person in (OLIVIA, *OTHERS):
        user = users.find(person.email)
        changed = user is None or user.session_epoch > 0  # it counts up when a password is changed
        said = "(changed)" if changed else password_of(person).open()
        lines.append(f"  {person.email:<26} {said:<24} {person.what}")
    return [*lines, "All machines are simulated; `flask lab state` and the page Practice lab show the truth.", ""]


# -- people and vaults


def _person(person: Person) -> AppUser:
    found = users.find(person.email)
    if found is not None:
        return found
    if not firstrun.done():
        return firstrun.make_at_console(person.email, person.name, password_of(person))
    admin = person is OLIVIA
    return users.add_user(None, person.email, person.name, org_admin=admin, password=password_of(person))[0]


def _vault(olivia: AppUser) -> Vault:
    mine = {vault.name: vault for vault in vaults.visible(olivia)}
    return mine.get(VAULT) or vaults.create_vault(olivia, VAULT)


def _member(olivia: AppUser, vault: Vault, person: Person) -> None:
    user = _person(person)
    added = select(Event).where(Event.vault_id == vault.id, Event.verb == "member.added")
    was_member = any(event.facts["member"] == person.email for event in db.session.scalars(added))
    if person.right and not was_member:  # a right that was taken away stays away
        vaults.add_member(olivia, vault, user.email, person.right)


def _entry(olivia: AppUser, vault: Vault, settings: entries.Settings, label: str) -> Entry:
    """The password of this name, or a new one with the lab's first value for ``label``."""
    found = db.session.scalar(select(Entry).filter_by(vault_id=vault.id, name=settings.name, deleted_at=None))
    if found is not None:
        return found
    return entries.create_entry(olivia, vault, settings, _first(label))


def _first(label: str) -> Secret:
    """What the lab's account had at the beginning."""
    return Secret(defaults.password(truth.DEFAULT_SEED, label))


# -- agents


def _agent(olivia: AppUser, vault: Vault, address: Mapping[str, Any]) -> SyncAgent:
    """The agent LAB-01: registered, with its login and linked credential, its reach, approved and tested."""
    host, port, pin = str(address["host"]), int(address["port"]), str(address["fingerprint"])
    agent = db.session.scalar(select(SyncAgent).filter_by(machine=defaults.AGENT))
    if agent is None:
        agent = agents.register_agent(olivia, defaults.AGENT, host, port, defaults.AGENT, pin)
    elif (agent.host, agent.port, agent.pin) != (host, port, pin):  # the lab was begun anew, or its port was taken
        agents.change_address(olivia, agent, host, port, defaults.AGENT, pin, row_version=agent.row_version)
        for entry in db.session.scalars(select(Entry).join(SyncChain).where(SyncChain.agent_id == agent.id)).all():
            sync.confirm_certificate(olivia, entry, pin)
    if agent.login_entry_id is None:
        settings = entries.Settings(
            name=f"{defaults.AGENT} login", type="standalone_windows", user_name=defaults.LOGIN,
            machine=defaults.AGENT, notes="Login of the sync agent LAB-01.",
        )  # fmt: skip
        login = _entry(olivia, vaults.system_vault(), settings, defaults.LOGIN)
        agents.set_login(olivia, agent, login.id, row_version=agent.row_version)
    if agent.linked_entry_id is None:
        settings = entries.Settings(
            name="CORP lab-adm", type="generic", user_name="lab-adm", domain=defaults.DOMAIN,
            notes="Linked credential of the sync agent LAB-01: administers the machines of the lab.",
        )  # fmt: skip
        linked = _entry(olivia, vaults.system_vault(), settings, "lab-adm")
        agents.set_linked(olivia, agent, linked.id, row_version=agent.row_version)
    if not any(scope.vault_id == vault.id for scope in agent.scopes):
        agents.set_reach(olivia, agent, agent.name, REACH, [vault.id], row_version=agent.row_version)
    if agent.state == "pending":
        agents.approve(olivia, agent, row_version=agent.row_version)
    if agent.state == "approved" and agent.health == Health.UNTESTED:
        agent_test.test_agent(olivia, agent)
    return agent


def _this_server(olivia: AppUser, vault: Vault) -> SyncAgent:
    """The way to SW-01 over SSH, with the credential that administers it."""
    agent = agents.ensure_this_server()
    if agent.linked_entry_id is None:
        settings = entries.Settings(
            name="SW-01 psrv", type="generic", user_name="psrv", machine=defaults.DEVICE,
            notes="Linked credential for devices: sets passwords on SW-01.",
        )  # fmt: skip
        linked = _entry(olivia, vaults.system_vault(), settings, "psrv")
        agents.set_linked(olivia, agent, linked.id, row_version=agent.row_version)
    if not any(scope.vault_id == vault.id for scope in agent.scopes):
        agents.set_reach(olivia, agent, agent.name, [defaults.DEVICE], [vault.id], row_version=agent.row_version)
    return agent


# -- passwords and chains


def _lab_administrator(olivia: AppUser, vault: Vault, agent: SyncAgent) -> None:
    settings = entries.Settings(
        name="Lab Administrator", type="standalone_windows", user_name="Administrator", machine=defaults.AGENT,
        notes="One password for the local administrator of all machines of the lab.",
    )  # fmt: skip
    entry = _entry(olivia, vault, settings, "lab")
    _chain(olivia, entry, agent, [("remote_windows", {"machine": m, "user_name": "Administrator"}) for m in LINKED])


def _backup(olivia: AppUser, vault: Vault, agent: SyncAgent) -> None:
    settings = entries.Settings(
        name="svc-backup", type="standalone_windows", user_name="svc-backup", machine="SRV-01",
        notes="The nightly backup and two services of SRV-01 run as this account and store its password.",
    )  # fmt: skip
    _chain(olivia, _entry(olivia, vault, settings, "svc-backup"), agent, list(BACKUP_PLACES))


def _offsite(olivia: AppUser, vault: Vault, agent: SyncAgent) -> None:
    settings = entries.Settings(
        name="CORP svc-backup", type="domain", user_name="svc-backup", machine=defaults.DOMAIN,
        notes="An account of the domain CORP. The offsite copy of SRV-01 runs as it: a task and a service.",
    )  # fmt: skip
    _chain(olivia, _entry(olivia, vault, settings, "corp-backup"), agent, list(OFFSITE_PLACES))


def _switch(olivia: AppUser, vault: Vault, address: Mapping[str, Any]) -> None:
    settings = entries.Settings(
        name="SW-01", type="device", user_name="admin", machine=defaults.DEVICE, address=str(address["host"]),
        port=int(address["port"]), host_key=str(address["fingerprint"]), notes="The switch in the lab.",
    )  # fmt: skip
    agent = _this_server(olivia, vault)
    entry = _entry(olivia, vault, settings, "admin")
    now = (entry.address, entry.port, entry.host_key)
    if now != (settings.address, settings.port, settings.host_key):  # the lab was begun anew, or its port was taken
        with suppress(Conflict):  # a run of it waits; the next start finds it over
            entries.edit_entry(olivia, entry, settings, row_version=entry.row_version, owner=True)
    _chain(olivia, entry, agent, [])


def _chain(olivia: AppUser, entry: Entry, agent: SyncAgent, links: list[tuple[str, dict[str, str]]]) -> None:
    """Enables synchronization, which queues the first test, and adds the links; only while none of them was there."""
    chain = sync.chain_of(entry)
    if chain is None:
        chain = sync.enable(olivia, entry, agent.id)
    known = {(link.kind, _target(link.settings)) for link in chain.links}  # removed ones too: they stay removed
    for kind, settings in links:
        if (kind, _target(settings)) not in known:
            sync.add_link(olivia, entry, kind, settings, revision=chain.revision)


def _target(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(settings.get(name, "")).casefold() for name in ("machine", "user_name", "path", "name"))
