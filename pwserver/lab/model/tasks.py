"""The task scheduler: tasks that really fail when their stored password is stale."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from pwserver.lab import calls
from pwserver.lab.model import logons
from pwserver.lab.model.machines import BATCH, Machine, Task

if TYPE_CHECKING:
    from pwserver.lab.model.network import Caller, Network

Result = dict[str, Any]


def get_task(net: Network, machine: Machine, caller: Caller, path: str) -> Result:
    task = machine.task(path)
    if task is None:
        return {"hresult": calls.E_NO_TASK}
    definition = copy.deepcopy(task.definition)
    bare = task.run_as.rpartition("\\")[2]
    user_id = task.run_as if task.shows == "name" else bare
    sid = logons.name_to_sid(net, machine, task.run_as)[0]
    in_xml = {"name": task.run_as, "sid": sid or task.run_as, "bare": bare}[task.shows]
    definition["principal"] = definition.get("principal", {}) | {"user_id": user_id, "logon_type": task.logon_type}
    return {
        "user_id": user_id,
        "logon_type": task.logon_type,
        "enabled": task.enabled,
        "state": 4 if task.running else 3 if task.enabled else 1,
        "last_run": task.last_run,
        "last_result": task.last_result,
        "sddl": task.sddl,
        "definition": definition,
        "xml": _xml(definition, in_xml),
    }


def _xml(definition: dict[str, Any], user_id: str) -> str:
    """The task as the scheduler writes it down. Triggers may name users, too."""
    named = [each["user_id"] for each in definition.get("triggers", []) if "user_id" in each]
    users = "".join(f"<UserId>{escape(each)}</UserId>" for each in named)
    return (
        '<?xml version="1.0"?><Task version="1.4" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">'
        f"<Triggers><LogonTrigger>{users}</LogonTrigger></Triggers>"
        f'<Principals><Principal id="Author"><UserId>{escape(user_id)}</UserId></Principal></Principals></Task>'
    )


def register_task(
    net: Network,
    machine: Machine,
    caller: Caller,
    path: str,
    flags: int,
    user: str,
    password: str | None,
    logon_type: int,
    sddl: str | None,
    definition: Any,
) -> Result:
    """Checks the logon first, as the scheduler does; only then anything is stored."""
    if not caller.admin:
        return {"hresult": calls.E_DENIED}
    task = machine.task(path)
    if task is None and not flags & calls.TASK_CREATE:
        return {"hresult": calls.E_NO_TASK}
    if task is not None and not flags & calls.TASK_UPDATE:
        return {"hresult": 0x800700B7}
    if not isinstance(definition, dict) or not path.startswith("\\"):
        return {"hresult": calls.E_INVALID}
    stored: str | None = None
    answer = 0
    if logon_type in calls.STORES_PASSWORD and not _is_gmsa(user):
        answer = _check_logon(net, machine, user, password)
        if answer not in (0, calls.S_BATCH_RIGHT_MISSING):
            return {"hresult": answer}
        stored = password
    if flags & calls.TASK_VALIDATE_ONLY:
        return {"hresult": 0}
    if task is None:
        task = Task(path=path, run_as=user)
        machine.tasks.append(task)
    task.run_as, task.logon_type, task.stored = user, logon_type, stored
    task.sddl = sddl if sddl is not None else "D:(A;;FA;;;BA)"
    if not flags & calls.TASK_DONT_ADD_PRINCIPAL_ACE:
        task.sddl += f"(A;;FR;;;{logons.name_to_sid(net, machine, user)[0]})"
    task.definition = copy.deepcopy(definition)
    if flags & calls.TASK_DISABLE:
        task.definition.setdefault("settings", {})["enabled"] = False
    if task.missed_run and not flags & calls.TASK_IGNORE_REGISTRATION_TRIGGERS:
        task.missed_run = False
        start(net, machine, task)
    net.changed()
    return {"hresult": answer}


def _check_logon(net: Network, machine: Machine, user: str, password: str | None) -> int:
    if machine.forbids_storing:
        return calls.E_NO_STORE
    if not password:
        return calls.E_INVALID
    who = logons.find(net, machine, user)
    if who.account is None:
        return calls.E_NO_SUCH_NAME
    code, _ = logons.log_on(net, machine, who, logons.with_password(password), 4)
    if code == calls.NOT_GRANTED:
        return calls.S_BATCH_RIGHT_MISSING
    return code and 0x80070000 | code


def _is_gmsa(user: str) -> bool:
    return user.endswith("$")


def start(net: Network, machine: Machine, task: Task) -> int:
    """Runs it now with what it stores: 0, or the HRESULT that becomes its last result."""
    result = 0
    if task.logon_type in calls.STORES_PASSWORD and not _is_gmsa(task.run_as):
        who = logons.find(net, machine, task.run_as)
        code, _ = logons.log_on(net, machine, who, logons.with_password(task.stored or ""), 4)
        result = code and 0x80070000 | code
    elif task.logon_type == calls.TASK_LOGON_S4U:
        who = logons.find(net, machine, task.run_as)
        if not who.account or not machine.has_right(machine.held_by(who.sid, who.domain_groups), BATCH):
            result = calls.E_NOT_GRANTED
    task.last_run, task.last_result = net.now(), result
    task.starts += 0 if result else 1
    net.changed()
    return result


def run_task(net: Network, machine: Machine, caller: Caller, path: str) -> Result:
    task = machine.task(path)
    if task is None:
        return {"hresult": calls.E_NO_TASK}
    if not caller.admin:
        return {"hresult": calls.E_DENIED}
    if not task.enabled:
        return {"hresult": 0x80041326}
    return {"hresult": start(net, machine, task)}


HANDLERS: dict[str, Callable[..., Result]] = {
    "GetTask": get_task,
    "RegisterTaskDefinition": register_task,
    "RunTask": run_task,
}
