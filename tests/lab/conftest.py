"""A default network in memory, a clock that stands still until it is moved, and short ways to ask both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pwserver.connectors.contract import OPERATIONS, Answer
from pwserver.lab import defaults, python_mind
from pwserver.lab.model.machines import Machine
from pwserver.lab.model.network import SYSTEM, Network

LOGIN = "svc-psrv"
GOOD = "Kobold-17 zaehlt"
OTHER = "Anders-42 gewaehlt"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 9, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


class Lab:
    """One network with everything a test asks of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.net = Network(defaults.network("test", self.clock().timestamp()), clock=self.clock)
        self.slept: list[float] = []
        self.net.sleep = self.sleep
        self.waiting: list[tuple[float, object]] = []
        self.net.later = lambda seconds, function: self.waiting.append((seconds, function))  # type: ignore[method-assign]
        self.passwords = defaults.initial_passwords(self.net)

    def sleep(self, seconds):
        """Takes no time of ours: the network's clock moves on."""
        self.slept.append(seconds)
        self.clock.move(seconds=seconds)

    def machine(self, name="LAB-02"):
        return self.net.machine(name)

    def account(self, name="Administrator", machine="LAB-02"):
        found = self.machine(machine).sam.find(name)
        assert found is not None
        return found

    def password(self, machine="LAB-02", name="Administrator"):
        return self.account(name, machine).password

    def second_controller(self):
        """DC2: another controller of the domain, with the same accounts."""
        first = self.machine("DC1")
        self.net.state.machines["DC2"] = Machine(
            name="DC2", domain=first.domain, domain_role=4, sam=first.sam, groups=first.groups, rights=first.rights
        )
        self.net._looked_at = None
        return first.sam

    def ask(self, call, machine="LAB-02", as_user=SYSTEM, **args):
        return self.net.call(machine, as_user, call, args)

    def log_on(self, password, user="Administrator", machine="LAB-02", domain=".", kind=3):
        return self.ask("LogonUserW", machine, user=user, domain=domain, password=password, type=kind)

    def wrong(self, machine="LAB-02", account="LAB-02\\Administrator"):
        return self.machine(machine).bad_logons.get(account, 0)

    def run(self, op, machine="LAB-02", *, hop=None, expect=None, sid=None, ttl_ms=30_000, secrets=None, **params):
        """One operation by the Python mind; its answer is read as the contract reads it."""
        known = OPERATIONS[op]
        defaults_of = {"min_left": 2, "reset_allowed": False, "unlock": False, "account_sid": "", "dependents": False}
        defaults_of |= {"stop_s": 480, "answer_s": 530}
        defaults_of |= {"domain": "CORP", "domain_sid": "", "login": "CORP\\lab-adm", "own_stamp": ""}
        request = {
            "attempt": "attempt-1",
            "op": op,
            "ttl_ms": ttl_ms,
            "expect": {"computer_name": expect if expect is not None else machine, "machine_sid": sid},
            "params": {name: params.get(name, defaults_of.get(name)) for name in known.params},
            "secrets": secrets or {},
            "hop": hop,
        }
        start = "LAB-01" if hop else machine
        login = f"{start}\\{LOGIN}" if start != "DC1" else "CORP\\Administrator"
        return Answer.model_validate(python_mind.run(self.net, start, login, op, request), strict=False)

    def hop(self, machine="LAB-02", user=None, secret=None, auth="ssl"):
        user = user or f"{machine}\\{LOGIN}"
        return {"machine": machine, "user": user, "auth": auth, "secret": secret or self.passwords[user]}


@pytest.fixture
def lab():
    return Lab()
