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


PENDING = (calls.SERVICE_STARTING, calls.SERVICE_STOPPING)
WAIT_HINT_MS = 20_000


def _find(net: Network, machine: Machine, name: str) -> Service | None:
    bring_up_to_date(net, machine)
    return machine.service(name)


def bring_up_to_date(net: Network, machine: Machine) -> None:
    """Ends the starts and stops that have taken their time."""
    for each in machine.services:
        _advance(net, machine, each)


def _advance(net: Network, machine: Machine, service: Service) -> None:
    if service.state not in PENDING or service.pending_since is None:
        return
    stops = service.state == calls.SERVICE_STOPPING
    if net.now() < service.pending_since + (service.stop_s if stops else service.start_s):
        return
    service.pending_since = None
    if stops:
        service.state, service.pid, service.exit_code = calls.SERVICE_STOPPED, 0, 0
        for each in machine.services:
            if each.stops_with == service.name and each.state == calls.SERVICE_RUNNING:
                each.state, each.pid, each.exit_code = calls.SERVICE_STOPPED, 0, 0
    else:
        service.state = calls.SERVICE_RUNNING
    _event(service, STATE_EVENT)
    net.changed()


def query_config(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = _find(net, machine, name)
    if service is None:
        return NO_SERVICE
    return {
        "start_name": service.start_name,
        "display": service.display,
        "start_type": service.start_type,
        "depends_on": list(service.depends_on),
    }


def query_status(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = _find(net, machine, name)
    if service is None:
        return NO_SERVICE
    found = {"state": service.state, "pid": service.pid, "exit_code": service.exit_code}
    if service.state not in PENDING or service.pending_since is None:
        return found | {"check_point": 0, "wait_hint": 0}
    # A service that works on it counts its check point up before each hint is over.
    steps = int((net.now() - service.pending_since) * 1000 // (WAIT_HINT_MS / 2))
    return found | {"check_point": 1 + steps, "wait_hint": WAIT_HINT_MS}


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
    service = _find(net, machine, name)
    if service is None:
        return NO_SERVICE | {"names": []}
    return {"names": [one.name for one in running_dependents(machine, service)]}


def change_config(
    net: Network, machine: Machine, caller: Caller, name: str, start_name: str | None, password: str | None
) -> Result:
    """Stores what it is given and checks nothing but that the account exists, as the real manager does."""
    if not caller.admin:
        return {"code": calls.DENIED}
    service = _find(net, machine, name)
    if service is None:
        return NO_SERVICE
    if start_name is not None:
        if not is_built_in(start_name) and logons.find(net, machine, start_name).account is None:
            return {"code": 1057}
        service.start_name = start_name
    if password is not None:
        service.stored, service.stored_before = password, service.stored
    net.changed()
    return {}


def is_built_in(start_name: str) -> bool:
    """An identity without a stored password: the system's own, virtual accounts, gMSA."""
    folded = start_name.casefold()
    by_system = folded.rpartition("\\")[2] == "localsystem"  # bare, or behind a dot or the machine's name
    return by_system or folded.startswith(("nt authority\\", "nt service\\")) or folded.endswith("$")


def control(net: Network, machine: Machine, caller: Caller, name: str, control: int) -> Result:
    service = _find(net, machine, name)
    if service is None:
        return NO_SERVICE
    if not caller.admin:
        return {"code": calls.DENIED}
    if control != calls.SERVICE_CONTROL_STOP:
        return {"code": 1052}
    if service.state == calls.SERVICE_STOPPED:
        return {"code": calls.NOT_STARTED}
    if service.state in PENDING:
        return {"code": calls.CANNOT_ACCEPT_CONTROL}
    if running_dependents(machine, service):
        return {"code": calls.DEPENDENTS_RUNNING}
    service.state, service.pending_since = calls.SERVICE_STOPPING, net.now()
    _advance(net, machine, service)
    net.changed()
    return {}


def start_service(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    service = _find(net, machine, name)
    if service is None:
        return NO_SERVICE
    return {"code": start(net, machine, service) if caller.admin else calls.DENIED}


def start(net: Network, machine: Machine, service: Service) -> int:
    """Starts it, its dependencies first. A stale password or a missing right is 1069, and costs a wrong logon."""
    if service.state != calls.SERVICE_STOPPED:
        return calls.ALREADY_RUNS
    if service.start_type == 4:
        return calls.START_DISABLED
    if service.start_waits:
        code, *service.start_waits = service.start_waits
        net.changed()
        return code
    if service.start_fails:
        return _failed(net, service, service.start_fails)
    for name in service.depends_on:
        if name.startswith("+"):
            if not _start_group(net, machine, name[1:]):
                return _failed(net, service, calls.DEPENDENCY_FAILED)
            continue
        needed = _find(net, machine, name)
        if needed is None:
            return _failed(net, service, calls.DEPENDENCY_MISSING)
        if needed.state != calls.SERVICE_RUNNING and start(net, machine, needed):
            return _failed(net, service, calls.DEPENDENCY_FAILED)
    ticket_set = None
    if not is_built_in(service.start_name):
        who = logons.find(net, machine, service.start_name)
        code = _log_on(net, machine, service, who)
        if code:
            return _failed(net, service, calls.SERVICE_LOGON_FAILED, right=code == calls.NOT_GRANTED)
        ticket_set = who.account.last_set if who.account else None
    service.state, service.exit_code, service.started = calls.SERVICE_STARTING, 0, net.now()
    service.pid, service.ticket_set = net.next_pid(), ticket_set
    service.starts, service.pending_since = service.starts + 1, net.now()
    _advance(net, machine, service)
    net.changed()
    return 0


def _log_on(net: Network, machine: Machine, service: Service, who: logons.Named) -> int:
    """The manager's logon: with its first copy, and where that fails with its second one, which is the first from then
    on. A stale start may so cost two wrong logons."""
    code, _ = logons.log_on(net, machine, who, logons.with_password(service.stored or ""), 5)
    if not code:
        service.stored_before = service.stored
    elif service.stored_before is not None and service.stored_before != service.stored:
        again, _ = logons.log_on(net, machine, who, logons.with_password(service.stored_before), 5)
        if not again:
            service.stored = service.stored_before
            return 0
    return code


def _start_group(net: Network, machine: Machine, group: str) -> bool:
    """Tries to start all its members: one that runs is enough."""
    members = [each for each in machine.services if each.group.casefold() == group.casefold()]
    for each in members:
        start(net, machine, each)
    return any(each.state == calls.SERVICE_RUNNING for each in members)


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
