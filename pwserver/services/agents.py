"""Sync agents: register, confirm, approve, decide what they may do. Testing one is in ``agent_test``.

Rule 34: who decides where a password is sent may read it. An organization administrator sees no secret by that right
alone, so whatever would hand a login or linked credential to another place asks for Read on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select

from pwserver.core.access import Right, allows
from pwserver.core.errors import Conflict, Forbidden, Invalid, NotFound
from pwserver.core.names import check_readable
from pwserver.core.secrets import Secret
from pwserver.core.states import Health
from pwserver.extensions import db
from pwserver.models import AgentScope, AppUser, Entry, Membership, SyncAgent, SyncChain, Vault, new_id
from pwserver.services import agent_rules, entries, locking, vaults
from pwserver.services.audit import record
from pwserver.services.mail.alerts import answering
from pwserver.services.mail.outbox import put
from pwserver.services.sync.credentials import is_usable
from pwserver.services.sync.domain_told import remember_names
from pwserver.services.sync.incidents import forget_agent
from pwserver.services.sync.requeue import carry_on, lent_another
from pwserver.services.sync.resting import follow_agent
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now, write
from pwserver.services.values import AnySession

usable = is_usable
THIS_SERVER = "This server"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}")
_MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_PIN = re.compile(r"[0-9a-f]{64}")


def everyone() -> list[SyncAgent]:
    """Those that wait for approval first, then by name."""
    order = (SyncAgent.state != "pending", func.lower(SyncAgent.name))
    return list(db.session.scalars(select(SyncAgent).order_by(*order)))


def chain_counts() -> dict[str, int]:
    """How many chains use each agent, enabled or not."""
    rows = db.session.execute(select(SyncChain.agent_id, func.count()).group_by(SyncChain.agent_id))
    return dict(rows.all())


def choosable(actor: AppUser) -> list[Entry]:
    """The credentials this person may give to an agent: with a user name, of vaults they may read."""
    query = (
        select(Entry)
        .join(Vault)
        .join(Membership, Membership.vault_id == Vault.id)
        .where(Membership.user_id == actor.id, Membership.read, Entry.user_name != "")
        .where(Entry.deleted_at.is_(None), Vault.deleted_at.is_(None))
        .order_by(Vault.kind != "system", func.lower(Vault.name), func.lower(Entry.name))
    )
    return list(db.session.scalars(query))


def all_vaults() -> list[Vault]:
    """By name, for the list of those that may use an agent; an administrator sees names, not contents."""
    return list(db.session.scalars(select(Vault).where(Vault.deleted_at.is_(None)).order_by(func.lower(Vault.name))))


def ensure_this_server() -> SyncAgent:
    """The agent that reaches devices over SSH; made when it is missing."""
    with write() as session:
        locking.alone(session)
        return make_this_server(session)


def make_this_server(session: AnySession) -> SyncAgent:
    """:func:`ensure_this_server` inside the caller's transaction."""
    agent = session.scalar(select(SyncAgent).filter_by(transport="ssh"))
    if agent is None:
        agent = SyncAgent(
            id=new_id(), name=THIS_SERVER, transport="ssh", state="approved", health=Health.HEALTHY, port=22,
            health_text="Devices are reached from here.", health_since=now(), allowed_machines=[],
        )  # fmt: skip
        session.add(agent)
        session.flush()
    return agent


def register_agent(actor: AppUser | None, name: str, host: str, port: int, machine: str, pin: str) -> SyncAgent:
    """A new Windows agent, pending, whose certificate's fingerprint a person has confirmed. Raises :class:`Invalid`."""
    demand_admin(actor)
    host, machine, pin = check_address(host, port, machine), machine.strip(), checked_pin(pin)
    with write() as session:
        agent = SyncAgent(
            id=new_id(), name=checked_name(session, name or machine), transport="winrm", host=host, port=port,
            machine=machine, pin=pin, state="pending", health=Health.UNTESTED, health_since=now(),
            allowed_machines=[machine],
        )  # fmt: skip
        session.add(agent)
        session.flush()
        record(session, actor, "agent.registered", subject=agent.name, facts={"host": host, "port": port, "pin": pin})
    return agent


def change_address(
    actor: AppUser, agent: SyncAgent, host: str, port: int, machine: str, pin: str, *, row_version: int
) -> None:
    """Another address, machine or certificate: tested again, and with another certificate also approved again."""
    demand_admin(actor)
    demand_transport(agent, "winrm")
    host, machine, pin = check_address(host, port, machine), machine.strip(), checked_pin(pin)
    with write() as session:
        row = fresh(session, agent, row_version)
        demand_may_send(actor, row.login_entry, row.linked_entry, field="host")
        if machine.casefold() != row.machine.casefold():
            agent_rules.refuse_used(session, row, "machine", "Another machine is another agent")
        before = {"host": row.host, "port": row.port, "machine": row.machine, "pin": row.pin}
        if row.pin != pin and row.state == "approved":
            row.state = "pending"
        reach = [name for name in row.allowed_machines if name.casefold() != row.machine.casefold()]
        row.host, row.port, row.machine, row.pin, row.allowed_machines = host, port, machine, pin, [machine, *reach]
        if before["pin"] != pin:
            row.machine_sid = ""
        untested(session, actor, row, "address" if before["pin"] == pin else "certificate")
        facts = {"before": before, "host": host, "port": port, "machine": machine, "pin": pin}
        record(session, actor, "agent.address_changed", subject=row.name, facts=facts)


def set_login(actor: AppUser, agent: SyncAgent, entry_id: str, *, row_version: int) -> None:
    """The credential it logs on with. Needs a test before it is used."""
    _set_credential(actor, agent, "login", entry_id, row_version)


def set_linked(actor: AppUser, agent: SyncAgent, entry_id: str, *, row_version: int) -> None:
    """The credential it works with on other machines, or none ("")."""
    _set_credential(actor, agent, "linked", entry_id, row_version)


def demand_transport(agent: SyncAgent, *transports: str) -> None:
    """What is asked of an agent is there only for those that are reached so."""
    if agent.transport not in transports:
        raise NotFound("This sync agent has nothing of that kind.")


def create_login(actor: AppUser, agent: SyncAgent, user_name: str, value: Secret, *, row_version: int) -> Entry:
    """Makes a login in the vault *Sync agents* (Modify there is needed) and gives it to the agent."""
    demand_admin(actor)
    if agent.transport != "winrm":
        raise Invalid("This one needs no login of its own; it works with a linked credential.")
    vault = vaults.system_vault()
    if not allows(vaults.right_of(actor, vault.id), Right.MODIFY):
        raise Invalid(
            f"You may not add passwords to the vault {vault.name}. Ask one of its owners to make you a member.",
            field="user_name",
        )
    prefix, _, bare = user_name.strip().rpartition("\\")
    local = prefix.casefold() in ("", ".", agent.machine.casefold())
    made = entries.create_entry(
        actor,
        vault,
        entries.Settings(
            name=_free_name(vault, f"{agent.name} login"),
            type="standalone_windows" if local else "generic",
            user_name=bare if local else user_name,
            machine=agent.machine if local else "",
            notes=f"Login of the sync agent {agent.name}.",
        ),
        value,
    )
    set_login(actor, agent, made.id, row_version=row_version)
    return made


def set_reach(
    actor: AppUser, agent: SyncAgent, name: str, machines: Sequence[str], vault_ids: Iterable[str], *, row_version: int
) -> None:
    """Its name, the machines it may reach (its own always), and the vaults that may use it."""
    demand_admin(actor)
    demand_transport(agent, "winrm", "ssh")
    names = _machines(machines)
    with write() as session:
        row = fresh(session, agent, row_version)
        if row.transport == "ssh" and name.strip() != row.name:
            raise Invalid("This agent keeps its name.", field="name")
        row.name = checked_name(session, name, but=row.id)
        if row.machine and row.machine.casefold() not in {each.casefold() for each in names}:
            names = [row.machine, *names]
        known = {each.casefold() for each in row.allowed_machines}
        if any(each.casefold() not in known for each in names):
            demand_may_send(actor, row.linked_entry, field="machines")
        agent_rules.refuse_unreached(session, row, names)
        before = {"machines": row.allowed_machines, "vaults": len(row.scopes)}
        row.allowed_machines = names
        set_vaults(session, row, vault_ids)
        facts = {"before": before, "machines": names, "vaults": len(row.scopes)}
        record(session, actor, "agent.reach_changed", subject=row.name, facts=facts)
        refresh_chains(session, row)


def set_vaults(session: AnySession, row: SyncAgent, vault_ids: Iterable[str]) -> None:
    """Says which vaults may use the agent, in the caller's transaction. Raises :class:`Invalid`."""
    wanted = set(session.scalars(select(Vault.id).where(Vault.id.in_(list(vault_ids)), Vault.deleted_at.is_(None))))
    agent_rules.refuse_dropped(session, row, wanted)
    row.scopes = [scope for scope in row.scopes if scope.vault_id in wanted]
    present = {scope.vault_id for scope in row.scopes}
    row.scopes += [AgentScope(agent_id=row.id, vault_id=vault_id) for vault_id in sorted(wanted - present)]


def approve(actor: AppUser | None, agent: SyncAgent, *, row_version: int) -> None:
    """From pending to approved."""
    demand_admin(actor)
    with write() as session:
        row = fresh(session, agent, row_version)
        if row.state != "pending":
            raise Conflict(f"{row.name} does not wait for approval any more.")
        if row.transport == "winrm" and row.login_entry_id is None:
            raise Invalid(f"Give {row.name} a login first: it could not do anything without one.")
        if row.transport == "ldaps" and row.linked_entry_id is None:
            raise Invalid(f"Give {row.name} a linked credential first: it could not do anything without one.")
        _set_state(session, actor, row, "approved")


def deny(actor: AppUser, agent: SyncAgent, *, row_version: int) -> None:
    """Removes one that waits for approval."""
    demand_admin(actor)
    with write() as session:
        row = fresh(session, agent, row_version)
        if row.state != "pending":
            raise Conflict(f"{row.name} does not wait for approval any more. Disable it instead.")
        _remove(session, actor, row, "agent.denied")


def disable(actor: AppUser, agent: SyncAgent, *, row_version: int) -> None:
    """Nothing is sent by it from the next link on; its chains say *Agent Disabled*."""
    _switch(actor, agent, row_version, "approved", "disabled")


def enable(actor: AppUser, agent: SyncAgent, *, row_version: int) -> None:
    _switch(actor, agent, row_version, "disabled", "approved")


def remove(actor: AppUser, agent: SyncAgent, *, row_version: int) -> None:
    """Refused while chains use it, also disabled ones and those of passwords in the trash."""
    demand_admin(actor)
    with write() as session:
        row = fresh(session, agent, row_version)
        if row.transport == "ssh":
            raise Invalid("This server reaches devices and stays. You can disable it.")
        _remove(session, actor, row, "agent.removed")


def check_address(host: str, port: int, machine: str) -> str:
    """The host without blanks. Raises :class:`Invalid` beside the field."""
    host = host.strip()
    if not _HOST.fullmatch(host):
        raise Invalid("A host name or an IP address, without anything around it.", field="host")
    if not 0 < port < 65536:
        raise Invalid("A port is a number from 1 to 65535; WinRM over HTTPS is usually 5986.", field="port")
    if not _MACHINE.fullmatch(machine.strip()):
        raise Invalid("The computer name as Windows has it, for example LAB-01.", field="machine")
    return host


def checked_pin(pin: str) -> str:
    pin = pin.strip().replace(":", "").replace(" ", "").lower()
    if not _PIN.fullmatch(pin):
        raise Invalid("The fingerprint has 64 digits (SHA-256).", field="pin")
    return pin


def _machines(typed: Sequence[str]) -> list[str]:
    """Machine names, each once, in the order typed."""
    names = {name.casefold(): name for line in typed if (name := line.strip())}
    for name in names.values():
        if not _MACHINE.fullmatch(name):
            raise Invalid(f"{name[:60]} is no machine name. One a line.", field="machines")
    return list(names.values())


def _set_credential(actor: AppUser, agent: SyncAgent, which: str, entry_id: str, row_version: int) -> None:
    demand_admin(actor)
    column = f"{which}_entry_id"
    with write() as session:
        row = fresh(session, agent, row_version)
        if getattr(row, column) == (entry_id or None):
            return
        entry = session.get(Entry, entry_id) if entry_id else None
        if entry_id and (entry is None or entry.deleted_at or not _may_send(actor, entry)):
            raise Invalid("Choose one from the list: a password with a user name that you may read.", field=column)
        if entry is not None and not entry.user_name:
            raise Invalid("This password has no user name to log on with.", field=column)
        before = getattr(row, f"{which}_entry")
        setattr(row, column, entry.id if entry else None)
        if which == "linked":
            agent_rules.refuse_cycles(session, row)
        untested(session, actor, row, "login" if which == "login" else "linked credential")
        if row.transport == "ssh":  # its way needs no test, so what the one before had stopped is due at once
            lent_another(session, row, now())
        facts = {"before": before.name if before else "", "now": entry.name if entry else ""}
        record(session, actor, f"agent.{which}_changed", subject=row.name, facts=facts)


def untested(session: AnySession, actor: AppUser | None, row: SyncAgent, what: str) -> None:
    """It needs its test again; the history of every password that uses it says so, and a mail to who answers for it
    (rule 34)."""
    if row.transport != "ssh":
        row.health, row.health_text, row.health_since = Health.UNTESTED, "", now()
    for entry in session.scalars(select(Entry).join(SyncChain).where(SyncChain.agent_id == row.id)):
        record(session, actor, "agent.changed", entry=entry, facts={"agent": row.name, "what": what})
    _mail_change(session, actor, row, what)
    session.flush()
    refresh_chains(session, row)


def _mail_change(session: AnySession, actor: AppUser | None, row: SyncAgent, what: str) -> None:
    """A row for each, in the same transaction: however soon it is tested again, they hear of it."""
    homes = select(Entry.vault_id).join(SyncChain).where(SyncChain.agent_id == row.id, Entry.deleted_at.is_(None))
    event, ids = f"changed-{row.row_version}", {"agent": row.id, "what": what, "by": actor.id if actor else ""}
    for user in answering(set(session.scalars(homes))).values():
        put(session, user, "agent_changed", row.id, event, **ids)  # type: ignore[arg-type]  # a scoped session everywhere


def _switch(actor: AppUser, agent: SyncAgent, row_version: int, before: str, after: str) -> None:
    demand_admin(actor)
    with write() as session:
        row = fresh(session, agent, row_version)
        if row.state != before:
            raise Conflict()
        _set_state(session, actor, row, after)


def _set_state(session: AnySession, actor: AppUser | None, row: SyncAgent, state: str) -> None:
    row.state = state
    record(session, actor, f"agent.{state}", subject=row.name)
    session.flush()
    refresh_chains(session, row)
    if state == "approved":
        carry_on(session, row, now())  # type: ignore[arg-type]  # a scoped session everywhere


def _remove(session: AnySession, actor: AppUser, row: SyncAgent, verb: str) -> None:
    agent_rules.refuse_used(session, row, None, "It cannot be removed")
    record(session, actor, verb, subject=row.name)
    forget_agent(session, row.id)
    remember_names(session, row)  # type: ignore[arg-type]  # a scoped session everywhere
    session.delete(row)


def refresh_chains(session: AnySession, row: SyncAgent) -> None:
    """The status of a password depends on its agent, and so does what its owners are told of."""
    session.flush()
    chain_ids = session.scalars(select(SyncChain.id).where(SyncChain.agent_id == row.id)).all()
    locking.passwords_of_chains(session, chain_ids)
    for chain_id in chain_ids:
        refresh(session, chain_id)  # type: ignore[arg-type]  # a scoped session everywhere
    follow_agent(session, row.id, now())


def fresh(session: AnySession, agent: SyncAgent, row_version: int) -> SyncAgent:
    """The row as it is now; begins a transaction that configures an agent."""
    locking.alone(session)
    locking.agents(session, SyncAgent.id == agent.id)
    row = session.get(SyncAgent, agent.id, populate_existing=True)
    if row is None or row.row_version != row_version:
        raise Conflict()
    row.row_version += 1
    return row


def _may_send(actor: AppUser, entry: Entry) -> bool:
    return allows(vaults.right_of(actor, entry.vault_id), Right.READ)


def demand_may_send(actor: AppUser, *credentials: Entry | None, field: str) -> None:
    if any(entry is not None and not _may_send(actor, entry) for entry in credentials):
        raise Invalid(
            "You may not read a credential that this agent works with, so you may not say where it is sent. Ask an "
            "owner of its vault, or give the agent another one first.",
            field=field,
        )


def demand_admin(actor: AppUser | None) -> None:
    if actor is not None and not (actor.org_admin and actor.active):
        raise Forbidden("Only an organization administrator may do this.")


def checked_name(session: AnySession, name: str, but: str = "") -> str:
    name = name.strip()
    if not name or len(name) > 120:
        raise Invalid("Type a name of at most 120 characters.", field="name")
    check_readable(name, "name")
    same = select(SyncAgent.id).where(func.lower(SyncAgent.name) == name.lower(), SyncAgent.id != but)
    if session.scalar(same):
        raise Invalid("There is a sync agent of this name already.", field="name")
    return name


def _free_name(vault: Vault, name: str) -> str:
    taken = set(db.session.scalars(select(func.lower(Entry.name)).filter_by(vault_id=vault.id, deleted_at=None)))
    found, number = name[:110], 1
    while found.lower() in taken:
        number += 1
        found = f"{name[:110]} {number}"
    return found
