"""The Python mind's operations on tasks and services, which store a copy of an account's password."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

from pwserver.lab import calls
from pwserver.lab.model.machines import (
    ADMINISTRATORS,
    AUTHENTICATED,
    BATCH,
    EVERYONE,
    LOCAL_ACCOUNT,
    LOCAL_ADMINISTRATOR,
    SERVICE,
    SID_OF_TYPE,
)

if TYPE_CHECKING:
    from pwserver.lab.python_mind import Mind

LOGON_FAILURES = (1069, 1326, 1330, 1331, 1385, 1909)
PLAIN_RESOURCES = {
    "Physical Disk", "Storage Pool", "IP Address", "IPv6 Address", "IPv6 Tunnel Address", "Disjoint IPv4 Address",
    "Disjoint IPv6 Address", "Network Name", "Distributed Network Name", "File Share Witness", "Cloud Witness",
    "Health Agent", "Health Service", "Storage Policies", "Storage QoS Policy Manager",
}  # fmt: skip
RESOURCE_SERVICES = {
    "file server": "lanmanserver", "print spooler": "spooler", "dhcp service": "dhcpserver", "wins service": "wins",
    "distributed file system": "dfs", "dfs replicated folder": "dfsr", "distributed transaction coordinator": "msdtc",
    "virtual machine": "vmms", "virtual machine configuration": "vmms", "virtual machine cluster wmi": "vmms",
    "virtual machine replication broker": "vmms", "iscsi target server": "wintarget", "task scheduler": "schedule",
    "scale out file server": "lanmanserver",
}  # fmt: skip
DEFAULT_INSTANCE = {"mssqlserver", "sqlserveragent", "mssqlfdlauncher", "sqltelemetry", "mssqlserverolapservice"}
NO_TASK = (0x80070002, 0x80070003)
FAILURE = 0x80000000
"""From here on an HRESULT is a failure."""
"""No such file, no such path: the scheduler keeps tasks as files."""
TASK_XML = "http://schemas.microsoft.com/windows/2004/02/mit/task"
SYSTEM_SIDS = ("S-1-5-18", "S-1-5-19", "S-1-5-20")


def iso(unix: float) -> str:
    """UTC, whole seconds, rounded down."""
    return datetime.fromtimestamp(unix // 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sid(mind: Mind, name: str) -> str:
    """What a name, or a SID written as such, resolves to here; "" when nothing is called so."""
    here = mind.answer["machine"]["computer_name"]
    if name.casefold() in {f"{before}localsystem".casefold() for before in ("", ".\\", f"{here}\\")}:
        return SYSTEM_SIDS[0]  # the service manager's own words, which no lookup finds
    if name.upper().startswith("S-1-"):
        return name
    machine = mind.answer["machine"]
    if name.casefold() == f"{machine['computer_name']}\\#500".casefold():
        return f"{machine['machine_sid']}-500"
    if "\\" not in name and "@" not in name and machine["domain_role"] in (1, 3):
        found = [
            mind.ask("LookupAccountNameW", name=f"{authority}\\{name}")["sid"]
            for authority in (machine["computer_name"], machine["domain"])
        ]
        if all(found):
            mind.stop("run_as_ambiguous")
    return str(mind.ask("LookupAccountNameW", name=name)["sid"] or "")


def _managed(run_as: str, sid: str) -> str:
    if sid in SYSTEM_SIDS:
        return "system"
    if sid.startswith("S-1-5-80-"):
        return "virtual"
    return "gmsa" if run_as.endswith("$") else ""


def _has_right(mind: Mind, sid: str, right: str) -> bool | None:
    """Whether a logon of the account would hold the right; None: not the whole of its token could be looked at."""
    token = mind.ask("AuthzInitializeContextFromSid", flags=0, sid=sid)
    groups = token["groups"] or []
    sids = [sid, EVERYONE, AUTHENTICATED, SID_OF_TYPE[4 if right == BATCH else 5], *groups]
    machine = mind.answer["machine"]
    if machine["domain_role"] < 4 and sid.startswith(f"{machine['machine_sid']}-"):
        sids += [LOCAL_ACCOUNT, *([LOCAL_ADMINISTRATOR] if ADMINISTRATORS in groups else [])]
    held = False
    for one in sids:
        rights = mind.ask("LsaEnumerateAccountRights", sid=one)
        if rights["code"] not in (0, calls.NOT_FOUND):
            return None
        if right.replace("Se", "SeDeny", 1) in (rights["rights"] or []):
            return False
        held = held or right in (rights["rights"] or [])
    return None if token["code"] else held


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
        "start_type": None,
        "hindered": "",
        "down": [],
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
    user = _task_user(task["xml"]) or task["user_id"]
    if user.upper().startswith("S-1-"):
        named = mind.ask("LookupAccountSidW", sid=user)
        user = user if named["code"] else f"{named['domain']}\\{named['name']}"
    return _place(
        mind,
        user,
        BATCH,
        stores_password=task["logon_type"] in calls.STORES_PASSWORD,
        enabled=task["enabled"],
        state=calls.TASK_STATES[task["state"]],
        last_start=None if task["last_result"] == calls.S_HAS_NOT_RUN else _known_time(mind, task["last_run"]),
        last_result=task["last_result"],
    )


def _task_user(xml: str) -> str:
    found = ElementTree.fromstring(xml).find("./t:Principals/t:Principal/t:UserId", {"t": TASK_XML})  # noqa: S314  # ours
    return "" if found is None else (found.text or "").strip()


def _known_time(mind: Mind, unix: float | None) -> str | None:
    """A moment that was told as the time on the wall: None in the hour that comes twice."""
    if unix is None:
        return None
    there = ZoneInfo(mind.ask("GetDynamicTimeZoneInformation")["name"])
    wall = datetime.fromtimestamp(unix, there).replace(tzinfo=None)
    first, second = (wall.replace(tzinfo=there, fold=fold) for fold in (0, 1))
    return None if first.utcoffset() != second.utcoffset() else iso(unix)


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
    named = mind.ask("LookupAccountSidW", sid=place["run_as_sid"])
    if named["code"]:
        mind.stop("no_account", named["code"])
    user = f"{named['domain']}\\{named['name']}"
    mind.enter_write("set")
    code = mind.ask(
        "RegisterTaskDefinition",
        path=mind.params["name"],
        flags=calls.TASK_UPDATE | calls.TASK_IGNORE_REGISTRATION_TRIGGERS | calls.TASK_DONT_ADD_PRINCIPAL_ACE,
        user=user,
        password=value,
        logon_type=task["logon_type"],
        sddl=task["sddl"],
        definition=task["definition"],
    )["hresult"]
    if code < FAILURE:  # COM does not tell one success from another, also not those of a task that cannot start
        code = 0
    mind.answer["write_code"] = code
    if code:
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
        start_type=config["start_type"],
        last_start=None if started is None else iso(started),
        last_result=status["exit_code"],
        cluster=_in_cluster(mind, name),
        dependents=mind.ask("EnumDependentServicesW", name=name)["names"],
    )
    return str(config["start_name"])


def _in_cluster(mind: Mind, name: str) -> bool:
    """Whether a cluster may own the service; a resource that cannot be understood may."""
    folded = name.casefold()
    resources = mind.ask("RegEnumKey", key=calls.CLUSTER_RESOURCES)["names"] or []
    if not resources:
        return int(mind.ask("QueryServiceStatusEx", name="ClusSvc")["state"] or 0) > calls.SERVICE_STOPPED
    return any(_may_own(mind, f"{calls.CLUSTER_RESOURCES}\\{resource}", folded) for resource in resources)


def _may_own(mind: Mind, key: str, name: str) -> bool:
    def text(key: str, value: str) -> str:
        return str(mind.ask("RegGetValue", key=key, value=value)["value"] or "").casefold()

    kind = text(key, "Type")
    service, instance = text(f"{key}\\Parameters", "ServiceName"), text(f"{key}\\Parameters", "InstanceName")
    if name in (service, RESOURCE_SERVICES.get(kind)) or (instance and name.endswith(f"${instance}")):
        return True
    if instance == "mssqlserver" and name in DEFAULT_INSTANCE:
        return True
    plain = {each.casefold() for each in PLAIN_RESOURCES}
    return not (service or instance or kind in plain or kind in RESOURCE_SERVICES)


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


def _hindrance(mind: Mind, name: str, above: tuple[str, ...] = ()) -> int:
    """The code with which a stopped service would not start again; ``hindered`` of the place names it."""
    place = mind.answer["place"]
    place["hindered"] = name
    config = mind.ask("QueryServiceConfigW", name=name)
    if config["code"]:
        return int(config["code"])
    if config["start_type"] == 4:
        return calls.START_DISABLED
    for need in config["depends_on"]:
        if need.startswith("+") or need in above:
            continue
        status = mind.ask("QueryServiceStatusEx", name=need)
        if status["code"] == calls.NO_SUCH_SERVICE:
            place["hindered"] = need
            return calls.DEPENDENCY_MISSING
        if status["state"] == calls.SERVICE_STOPPED and _hindrance(mind, need, (*above, name)):
            return calls.DEPENDENCY_FAILED
    place["hindered"] = ""
    return 0


def restart_service(mind: Mind) -> None:
    """Stops dependents and service, then starts what it stopped, whatever the clock says by then."""
    _check_service(mind)
    place, name = mind.answer["place"], mind.params["name"]
    if place["cluster"]:
        mind.stop("cluster_resource")
    if place["state"] != "running":
        mind.stop("not_running")
    others = place["dependents"]
    if others and not mind.params["dependents"]:
        mind.stop("dependents_running", calls.DEPENDENTS_RUNNING)
    if any(_in_cluster(mind, one) for one in others):
        mind.stop("cluster_resource")
    for one in (name, *others):
        code = _hindrance(mind, one)
        if code:
            reasons = {1058: "start_disabled", 1068: "dependency_missing", 1075: "dependency_missing"}
            mind.stop(reasons.get(code, ""), code)
    mind.enter_write("restart")
    _restart(mind, Restart(mind), [*others, name])


def _restart(mind: Mind, restart: Restart, names: list[str]) -> None:
    main, fails = names[-1], 0
    for one in names:
        fails = restart.stop(one)
        if fails:
            break
    ready = [one for one in restart.stopped if one == main or restart.state(one) != calls.SERVICE_STOPPING]
    slow = [one for one in restart.stopped if one not in ready]
    first = 0
    for one in (*ready, *slow):
        code = restart.start(one)
        first = first or code
        if one == main and code in LOGON_FAILURES:
            break  # each dependent would try that logon again
    down = [one for one in restart.stopped if restart.state(one) != calls.SERVICE_RUNNING]
    stopping = restart.state(main) == calls.SERVICE_STOPPING
    _read_service(mind)
    mind.answer["place"]["down"], mind.answer["stage"] = down, "write"
    if not down:
        mind.answer["write_code"] = 0 if main in restart.started else fails
        if fails and main not in restart.started:
            mind.stop("", fails)
        mind.answer["stage"] = "done"
        return
    first = first or calls.NO_ANSWER_IN_TIME
    mind.answer["write_code"], mind.answer["stage"] = first, "verify"
    if main not in down:
        mind.stop("dependents_down", first)
    mind.stop("still_stopping" if stopping else "did_not_start", first)


class Restart:
    """One restart under way: what it stopped, last first, and what it started, within its two limits."""

    def __init__(self, mind: Mind) -> None:
        self.mind = mind
        self.stopped: list[str] = []
        self.started: list[str] = []
        self.stop_until = self.uptime() + 1000 * int(mind.params["stop_s"])
        self.start_until = self.uptime() + 1000 * int(mind.params["answer_s"])

    def uptime(self) -> int:
        return int(self.mind.ask("GetTickCount64")["milliseconds"])

    def state(self, name: str) -> int:
        return int(self.mind.ask("QueryServiceStatusEx", name=name)["state"] or 0)

    def wait(self, status: dict[str, Any]) -> None:
        self.mind.ask("Sleep", milliseconds=max(1000, min(10_000, status["wait_hint"] // 10)))

    def stop(self, name: str) -> int:
        """0 once it is stopped. It counts as stopped by us from the moment the stop was accepted, or may have been."""
        code = int(self.mind.ask("ControlService", name=name, control=calls.SERVICE_CONTROL_STOP)["code"])
        if code not in (0, calls.NOT_STARTED, calls.NO_ANSWER_IN_TIME):
            return code
        self.stopped.insert(0, name)
        answered = self.uptime() + 60_000
        while True:
            status = self.mind.ask("QueryServiceStatusEx", name=name)
            if status["code"] or status["state"] == calls.SERVICE_STOPPED:
                return int(status["code"])
            deaf = code == calls.NO_ANSWER_IN_TIME and status["state"] == calls.SERVICE_RUNNING
            if self.uptime() >= (min(answered, self.stop_until) if deaf else self.stop_until):
                return calls.NO_ANSWER_IN_TIME
            self.wait(status)

    def start(self, name: str) -> int:
        """0 when it runs. One that still stops is waited for; one that is stopped is started once at least."""
        started, late = False, calls.NO_ANSWER_IN_TIME
        while True:
            status = self.mind.ask("QueryServiceStatusEx", name=name)
            if status["code"] or status["state"] == calls.SERVICE_RUNNING:
                return int(status["code"])
            if status["state"] == calls.SERVICE_STOPPED:
                if started:
                    return int(status["exit_code"]) or calls.NO_ANSWER_IN_TIME
                self.started.append(name)
                code = int(self.mind.ask("StartServiceW", name=name)["code"])
                if code not in (0, calls.NO_ANSWER_IN_TIME, calls.DATABASE_LOCKED, calls.ALREADY_RUNS):
                    return code
                if not code:
                    started = True
                    continue
                if code == calls.DATABASE_LOCKED:
                    late = code
            if self.uptime() >= self.start_until:
                return late
            self.wait(status)
