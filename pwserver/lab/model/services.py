"""The service control manager: services that really fail to start when their stored password is stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pwserver.lab import calls
from pwserver.lab.model import logons
from pwserver.lab.model.machines import Machine, Service

if TYPE_CHECKING:
    from pwserver.lab.model.network import Caller, Network

Result = dict[str, Any]
NO_SERVICE: Result = {"code": calls.NO_SUCH_SERVICE}
WRONG_PASSWORD_EVENT, NO_RIGHT_EVENT, FAILED_EVENT, STATE_EVENT = 7038, 7041, 7000, 7036


def query_config(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = machine.service(name)
    if service is None:
        return NO_SERVICE
    return {"start_name": service.start_name, "display": service.display, "start_type": service.start_type}


def query_status(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = machine.service(name)
    if service is None:
        return NO_SERVICE
    return {"state": service.state, "pid": service.pid, "exit_code": service.exit_code}


def process_times(net: Network, machine: Machine, caller: Caller, pid: int) -> Result:
    service = next((one for one in machine.services if pid and one.pid == pid), None)
    return {"code": 87} if service is None else {"unix": service.started}


def key_name(net: Network, machine: Machine, caller: Caller, display: str) -> Result:
    wanted = display.casefold()
    service = next((one for one in machine.services if one.display.casefold() == wanted), None)
    return NO_SERVICE if service is None else {"name": service.name}


def running_dependents(machine: Machine, service: Service) -> list[Service]:
    """Running services that need it, directly or through others, in the order in which they must be stopped."""
    found: list[Service] = []

    def visit(needed: Service) -> None:
        for one in machine.services:
            if one.state == calls.SERVICE_STOPPED or one in found or one is service:
                continue
            if needed.name.casefold() in {name.casefold() for name in one.depends_on}:
                visit(one)
                if one not in found:
                    found.append(one)

    visit(service)
    return found


def enum_dependents(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = machine.service(name)
    if service is None:
        return NO_SERVICE | {"names": []}
    return {"names": [one.name for one in running_dependents(machine, service)]}


def change_config(
    net: Network, machine: Machine, caller: Caller, name: str, start_name: str | None, password: str | None
) -> Result:
    """Stores what it is given and checks nothing but that the account exists, as the real manager does."""
    if not caller.admin:
        return {"code": calls.DENIED}
    service = machine.service(name)
    if service is None:
        return NO_SERVICE
    if start_name is not None:
        if not is_built_in(start_name) and logons.find(net, machine, start_name).account is None:
            return {"code": 1057}
        service.start_name = start_name
    if password is not None:
        service.stored = password
    net.changed()
    return {}


def is_built_in(start_name: str) -> bool:
    """An identity without a stored password: the system's own, virtual accounts, gMSA."""
    folded = start_name.casefold()
    return folded == "localsystem" or folded.startswith(("nt authority\\", "nt service\\")) or folded.endswith("$")


def control(net: Network, machine: Machine, caller: Caller, name: str, control: int) -> Result:
    service = machine.service(name)
    if service is None:
        return NO_SERVICE
    if not caller.admin:
        return {"code": calls.DENIED}
    if control != calls.SERVICE_CONTROL_STOP:
        return {"code": 1052}
    if service.state == calls.SERVICE_STOPPED:
        return {"code": 1062}
    if running_dependents(machine, service):
        return {"code": calls.DEPENDENTS_RUNNING}
    service.state, service.pid, service.exit_code = calls.SERVICE_STOPPED, 0, 0
    _event(service, STATE_EVENT)
    net.changed()
    return {}


def start_service(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = machine.service(name)
    if service is None:
        return NO_SERVICE
    return {"code": start(net, machine, service) if caller.admin else calls.DENIED}


def start(net: Network, machine: Machine, service: Service) -> int:
    """Starts it, its dependencies first. A stale password or a missing right is 1069, and costs a wrong logon."""
    if service.state == calls.SERVICE_RUNNING:
        return 1056
    if service.start_type == 4:
        return 1058
    for name in service.depends_on:
        needed = machine.service(name)
        if needed is None or (needed.state != calls.SERVICE_RUNNING and start(net, machine, needed)):
            return _failed(net, service, 1068)
    ticket_set = None
    if not is_built_in(service.start_name):
        who = logons.find(net, machine, service.start_name)
        code, _ = logons.log_on(net, machine, who, logons.with_password(service.stored or ""), 5)
        if code:
            return _failed(net, service, calls.SERVICE_LOGON_FAILED, right=code == calls.NOT_GRANTED)
        ticket_set = who.account.last_set if who.account else None
    service.state, service.exit_code, service.started = calls.SERVICE_RUNNING, 0, net.now()
    service.pid, service.ticket_set = net.next_pid(), ticket_set
    service.starts += 1
    _event(service, STATE_EVENT)
    net.changed()
    return 0


def _failed(net: Network, service: Service, code: int, *, right: bool = False) -> int:
    service.exit_code = code
    if code == calls.SERVICE_LOGON_FAILED:
        _event(service, NO_RIGHT_EVENT if right else WRONG_PASSWORD_EVENT)
    _event(service, FAILED_EVENT)
    net.changed()
    return code


def _event(service: Service, number: int) -> None:
    service.events = [*service.events, number][-20:]


def events(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = machine.service(name)
    return NO_SERVICE | {"events": []} if service is None else {"events": list(service.events)}


def spn_answers(net: Network, machine: Machine, service: Service) -> bool:
    """Whether a new Kerberos client can use the service: it runs, and still has its account's present key."""
    who = logons.find(net, machine, service.start_name)
    if service.state != calls.SERVICE_RUNNING or not who.account or service.spn not in who.account.spns:
        return False
    return service.ticket_set == who.account.last_set


HANDLERS: dict[str, Callable[..., Result]] = {
    "QueryServiceConfigW": query_config,
    "QueryServiceStatusEx": query_status,
    "GetProcessTimes": process_times,
    "GetServiceKeyNameW": key_name,
    "EnumDependentServicesW": enum_dependents,
    "ChangeServiceConfigW": change_config,
    "ControlService": control,
    "StartServiceW": start_service,
    "ServiceEvents": events,
}
