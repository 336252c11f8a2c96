"""The calls of Windows that the lab's model answers: names, arguments, results.

They stand at the level of Windows' own functions, so that the real scripts (through doubles of P/Invoke, COM and the
registry) and the Python mind ask the same questions. ``network.call(machine, as_user, name, args)`` answers each with a
dict that has exactly the declared results; KeyError is raised for an unknown name only, and anything else that can go
wrong is Windows' own number in ``code`` (Win32, unsigned 32 bit; 0 fine) or ``hresult`` (unsigned 32 bit; 0 fine).

``machine`` is the machine that is really asked (its key in the network, not the name it gives itself) and ``as_user``
the account our session runs as, ``MACHINE\\user`` or ``DOMAIN\\user``. Times are Unix seconds (float) by the machine's
own clock, or null. A machine that is off still answers here: to reach it is the business of the wire and of
``NewPSSession``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# user flags of NetUserGetInfo
UF_SCRIPT = 0x1
UF_DISABLED = 0x2
UF_LOCKED = 0x10
UF_CANNOT_CHANGE = 0x40
UF_NORMAL = 0x200
UF_NEVER_EXPIRES = 0x10000
UF_SMARTCARD = 0x40000

COMPUTER_NAME_PHYSICAL_DNS_DOMAIN = 6
"""A kind of GetComputerNameExW."""

FOREVER = 0xFFFFFFFF
"""TIMEQ_FOREVER: no maximum age, no forced log-off."""

# task constants
TASK_LOGON_PASSWORD = 1
TASK_LOGON_S4U = 2
TASK_LOGON_GROUP = 4
TASK_LOGON_SERVICE = 5
TASK_LOGON_TOKEN_OR_PASSWORD = 6
STORES_PASSWORD = (TASK_LOGON_PASSWORD, TASK_LOGON_TOKEN_OR_PASSWORD)
TASK_VALIDATE_ONLY, TASK_CREATE, TASK_UPDATE, TASK_DISABLE = 0x1, 0x2, 0x4, 0x8
TASK_DONT_ADD_PRINCIPAL_ACE = 0x10
TASK_IGNORE_REGISTRATION_TRIGGERS = 0x20
TASK_STATES = {1: "disabled", 2: "queued", 3: "ready", 4: "running"}

# service states of QueryServiceStatusEx
SERVICE_STOPPED, SERVICE_STARTING, SERVICE_STOPPING, SERVICE_RUNNING, SERVICE_PAUSED = 1, 2, 3, 4, 7
SERVICE_STATES = {1: "stopped", 2: "pending", 3: "pending", 4: "running", 5: "pending", 6: "pending", 7: "paused"}
SERVICE_CONTROL_STOP = 1

# codes
DENIED = 5
NOT_FOUND = 2
WRONG_OLD = 86
WRONG_LOGON = 1326
RESTRICTED = 1327
PASSWORD_EXPIRED = 1330
DISABLED = 1331
NO_LOGON_SERVERS = 1311
NO_LOGON_SESSION = 1312
NO_SUCH_DOMAIN = 1355
NOT_GRANTED = 1385
NO_SUCH_NAME = 1332
MUST_CHANGE = 1907
LOCKED = 1909
ACCOUNT_EXPIRED = 1793
NO_SUCH_USER = 2221
POLICY = 2245
NEVER_STARTED = 1077
MANAGED = 8654
NO_SUCH_SERVICE = 1060
SERVICE_LOGON_FAILED = 1069
DEPENDENTS_RUNNING = 1051
CANNOT_ACCEPT_CONTROL = 1061
NOT_STARTED = 1062
DATABASE_LOCKED = 1055
ALREADY_RUNS = 1056
START_DISABLED = 1058
DEPENDENCY_FAILED = 1068
DEPENDENCY_MISSING = 1075
NO_ANSWER_IN_TIME = 1053
E_NO_TASK = 0x80070002
E_WRONG_LOGON = 0x8007052E
E_NO_STORE = 0x80070520
E_NOT_GRANTED = 0x80070569
E_NO_SUCH_NAME = 0x80070534
E_DENIED = 0x80070005
E_INVALID = 0x80070057
S_BATCH_RIGHT_MISSING = 0x4131C
S_HAS_NOT_RUN = 0x41303
WS_UNREACHABLE = 0x80338126
WS_TIMED_OUT = 0x80338029
WS_UNKNOWN_NAME = 0x803381B9
WS_NO_SHELLS = 0x803381A5
WS_BROKEN = 995
WS_CERTIFICATE = 12175
WS_SECURITY_UNMAPPED = 0x8033809D
SEC_WRONG_PRINCIPAL = 0x80090322
CONNECT_TIMED_OUT, CONNECT_REFUSED, NO_SUCH_HOST = 10060, 10061, 11001

# results of LDAP
LDAP_CONSTRAINT, LDAP_NO_SUCH_OBJECT, LDAP_CREDENTIALS, LDAP_RIGHTS, LDAP_UNWILLING = 19, 32, 49, 50, 53
LDAP_SERVER_DOWN, LDAP_LOCAL_ERROR = 81, 82

# registry keys the model holds
PROFILE_LIST = "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList"
CLUSTER_RESOURCES = "HKLM\\Cluster\\Resources"
LAPS_CSP = "HKLM\\SOFTWARE\\Microsoft\\Policies\\LAPS"
LAPS_POLICY = "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\LAPS"
LAPS_LOCAL = "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\LAPS\\Config"
LAPS_LEGACY = "HKLM\\SOFTWARE\\Policies\\Microsoft Services\\AdmPwd"
"""The policy roots in the order in which Windows LAPS looks at them; the first with any setting is the active one."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call. ``mutates``: entering it counts as a write."""

    name: str
    does: str
    args: Mapping[str, object] = field(default_factory=dict)
    results: tuple[str, ...] = ("code",)
    mutates: bool = False


TEXT, NUMBER, OPTIONAL, ANY = "str", "int", "str or null", "any JSON"

CALLS: Mapping[str, Call] = {
    call.name: call
    for call in (
        # the machine
        Call("GetComputerNameW", "the NetBIOS name of the machine", {}, ("name",)),
        Call("GetComputerNameExW", "kind 6: the suffix of its own DNS name", {"kind": NUMBER}, ("name",)),
        Call(
            "DsRoleGetPrimaryDomainInformation",
            "role as Win32_ComputerSystem.DomainRole, NetBIOS domain, its DNS name",
            {},
            ("code", "role", "domain", "dns"),
        ),
        Call(
            "PowerShellHost",
            "version and language mode of the shell we were given, and its LIB variable",
            {},
            ("ps_version", "language_mode", "lib"),
        ),
        Call("CheckTokenMembership", "our own token: administrator, and not filtered", {}, ("admin",)),
        Call("GetSystemTimeAsFileTime", "the machine's clock", {}, ("unix",)),
        Call("GetDynamicTimeZoneInformation", "the machine's time zone, by its IANA name", {}, ("name",)),
        Call("GetTickCount64", "time since its start; setting the clock does not move it", {}, ("milliseconds",)),
        Call("Sleep", "waits so long by the same time", {"milliseconds": NUMBER}),
        Call("RegOpenKeyEx", "whether a key is there (code 0 or 2)", {"key": TEXT}),
        Call("RegEnumKey", "names of the sub-keys", {"key": TEXT}, ("code", "names")),
        Call("RegQueryInfoKey", "how many values a key has", {"key": TEXT}, ("code", "values")),
        Call("RegGetValue", "one value, a number or a text", {"key": TEXT, "value": TEXT}, ("code", "value")),
        # accounts
        Call(
            "LookupAccountNameW",
            "user, .\\user, MACHINE\\user, DOMAIN\\user, user@domain, well-known names. "
            "code 0 or 1332; use 1 user, 2 group, 3 domain, 4 local group, 5 well-known",
            {"name": TEXT},
            ("code", "sid", "domain", "use"),
        ),
        Call("LookupAccountSidW", "the name of a SID", {"sid": TEXT}, ("code", "name", "domain")),
        Call(
            "NetUserGetInfo",
            "level 4 of a local account (on a domain controller: a domain account). code 0 or 2221. "
            "password_age_s in whole seconds, null when it must change at the next logon; account_expires Unix or -1",
            {"user": TEXT},
            ("code", "name", "sid", "flags", "password_age_s", "password_expired", "bad_count", "account_expires"),
        ),
        Call(
            "NetUserModalsGet",
            "level 0: lengths and ages; 2: the SID of the account domain; 3: lock-out",
            {"level": NUMBER},
            (
                "code",
                "min_length",
                "min_age_s",
                "max_age_s",
                "history",
                "domain",
                "sid",
                "duration_s",
                "window_s",
                "threshold",
            ),
        ),
        Call(
            "NetUserSetInfo",
            "level 1003 sets `password` without the old one; 1008 sets `flags` (clears the lock, "
            "enables, disables). Needs an administrator",
            {"user": TEXT, "level": NUMBER, "password": OPTIONAL, "flags": "int or null"},
            mutates=True,
        ),
        Call(
            "NetUserChangePassword",
            "a change that proves `old`; 86 wrong old, 5 may not, 2245 policy or minimum age",
            {"user": TEXT, "old": TEXT, "new": TEXT},
            mutates=True,
        ),
        Call(
            "LogonUserW",
            "`type` 2 interactive, 3 network, 4 batch, 5 service; `sid` of the token (it may be Guest's). "
            'domain ".", a computer name or a domain',
            {"user": TEXT, "domain": TEXT, "password": TEXT, "type": NUMBER},
            ("code", "sid"),
        ),
        Call(
            "AuthzInitializeContextFromSid",
            "SIDs of the groups in an account's token, of the machine and of its domain, through other groups too, but "
            "what only a logon adds. code 5 our session may not read them, 1355 no controller answers",
            {"flags": NUMBER, "sid": TEXT},
            ("code", "groups"),
        ),
        Call(
            "LsaEnumerateAccountRights",
            "rights granted to this very SID, of a user or of a group. code 0 or 2",
            {"sid": TEXT},
            ("code", "rights"),
        ),
        # tasks
        Call(
            "GetTask",
            "a task by its full path. `definition` is kept whole by the script: a JSON object with "
            "principal, settings and triggers",
            {"path": TEXT},
            (
                "hresult", "user_id", "logon_type", "enabled", "state", "last_run", "last_result", "sddl", "definition",
                "xml",
            ),
        ),
        Call(
            "RegisterTaskDefinition",
            "checks the logon, stores it and the definition. 0x4131C: stored, but never starts",
            {
                "path": TEXT,
                "flags": NUMBER,
                "user": TEXT,
                "password": OPTIONAL,
                "logon_type": NUMBER,
                "sddl": OPTIONAL,
                "definition": ANY,
            },
            ("hresult",),
            mutates=True,
        ),
        Call("RunTask", "starts a task now", {"path": TEXT}, ("hresult",), mutates=True),
        # services
        Call(
            "QueryServiceConfigW",
            "code 0 or 1060; start_type 2 automatic, 3 manual, 4 disabled",
            {"name": TEXT},
            ("code", "start_name", "display", "start_type", "depends_on"),
        ),
        Call(
            "QueryServiceStatusEx",
            "state 1 stopped, 2 starting, 3 stopping, 4 running, 7 paused; pid 0 when it does not run; wait_hint in "
            "milliseconds",
            {"name": TEXT},
            ("code", "state", "pid", "exit_code", "check_point", "wait_hint"),
        ),
        Call("GetProcessTimes", "when a process started", {"pid": NUMBER}, ("code", "unix")),
        Call("GetServiceKeyNameW", "the name behind a display name", {"display": TEXT}, ("code", "name")),
        Call(
            "EnumDependentServicesW",
            "running services that depend on it, in the order to stop them",
            {"name": TEXT},
            ("code", "names"),
        ),
        Call(
            "ChangeServiceConfigW",
            "stores start_name and password as they are (null keeps); checks neither",
            {"name": TEXT, "start_name": OPTIONAL, "password": OPTIONAL},
            mutates=True,
        ),
        Call(
            "ControlService",
            "control 1 stops: the call ends when the stop was accepted, not when it has stopped. 1051 dependents run, "
            "1061 it starts or stops just now, 1062 not started",
            {"name": TEXT, "control": NUMBER},
            mutates=True,
        ),
        Call(
            "StartServiceW",
            "1069 its logon failed, 1056 in any state but stopped, 1058 disabled, 1068 a dependency failed, 1075 a "
            "dependency is not there; 1053 the manager was busy for 30 s, 1055 its database is locked",
            {"name": TEXT},
            mutates=True,
        ),
        Call(
            "ServiceEvents",
            "numbers of the System log's events about this service: 7038, 7041, 7000, 7036",
            {"name": TEXT},
            ("code", "events"),
        ),
        # a domain controller
        Call(
            "DsGetDcNameW",
            "the DNS name of the domain's PDC emulator. code 0 or 1355. Answered from what was found last, be it "
            "off or another's role by now, unless `flags` has 1 (DS_FORCE_REDISCOVERY)",
            {"domain": TEXT, "flags": NUMBER},
            ("code", "name"),
        ),
        Call(
            "LdapBind",
            "a Kerberos logon at a domain controller, sealed. code: LDAP's result, 49 the login was refused, 81 no "
            "answer, 82 a login that is no domain's",
            {"server": TEXT, "user": TEXT, "password": TEXT},
            ("code", "session"),
        ),
        Call(
            "LdapSearch",
            "entries as {dn, attributes: {name: [value in base64]}}. base \"\" is the root DSE. Without `dacl` no "
            "security descriptor is told",
            {"session": TEXT, "base": TEXT, "below": "bool", "filter": TEXT, "names": "list of str", "dacl": "bool"},
            ("code", "message", "entries"),
        ),
        Call(
            "LdapModify",
            "changes: [{op: add, delete or replace, name, value in base64}]. code: LDAP's result; `message` begins "
            "with Windows' own number in eight hexadecimal digits",
            {"session": TEXT, "dn": TEXT, "changes": ANY},
            ("code", "message"),
            mutates=True,
        ),
        # the compiler behind Add-Type
        Call(
            "CompileType",
            "csc.exe of .NET Framework, started by Add-Type. `lib`: the LIB variable as the compiler sees it, whose "
            "stale folder is a warning, and so an error unless warnings are ignored. `text`: the first error",
            {"lib": TEXT, "ignore_warnings": "bool"},
            ("code", "text"),
        ),
        # a second machine
        Call(
            "TcpConnect",
            "a connection to a port, waited for `wait_ms`: 0, 10060 no answer so long, 10061 refused, 11001 no address",
            {"computer": TEXT, "port": NUMBER, "wait_ms": NUMBER},
        ),
        Call(
            "NewPSSession",
            "a network logon at `computer`; auth kerberos, ssl or negotiate. Then ask that `machine` as that "
            "`as_user`. Waits `open_ms` for an answer, and tries `retries` times more. `text`: words with a number of "
            "the security package that `code` does not tell",
            {"computer": TEXT, "user": TEXT, "password": TEXT, "auth": TEXT, "open_ms": NUMBER, "retries": NUMBER},
            ("code", "session", "machine", "as_user", "text"),
        ),
        Call(
            "InvokeCommand",
            "asked before a script runs in the session. run: now, never (the line is cut: break the "
            "session, run nothing) or late (break the session; the script runs `late_s` seconds from now)",
            {"session": TEXT, "writes": "bool"},
            ("code", "run", "late_s"),
        ),
        Call(
            "InvokeEnd",
            "asked after it ran: code 0, or the line was cut before its output came back",
            {"session": TEXT, "writes": "bool"},
        ),
    )
}


def blank(name: str) -> dict[str, object]:
    """An answer of ``name`` with every result null; codes are 0."""
    return {result: 0 if result in ("code", "hresult") else None for result in CALLS[name].results}
