"""The truth of the lab on disk, and what may be asked of it and done to it from outside.

The file holds passwords in clear: it is a simulation's state, readable by its owner only, and never holds a secret of a
real network. The functions below are the verbs of ``flask lab``; they tell the truth of the lab, never what the product
believes, and none of them counts as a logon.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pwserver.core.errors import Invalid, NotFound, PwserverError
from pwserver.lab import calls, defaults
from pwserver.lab.model import logons, services, tasks
from pwserver.lab.model.accounts import Account
from pwserver.lab.model.devices import DeviceAccount, DeviceState
from pwserver.lab.model.machines import Machine
from pwserver.lab.model.network import Network, NetworkState, utc_now

FILE = "truth.json"
DEFAULT_SEED = "practice lab"


class DamagedTruth(PwserverError):
    """The file is there and is not the truth of a lab."""


def open_network(folder: Path, *, seed: str = DEFAULT_SEED, clock: Callable[[], datetime] = utc_now) -> Network:
    """The network kept in ``folder``, or a new default one. Raises :class:`DamagedTruth` rather than forget one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE
    state = load(path) if path.exists() else None
    net = Network(
        state or defaults.network(seed, clock().timestamp()),
        clock=clock,
        save=lambda state: save(path, state),
        fresh=lambda now: defaults.network(state.seed if state else seed, now),
    )
    net.flush()
    return net


def load(path: Path) -> NetworkState:
    try:
        return NetworkState.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DamagedTruth(
            f"{path} is not the state of a practice lab ({error.error_count()} differences). "
            "Move it away and start again; the lab then begins anew."
        ) from None


def save(path: Path, state: NetworkState) -> None:
    """Replaces the file in one step: after a crash it is the old one or the new one, whole."""
    beside = path.with_name(f".{path.name}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(state.model_dump_json().encode())
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# asking


def state(net: Network) -> dict[str, Any]:
    """Every machine as it truly is, without any password: faults, accounts, tasks, services, counts."""
    with net.changing(mark=False):
        machines = [_machine(net, machine) for machine in net.state.machines.values()]
        return {"machines": machines, "devices": [_device(net, device) for device in net.state.devices.values()]}


def _machine(net: Network, machine: Machine) -> dict[str, Any]:
    policy, now = machine.sam.policy, net.now()
    services.bring_up_to_date(net, machine)
    return {
        "name": machine.name,
        "role": "domain controller" if machine.is_dc else "agent" if machine.name == defaults.AGENT else "",
        "domain": machine.domain,
        "fault": machine.fault.words(),
        "on": not machine.fault.off,
        "requests": machine.requests,
        "accounts": [
            {
                "name": account.name,
                "rid": account.rid,
                "last_set": _iso(account.last_set),
                "disabled": account.disabled,
                "locked": account.is_locked(policy, now),
                "bad_count": account.bad_count,
                "threshold": policy.threshold,
                "wrong_logons": _wrong_logons(net, machine, account.name),
                "initial": net.state.initial.get(f"{machine.sam.name}\\{account.name}") == account.password,
            }
            for account in machine.sam.accounts
            if account.rid not in (501, 502)
        ],
        "tasks": [
            {
                "path": task.path,
                "run_as": task.run_as,
                "stored_is_right": _is_right(net, machine, task.run_as, task.stored),
                "last_run": _iso(task.last_run),
                "last_result": task.last_result,
                "starts": task.starts,
            }
            for task in machine.tasks
        ],
        "services": [
            {
                "name": service.name,
                "display": service.display,
                "run_as": service.start_name,
                "stored_is_right": _is_right(net, machine, service.start_name, service.stored),
                "state": calls.SERVICE_STATES[service.state],
                "exit_code": service.exit_code,
                "started": _iso(service.started),
                "starts": service.starts,
            }
            for service in machine.services
        ],
    }


def _wrong_logons(net: Network, machine: Machine, name: str) -> int:
    """Of an account of the machine's own, there; of a domain's, wherever they were made."""
    label = f"{machine.sam.name}\\{name}"
    asked = net.state.machines.values() if machine.is_dc else [machine]
    return sum(each.bad_logons.get(label, 0) for each in asked)


def _device(net: Network, device: DeviceState) -> dict[str, Any]:
    return {
        "name": device.name,
        "fault": device.fault.words(),
        "on": not device.fault.off,
        "requests": device.requests,
        "accounts": [
            {
                "name": account.name,
                "last_set": _iso(account.last_set),
                "locked": account.locked_at is not None,
                "wrong_logons": device.bad_logons.get(account.name, 0),
                "initial": net.state.initial.get(f"{device.name}\\{account.name}") == account.password,
            }
            for account in device.accounts
        ],
    }


def _is_right(net: Network, machine: Machine, run_as: str, stored: str | None) -> bool | None:
    """Whether a stored copy is the account's password; None where none is stored."""
    if stored is None:
        return None
    account = _account(net, machine.name, run_as, missing_is_none=True)
    return account is not None and account.password == stored


def hash_of(net: Network) -> dict[str, Any]:
    return {"hash": net.hash()}


def badlogons(net: Network) -> dict[str, Any]:
    """Every wrong logon, by machine and account; only those that had one."""
    with net.changing(mark=False):
        holders: list[Machine | DeviceState] = [*net.state.machines.values(), *net.state.devices.values()]
        rows = [
            {"machine": holder.name, "account": account, "count": count}
            for holder in holders
            for account, count in sorted(holder.bad_logons.items())
        ]
    return {"total": sum(int(str(row["count"])) for row in rows), "accounts": rows}


def requests(net: Network, since: float | None = None) -> dict[str, Any]:
    """Requests and NTLM authentications, by machine; only machines that had one.

    ``since`` (Unix seconds): also ``log``, the requests that came after it to this process, and ``answered``, those of
    agents that were answered after it; as time and machine.
    """
    with net.changing(mark=False):
        rows: list[dict[str, Any]] = [
            {"machine": machine.name, "requests": machine.requests, "ntlm": dict(machine.ntlm)}
            for machine in net.state.machines.values()
            if machine.requests or machine.ntlm
        ]
        rows += [
            {"machine": device.name, "requests": device.requests, "ntlm": {}}
            for device in net.state.devices.values()
            if device.requests
        ]
        logs = {"log": net.arrivals, "answered": net.departures}
        after = {name: [list(row) for row in log if row[0] > since] for name, log in logs.items()} if since else {}
    ntlm = sum(sum(row["ntlm"].values()) for row in rows)
    found = {"total": sum(row["requests"] for row in rows), "ntlm": ntlm, "machines": rows}
    return found | after


def holds(net: Network, machine: str, account: str, value: str) -> dict[str, Any]:
    """Whether ``value`` is the true password of an account, or the copy stored by a task (``\\path``) or a service
    (``service:NAME``). Asks the truth; counts nothing."""
    with net.changing(mark=False):
        if machine.upper() in net.state.machines and account.startswith("\\"):
            return {"holds": _task(net, machine, account).stored == value}
        if machine.upper() in net.state.machines and account.startswith("service:"):
            return {"holds": _service(net, machine, account.removeprefix("service:")).stored == value}
        found = _account(net, machine, account)
        return {"holds": found is not None and found.password == value}


# doing


def reset(net: Network) -> dict[str, Any]:
    """Everything as it was at the beginning: passwords, counts, faults."""
    net.reset()
    return {"hash": net.hash()}


def fault(net: Network, machine: str, word: str) -> dict[str, Any]:
    """Adds a fault by its word (``none`` ends all); what is wrong with the machine now."""
    _known(net, machine)
    return {"machine": machine.upper(), "fault": net.set_fault(machine, word).words()}


def set_password(net: Network, machine: str, account: str, value: str) -> dict[str, Any]:
    """Sets a password as someone at the machine's console would: no policy, nothing counted, copies left stale."""
    if not value:
        raise Invalid("Give the password on standard input.", field="value")
    with net.changing():
        found = _account(net, machine, account)
        assert found is not None
        if isinstance(found, Account):
            found.store(value, net.now())
            found.forget_bad()
        else:
            found.password, found.last_set, found.bad_count, found.locked_at = value, net.now(), 0, None
    return {"machine": machine.upper(), "account": found.name}


def set_policy(net: Network, machine: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Edits a machine's password and lock-out policy (a domain controller's is the domain's); the whole policy now."""
    with net.changing():
        owner = _known(net, machine)
        if machine.upper() not in net.state.machines:
            raise NotFound(f"{machine.upper()} has no policy that can be edited.")
        owner.sam.policy = _edited(owner.sam.policy, settings)
        return {"machine": owner.name, "policy": owner.sam.policy.model_dump()}


EDITABLE = (
    "disabled", "must_change", "cannot_change", "never_expires", "protected", "managed", "expires", "admin_count",
)  # fmt: skip


def set_account(net: Network, machine: str, account: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Edits an account as an administrator at the console would: :data:`EDITABLE`, ``locked`` and ``profile``."""
    with net.changing():
        found, owner = _account(net, machine, account), _known(net, machine)
        if not isinstance(found, Account):
            raise NotFound(f"{machine.upper()} has no account that can be edited.")
        unknown = settings.keys() - {*EDITABLE, "locked", "profile"}
        if unknown:
            raise Invalid(f"An account of the lab has no setting {', '.join(sorted(unknown))}.", field="settings")
        edited = _edited(found, {name: value for name, value in settings.items() if name in EDITABLE})
        for name in EDITABLE:
            setattr(found, name, getattr(edited, name))
        if "locked" in settings:
            found.forget_bad()
            found.locked_at = net.now() if settings["locked"] else None
        sid = f"@-{found.rid}"
        if "profile" in settings:
            owner.profiles = [one for one in owner.profiles if one != sid] + ([sid] if settings["profile"] else [])
    return {"machine": machine.upper(), "account": found.name}


def _edited(old: Any, settings: dict[str, Any]) -> Any:
    """A copy of a part of the truth with ``settings`` in it, checked."""
    try:
        return type(old).model_validate(old.model_dump() | settings)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Invalid(f"The lab cannot set {where} so.", field="settings") from None


def start_service(net: Network, machine: str, name: str) -> dict[str, Any]:
    """Restarts or starts a service as a reboot of the machine would; Windows' code, 1069 when its copy is stale."""
    with net.changing(mark=False):
        service, owner = _service(net, machine, name), _known(net, machine)
        if service.state != calls.SERVICE_STOPPED:
            service.state, service.pid = calls.SERVICE_STOPPED, 0
            net.changed()
        code = services.start(net, owner, service)
    return {"machine": machine.upper(), "service": service.name, "code": code, "ok": code == 0}


def run_task(net: Network, machine: str, path: str) -> dict[str, Any]:
    """Runs a task now; its HRESULT, 2147943726 (0x8007052E) when its copy is stale."""
    with net.changing(mark=False):
        task = _task(net, machine, path)
        code = tasks.start(net, _known(net, machine), task)
    return {"machine": machine.upper(), "task": task.path, "code": code, "ok": code == 0}


# finding, in words


def _known(net: Network, name: str) -> Machine:
    machine = net.lookup(name)
    if machine is not None:
        return machine
    if name.upper() in net.state.devices:
        return Machine.model_construct(name=name.upper(), tasks=[], services=[])
    raise NotFound(f"The lab has no machine {name}. `flask lab state` lists them.")


def _task(net: Network, machine: str, path: str) -> Any:
    task = _known(net, machine).task(path)
    if task is None:
        raise NotFound(f"{machine.upper()} has no task {path}.")
    return task


def _service(net: Network, machine: str, name: str) -> Any:
    service = _known(net, machine).service(name)
    if service is None:
        raise NotFound(f"{machine.upper()} has no service {name}.")
    return service


def _account(
    net: Network, machine: str, account: str, *, missing_is_none: bool = False
) -> Account | DeviceAccount | None:
    """An account by ``name``, ``MACHINE\\name`` or ``DOMAIN\\name``."""
    device = net.state.devices.get(machine.upper())
    found: Account | DeviceAccount | None
    if device is not None:
        found = device.find(account.rpartition("\\")[2])
    else:
        found = logons.find(net, _known(net, machine), account).account
    if found is None and not missing_is_none:
        raise NotFound(f"{machine.upper()} has no account {account}.")
    return found


def _iso(unix: float | None) -> str | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")
