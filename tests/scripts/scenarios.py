"""What both minds of the lab are asked: one operation each, on a network of its own, in a state prepared for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pwserver.connectors import scripts
from pwserver.connectors.contract import OPERATIONS
from pwserver.lab import calls, python_mind
from pwserver.lab.defaults import initial_passwords
from pwserver.lab.engine_mind import Case
from pwserver.lab.model.machines import ADMINISTRATORS, Laps, Resource, Task
from tests.lab.conftest import LOGIN, Lab
from tests.scripts.pairs import Pair

NEW = "Kobold-17 zaehlt"
HOSTILE = {
    "quotes": 'it\'s "quoted" `tick` \u2018curly\u2019 Q1',
    "expands": "$(Get-Date) $env:PATH ${x} @(1) %PATH%",
    "signs": "<&>|;#!^~*?[]{}\\\\Server1\\share\\",
    "unicode": "N\u00ebw \u20ac \U0001f600 \u4e2d\u6587 A1",
    "longest": ("Aa1-" * 40)[:127],
    "json": '{"a":"\\u0041"}\\n\\r\\t\',"x',
}
TASK = {"name": "\\Backup\\Nightly", "account": "SRV-01\\svc-backup"}
SERVICE = {"name": "backupd", "account": "SRV-01\\svc-backup"}
DOMAIN = {"domain": "CORP", "user": "svc-backup", "login": "CORP\\lab-adm"}


@dataclass(frozen=True)
class Scenario:
    """``prepare`` changes the lab before; ``inject`` makes one call answer otherwise."""

    name: str
    op: str
    machine: str
    params: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Lab], object] | None = None
    pair: Pair | None = None
    hop: dict[str, Any] | None = None
    expect: str | None = None
    ttl_ms: int = 60_000
    sid: str | None = None

    def begin(self) -> tuple[Lab, str, str, dict[str, Any]]:
        """A fresh lab in its state; the machine that is asked first, the login there, the request."""
        lab = Lab()
        if self.prepare:
            self.prepare(lab)
        given = {"min_left": 2, "reset_allowed": False, "unlock": False, "account_sid": "", "dependents": False}
        given |= {"stop_s": 480, "answer_s": 530}
        given |= {"domain_sid": "", "own_stamp": "", "user": "Administrator"} | self.params
        built_in = lab.machine(self.machine).sam.by_rid(500)
        old = built_in.password if built_in and self.op in ("verify", "change") else ""
        if self.op.endswith("_domain"):
            old = lab.passwords["CORP\\svc-backup"]
        secrets = {"old": old, "new": NEW, "value": old or lab.passwords["SRV-01\\svc-backup"]}
        secrets |= {"login_password": lab.passwords["CORP\\lab-adm"]} | self.secrets
        start = self.machine if self.hop is None else "LAB-01"
        hop = None
        if self.hop is not None:
            user = self.hop.get("user", f"{self.machine}\\{LOGIN}")
            hop = lab.hop(self.machine, user, self.hop.get("secret") or lab.passwords[user]) | self.hop
        request = {
            "attempt": f"attempt-{self.name}",
            "op": self.op,
            "ttl_ms": self.ttl_ms,
            "expect": {"computer_name": self.expect or self.machine, "machine_sid": self.sid},
            "params": {name: given[name] for name in OPERATIONS[self.op].params},
            "secrets": {name: secrets[name] for name in OPERATIONS[self.op].secrets},
            "hop": hop,
        }
        if self.pair:
            lab.net.call = injected(lab, self.pair)  # type: ignore[method-assign]
        login = "CORP\\Administrator" if start == "DC1" else f"{start}\\{LOGIN}"
        return lab, start, login, request

    def by_python(self, emit: Callable[[bytes], None] = python_mind.silent) -> tuple[Lab, dict[str, Any]]:
        lab, machine, login, request = self.begin()
        return lab, python_mind.run(lab.net, machine, login, self.op, request, emit=emit)

    def for_engine(self) -> tuple[Lab, Case]:
        lab, machine, login, request = self.begin()
        text = scripts.script(self.op, hop=self.hop is not None)
        return lab, Case(lab.net, machine, login, text, json.dumps(request).encode())


def injected(lab: Lab, pair: Pair) -> Callable[..., dict[str, Any]]:
    """``network.call`` that answers ``pair.call`` with ``pair.code``, and does nothing then."""
    real = lab.net.call

    def call(machine: str, as_user: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
        if name != pair.call:
            return real(machine, as_user, name, args)
        code = "hresult" if "hresult" in calls.CALLS[name].results else "code"
        return calls.blank(name) | {code: pair.code}

    return call


def young(lab: Lab) -> None:
    """Set an hour ago: the minimum age forbids a change."""
    account = lab.account()
    account.last_set = lab.clock().timestamp() - 3600


def account(machine: str = "LAB-02", name: str = "Administrator", **values: Any) -> Callable[[Lab], None]:
    def prepare(lab: Lab) -> None:
        for key, value in values.items():
            setattr(lab.account(name, machine), key, value)

    return prepare


def fault(text: str, machine: str = "LAB-02") -> Callable[[Lab], object]:
    return lambda lab: lab.net.set_fault(machine, text)


def both(*steps: Callable[[Lab], object]) -> Callable[[Lab], object]:
    return lambda lab: [step(lab) for step in steps]


def profile(lab: Lab) -> None:
    machine = lab.machine()
    machine.profiles.append(machine.sid_of(lab.account()))


def service(name: str, machine: str = "SRV-01", **values: Any) -> Callable[[Lab], None]:
    def prepare(lab: Lab) -> None:
        found = next(one for one in lab.machine(machine).services if one.name == name)
        for key, value in values.items():
            setattr(found, key, value)

    return prepare


def task(**values: Any) -> Callable[[Lab], None]:
    def prepare(lab: Lab) -> None:
        found = lab.machine("SRV-01").tasks[0]
        for key, value in values.items():
            setattr(found, key, value)

    return prepare


def no_rights(lab: Lab) -> None:
    lab.machine("SRV-01").rights = {}


def of_pair(pair: Pair) -> Scenario:
    """The operation in the state in which it comes to that call."""
    if pair.op.endswith("task"):
        params, machine = TASK, "SRV-01"
    elif pair.op.endswith("service"):
        params, machine = SERVICE, "SRV-01"
    elif pair.op.endswith("domain"):
        params, machine = DOMAIN, "LAB-01"
    else:
        params, machine = {}, "LAB-02"
    prepare = young if pair.road in ("old", "by_reset") else None
    hop = {} if pair.road == "hop" else None
    return Scenario(pair.name, pair.op, machine, dict(params), prepare=prepare, pair=pair, hop=hop)


def accounts() -> list[Scenario]:
    made = [
        Scenario("identity", "identity", "LAB-02"),
        Scenario("identity-dc", "identity", "DC1"),
        Scenario("dc", "verify", "DC1"),
        Scenario("read", "read_account", "LAB-02"),
        Scenario("read-500", "read_account", "LAB-02", {"user": "#500"}, prepare=account(name="Administrator")),
        Scenario("read-guest", "read_account", "LAB-02", {"user": "Guest"}),
        Scenario("read-nobody", "read_account", "LAB-02", {"user": "nobody"}),
        Scenario("wrong-name", "change", "LAB-02", prepare=fault("name:LAB-09")),
        Scenario("wrong-expectation", "verify", "LAB-02", expect="LAB-09"),
        Scenario("full-name", "verify", "LAB-02", expect="lab-02.corp.test"),
        Scenario("new-machine", "change", "LAB-02", sid="S-1-5-21-1-2-3"),
        Scenario("filtered", "change", "LAB-02", prepare=fault("filtered")),
        Scenario("verify", "verify", "LAB-02"),
        Scenario("verify-wrong", "verify", "LAB-02", secrets={"value": "not it"}),
        Scenario("verify-blank", "verify", "LAB-02", secrets={"value": ""}),
        Scenario("verify-disabled", "verify", "LAB-02", prepare=account(disabled=True)),
        Scenario("verify-would-lock", "verify", "LAB-02", {"min_left": 10}),
        Scenario("change", "change", "LAB-02"),
        Scenario("change-wrong-old", "change", "LAB-02", secrets={"old": "not it"}),
        Scenario("change-short", "change", "LAB-02", secrets={"new": "Aa1"}),
        Scenario("change-simple", "change", "LAB-02", secrets={"new": "aaaaaaaaaa"}),
        Scenario("change-young-resets", "change", "LAB-02", prepare=young),
        Scenario("change-young-wrong-old", "change", "LAB-02", prepare=young, secrets={"old": "not it"}),
        Scenario("change-young-profile", "change", "LAB-02", prepare=both(young, profile)),
        Scenario("change-young-allowed", "change", "LAB-02", {"reset_allowed": True}, prepare=both(young, profile)),
        Scenario("change-cannot", "change", "LAB-02", prepare=both(account(cannot_change=True), profile)),
        Scenario("change-cannot-resets", "change", "LAB-02", prepare=account(cannot_change=True)),
        Scenario("change-disabled", "change", "LAB-02", prepare=account(disabled=True)),
        Scenario("change-disabled-young", "change", "LAB-02", prepare=both(young, account(disabled=True))),
        Scenario("change-must", "change", "LAB-02", prepare=account(must_change=True, never_expires=False)),
        Scenario("change-too-late", "change", "LAB-02", ttl_ms=0),
        Scenario("reset", "reset", "LAB-02"),
        Scenario("reset-disabled", "reset", "LAB-02", prepare=account(disabled=True)),
        Scenario("reset-short", "reset", "LAB-02", secrets={"new": "Aa1"}),
        Scenario("reset-too-late", "reset", "LAB-02", ttl_ms=0),
    ]

    def locked(lab: Lab) -> None:
        lab.account().locked_at = lab.clock().timestamp()

    made += [
        Scenario(f"locked-{op}", op, "LAB-02", {"unlock": True}, prepare=locked) for op in ("verify", "change", "reset")
    ]
    laps = [
        ("laps", Laps()),
        ("laps-other", Laps(roots={calls.LAPS_POLICY: {"BackupDirectory": 2, "AdministratorAccountName": "somebody"}})),
    ]
    for name, policy in laps:

        def prepare(lab: Lab, policy: Laps = policy) -> None:
            lab.machine().laps = policy

        made += [Scenario(f"{name}-{op}", op, "LAB-02", prepare=prepare) for op in ("read_account", "verify", "change")]
    for name, value in HOSTILE.items():
        made.append(Scenario(f"change-{name}", "change", "LAB-02", secrets={"new": value}))
        made.append(Scenario(f"reset-{name}", "reset", "LAB-02", secrets={"new": value}))
        made.append(
            Scenario(f"verify-{name}", "verify", "LAB-02", secrets={"value": value}, prepare=account(password=value))
        )
    return made


OFFSITE = {"name": "\\Backup\\Offsite copy", "account": "CORP\\svc-backup"}
LOCAL = {"account": "SRV-01\\svc-backup"}
OF_DOMAIN = {"value": initial_passwords(Lab().net)["CORP\\svc-backup"]}


def offsite_of(lab: Lab) -> Task:
    return next(one for one in lab.machine("SRV-01").tasks if one.path == OFFSITE["name"])


def offsite(**values: Any) -> Callable[[Lab], None]:
    """The task of the domain's svc-backup; SRV-01 has an account of that name of its own."""

    def prepare(lab: Lab) -> None:
        for key, value in values.items():
            setattr(offsite_of(lab), key, value)

    return prepare


def no_namesake(lab: Lab) -> None:
    sam = lab.machine("SRV-01").sam
    sam.accounts = [one for one in sam.accounts if one.name != "svc-backup"]


CLOCK_BACK = 1_792_890_000.0
"""2026-10-25, 01:00 UTC: Berlin sets its clocks back from 03:00 to 02:00."""
REPEATED = {
    "before-the-hour-twice": CLOCK_BACK - 5400,
    "first-hour-of-two": CLOCK_BACK - 1800,
    "second-hour-of-two": CLOCK_BACK + 1800,
    "after-the-hour-twice": CLOCK_BACK + 5400,
}


def in_berlin(unix: float) -> Callable[[Lab], None]:
    def prepare(lab: Lab) -> None:
        machine = lab.machine("SRV-01")
        machine.time_zone, machine.tasks[0].last_run = "Europe/Berlin", unix

    return prepare


SERVICES_GROUP, OUTER_GROUP = "@-1600", "@-1601"


def rights(of_groups: dict[str, list[str]], *, own: bool, nested: bool = False, **domain: Any) -> Callable[[Lab], None]:
    """The domain's svc-backup is in a group of the domain; ``own``: it also holds the rights itself."""

    def prepare(lab: Lab) -> None:
        machine, dc = lab.machine("SRV-01"), lab.machine("DC1")
        account = lab.account("svc-backup", "DC1")
        account.groups.append(SERVICES_GROUP)
        if nested:
            dc.sam.nested[OUTER_GROUP] = [SERVICES_GROUP]
        if not own:
            del machine.rights[dc.sid_of(account)]
        for group, held in of_groups.items():
            machine.rights[dc.real(group)] = held
        for key, value in domain.items():
            setattr(dc.sam, key, value)

    return prepare


def of_local(**held: list[str]) -> Callable[[Lab], None]:
    """Rights of well-known SIDs beside the own rights of the local svc-backup; ``own`` replaces those."""

    def prepare(lab: Lab) -> None:
        machine = lab.machine("SRV-01")
        if "own" in held:
            machine.rights["@-1002"] = held["own"]
        for sid, given in held.items():
            if sid != "own":
                machine.rights[sid.replace("_", "-")] = given

    return prepare


def administrator(lab: Lab) -> None:
    lab.machine("SRV-01").groups["S-1-5-32-544"].append("@-1002")


def in_local_group(lab: Lab) -> None:
    """A group of the machine has the rights, and a group of the domain is its member."""
    machine, dc = lab.machine("SRV-01"), lab.machine("DC1")
    machine.groups["S-1-5-32-551"] = [dc.real(SERVICES_GROUP)]
    machine.rights["S-1-5-32-551"] = GRANT


GRANT = ["SeBatchLogonRight", "SeServiceLogonRight"]
DENY = ["SeDenyBatchLogonRight", "SeDenyServiceLogonRight"]
DC_OFF = fault("off", "DC1")

DOMAIN_RIGHTS: dict[str, tuple[Callable[[Lab], object], bool | None]] = {
    "domain-group": (rights({SERVICES_GROUP: GRANT}, own=False), True),
    "domain-group-in-group": (rights({OUTER_GROUP: GRANT}, own=False, nested=True), True),
    "domain-group-in-local-group": (both(rights({}, own=False), in_local_group), True),
    "none": (rights({}, own=False), False),
    "denied-to-domain-group": (rights({SERVICES_GROUP: DENY}, own=True), False),
    "denied-to-group-in-group": (rights({OUTER_GROUP: DENY}, own=True, nested=True), False),
    "of-domain-users": (rights({"@-513": GRANT}, own=False), True),
    "groups-unreadable": (rights({SERVICES_GROUP: GRANT}, own=False, groups_readable=False), None),
    "groups-unreadable-own": (rights({SERVICES_GROUP: DENY}, own=True, groups_readable=False), None),
    "no-controller": (both(rights({SERVICES_GROUP: GRANT}, own=False), DC_OFF), None),
}
LOCAL_RIGHTS: dict[str, tuple[Callable[[Lab], object], bool | None]] = {
    "denied-to-local-accounts": (of_local(S_1_5_113=DENY), False),
    "denied-to-local-administrators": (both(of_local(S_1_5_114=DENY), administrator), False),
    "denied-to-other-administrators": (of_local(S_1_5_114=DENY), True),
    "of-local-accounts": (of_local(own=[], S_1_5_113=GRANT), True),
    "of-the-logon-type": (of_local(own=[], S_1_5_3=["SeBatchLogonRight"], S_1_5_6=["SeServiceLogonRight"]), True),
    "denied-to-the-logon-type": (of_local(S_1_5_3=DENY, S_1_5_6=DENY), False),
    "local-none": (of_local(own=[]), False),
}
"""By scenario: how the rights lie, and whether a logon of that kind is let in; None: that cannot be read beforehand."""


def web_password(lab: Lab) -> str:
    return lab.account("svc-web", "SRV-02").password


def places() -> list[Scenario]:
    made = []
    for op in ("read_task", "set_task"):
        made += [
            Scenario(op, op, "SRV-01", TASK),
            Scenario(f"{op}-missing", op, "SRV-01", TASK | {"name": "\\Backup\\Nobody"}),
            Scenario(f"{op}-no-folder", op, "SRV-01", TASK | {"name": "\\Nowhere\\Nightly"}),
            Scenario(f"{op}-other", op, "SRV-01", TASK | {"account": "SRV-01\\Administrator"}),
            Scenario(f"{op}-nobody", op, "SRV-01", TASK | {"account": "SRV-01\\nobody"}),
            Scenario(f"{op}-sid", op, "SRV-01", TASK | {"account_sid": "S-1-5-21-9-9-9-1000"}),
            Scenario(f"{op}-no-right", op, "SRV-01", TASK, prepare=no_rights),
            Scenario(f"{op}-system", op, "SRV-01", TASK, prepare=task(run_as="NT AUTHORITY\\SYSTEM")),
            Scenario(f"{op}-never-ran", op, "SRV-01", TASK, prepare=task(last_run=None, last_result=0x41303)),
            Scenario(f"{op}-last-run-lacked-right", op, "SRV-01", TASK, prepare=task(last_result=0x4131C)),
            Scenario(f"{op}-never-ran-by-date", op, "SRV-01", TASK, prepare=task(last_run=None, last_result=1)),
            Scenario(f"{op}-never-ran-by-result", op, "SRV-01", TASK, prepare=task(last_result=0x41303)),
            Scenario(f"{op}-gmsa", op, "SRV-01", TASK, prepare=task(run_as="CORP\\svc-gmsa$")),
            Scenario(f"{op}-by-sid", op, "SRV-01", OFFSITE, OF_DOMAIN, prepare=offsite(shows="sid")),
            Scenario(f"{op}-by-sid-local", op, "SRV-01", OFFSITE | LOCAL, prepare=offsite(shows="sid")),
            Scenario(f"{op}-bare", op, "SRV-01", OFFSITE, OF_DOMAIN, prepare=offsite(shows="bare")),
            Scenario(f"{op}-bare-local", op, "SRV-01", OFFSITE | LOCAL, prepare=offsite(shows="bare")),
            Scenario(
                f"{op}-bare-alone", op, "SRV-01", OFFSITE, OF_DOMAIN,
                prepare=both(offsite(shows="bare"), no_namesake),
            ),
            Scenario(
                f"{op}-trigger-user", op, "SRV-01", OFFSITE, OF_DOMAIN,
                prepare=both(
                    offsite(shows="sid"), lambda lab: offsite_of(lab).definition["triggers"].insert(
                        0, {"type": "logon", "user_id": "S-1-5-18"}
                    ),
                ),
            ),
            Scenario(f"{op}-full-domain", op, "SRV-01", OFFSITE | {"account": "corp.test\\svc-backup"}, OF_DOMAIN),
            Scenario(f"{op}-500", op, "SRV-01", TASK | {"account": "SRV-01\\#500"}),
        ]
        for moment, unix in REPEATED.items():
            made.append(Scenario(f"{op}-{moment}", op, "SRV-01", TASK, prepare=in_berlin(unix)))
    for op in ("read_service", "set_service", "restart_service"):
        made += [
            Scenario(op, op, "SRV-01", SERVICE),
            Scenario(f"{op}-missing", op, "SRV-01", SERVICE | {"name": "nothere"}),
            Scenario(f"{op}-display", op, "SRV-01", SERVICE | {"name": "Backup Daemon"}),
            Scenario(f"{op}-other", op, "SRV-01", SERVICE | {"account": "SRV-01\\Administrator"}),
            Scenario(f"{op}-dot", op, "SRV-01", SERVICE, prepare=service("backupd", start_name=".\\svc-backup")),
            Scenario(f"{op}-system", op, "SRV-01", SERVICE, prepare=service("backupd", start_name="LocalSystem")),
            Scenario(
                f"{op}-dot-system", op, "SRV-01", SERVICE, prepare=service("backupd", start_name=".\\localsystem")
            ),
            Scenario(
                f"{op}-here-system", op, "SRV-01", SERVICE, prepare=service("backupd", start_name="SRV-01\\LocalSystem")
            ),
            Scenario(f"{op}-virtual", op, "SRV-01", SERVICE, prepare=service("backupd", start_name="NT SERVICE\\x")),
            Scenario(f"{op}-no-right", op, "SRV-01", SERVICE, prepare=no_rights),
            Scenario(f"{op}-stopped", op, "SRV-01", SERVICE, prepare=service("backupd", state=1, pid=0)),
            Scenario(f"{op}-stale", op, "SRV-01", SERVICE, prepare=service("backupd", stored="stale")),
            Scenario(f"{op}-cluster", op, "SRV-02", {"name": "clusdb", "account": "SRV-02\\svc-web"}),
            Scenario(f"{op}-dependents", op, "SRV-02", {"name": "webd", "account": "SRV-02\\svc-web"}),
            Scenario(
                f"{op}-with-dependents",
                op,
                "SRV-02",
                {"name": "webd", "account": "SRV-02\\svc-web", "dependents": True},
            ),
        ]
    for op in ("read_service", "read_task", "set_service", "set_task"):
        params = OFFSITE if op.endswith("task") else {"name": "offsited", "account": "CORP\\svc-backup"}
        made += [
            Scenario(f"{op}-right-{name}", op, "SRV-01", params, OF_DOMAIN, prepare=prepare)
            for name, (prepare, _) in DOMAIN_RIGHTS.items()
        ]
        params = TASK if op.endswith("task") else SERVICE
        made += [
            Scenario(f"{op}-right-{name}", op, "SRV-01", params, prepare=prepare)
            for name, (prepare, _) in LOCAL_RIGHTS.items()
        ]
    stale = service("webd", "SRV-02", stored="stale")
    web = {"name": "webd", "account": "SRV-02\\svc-web", "dependents": True}
    made.append(Scenario("restart-stale-dependents", "restart_service", "SRV-02", web, prepare=stale))
    second = both(stale, lambda lab: setattr(lab.machine("SRV-02").service("webd"), "stored_before", web_password(lab)))
    made.append(Scenario("restart-by-second-copy", "restart_service", "SRV-02", web, prepare=second))
    neither = service("webd", "SRV-02", stored="stale", stored_before="staler")
    made.append(Scenario("restart-stale-twice", "restart_service", "SRV-02", web, prepare=neither))
    made += restarts()
    for op, params in (("set_task", TASK), ("set_service", SERVICE)):
        made += [
            Scenario(f"{op}-blank", op, "SRV-01", params, {"value": ""}),
            Scenario(f"{op}-wrong", op, "SRV-01", params, {"value": "not it"}),
            Scenario(f"{op}-too-late", op, "SRV-01", params, ttl_ms=0),
        ]
        for name, value in HOSTILE.items():
            made.append(
                Scenario(
                    f"{op}-{name}", op, "SRV-01", params, {"value": value},
                    prepare=account("SRV-01", "svc-backup", password=value),
                )
            )  # fmt: skip
    return made


def stops_on_its_own(lab: Lab) -> None:
    """Two dependents; the second stops as soon as the first one does."""
    services = lab.machine("SRV-02").services
    cache = next(one for one in services if one.name == "webcache")
    services.append(cache.model_copy(update={"name": "weblog", "display": "Web Log", "stops_with": "webcache"}))


WEB = {"name": "webd", "account": "SRV-02\\svc-web", "dependents": True}


def clustered(*resources: Resource, readable: bool = True) -> Callable[[Lab], None]:
    """SRV-01 is a node of a cluster with these resources."""

    def prepare(lab: Lab) -> None:
        machine, other = lab.machine("SRV-01"), lab.machine("SRV-02")
        machine.services.append(next(one for one in other.services if one.name == "ClusSvc").model_copy())
        machine.resources, machine.cluster_unreadable = list(resources), not readable

    return prepare


def named(name: str) -> Callable[[Lab], None]:
    def prepare(lab: Lab) -> None:
        next(one for one in lab.machine("SRV-01").services if one.name == "backupd").name = name

    return prepare


def sql(instance: str, kind: str = "SQL Server") -> Resource:
    return Resource(type=kind, parameters={"InstanceName": instance, "VirtualServerName": "SQLCL1"})


RESOURCES = {
    "sql": ("MSSQL$PAYROLL", sql("PAYROLL"), True),
    "sql-agent": ("SQLAgent$PAYROLL", sql("PAYROLL", "SQL Server Agent"), True),
    "sql-default": ("MSSQLSERVER", sql("MSSQLSERVER"), True),
    "sql-default-agent": ("SQLSERVERAGENT", sql("MSSQLSERVER"), True),
    "sql-beside": ("backupd", sql("PAYROLL"), False),
    "generic": ("backupd", Resource(type="Generic Service", parameters={"ServiceName": "BACKUPD"}), True),
    "generic-beside": ("backupd", Resource(type="Generic Service", parameters={"ServiceName": "other"}), False),
    "file-server": ("LanmanServer", Resource(type="File Server"), True),
    "disk": ("backupd", Resource(type="Physical Disk", parameters={"DiskSignature": "1"}), False),
    "hyper-v": ("backupd", Resource(type="Virtual Machine Cluster WMI"), False),
    "hyper-v-manager": ("vmms", Resource(type="Virtual Machine Cluster WMI"), True),
    "storage-qos": ("backupd", Resource(type="Storage QoS Policy Manager"), False),
    "scale-out": ("LanmanServer", Resource(type="Scale Out File Server"), True),
    "foreign": ("backupd", Resource(type="Contoso Replication", parameters={"Engine": "x"}), True),
}
"""By scenario: the service's name, a resource of its machine, and whether the cluster may own the service."""


def restarts() -> list[Scenario]:
    """Stops that take minutes, starts that end badly, and what is never stopped."""

    def of(title: str, *prepare: Callable[[Lab], object]) -> Scenario:
        return Scenario(f"restart-{title}", "restart_service", "SRV-02", WEB, prepare=both(*prepare))

    def at_srv01(title: str, *prepare: Callable[[Lab], object], name: str = "backupd") -> Scenario:
        params = SERVICE | {"name": name}
        return Scenario(f"restart-{title}", "restart_service", "SRV-01", params, prepare=both(*prepare))

    made = [
        of("slow-stop", service("webd", "SRV-02", stop_s=200)),
        of("slow-dependent", service("webcache", "SRV-02", stop_s=200)),
        of("stops-after-the-wait", service("webd", "SRV-02", stop_s=500)),
        of("never-stops", service("webd", "SRV-02", stop_s=9_000)),
        of("dependent-never-stops", service("webcache", "SRV-02", stop_s=9_000)),
        of("slow-start", service("webd", "SRV-02", start_s=100)),
        of("never-starts", service("webd", "SRV-02", start_s=9_000)),
        of(
            "manager-busy", service("webd", "SRV-02", start_waits=[1053]),
            service("webcache", "SRV-02", start_waits=[1055]),
        ),  # fmt: skip
        of("manager-never-free", service("webd", "SRV-02", start_waits=[1055] * 600)),
        of("disabled", service("webd", "SRV-02", start_type=4)),
        of("dependent-disabled", service("webcache", "SRV-02", start_type=4)),
        of("dependent-stale", service("webcache", "SRV-02", start_name="SRV-02\\svc-web", stored="stale")),
        of("dependent-stops-on-its-own", stops_on_its_own),
        of("dependent-clustered", service("webcache", "SRV-02", cluster=True)),
        of("needs-nobody", service("webd", "SRV-02", depends_on=["gone"])),
        of(
            "needs-a-group", service("webd", "SRV-02", depends_on=["+TDI"]), service("clusdb", "SRV-02", group="TDI")
        ),
        of("needs-what-runs", service("webd", "SRV-02", depends_on=["clusdb"])),
        of(
            "needs-what-is-disabled",
            service("webd", "SRV-02", depends_on=["clusdb"]),
            service("clusdb", "SRV-02", state=1, pid=0, start_type=4),
        ),
        of(
            "needs-what-needs-nobody",
            service("webd", "SRV-02", depends_on=["clusdb"]),
            service("clusdb", "SRV-02", state=1, pid=0, depends_on=["gone"]),
        ),
        of(
            "needs-what-is-stopped",
            service("webd", "SRV-02", depends_on=["clusdb"]),
            service("clusdb", "SRV-02", state=1, pid=0, start_type=3),
        ),
        at_srv01("cluster-unreadable", clustered(readable=False)),
    ]
    for name, (called, resource, _) in RESOURCES.items():
        made.append(at_srv01(f"cluster-{name}", named(called), clustered(resource), name=called))
    return made


def domain_account(**values: Any) -> Callable[[Lab], None]:
    return account("DC1", "svc-backup", **values)


def set_minutes_ago(minutes: float) -> Callable[[Lab], None]:
    """Somebody set the domain account's password so many minutes ago, whatever it was before."""

    def prepare(lab: Lab) -> None:
        found = lab.account("svc-backup", "DC1")
        found.history = [found.password, "the one before 1"]
        found.password, found.last_set = "Set-by-somebody-1", lab.clock().timestamp() - 60 * minutes

    return prepare


def may_change(lab: Lab) -> None:
    lab.machine("DC1").sam.policy.min_age_s = 0


def fine_policy(lab: Lab) -> None:
    domain = lab.machine("DC1").sam
    domain.fine["Service accounts"] = domain.policy.model_copy(update={"min_length": 20, "threshold": 3})
    lab.account("svc-backup", "DC1").fine_policy = "Service accounts"


def no_right_to_reset(lab: Lab) -> None:
    """Our login is an ordinary account of the domain."""
    lab.machine("DC1").groups = {}


def delegated(lab: Lab) -> None:
    no_right_to_reset(lab)
    lab.machine("DC1").sam.delegated = ["@-1105"]


def other_pdc(lab: Lab) -> None:
    """DNS has not heard of it yet."""
    lab.machine("DC1").sam.pdc, lab.machine("DC1").sam.pdc_record = "DC2", "DC1"


def no_member(lab: Lab) -> None:
    lab.machine("LAB-01").domain_role = 2


def tried(count: int) -> Callable[[Lab], None]:
    return lambda lab: domain_account(bad_count=count, last_bad=lab.clock().timestamp() - 60)(lab)


def domains() -> list[Scenario]:
    made = []
    locked = [lambda lab: domain_account(locked_at=lab.clock().timestamp())(lab)]
    states: dict[str, Callable[[Lab], object] | None] = {
        "": None,
        "locked": locked[0],
        "disabled": domain_account(disabled=True),
        "expired": domain_account(expires=1.0),
        "must": domain_account(must_change=True, never_expires=False),
        "must-never-expires": domain_account(must_change=True),
        "too-old": domain_account(never_expires=False),
        "cannot": domain_account(cannot_change=True),
        "null-list": both(domain_account(null_dacl=True), no_right_to_reset),
        "cannot-no-right": both(domain_account(cannot_change=True), no_right_to_reset),
        "protected-user": domain_account(protected=True),
        "protected-user-may": both(domain_account(protected=True), may_change),
        "guarded": domain_account(admin_count=True),
        "guarded-by-group": domain_account(groups=["@-512"]),
        "guarded-by-alias": domain_account(groups=["S-1-5-32-551"]),
        "guarded-by-keys": domain_account(groups=["@-526"]),
        "publisher": domain_account(groups=["@-517"]),
        "guarded-no-right": both(domain_account(admin_count=True), delegated),
        "gmsa": domain_account(managed="gmsa"),
        "spns": domain_account(spns=["HTTP/a", "HTTP/b"]),
        "fine": fine_policy,
        "fine-unreadable": both(fine_policy, no_right_to_reset),
        "no-right": no_right_to_reset,
        "delegated": delegated,
        "tried-3": tried(3),
        "tried-2": tried(2),
        "tried-long-ago": domain_account(bad_count=4, last_bad=1.0),
        "grace": set_minutes_ago(5),
        "grace-may": both(set_minutes_ago(5), may_change),
        "after-grace": set_minutes_ago(66),
        "dc-off": fault("off", "DC1"),
        "other-pdc": other_pdc,
        "cut-before": fault("cut-before", "DC1"),
        "cut-after": fault("cut-after", "DC1"),
        "hours": domain_account(outside_hours=True),
    }
    for op in ("read_domain", "verify_domain", "change_domain", "reset_domain"):
        made += [
            Scenario(f"{op}-{name}" if name else op, op, "LAB-01", DOMAIN, prepare=prepare)
            for name, prepare in states.items()
        ]
        made += [
            Scenario(f"{op}-nobody", op, "LAB-01", DOMAIN | {"user": "nobody"}),
            Scenario(f"{op}-hostile-name", op, "LAB-01", DOMAIN | {"user": "a*)(cn=b\\\u00e9"}),
            Scenario(f"{op}-other-case", op, "LAB-01", DOMAIN | {"user": "SVC-Backup", "domain": "corp.test"}),
            Scenario(f"{op}-no-domain", op, "LAB-01", DOMAIN | {"domain": "ELSEWHERE"}),
            Scenario(f"{op}-krbtgt", op, "LAB-01", DOMAIN | {"user": "krbtgt"}),
            Scenario(f"{op}-guest", op, "LAB-01", DOMAIN | {"user": "Guest"}),
            Scenario(f"{op}-new-domain", op, "LAB-01", DOMAIN | {"domain_sid": "S-1-5-21-1-2-3"}),
            Scenario(f"{op}-wrong-login", op, "LAB-01", DOMAIN, {"login_password": "not it"}),
            Scenario(f"{op}-foreign-login", op, "LAB-01", DOMAIN | {"login": "LAB-02\\svc-psrv"}),
            Scenario(
                f"{op}-no-member",
                op,
                "LAB-01",
                DOMAIN,
                prepare=no_member,
            ),
            Scenario(f"{op}-on-dc", op, "DC1", DOMAIN),
        ]
    for op in ("change_domain", "reset_domain"):
        made += [
            Scenario(f"{op}-short", op, "LAB-01", DOMAIN, {"new": "Aa1"}),
            Scenario(f"{op}-simple", op, "LAB-01", DOMAIN, {"new": "aaaaaaaaaa"}),
            Scenario(f"{op}-blank", op, "LAB-01", DOMAIN, {"new": ""}),
            Scenario(f"{op}-too-late", op, "LAB-01", DOMAIN, ttl_ms=0),
            Scenario(f"{op}-fine-long", op, "LAB-01", DOMAIN, {"new": NEW + NEW}, prepare=fine_policy),
        ]
        for name, value in HOSTILE.items():
            made.append(Scenario(f"{op}-{name}", op, "LAB-01", DOMAIN, {"new": value}, prepare=may_change))
    may = both(no_right_to_reset, may_change)
    made += [
        Scenario("change_domain-wrong-old", "change_domain", "LAB-01", DOMAIN, {"old": "not it"}),
        Scenario("change_domain-by-change", "change_domain", "LAB-01", DOMAIN, prepare=may),
        Scenario("change_domain-by-change-wrong", "change_domain", "LAB-01", DOMAIN, {"old": "not it"}, prepare=may),
        Scenario(
            "change_domain-used-before", "change_domain", "LAB-01", DOMAIN, {"new": "the one before 1"},
            prepare=both(set_minutes_ago(1500), may),
        ),
        Scenario("verify_domain-wrong", "verify_domain", "LAB-01", DOMAIN, {"value": "not it"}),
        Scenario("verify_domain-blank", "verify_domain", "LAB-01", DOMAIN, {"value": ""}),
        Scenario("reset_domain-unlock", "reset_domain", "LAB-01", DOMAIN | {"unlock": True}, prepare=locked[0]),
    ]  # fmt: skip
    for name, own in (("own", "2026-11-24T08:55:00Z"), ("not-own", "2026-11-24T08:54:00Z")):
        made.append(
            Scenario(
                f"change_domain-{name}", "change_domain", "LAB-01", DOMAIN | {"own_stamp": own},
                {"old": "Set-by-somebody-1"}, prepare=set_minutes_ago(5),
            )
        )  # fmt: skip
    return made


def no_admin_there(lab: Lab) -> None:
    """Neither the domain's administrators nor the linked credential administer LAB-02."""
    lab.machine().groups[ADMINISTRATORS] = ["@-500", "@-1001"]


def by_kerberos(user: str = "CORP\\lab-adm", **more: Any) -> dict[str, Any]:
    return {"user": user, "auth": "kerberos"} | more


def linked_account(**values: Any) -> Callable[[Lab], None]:
    return account("DC1", "lab-adm", **values)


def kerberos_hops() -> list[Scenario]:
    """The ways in which a domain login is let in, or not."""
    states: dict[str, Callable[[Lab], object] | None] = {
        "": None,
        "no-admin": no_admin_there,
        "locked": lambda lab: linked_account(locked_at=lab.clock().timestamp())(lab),
        "disabled": linked_account(disabled=True),
        "expired": linked_account(expires=1.0),
        "must": linked_account(must_change=True, never_expires=False),
        "hours": linked_account(outside_hours=True),
        "workstation": linked_account(other_workstation=True),
        "dc-off": fault("off", "DC1"),
        "name-of-another": account("DC1", "svc-web", spns=["HTTP/lab-02"]),
    }
    made = [
        Scenario(f"kerberos-{name}" if name else "kerberos", "change", "LAB-02", hop=by_kerberos(), prepare=prepare)
        for name, prepare in states.items()
    ]
    made += [
        Scenario("kerberos-wrong", "change", "LAB-02", hop=by_kerberos(secret="not it")),
        Scenario("kerberos-local", "change", "LAB-02", hop=by_kerberos("LAB-01\\svc-psrv", secret="x")),
    ]
    for code in (1312, 0x80090303, 0x8009030E):
        pair = Pair("change", "NewPSSession", code)
        for user in ("CORP\\lab-adm", "lab-adm@corp.test"):
            hop = by_kerberos(user, secret="x")
            made.append(Scenario(f"kerberos-{code:#x}-{user}", "change", "LAB-02", hop=hop, pair=pair))
            name, silent = f"kerberos-{code:#x}-{user}-dc-off", fault("off", "DC1")
            made.append(Scenario(name, "change", "LAB-02", hop=hop, pair=pair, prepare=silent))
    return made


def hops() -> list[Scenario]:
    over: dict[str, Any] = {}
    made = [
        Scenario(f"hop-{op}", op, "LAB-02", hop=over)
        for op in ("identity", "read_account", "verify", "change", "reset")
    ]
    made += [Scenario(f"hop-{op}", op, "SRV-01", TASK, hop=over) for op in ("read_task", "set_task")]
    made += [
        Scenario(f"hop-{op}", op, "SRV-01", SERVICE, hop=over)
        for op in ("read_service", "set_service", "restart_service")
    ]
    made += [
        Scenario("hop-other-name", "change", "LAB-02", hop=over, prepare=fault("name:LAB-09")),
        Scenario("hop-off", "change", "LAB-02", hop=over, prepare=fault("off")),
        Scenario("hop-wrong-password", "change", "LAB-02", hop={"secret": "not it"}),
        Scenario("hop-no-way", "change", "LAB-02", hop={"auth": "negotiate"}),
        Scenario("hop-filtered", "change", "LAB-02", hop=over, prepare=fault("filtered")),
        Scenario("hop-new-machine", "change", "LAB-02", hop=over, sid="S-1-5-21-1-2-3"),
        Scenario("hop-constrained", "change", "LAB-02", hop=over, prepare=fault("constrained")),
        Scenario("hop-cut-before", "change", "LAB-02", hop=over, prepare=fault("cut-before")),
        Scenario("hop-cut-after", "change", "LAB-02", hop=over, prepare=fault("cut-after")),
        Scenario("hop-too-late", "change", "LAB-02", hop=over, ttl_ms=0),
        Scenario("hop-no-port", "change", "LAB-02", hop=over, prepare=fault("no-port")),
        Scenario("hop-no-winrm", "change", "LAB-02", hop=over, prepare=fault("no-winrm")),
        Scenario("hop-slow", "change", "LAB-02", hop=over, prepare=fault("slow:70000")),
        *kerberos_hops(),
    ]
    for name, value in HOSTILE.items():
        made.append(Scenario(f"hop-change-{name}", "change", "LAB-02", secrets={"new": value}, hop=over))
    return made
