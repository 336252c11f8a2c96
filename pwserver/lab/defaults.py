"""The default network of the lab: an agent, thirty-nine lab machines, two servers, a domain controller and a switch."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from pwserver.lab import calls
from pwserver.lab.model.accounts import ADMINISTRATOR, DAY, GUEST, Account, Authority, Policy
from pwserver.lab.model.devices import DeviceAccount, DeviceState
from pwserver.lab.model.machines import (
    ADMINISTRATORS,
    BATCH,
    SERVICE,
    USERS,
    Machine,
    Service,
    Task,
    default_rights,
    new_sid,
)
from pwserver.lab.model.network import Network, NetworkState

AGENT = "LAB-01"
LAB_MACHINES = tuple(f"LAB-{number:02}" for number in range(1, 41))
SERVERS = ("SRV-01", "SRV-02")
DOMAIN, DNS, CONTROLLER, DEVICE = "CORP", "corp.test", "DC1", "SW-01"
LOGIN = "svc-psrv"
"""The local administrator on every machine that our agent login and linked credential use."""

AGED = 30 * DAY
"""How old every password is at the beginning: the minimum age does not forbid the first change."""

_LETTERS = ("ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnpqrstuvwxyz", "23456789", "-_.+=")


def password(seed: str, label: str, length: int = 20) -> str:
    """A password that is always the same for the same seed and label, and meets the default policy."""
    raw = hmac.new(seed.encode(), label.encode(), "sha512").digest()
    return "".join(_LETTERS[at % 4][raw[at] % len(_LETTERS[at % 4])] for at in range(length))


def network(seed: str, now: float, more: Mapping[str, str] | None = None) -> NetworkState:
    """The whole default network; ``now`` in Unix seconds. ``more``: further lab machines, each with the label that its
    Administrator's first password is made from."""
    secrets = {label: password(seed, label) for label in ("lab", LOGIN, "svc-backup", "svc-web", "dc", "corp-backup")}
    secrets |= {label: password(seed, label) for label in ("lab-adm", "admin", "psrv", "SRV-01", "SRV-02", "corp-web")}
    built = _Builder(seed, now)
    domain = built.controller(secrets)
    machines = [built.lab_machine(name, secrets, domain) for name in LAB_MACHINES]
    for name, label in (more or {}).items():
        machines.append(built.lab_machine(name, secrets | {"lab": password(seed, label)}, domain))
    machines += [built.server(name, secrets, domain) for name in SERVERS]
    machines.append(domain)
    device = DeviceState(
        name=DEVICE,
        accounts=[
            DeviceAccount(name="admin", password=secrets["admin"], last_set=now - AGED),
            DeviceAccount(name="psrv", password=secrets["psrv"], last_set=now - AGED, is_admin=True),
        ],
    )
    state = NetworkState(
        seed=seed,
        domains={DNS: DOMAIN},
        machines={machine.name: machine for machine in machines},
        devices={device.name: device},
        next_pid=built.pid,
    )
    state.initial = {
        f"{machine.sam.name}\\{account.name}": account.password
        for machine in machines
        for account in machine.sam.accounts
        if account.password
    } | {f"{DEVICE}\\{account.name}": account.password for account in device.accounts}
    return state


def initial_passwords(net: Network) -> dict[str, str]:
    """``LAB-02\\Administrator``, ``CORP\\lab-adm``, ``SW-01\\admin`` … → the password it had at the beginning."""
    return dict(net.state.initial)


class _Builder:
    def __init__(self, seed: str, now: float) -> None:
        self.seed, self.now, self.pid = seed, now, 1000

    def account(self, name: str, rid: int, secret: str, **more: Any) -> Account:
        return Account(name=name, rid=rid, password=secret, last_set=self.now - AGED, **more)

    def sam(self, name: str, accounts: Iterable[Account], policy: Policy) -> Authority:
        return Authority(name=name, sid=new_sid(f"{self.seed} {name}"), policy=policy, accounts=list(accounts))

    def member(self, name: str, role: int, accounts: Iterable[Account], domain: Machine, **more: Any) -> Machine:
        """A member of the domain; ``lab-adm`` of the domain and our login administer it."""
        lab_adm = domain.sam.find("lab-adm")
        assert lab_adm is not None
        return Machine(
            name=name,
            domain=DOMAIN,
            domain_role=role,
            sam=self.sam(name, accounts, Policy()),
            groups={ADMINISTRATORS: ["@-500", "@-1001", domain.sid_of(lab_adm)], USERS: ["S-1-5-11"]},
            **more,
        )

    def lab_machine(self, name: str, secrets: dict[str, str], domain: Machine) -> Machine:
        machine = self.member(name, 1, self.usual(secrets["lab"], secrets), domain)
        run_as = f"{name}\\Administrator"
        if name == AGENT:
            machine.tasks.append(self.task("\\Lab\\Nightly reset", run_as, secrets["lab"], "23:30"))
        if name == "LAB-03":
            machine.rights["@-500"] = [SERVICE]
            machine.services.append(self.service("LabImaging", "Lab Imaging Service", run_as, secrets["lab"]))
        return machine

    def usual(self, administrator: str, secrets: dict[str, str]) -> list[Account]:
        return [
            self.account("Administrator", ADMINISTRATOR, administrator),
            self.account("Guest", GUEST, "", disabled=True, cannot_change=True),
            self.account(LOGIN, 1001, secrets[LOGIN]),
        ]

    def server(self, name: str, secrets: dict[str, str], domain: Machine) -> Machine:
        holder = "svc-backup" if name == "SRV-01" else "svc-web"
        accounts = [*self.usual(secrets[name], secrets), self.account(holder, 1002, secrets[holder])]
        machine = self.member(name, 3, accounts, domain)
        machine.rights["@-1002"] = [BATCH, SERVICE]
        run_as, secret = f"{name}\\{holder}", secrets[holder]
        if name == "SRV-01":
            machine.tasks.append(self.task("\\Backup\\Nightly", run_as, secret, "01:00"))
            machine.services += [
                self.service("backupd", "Backup Daemon", run_as, secret),
                self.service("indexd", "Backup Index", run_as, secret),
            ]
            self.offsite(machine, secrets["corp-backup"], domain)
        else:
            machine.tasks.append(self.task("\\Web\\Rotate logs", run_as, secret, "03:00"))
            machine.services += [
                self.service("webd", "Web Server", run_as, secret),
                self.service("webcache", "Web Cache", "LocalSystem", None, depends_on=["webd"]),
                self.service("clusdb", "Cluster Database", run_as, secret, cluster=True),
                self.service("ClusSvc", "Cluster Service", "LocalSystem", None),
            ]
        return machine

    def offsite(self, machine: Machine, secret: str, domain: Machine) -> None:
        """What runs there as an account of the domain."""
        account = domain.sam.find("svc-backup")
        assert account is not None
        machine.rights[domain.sid_of(account)] = [BATCH, SERVICE]
        run_as = f"{DOMAIN}\\{account.name}"
        machine.tasks.append(self.task("\\Backup\\Offsite copy", run_as, secret, "04:00"))
        machine.services.append(self.service("offsited", "Offsite Copy", run_as, secret))

    def controller(self, secrets: dict[str, str]) -> Machine:
        accounts = [
            self.account("Administrator", ADMINISTRATOR, secrets["dc"], groups=["@-512"], admin_count=True),
            self.account("Guest", GUEST, "", disabled=True, cannot_change=True),
            self.account("krbtgt", 502, password(self.seed, "krbtgt", 40), disabled=True, admin_count=True),
            self.account("svc-backup", 1104, secrets["corp-backup"]),
            self.account("lab-adm", 1105, secrets["lab-adm"], admin_count=True),
            self.account("svc-web", 1106, secrets["corp-web"], spns=["HTTP/web.corp.test"]),
        ]
        return Machine(
            name=CONTROLLER,
            domain=DOMAIN,
            domain_role=5,
            sam=self.sam(DOMAIN, accounts, Policy(threshold=5, window_s=1800, duration_s=1800)),
            groups={ADMINISTRATORS: ["@-500", "@-512", "@-1105"], USERS: ["S-1-5-11"]},  # lab-adm gets in here, too
            rights=default_rights(),
        )

    def task(self, path: str, run_as: str, secret: str, at: str) -> Task:
        return Task(
            path=path,
            run_as=run_as,
            stored=secret,
            last_run=self.now - DAY / 2,
            last_result=0,
            starts=1,
            definition={
                "principal": {"user_id": run_as, "logon_type": calls.TASK_LOGON_PASSWORD, "run_level": 1},
                "settings": {"enabled": True, "start_when_available": True},
                "triggers": [{"type": "daily", "at": at}],
                "actions": [{"path": "C:\\Windows\\System32\\cmd.exe", "arguments": "/c exit 0"}],
            },
        )

    def service(self, name: str, display: str, start_name: str, secret: str | None, **more: Any) -> Service:
        self.pid += 4
        return Service(
            name=name,
            display=display,
            start_name=start_name,
            stored=secret,
            state=calls.SERVICE_RUNNING,
            exit_code=0,
            pid=self.pid,
            started=self.now - 7 * DAY,
            starts=1,
            ticket_set=None if secret is None else self.now - AGED,
            **more,
        )
