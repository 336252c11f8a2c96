"""Calls about the machine itself: its name, role, clock and registry, and what our own token may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pwserver.lab import calls
from pwserver.lab.model.machines import Machine, Resource

if TYPE_CHECKING:
    from pwserver.lab.model.network import Caller, Network

Result = dict[str, Any]
Key = dict[str, Any]
STALE_LIB = "C:\\Old\\Lib"


def get_computer_name(net: Network, machine: Machine, caller: Caller) -> Result:
    return {"name": machine.computer_name}


def get_computer_name_ex(net: Network, machine: Machine, caller: Caller, kind: int) -> Result:
    return {"name": net.suffix_of(machine) if kind == calls.COMPUTER_NAME_PHYSICAL_DNS_DOMAIN else ""}


def ds_role(net: Network, machine: Machine, caller: Caller) -> Result:
    named = (dns for dns, short in net.state.domains.items() if short == machine.domain)
    is_joined = machine.domain_role not in (0, 2)
    return {"role": machine.domain_role, "domain": machine.domain, "dns": next(named, "") if is_joined else ""}


def powershell_host(net: Network, machine: Machine, caller: Caller) -> Result:
    mode = "ConstrainedLanguage" if machine.fault.constrained else "FullLanguage"
    lib = STALE_LIB if machine.fault.stale_lib else ""
    return {"ps_version": machine.ps_version, "language_mode": mode, "lib": lib}


def compile_type(net: Network, machine: Machine, caller: Caller, lib: str, ignore_warnings: bool) -> Result:
    if machine.fault.no_compiler:
        text = "(0) : Could not write to output file 'c:\\Windows\\Temp\\k3.dll' -- 'Access is denied.'"
        return {"code": 1, "text": text}
    if lib and not ignore_warnings:
        text = f"(0) : Warning as Error: Invalid search path '{lib}' specified in 'LIB environment variable'"
        return {"code": 1, "text": text}
    return {"text": ""}


def check_token_membership(net: Network, machine: Machine, caller: Caller) -> Result:
    return {"admin": caller.admin}


def get_system_time(net: Network, machine: Machine, caller: Caller) -> Result:
    return {"unix": net.now()}


def time_zone(net: Network, machine: Machine, caller: Caller) -> Result:
    return {"name": machine.time_zone}


def get_tick_count(net: Network, machine: Machine, caller: Caller) -> Result:
    return {"milliseconds": int(net.now() * 1000)}


def sleep(net: Network, machine: Machine, caller: Caller, milliseconds: int) -> Result:
    return {}  # the wait itself is the network's, which nobody else may wait for


def registry(machine: Machine) -> dict[str, Key]:
    """The keys the model holds, with their values."""
    keys: dict[str, Key] = {calls.PROFILE_LIST: {}}
    for sid in machine.profiles:
        keys[f"{calls.PROFILE_LIST}\\{machine.real(sid)}"] = {"ProfileImagePath": "C:\\Users\\profile"}
    if machine.laps is not None:
        keys |= {root: dict(settings) for root, settings in machine.laps.roots.items()}
    return keys | _cluster(machine)


def _cluster(machine: Machine) -> dict[str, Key]:
    """The cluster's hive, which is there while the cluster service runs. Each resource is a key of its own with its
    type, and its private properties below: a generic service's are other ones than those of SQL Server."""
    manager = machine.service("ClusSvc")
    if manager is None or manager.state != calls.SERVICE_RUNNING or machine.cluster_unreadable:
        return {}
    keys: dict[str, Key] = {calls.CLUSTER_RESOURCES: {}}
    generic = [
        Resource(type="Generic Service", parameters={"ServiceName": service.name})
        for service in machine.services
        if service.cluster
    ]
    for number, resource in enumerate([*generic, *machine.resources]):
        key = f"{calls.CLUSTER_RESOURCES}\\{number:08x}-0000-4000-8000-000000000000"
        keys[key] = {"Type": resource.type, "Name": f"{resource.type} {number}"}
        keys[f"{key}\\Parameters"] = dict(resource.parameters)
    return keys


def _find(machine: Machine, key: str) -> tuple[str, Key] | None:
    wanted = key.rstrip("\\").casefold()
    return next(((name, values) for name, values in registry(machine).items() if name.casefold() == wanted), None)


def reg_open_key(net: Network, machine: Machine, caller: Caller, key: str) -> Result:
    return {"code": 0 if _find(machine, key) else calls.NOT_FOUND}


def reg_enum_key(net: Network, machine: Machine, caller: Caller, key: str) -> Result:
    found = _find(machine, key)
    if found is None:
        return {"code": calls.NOT_FOUND, "names": []}
    inside = [name[len(found[0]) + 1 :] for name in registry(machine) if name.startswith(found[0] + "\\")]
    return {"names": sorted({name.partition("\\")[0] for name in inside})}


def reg_query_info(net: Network, machine: Machine, caller: Caller, key: str) -> Result:
    found = _find(machine, key)
    return {"code": calls.NOT_FOUND, "values": 0} if found is None else {"values": len(found[1])}


def reg_get_value(net: Network, machine: Machine, caller: Caller, key: str, value: str) -> Result:
    found = _find(machine, key)
    if found is None:
        return {"code": calls.NOT_FOUND}
    values = {name.casefold(): content for name, content in found[1].items()}
    if value.casefold() not in values:
        return {"code": calls.NOT_FOUND}
    return {"value": values[value.casefold()]}


HANDLERS: dict[str, Callable[..., Result]] = {
    "GetComputerNameW": get_computer_name,
    "GetComputerNameExW": get_computer_name_ex,
    "DsRoleGetPrimaryDomainInformation": ds_role,
    "PowerShellHost": powershell_host,
    "CompileType": compile_type,
    "CheckTokenMembership": check_token_membership,
    "GetSystemTimeAsFileTime": get_system_time,
    "GetDynamicTimeZoneInformation": time_zone,
    "GetTickCount64": get_tick_count,
    "Sleep": sleep,
    "RegOpenKeyEx": reg_open_key,
    "RegEnumKey": reg_enum_key,
    "RegQueryInfoKey": reg_query_info,
    "RegGetValue": reg_get_value,
}
