"""A machine's state: who it is, its accounts, rights, tasks and services; and how names become SIDs on it."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

from pydantic import Field

from pwserver.lab import calls
from pwserver.lab.model.accounts import Account, Authority, State
from pwserver.lab.model.faults import Fault

ADMINISTRATORS, USERS, REMOTE_MANAGEMENT = "S-1-5-32-544", "S-1-5-32-545", "S-1-5-32-580"
EVERYONE, AUTHENTICATED, LOCAL_ACCOUNT, LOCAL_ADMINISTRATOR = "S-1-1-0", "S-1-5-11", "S-1-5-113", "S-1-5-114"
NETWORK, BATCH, SERVICE, INTERACTIVE = (
    "SeNetworkLogonRight",
    "SeBatchLogonRight",
    "SeServiceLogonRight",
    "SeInteractiveLogonRight",
)
RIGHT_OF_TYPE = {2: INTERACTIVE, 3: NETWORK, 4: BATCH, 5: SERVICE}
SID_OF_TYPE = {2: "S-1-5-4", 3: "S-1-5-2", 4: "S-1-5-3", 5: "S-1-5-6"}
"""What the kind of a logon adds to its token."""
DEFAULT_RIGHTS = {
    EVERYONE: [NETWORK],
    ADMINISTRATORS: [NETWORK, BATCH, INTERACTIVE],
    USERS: [INTERACTIVE],
    "@-501": ["SeDenyNetworkLogonRight"],
}


def default_rights() -> dict[str, list[str]]:
    return {sid: list(held) for sid, held in DEFAULT_RIGHTS.items()}


class WellKnown(NamedTuple):
    """A SID that is the same on every machine, and the name that Windows spells so."""

    sid: str
    domain: str
    name: str
    use: int
    """4: an alias, which is a local group; 5: a well-known group or identity."""


WELL_KNOWN = (
    WellKnown("S-1-5-18", "NT AUTHORITY", "SYSTEM", 5),
    WellKnown("S-1-5-19", "NT AUTHORITY", "LOCAL SERVICE", 5),
    WellKnown("S-1-5-20", "NT AUTHORITY", "NETWORK SERVICE", 5),
    WellKnown(AUTHENTICATED, "NT AUTHORITY", "Authenticated Users", 5),
    WellKnown(EVERYONE, "", "Everyone", 5),
    WellKnown(ADMINISTRATORS, "BUILTIN", "Administrators", 4),
    WellKnown(USERS, "BUILTIN", "Users", 4),
    WellKnown(REMOTE_MANAGEMENT, "BUILTIN", "Remote Management Users", 4),
)
OTHER_SPELLINGS = {
    "nt authority\\localservice": "nt authority\\local service",
    "nt authority\\networkservice": "nt authority\\network service",
}
"""As services are configured. LocalSystem is the service manager's word alone: no lookup finds it."""


class Task(State):
    """A scheduled task. ``definition`` is what the scheduler was given, whole."""

    path: str
    run_as: str
    logon_type: int = calls.TASK_LOGON_PASSWORD
    stored: str | None = None
    shows: Literal["name", "sid", "bare"] = "name"
    """How it tells whom it runs as. name: DOMAIN\\user, as up to Server 2012 R2. sid: the SID in its XML, and without
    the domain by the object model, as from Server 2016 on. bare: without the domain everywhere."""
    sddl: str = "D:(A;;FA;;;BA)(A;;FA;;;SY)"
    definition: dict[str, Any] = Field(default_factory=dict)
    last_run: float | None = None
    last_result: int = calls.S_HAS_NOT_RUN
    starts: int = 0
    running: bool = False
    missed_run: bool = False
    """Its time passed while the machine was off; registering it would start it at once."""

    @property
    def enabled(self) -> bool:
        return bool(self.definition.get("settings", {}).get("enabled", True))


class Service(State):
    """A Windows service. ``stored`` is the manager's copy of the password, ``stored_before`` its second one: the one
    before the last change, or the one that was last started with (Service Record List, win32)."""

    name: str
    display: str
    start_name: str
    stored: str | None = None
    stored_before: str | None = None
    start_type: int = 2
    """2 automatic, 3 manual, 4 disabled."""
    state: int = calls.SERVICE_STOPPED
    exit_code: int = calls.NEVER_STARTED
    """Until the first attempt to start it since the machine's own start (MS-SCMR 3.1.4.7)."""
    pid: int = 0
    started: float | None = None
    starts: int = 0
    ticket_set: float | None = None
    """When the password it last started with was set: tickets newer than that it cannot read."""
    spn: str = ""
    depends_on: list[str] = Field(default_factory=list)
    group: str = ""
    """Its load order group, which others may depend on."""
    cluster: bool = False
    """It is a resource of the machine's cluster, of the type Generic Service."""
    events: list[int] = Field(default_factory=list)
    stop_s: float = 0
    start_s: float = 0
    """Seconds that a stop and a start take; until then the service is stopping or starting."""
    pending_since: float | None = None
    start_fails: int = 0
    """The code with which each start ends, as of a program that is broken."""
    start_waits: list[int] = Field(default_factory=list)
    """The codes with which its next starts end, before one is tried at all: 1053 or 1055, the manager is not free."""
    stops_with: str = ""
    """A service with which it stops on its own, without being asked."""


class Resource(State):
    """A resource of a cluster, with the private properties of its type."""

    type: str
    parameters: dict[str, str] = Field(default_factory=dict)


class Laps(State):
    """LAPS as the registry shows it: the settings under each policy root that is there."""

    roots: dict[str, dict[str, int | str]] = {calls.LAPS_POLICY: {"BackupDirectory": 2}}

    def protects(self, account: Account) -> bool:
        """Whether Windows LAPS answers 8654 to everyone else who sets this account's password.

        By the document: the first root with at least one setting is the active policy, and what is missing under it has
        its default. BackupDirectory defaults to 0, which is off. With automatic account management
        AdministratorAccountName does not count; its target defaults to 1, an account of its own, which is called
        WLapsAdmin unless it is named. A random name has the first twelve characters and a numeric suffix. The old LAPS
        protects nothing: it only sets its own password again.
        """
        windows_roots = (calls.LAPS_CSP, calls.LAPS_POLICY, calls.LAPS_LOCAL)
        policy = next((self.roots[root] for root in windows_roots if self.roots.get(root)), {})
        if not policy.get("BackupDirectory", 0):
            return False
        wanted = str(policy.get("AdministratorAccountName", ""))
        if policy.get("AutomaticAccountManagementEnabled", 0):
            own = str(policy.get("AutomaticAccountManagementNameOrPrefix", "WLapsAdmin"))
            wanted = own if policy.get("AutomaticAccountManagementTarget", 1) else ""
            if wanted and policy.get("AutomaticAccountManagementRandomizeName", 0):
                head, tail = account.name[: len(wanted[:12])], account.name[len(wanted[:12]) :]
                return head.casefold() == wanted[:12].casefold() and tail.isdigit()
        return account.name.casefold() == wanted.casefold() if wanted else account.rid == 500


class Machine(State):
    """One machine of the network. SIDs of its own accounts are written ``@-RID``; ``@`` is its SID of today."""

    name: str
    sam: Authority
    domain: str
    """The NetBIOS name of its domain, or of its workgroup."""
    dns_suffix: str | None = None
    """The suffix of its own DNS name; None: its domain's name, as Windows sets it when a machine joins."""
    domain_role: int = 1
    """Win32_ComputerSystem.DomainRole: 0, 2 stand-alone, 1, 3 member, 4, 5 domain controller."""
    ps_version: str = "5.1.20348.2227"
    groups: dict[str, list[str]] = Field(default_factory=dict)
    rights: dict[str, list[str]] = Field(default_factory=default_rights)
    profiles: list[str] = Field(default_factory=list)
    tasks: list[Task] = Field(default_factory=list)
    services: list[Service] = Field(default_factory=list)
    resources: list[Resource] = Field(default_factory=list)
    """Resources of its cluster besides its services that say so themselves."""
    cluster_unreadable: bool = False
    laps: Laps | None = None
    located: dict[str, str] = Field(default_factory=dict)
    """What its locator found last: a domain's folded name → the controller."""
    time_zone: str = "UTC"
    forbids_storing: bool = False
    """A policy forbids storing passwords for tasks."""
    fault: Fault = Field(default_factory=Fault)
    cached: dict[str, str] = Field(default_factory=dict)
    """Cached domain logons: SID → password."""
    bad_logons: dict[str, int] = Field(default_factory=dict)
    """Every wrong logon tried at this machine, by account; it only grows."""
    ntlm: dict[str, int] = Field(default_factory=dict)
    requests: int = 0

    @property
    def computer_name(self) -> str:
        return self.fault.name or self.name

    @property
    def is_dc(self) -> bool:
        return self.domain_role >= 4

    @property
    def is_member(self) -> bool:
        return self.domain_role in (1, 3)

    @property
    def sid(self) -> str:
        return new_sid("reinstalled " + self.sam.sid) if self.fault.reinstalled else self.sam.sid

    def real(self, sid: str) -> str:
        return self.sid + sid[1:] if sid.startswith("@") else sid

    def sid_of(self, account: Account) -> str:
        return f"{self.sid}-{account.rid}"

    def account_of(self, sid: str) -> Account | None:
        """Its own account with this SID."""
        head, _, rid = sid.rpartition("-")
        return self.sam.by_rid(int(rid)) if head == self.sid and rid.isdigit() else None

    def is_own_name(self, domain: str) -> bool:
        """Whether ``domain`` before the backslash means this machine's own accounts."""
        return domain.casefold() in {
            "", ".", self.name.casefold(), self.computer_name.casefold(), self.sam.name.casefold(),
        }  # fmt: skip

    def held_by(self, sid: str, domain_groups: list[str]) -> set[str]:
        """Every SID in the token of ``sid``: its groups here, through groups, and the well-known ones."""
        token = {sid, EVERYONE, *domain_groups}
        if not sid.endswith(f"-{501}"):
            token.add(AUTHENTICATED)
        if self.account_of(sid) is not None and not self.is_dc:
            token.add(LOCAL_ACCOUNT)
        grown = True
        while grown:
            more = {group for group, members in self.groups.items() if {self.real(one) for one in members} & token}
            grown = not more <= token
            token |= more
        if LOCAL_ACCOUNT in token and ADMINISTRATORS in token:
            token.add(LOCAL_ADMINISTRATOR)
        return token

    def groups_of(self, account: Account) -> list[str]:
        """SIDs of all groups of the domain that one of its accounts is in, its primary group and groups in groups
        included."""
        found = {self.real(group) for group in (*account.groups, "@-513", *["@-525"] * account.protected)}
        grown = True
        while grown:
            more = {
                self.real(group)
                for group, members in self.sam.nested.items()
                if {self.real(member) for member in members} & found
            }
            grown = not more <= found
            found |= more
        return sorted(found)

    def has_right(self, token: set[str], right: str) -> bool:
        """Granted to anything in the token and denied to nothing in it."""
        held = {one for sid, rights in self.rights.items() if self.real(sid) in token for one in rights}
        if self.fault.no_network and LOCAL_ACCOUNT in token:
            held.add("SeDenyNetworkLogonRight")
        return right in held and right.replace("Se", "SeDeny", 1) not in held

    def task(self, path: str) -> Task | None:
        return next((task for task in self.tasks if task.path.casefold() == path.casefold()), None)

    def service(self, name: str) -> Service | None:
        return next((service for service in self.services if service.name.casefold() == name.casefold()), None)


def new_sid(seed: str) -> str:
    """A machine or domain SID that is always the same for the same seed."""
    digest = hashlib.sha256(f"sid {seed}".encode()).digest()
    parts = (int.from_bytes(digest[at : at + 4], "big") for at in (0, 4, 8))
    return "S-1-5-21-" + "-".join(str(part) for part in parts)


def virtual_sid(name: str) -> str:
    """The SID of a virtual account ``NT SERVICE\\name``."""
    digest = hashlib.sha1(name.upper().encode("utf-16-le"), usedforsecurity=False).digest()
    return "S-1-5-80-" + "-".join(str(int.from_bytes(digest[at : at + 4], "little")) for at in range(0, 20, 4))
