"""The Python mind's operations on tasks and services, which store a copy of an account's password."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pwserver.lab import calls
from pwserver.lab.model.machines import AUTHENTICATED, BATCH, EVERYONE, SERVICE

if TYPE_CHECKING:
    from pwserver.lab.python_mind import Mind

ALREADY_RUNS = 1056
NO_TASK = (0x80070002, 0x80070003)
"""No such file, no such path: the scheduler keeps tasks as files."""
SYSTEM_SIDS = ("S-1-5-18", "S-1-5-19", "S-1-5-20")


def iso(unix: float) -> str:
    """UTC, whole seconds, rounded down."""
    return datetime.fromtimestamp(unix // 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sid(mind: Mind, name: str) -> str:
    """What a name, or a SID written as such, resolves to here; "" when nothing is called so."""
    if name.upper().startswith("S-1-"):
        return name
    return str(mind.ask("LookupAccountNameW", name=name)["sid"] or "")


def _managed(run_as: str, sid: str) -> str:
    if sid in SYSTEM_SIDS:
        return "system"
    if sid.startswith("S-1-5-80-"):
        return "virtual"
    return "gmsa" if run_as.endswith("$") else ""


def _has_right(mind: Mind, sid: str, right: str) -> bool | None:
    """Whether the account or a group it is in holds the right and none of them is denied it; None: not readable."""
    named = mind.ask("LookupAccountSidW", sid=sid)
    if named["code"]:
        return None
    groups = mind.ask("NetUserGetLocalGroups", user=f"{named['domain']}\\{named['name']}")
    held: set[str] = set()
    for one in (sid, EVERYONE, AUTHENTICATED, *(groups["groups"] or [])):
        rights = mind.ask("LsaEnumerateAccountRights", sid=one)
        if rights["code"] not in (0, calls.NOT_FOUND):
            return None
        held |= set(rights["rights"] or [])
    if right.replace("Se", "SeDeny", 1) in held:
        return False
    return None if right not in held and groups["code"] else right in held


def _place(mind: Mind, run_as: str, right: str, **facts: Any) -> dict[str, Any]:
    """The place's facts, and who it runs as beside whom the link says."""
    sid = _sid(mind, run_as) if run_as else ""
    managed = _managed(run_as, sid)
    place: dict[str, Any] = {
        "name": mind.params["name"],
        "run_as": run_as,
        "run_as_sid": sid,
        "account_sid": _sid(mind, mind.params["account"]),
        "stores_password": True,
        "right": None if managed or not sid else _has_right(mind, sid, right),
        "enabled": True,
        "state": "",
        "last_start": None,
        "last_result": None,
        "managed": managed,
        "cluster": False,
        "dependents": [],
        "suggestion": "",
    }
    place |= facts
    place["stores_password"] = place["stores_password"] and not managed
    mind.answer["place"] = place
    return place


def _check_identity(mind: Mind, place: dict[str, Any], no_right: str) -> None:
    """It runs as the link's account, and that account may run it. Identities are compared as SIDs."""
    told = mind.params["account_sid"]
    if not place["account_sid"]:
        mind.stop("no_account", calls.NO_SUCH_NAME)
    if place["run_as_sid"] != place["account_sid"] or told not in ("", place["account_sid"]):
        mind.stop("run_as_differs")
    if place["right"] is False:
        mind.stop(no_right)


def _stop_managed(mind: Mind) -> None:
    if mind.answer["place"]["managed"]:
        mind.stop("managed")


# tasks


def _read_task(mind: Mind) -> dict[str, Any]:
    mind.answer["stage"] = "facts"
    task = mind.ask("GetTask", path=mind.params["name"])
    if task["hresult"]:
        mind.stop("no_task" if task["hresult"] in NO_TASK else "", task["hresult"])
    _task_facts(mind, task)
    return task


def _task_facts(mind: Mind, task: dict[str, Any]) -> dict[str, Any]:
    return _place(
        mind,
        task["user_id"],
        BATCH,
        stores_password=task["logon_type"] in calls.STORES_PASSWORD,
        enabled=task["enabled"],
        state=calls.TASK_STATES[task["state"]],
        last_start=None if task["last_run"] is None else iso(task["last_run"]),
        last_result=task["last_result"],
    )


def read_task(mind: Mind) -> None:
    _read_task(mind)
    mind.answer["stage"] = "done"


def set_task(mind: Mind) -> None:
    """Registers the same definition with the value, then reads it back."""
    task = _read_task(mind)
    place, value = mind.answer["place"], mind.secrets["value"]
    _stop_managed(mind)
    if not place["stores_password"]:
        mind.stop("stores_no_password")
    _check_identity(mind, place, "no_batch_right")
    if not value:
        mind.stop("blank")
    user = task["user_id"]
    if user.upper().startswith("S-1-"):
        named = mind.ask("LookupAccountSidW", sid=user)
        user = f"{named['domain']}\\{named['name']}"
    mind.enter_write("set")
    code = mind.ask(
        "RegisterTaskDefinition",
        path=mind.params["name"],
        flags=calls.TASK_UPDATE | calls.TASK_IGNORE_REGISTRATION_TRIGGERS,
        user=user,
        password=value,
        logon_type=task["logon_type"],
        sddl=task["sddl"],
        definition=task["definition"],
    )["hresult"]
    mind.answer["write_code"] = code
    if code:  # also the two success codes with which a task is stored and never starts
        mind.stop("", code)
    _read_task(mind)
    mind.answer["stage"] = "verify"
    if mind.answer["place"]["run_as_sid"] != place["run_as_sid"] or not mind.answer["place"]["stores_password"]:
        mind.stop("run_as_differs")
    mind.answer["stage"] = "done"


# services


def _read_service(mind: Mind) -> str:
    """Reads the service into the answer; its start name."""
    mind.answer["stage"] = "facts"
    name = mind.params["name"]
    config = mind.ask("QueryServiceConfigW", name=name)
    if config["code"] == calls.NO_SUCH_SERVICE:
        suggestion = mind.ask("GetServiceKeyNameW", display=name)["name"] or ""
        _place(mind, "", SERVICE, stores_password=False, suggestion=suggestion)
        mind.stop("no_service", config["code"])
    if config["code"]:
        mind.stop("", config["code"])
    status = mind.ask("QueryServiceStatusEx", name=name)
    started = mind.ask("GetProcessTimes", pid=status["pid"])["unix"] if status["pid"] else None
    _place(
        mind,
        config["start_name"],
        SERVICE,
        state=calls.SERVICE_STATES[status["state"]],
        last_start=None if started is None else iso(started),
        last_result=status["exit_code"],
        cluster=_in_cluster(mind, name),
        dependents=mind.ask("EnumDependentServicesW", name=name)["names"],
    )
    return str(config["start_name"])


def _in_cluster(mind: Mind, name: str) -> bool:
    for resource in mind.ask("RegEnumKey", key=calls.CLUSTER_RESOURCES)["names"] or []:
        key = f"{calls.CLUSTER_RESOURCES}\\{resource}\\Parameters"
        owned = mind.ask("RegGetValue", key=key, value="ServiceName")["value"]
        if owned is not None and owned.casefold() == name.casefold():
            return True
    return False


def read_service(mind: Mind) -> None:
    _read_service(mind)
    mind.answer["stage"] = "done"


def _check_service(mind: Mind) -> str:
    start_name = _read_service(mind)
    _stop_managed(mind)
    _check_identity(mind, mind.answer["place"], "no_service_right")
    return start_name


def set_service(mind: Mind) -> None:
    """Stores the value under the very name it runs as; the service goes on running with the old one."""
    start_name, value = _check_service(mind), mind.secrets["value"]
    if not value:
        mind.stop("blank")
    before = mind.answer["place"]["run_as_sid"]
    mind.enter_write("set")
    code = mind.ask("ChangeServiceConfigW", name=mind.params["name"], start_name=start_name, password=value)["code"]
    mind.answer["write_code"] = code
    if code:
        mind.stop("", code)
    _read_service(mind)
    mind.answer["stage"] = "verify"
    if mind.answer["place"]["run_as_sid"] != before:
        mind.stop("run_as_differs")
    mind.answer["stage"] = "done"


def restart_service(mind: Mind) -> None:
    """Stops dependents and service, then starts what it stopped, whatever the clock says by then."""
    _check_service(mind)
    place, name = mind.answer["place"], mind.params["name"]
    if place["cluster"]:
        mind.stop("cluster_resource")
    if place["state"] != "running":
        mind.stop("not_running")
    if place["dependents"] and not mind.params["dependents"]:
        mind.stop("dependents_running", calls.DEPENDENTS_RUNNING)
    mind.enter_write("restart")
    stopped: list[str] = []
    reason, fails = "", 0
    for one in [*place["dependents"], name]:
        if not mind.in_time():  # no way back but to start again what was stopped
            reason = "ttl"
            break
        fails = int(mind.ask("ControlService", name=one, control=calls.SERVICE_CONTROL_STOP)["code"])
        if fails:
            break
        stopped.insert(0, one)
    failed = _start(mind, stopped, name)
    fails = fails or failed
    _read_service(mind)
    mind.answer["stage"], mind.answer["write_code"] = "write", fails
    if failed:
        mind.answer["stage"] = "verify"
        mind.stop("did_not_start", fails)
    if reason or fails:
        mind.stop(reason, fails)
    mind.answer["stage"] = "done"


def _start(mind: Mind, stopped: list[str], main: str) -> int:
    """Starts what was stopped, last stopped first: the first code that is not 0.

    When the main service's logon was refused nothing more is started: each dependent would try that logon again.
    """
    first = 0
    for one in stopped:
        code = int(mind.ask("StartServiceW", name=one)["code"])
        code = 0 if code == ALREADY_RUNS else code
        first = first or code
        if one == main and code == calls.SERVICE_LOGON_FAILED:
            break
    return first
