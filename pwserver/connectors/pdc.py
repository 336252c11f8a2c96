"""The way to a domain's PDC emulator: a connection over LDAPS, logged on with the linked credential."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pwserver.connectors import directory_codes as codes
from pwserver.connectors.base import Blocked, ConnectorError, Credential, Key, Unreachable
from pwserver.connectors.directory_facts import sids_of
from pwserver.connectors.domain import Directory
from pwserver.connectors.ldap_line import Broken, LdapLine
from pwserver.connectors.pinning import LineError, NoAnswer, NoName, OtherCertificate


@dataclass(slots=True)
class Trace:
    """How far a call came: what an exception from anywhere inside means depends on nothing else."""

    ends_at: float
    """When this call gives up, on the monotonic clock."""
    writes_until: float
    spent: set[Key] = field(default_factory=set)
    payload_sent: bool = False


@dataclass(frozen=True, slots=True)
class At:
    """The controller that is worked with: a connection logged on with the linked credential."""

    line: LdapLine
    host: str
    """Its full name, as it told itself."""
    base: str
    ours: frozenset[str]
    is_pdc: bool
    pdc: str


@contextmanager
def at_pdc(directory: Directory, linked: Credential, trace: Trace) -> Iterator[At]:
    """A connection to the PDC emulator, logged on with ``linked``: by way of the first controller that answers."""
    first = _first(directory, linked, trace)
    try:
        if first.is_pdc:
            yield first
            return
    finally:
        first.line.close()
    host = _listed(directory, first.pdc)
    if host is None:
        raise Blocked("pdc_not_listed", text=f"The PDC emulator is {first.pdc or 'not known'}.")
    at = _log_in(directory, host, linked, trace)
    try:
        if not at.is_pdc:
            raise Unreachable("not_ready", text=f"{at.host} is not the PDC emulator any more.")
        yield at
    finally:
        at.line.close()


def _first(directory: Directory, linked: Credential, trace: Trace) -> At:
    """The first controller of the list that answers. One with another certificate ends it: no login is sent."""
    last: LineError = NoAnswer("no controller is listed")
    for host in directory.controllers:
        try:
            return _log_in(directory, host, linked, trace)
        except (NoName, NoAnswer) as error:
            last = error
    raise last


def _log_in(directory: Directory, host: str, linked: Credential, trace: Trace) -> At:
    line = LdapLine(host, directory.port, directory.trust, trace.ends_at)
    try:
        root = line.base("", ["defaultNamingContext", "dnsHostName", "dsServiceName"])
        base = text_of(root, "defaultnamingcontext")
        if base.casefold() != directory.base.casefold():
            raise Blocked("wrong_domain", text=f"It says that it serves {base or 'no domain'}.")
        trace.spent.add(Key.LINKED)
        result = line.bind(login_name(linked.user_name, directory), linked.secret)
        trace.spent.discard(Key.LINKED)
        if not result.ok:
            raise codes.refused_login(result)
        role = text_of(line.base(base, ["fSMORoleOwner"]), "fsmoroleowner")
        own = text_of(root, "dsservicename")
        is_pdc = bool(own) and own.casefold() == role.casefold()
        holder = role.partition(",")[2]
        pdc = text_of(root, "dnshostname") if is_pdc else text_of(line.base(holder, ["dNSHostName"]), "dnshostname")
        return At(line, text_of(root, "dnshostname") or host, base, sids_of(line), is_pdc, pdc)
    except BaseException:
        line.close()
        raise


def _listed(directory: Directory, name: str) -> str | None:
    """The listed controller that is called ``name``. A login goes to no host that nobody named."""
    short = name.partition(".")[0].casefold()
    known = (name.casefold(), short)
    return next((host for host in directory.controllers if name and host.casefold() in known), None)


def login_name(user_name: str, directory: Directory) -> str:
    """How a credential's user name is written in a bind: ``CORP\\user``, or ``user@corp.example`` as it stands."""
    if "\\" in user_name or "@" in user_name:
        return user_name
    return f"{directory.short_name}\\{user_name}"


def trouble(error: LineError, spent: set[Key]) -> ConnectorError:
    """What trouble on the way means while nothing was written."""
    if isinstance(error, OtherCertificate):
        return Blocked("pin_changed", text=f"It shows: {error}.", spent=spent)
    if isinstance(error, NoName):
        return Unreachable("no_dns", text=str(error), spent=spent)
    reason = "line_broken" if isinstance(error, Broken) else "no_answer"
    return Unreachable(reason, text=str(error), spent=spent)


def text_of(row: object, name: str) -> str:
    """The first value of an attribute; "" without one."""
    values = row.get(name) if isinstance(row, dict) else None
    return values[0].decode(errors="replace") if values else ""
