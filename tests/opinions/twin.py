"""The lab's side: a network with one machine that is set up as the other program is."""

from __future__ import annotations

from typing import Any

from pwserver.lab import calls
from pwserver.lab.model.accounts import Account, Authority, Policy
from pwserver.lab.model.machines import Machine
from pwserver.lab.model.network import SYSTEM, Network, NetworkState

TWIN_GROUPS = "NetUserGetLocalGroups" in calls.CALLS
"""Whether the product asks for local groups by that call; the lab has what the product asks, and no more."""


class Twin:
    """One machine of the lab and what it answers; ``calls`` are put to it as its own system unless said otherwise."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.net = Network(NetworkState(machines={machine.name: machine}))

    def ask(self, name: str, as_user: str = SYSTEM, /, **arguments: Any) -> dict[str, Any]:
        return self.net.call(self.machine.name, as_user, name, arguments)

    def code(self, name: str, /, **arguments: Any) -> int:
        return int(self.ask(name, **arguments)["code"])

    def group_names(self, user: str) -> dict[str, Any]:
        """Local groups by name, as Windows tells them; the lab keeps SIDs."""
        answer = self.ask("NetUserGetLocalGroups", user=user)
        names = [self.ask("LookupAccountSidW", sid=sid)["name"] for sid in answer["groups"] or []]
        return {"code": answer["code"], "groups": sorted(names)}


def authority(name: str, sid: str, policy: Policy, accounts: dict[str, tuple[int, str]], now: float) -> Authority:
    """Accounts by name: RID and password, set just now."""
    made = [Account(name=each, rid=rid, password=secret, last_set=now) for each, (rid, secret) in accounts.items()]
    return Authority(name=name, sid=sid, policy=policy, accounts=made)
