"""Directories as sync agents: what an administrator types, what the controllers show, which accounts may be touched.

Testing, approving, disabling and removing one are those of any agent (``agents``, ``agent_test``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from pwserver.connectors.base import Evidence, ask
from pwserver.connectors.domain import Trust, account_name, domain_name
from pwserver.core.errors import Invalid
from pwserver.core.states import Health
from pwserver.models import AppUser, SyncAgent, SyncChain, SyncLink, new_id
from pwserver.services import agent_rules, locking
from pwserver.services.agent_test import fetch_fingerprint, say
from pwserver.services.agents import (
    check_address,
    checked_name,
    checked_pin,
    demand_admin,
    demand_may_send,
    demand_transport,
    fresh,
    refresh_chains,
    set_vaults,
    untested,
)
from pwserver.services.audit import record
from pwserver.services.sync import domain_told
from pwserver.services.transaction import end_read, now, write
from pwserver.services.values import AnySession

MAX_CONTROLLERS = 20


@dataclass(frozen=True, slots=True)
class Typed:
    """How a directory is reached, as typed. ``ca_pem`` "": the one controller's own certificate is compared."""

    domain: str
    short_name: str
    controllers: tuple[str, ...]
    port: int = 636
    ca_pem: str = ""


def checked(typed: Typed) -> Typed:
    """The same without blanks. Raises :class:`Invalid` beside the field."""
    domain, short = typed.domain.strip().lower(), typed.short_name.strip().upper()
    for field, value in (("domain", domain), ("short_name", short)):
        try:
            domain_name(value)
        except ValueError as error:
            raise Invalid(str(error), field=field) from None
    if "." not in domain:
        raise Invalid("The domain's full name, as in corp.example.", field="domain")
    if "." in short or len(short) > 15:
        raise Invalid("The domain's short name, as in CORP: at most 15 characters, no dots.", field="short_name")
    controllers = tuple(dict.fromkeys(name.strip() for name in typed.controllers if name.strip()))
    if not controllers or len(controllers) > MAX_CONTROLLERS:
        raise Invalid(f"One domain controller a line, at most {MAX_CONTROLLERS}.", field="controllers")
    for host in controllers:
        try:
            check_address(host, typed.port, short)
        except Invalid as error:
            field = "port" if error.field == "port" else "controllers"
            words = "A port is a number from 1 to 65535; LDAPS is usually 636."
            raise Invalid(words if field == "port" else f"{host[:60]} is no host name.", field=field) from None
    pem = typed.ca_pem.replace("\r\n", "\n").strip()
    if pem:
        _pin_of(pem)
    elif len(controllers) > 1:
        raise Invalid(
            "Several controllers have several certificates: paste the certificate of the authority that issued them, "
            "or name one controller.",
            field="ca_pem",
        )
    return replace(typed, domain=domain, short_name=short, controllers=controllers, ca_pem=pem)


def look_up(typed: Typed) -> str:
    """The SHA-256 that a person compares: of the authority, once a controller has shown a certificate of it, else of
    the one controller's own certificate. No login is sent. Raises :class:`Invalid` beside the field."""
    typed = checked(typed)
    if not typed.ca_pem:
        return fetch_fingerprint(typed.controllers[0], typed.port, field="controllers")
    from pwserver.connectors.directory import shows  # imported late: few need what it stands on

    end_read()
    pin = _pin_of(typed.ca_pem)
    for host in typed.controllers:
        outcome = ask(lambda host=host: Evidence(shows(host, typed.port, Trust(pin, typed.ca_pem))), secrets=())  # type: ignore[misc]
        if outcome.reason == "pin_changed":
            raise Invalid(
                f"{host} shows no certificate of this authority with its name. Nothing was saved. {outcome.text}",
                field="ca_pem",
            )
        if outcome.evidence is not None:
            return pin
    raise Invalid(f"{say(outcome, host)} Nothing was saved.", field="controllers")


def register(actor: AppUser | None, name: str, typed: Typed, pin: str) -> SyncAgent:
    """A new directory, pending, whose fingerprint a person has confirmed. Raises :class:`Invalid`."""
    demand_admin(actor)
    typed = checked(typed)
    pin = _confirmed(typed, pin)
    with write() as session:
        locking.alone(session)
        agent = SyncAgent(
            id=new_id(), name=checked_name(session, name or typed.short_name), transport="ldaps", state="pending",
            health=Health.UNTESTED, health_since=now(), allowed_machines=[], **_columns(typed, pin),
        )  # fmt: skip
        session.add(agent)
        session.flush()
        domain_told.unite_names(session, agent)
        record(session, actor, "agent.registered", subject=agent.name, facts=_facts(agent))
    return agent


def change_address(actor: AppUser, agent: SyncAgent, typed: Typed, pin: str, *, row_version: int) -> None:
    """Other controllers or another certificate: tested again, and with another certificate also approved again."""
    demand_admin(actor)
    demand_transport(agent, "ldaps")
    typed = checked(typed)
    pin = _confirmed(typed, pin)
    with write() as session:
        row = fresh(session, agent, row_version)
        demand_may_send(actor, row.linked_entry, field="controllers")
        if (typed.domain, typed.short_name) != (row.domain, row.machine):
            agent_rules.refuse_used(session, row, "domain", "Another domain is another directory")
            domain_told.remember_names(session, row)
            row.machine_sid = ""
        before = _facts(row)
        if row.pin != pin and row.state == "approved":
            row.state = "pending"
        for column, value in _columns(typed, pin).items():
            setattr(row, column, value)
        untested(session, actor, row, "address" if before["pin"] == pin else "certificate")
        domain_told.unite_names(session, row)
        record(session, actor, "agent.address_changed", subject=row.name, facts=_facts(row) | {"before": before})


def set_accounts(
    actor: AppUser, agent: SyncAgent, name: str, typed: Sequence[str], vault_ids: Iterable[str], *, row_version: int
) -> None:
    """Its name, the accounts and units that may be touched there, and the vaults that may use it (rule 34)."""
    demand_admin(actor)
    demand_transport(agent, "ldaps")
    with write() as session:
        row = fresh(session, agent, row_version)
        allowed = _accounts(typed, row.domain)
        row.name = checked_name(session, name, but=row.id)
        known = {each.casefold() for each in row.allowed_accounts}
        if any(each.casefold() not in known for each in allowed):
            demand_may_send(actor, row.linked_entry, field="accounts")
        _refuse_lost(session, row, allowed)
        before = {"accounts": row.allowed_accounts, "vaults": len(row.scopes)}
        row.allowed_accounts = allowed
        set_vaults(session, row, vault_ids)
        facts = {"before": before, "accounts": allowed, "vaults": len(row.scopes)}
        record(session, actor, "agent.reach_changed", subject=row.name, facts=facts)
        refresh_chains(session, row)


def _accounts(typed: Sequence[str], domain: str) -> list[str]:
    """Logon names, and units as ``OU=…,DC=…``; each once, in the order typed."""
    base = ",".join(f"dc={part}" for part in domain.split("."))
    found = {line.casefold(): line for each in typed if (line := each.strip())}
    for line in found.values():
        if "=" in line:
            parts = [part.strip() for part in line.casefold().split(",")]
            if not line.casefold().startswith(("ou=", "cn=")) or not ",".join(parts).endswith(f",{base}"):
                raise Invalid(f"{line[:80]} is no unit of this domain, as in OU=Service,{base}.", field="accounts")
            continue
        try:
            account_name(line)
        except ValueError:
            raise Invalid(f"{line[:60]} is no logon name and no unit. One a line.", field="accounts") from None
        if line.casefold() == "krbtgt":
            raise Invalid("krbtgt holds the key of the whole domain and is never changed from here.", field="accounts")
    return list(found.values())


def _refuse_lost(session: AnySession, row: SyncAgent, allowed: Sequence[str]) -> None:
    """An account in use stays on the list; one that only a unit may cover is asked about at the next attempt."""
    names = {each.casefold() for each in allowed}
    if any("=" in each for each in names):
        return
    used = select(SyncLink.settings).join(SyncChain).where(SyncChain.agent_id == row.id, SyncChain.enabled)
    users = {str(settings.get("user_name", "")) for settings in session.scalars(used.where(SyncLink.active))}
    lost = sorted(user for user in users if user.casefold() not in names)
    if lost:
        are = "is in a chain" if len(lost) == 1 else "are in chains"
        raise Invalid(
            f"{', '.join(lost[:3])} {are} of this directory. Take the links out first. Nothing was saved.",
            field="accounts",
        )


def _pin_of(pem: str) -> str:
    from pwserver.connectors.ldap_line import fingerprint_of_pem  # imported late: few need what it stands on

    try:
        return fingerprint_of_pem(pem)
    except ValueError as error:
        raise Invalid(str(error), field="ca_pem") from None


def _confirmed(typed: Typed, pin: str) -> str:
    """The fingerprint that was compared; that of an authority has to be of the very certificate that is saved."""
    pin = checked_pin(pin)
    if typed.ca_pem and pin != _pin_of(typed.ca_pem):
        raise Invalid("This is another certificate than the one that was compared. Nothing was saved.", field="ca_pem")
    return pin


def _columns(typed: Typed, pin: str) -> dict[str, object]:
    return {
        "machine": typed.short_name, "short_domain": typed.short_name, "domain": typed.domain,
        "controllers": list(typed.controllers),
        "host": typed.controllers[0], "port": typed.port, "ca_pem": typed.ca_pem, "pin": pin,
    }  # fmt: skip


def _facts(row: SyncAgent) -> dict[str, object]:
    return {"domain": row.domain, "controllers": list(row.controllers), "port": row.port, "pin": row.pin}
