"""What the shipped helpers get from Windows' own interfaces as Wine has them: services, names and SIDs, the registry.

Logons, account data, policies and rights are not in it: Wine has no answer of its own to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pwserver.lab import calls
from pwserver.lab.model.accounts import Policy
from pwserver.lab.model.machines import ADMINISTRATORS, SERVICE, Laps, Machine, Service
from tests.opinions.facts import Fact, pick
from tests.opinions.twin import TWIN_GROUPS, Twin, authority
from tests.opinions.wine import (
    DISABLED,
    DISPLAY,
    LONG,
    MAIN,
    NEEDY,
    ORPHAN,
    TEST_KEY,
    UNKNOWN_SERVICE,
    Wine,
    computer_name,
)

MACHINE_SID, RID = "S-1-5-21-0-0-0", 1000
"""As Wine has them."""
HOLDER, SECRET = ".\\svc-backup", "Dienst-53 laeuft"
PROFILES = calls.PROFILE_LIST.removeprefix("HKLM\\")
LAPS = calls.LAPS_POLICY.removeprefix("HKLM\\")
SOON_S = 60.0
NEVER_STARTED, NOT_STARTED, RUNS_ALREADY, IS_DISABLED, NEEDED_IS_MISSING = 1077, 1062, 1056, 1058, 1075

WineFact = Fact[Wine, Twin]


def twin(user: str) -> Twin:
    """A stand-alone workstation with the accounts, services and keys of the prefix."""
    name = computer_name()
    accounts = {user: (RID, "Nicht-11 gefragt"), "svc-backup": (1001, SECRET)}
    services = [
        Service(name=MAIN, display=DISPLAY, start_name="LocalSystem", start_type=3),
        Service(name=NEEDY, display="Opinions Needy", start_name="LocalSystem", start_type=3, depends_on=[MAIN]),
        Service(name=DISABLED, display="Opinions Disabled", start_name="LocalSystem", start_type=4),
        Service(
            name=ORPHAN, display="Opinions Orphan", start_name="LocalSystem", start_type=3, depends_on=[UNKNOWN_SERVICE]
        ),
    ]
    machine = Machine(
        name=name,
        sam=authority(name, MACHINE_SID, Policy(), accounts, time.time()),
        domain="WORKGROUP",
        domain_role=0,
        groups={ADMINISTRATORS: [f"@-{RID}"]},
        rights={"@-1001": [SERVICE]},
        services=services,
        profiles=[f"@-{RID}"],
        laps=Laps(),
    )
    return Twin(machine)


# ---- the machine ----


def clock_is_near(ticks: int) -> bool:
    return abs(datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10) - datetime.now(UTC)) < timedelta(
        seconds=SOON_S
    )


def machine_facts() -> list[WineFact]:
    return [
        Fact(
            "computer-name", "GetComputerNameW", "the NetBIOS name: capitals, fifteen characters at most",
            computer_name(),
            lambda wine: wine.call("PsrvNative.ComputerName"),
            lambda lab: lab.ask("GetComputerNameW")["name"],
        ),
        Fact(
            "role-in-a-workgroup", "DsRoleGetPrimaryDomainInformation",
            "a stand-alone workstation has role 0 and no DNS name of a domain",
            {"code": 0, "role": 0, "dns": ""},
            lambda wine: pick(wine.call("PsrvNative.Role"), "code", "role", "dns"),
            lambda lab: pick(lab.ask("DsRoleGetPrimaryDomainInformation"), "code", "role", "dns"),
        ),
        Fact(
            "role-names-the-workgroup", "DsRoleGetPrimaryDomainInformation",
            "the flat name of a stand-alone machine is its workgroup's, not its own",
            {"own name": False},
            lambda wine: {"own name": wine.call("PsrvNative.Role")["domain"] == computer_name()},
            lambda lab: {"own name": lab.ask("DsRoleGetPrimaryDomainInformation")["domain"] == computer_name()},
        ),
        Fact(
            "clock", "GetSystemTimeAsFileTime", "the time in UTC", True,
            lambda wine: clock_is_near(wine.call("PsrvNative.Clock")),
            lambda lab: abs(lab.ask("GetSystemTimeAsFileTime")["unix"] - time.time()) < SOON_S,
        ),
        Fact(
            "own-token-is-an-administrators", "CheckTokenMembership", "a member of Administrators, not filtered", True,
            lambda wine: wine.call("PsrvNative.Administrator"),
            lambda lab: lab.ask("CheckTokenMembership")["admin"],
        ),
    ]  # fmt: skip


# ---- names and SIDs ----

KNOWN = (
    ("administrators", "S-1-5-32-544", "BUILTIN", "Administrators"),
    ("users", "S-1-5-32-545", "BUILTIN", "Users"),
    ("remote-management-users", "S-1-5-32-580", "BUILTIN", "Remote Management Users"),
    ("system", "S-1-5-18", "NT AUTHORITY", "SYSTEM"),
    ("local-service", "S-1-5-19", "NT AUTHORITY", "LOCAL SERVICE"),
    ("network-service", "S-1-5-20", "NT AUTHORITY", "NETWORK SERVICE"),
    ("everyone", "S-1-1-0", "", "Everyone"),
    ("authenticated-users", "S-1-5-11", "NT AUTHORITY", "Authenticated Users"),
)
"""Of [MS-DTYP] 2.4.2.4: names are spelled so, whatever case they were asked in."""


def sid_of(label: str, name: str, sid: str, says: str) -> WineFact:
    expected = {"code": 0 if sid else calls.NO_SUCH_NAME, "sid": sid}
    return Fact(
        label, "LookupAccountNameW", says, expected,
        lambda wine: pick(wine.call("PsrvNative.FindSid", name), "code", "sid"),
        lambda lab: {name: value or "" if name == "sid" else value
                     for name, value in pick(lab.ask("LookupAccountNameW", name=name), "code", "sid").items()},
    )  # fmt: skip


def name_of(label: str, sid: str, domain: str, user: str, says: str) -> WineFact:
    found = bool(user)
    expected = {"code": 0 if found else calls.NO_SUCH_NAME, "name": f"{domain}\\{user}" if found else "", "user": user}

    def lab(lab: Twin) -> dict[str, Any]:
        answer = lab.ask("LookupAccountSidW", sid=sid)
        whole = f"{answer['domain']}\\{answer['name']}" if answer["code"] == 0 else ""
        return {"code": answer["code"], "name": whole, "user": answer["name"] or ""}

    return Fact(
        label, "LookupAccountSidW", says, expected,
        lambda wine: pick(wine.call("PsrvNative.FindName", sid), "code", "name", "user"), lab,
    )  # fmt: skip


def name_facts(user: str) -> list[WineFact]:
    own, sid = computer_name(), f"{MACHINE_SID}-{RID}"
    facts = []
    for label, known, domain, name in KNOWN:
        facts.append(name_of(f"name-of-{label}", known, domain, name, "the name and its authority, as Windows spells"))
        facts.append(sid_of(f"sid-of-{label}", name, known, "the bare name of a well-known account is enough"))
    facts += [
        sid_of("sid-of-builtin-in-full", "BUILTIN\\Administrators", "S-1-5-32-544", "with its authority"),
        sid_of("sid-of-builtin-without-case", "builtin\\ADMINISTRATORS", "S-1-5-32-544", "names have no case"),
        sid_of("sid-of-localservice", "NT AUTHORITY\\LocalService", "S-1-5-19", "as services are configured with it"),
        sid_of(
            "sid-of-networkservice", "NT AUTHORITY\\NetworkService", "S-1-5-20", "as services are configured with it"
        ),
        sid_of("localsystem-is-no-account", "LocalSystem", "", "the service manager's word; no lookup finds it"),
        sid_of("sid-of-a-user", user, sid, "a user by its bare name"),
        sid_of("sid-of-a-user-with-its-computer", f"{own}\\{user}", sid, "a user with the computer's name before it"),
        sid_of("sid-of-the-computer", own, MACHINE_SID, "the computer's own name is that of its account domain"),
        sid_of("sid-of-the-computer-without-case", own.lower(), MACHINE_SID, "names have no case"),
        sid_of("no-sid-of-an-unknown-user", "no-such-user", "", "1332"),
        sid_of("no-sid-in-an-unknown-domain", "NOWHERE\\user", "", "1332"),
        name_of("name-of-a-user", sid, own, user, "a user's name stands behind the computer's"),
        name_of("no-name-of-an-unknown-sid", "S-1-5-21-1-2-3-500", "", "", "1332"),
        Fact(
            "users-sid-is-the-machines-and-a-rid", "NetUserModalsGet", "level 2 has the SID before every local RID",
            {"code": 0, "sid": MACHINE_SID},
            lambda wine: pick(wine.call("PsrvNative.MachineSid"), "code", "sid"),
            lambda lab: pick(lab.ask("NetUserModalsGet", level=2), "code", "sid"),
        ),
        Fact(
            "no-data-of-an-unknown-user", "NetUserGetInfo", "2221", 2221,
            lambda wine: wine.call("PsrvNative.User", "no-such-user")["code"],
            lambda lab: lab.code("NetUserGetInfo", user="no-such-user"),
        ),
    ]  # fmt: skip
    return facts + (group_facts(user) if TWIN_GROUPS else [])


def group_facts(user: str) -> list[WineFact]:
    return [
        Fact(
            "groups-of-an-administrator", "NetUserGetLocalGroups", "the local groups by name",
            {"code": 0, "groups": ["Administrators"]},
            lambda wine: pick(wine.call("PsrvNative.LocalGroups", user), "code", "groups"),
            lambda lab: lab.group_names(user),
        ),
    ]  # fmt: skip


# ---- services ----


def read_of(answer: dict[str, Any]) -> dict[str, Any]:
    return pick(answer, "code", "account", "state", "exit_code") | {"runs": answer["process"] != 0}


def lab_read(lab: Twin, name: str) -> dict[str, Any]:
    config, status = lab.ask("QueryServiceConfigW", name=name), lab.ask("QueryServiceStatusEx", name=name)
    return {
        "code": config["code"] or status["code"],
        "account": config["start_name"],
        "state": status["state"],
        "exit_code": status["exit_code"],
        "runs": bool(status["pid"]),
    }


def reads(label: str, name: str, says: str, state: int, exit_code: int, account: str = "LocalSystem") -> WineFact:
    expected = {"code": 0, "account": account, "state": state, "exit_code": exit_code, "runs": state != 1}
    return Fact(
        label, "QueryServiceConfigW, QueryServiceStatusEx", says, expected,
        lambda wine: read_of(wine.settled(name)), lambda lab: lab_read(lab, name),
    )  # fmt: skip


def acts(label: str, call: str, says: str, expected: int, method: str, name: str, **more: Any) -> WineFact:
    """A helper that answers with a code, and the lab's call."""
    return Fact(
        label, call, says, expected,
        lambda wine: wine.call(f"PsrvService.{method}", name),
        lambda lab: lab.code(call, name=name, **more),
    )  # fmt: skip


def stop(label: str, name: str, says: str, expected: int) -> WineFact:
    return acts(label, "ControlService", says, expected, "Stop", name, control=calls.SERVICE_CONTROL_STOP)


def start(label: str, name: str, says: str, expected: int) -> WineFact:
    return acts(label, "StartServiceW", says, expected, "Start", name)


def stores(label: str, name: str, account: str, says: str, expected: int) -> WineFact:
    return Fact(
        label, "ChangeServiceConfigW", says, expected,
        lambda wine: wine.call("PsrvService.SetPassword", name, account, SECRET),
        lambda lab: lab.code("ChangeServiceConfigW", name=name, start_name=account, password=SECRET),
    )  # fmt: skip


def key_name(label: str, display: str, name: str, says: str) -> WineFact:
    return Fact(
        label, "GetServiceKeyNameW", says, name,
        lambda wine: wine.call("PsrvService.NameOf", display),
        lambda lab: lab.ask("GetServiceKeyNameW", display=display)["name"] or "",
    )  # fmt: skip


def dependents(label: str, says: str, expected: list[str]) -> WineFact:
    return Fact(
        label, "EnumDependentServicesW", says, expected,
        lambda wine: wine.call("PsrvService.Read", MAIN)["dependents"],
        lambda lab: lab.ask("EnumDependentServicesW", name=MAIN)["names"],
    )  # fmt: skip


def is_now(unix: float) -> bool:
    return abs(unix - time.time()) < SOON_S


def started_now(wine: Wine) -> bool:
    return clock_is_near(wine.call("PsrvService.StartedAt", wine.settled(MAIN)["process"]))


def lab_started_now(lab: Twin) -> bool:
    pid = lab.ask("QueryServiceStatusEx", name=MAIN)["pid"]
    return is_now(lab.ask("GetProcessTimes", pid=pid)["unix"])


def service_facts() -> list[WineFact]:
    stopped, running, nowhere = calls.SERVICE_STOPPED, calls.SERVICE_RUNNING, UNKNOWN_SERVICE
    return [
        Fact(
            "unknown-service", "OpenServiceW", "1060", calls.NO_SUCH_SERVICE,
            lambda wine: wine.call("PsrvService.Read", nowhere)["code"],
            lambda lab: lab.code("QueryServiceConfigW", name=nowhere),
        ),
        start("start-of-an-unknown-service", nowhere, "1060", calls.NO_SUCH_SERVICE),
        stop("stop-of-an-unknown-service", nowhere, "1060", calls.NO_SUCH_SERVICE),
        stores("password-of-an-unknown-service", nowhere, HOLDER, "1060", calls.NO_SUCH_SERVICE),
        key_name("service-by-its-display-name", DISPLAY, MAIN, "the service's name behind the one that is shown"),
        key_name("service-by-its-display-name-without-case", DISPLAY.lower(), MAIN, "names have no case"),
        key_name("no-service-of-a-display-name", "No such service", "", "1060"),
        reads("never-started", MAIN, "stopped; the exit code is 1077", stopped, NEVER_STARTED),
        reads("service-name-without-case", MAIN.upper(), "names have no case", stopped, NEVER_STARTED),
        stop("stop-of-a-stopped-service", MAIN, "1062", NOT_STARTED),
        start("start-of-a-disabled-service", DISABLED, "1058", IS_DISABLED),
        start("start-with-a-missing-dependency", ORPHAN, "1075", NEEDED_IS_MISSING),
        stores("password-for-an-unknown-account", DISABLED, ".\\no-such-user", "1057: no account of this name", 1057),
        stores("password-stored", MAIN, HOLDER, "account and password are stored without a logon", 0),
        reads(
            "account-as-it-was-stored", MAIN, "read back as it was given; nothing was started", stopped, NEVER_STARTED,
            HOLDER,
        ),
        start("start", MAIN, "0: it was started", 0),
        reads("running", MAIN, "it runs; the exit code is 0", running, 0, HOLDER),
        Fact("started-at", "GetProcessTimes", "when its process began", True, started_now, lab_started_now),
        start("start-of-a-running-service", MAIN, "1056", RUNS_ALREADY),
        stores("password-stored-while-it-runs", MAIN, HOLDER, "stored; it goes on running", 0),
        reads("runs-on-with-a-new-password", MAIN, "a new password stops nothing", running, 0, HOLDER),
        dependents("no-dependents", "nothing that runs needs it", []),
        start("start-of-what-depends-on-it", NEEDY, "0", 0),
        Fact(
            "dependent-runs", "QueryServiceStatusEx", "it runs", running,
            lambda wine: wine.settled(NEEDY)["state"],
            lambda lab: lab.ask("QueryServiceStatusEx", name=NEEDY)["state"],
        ),
        dependents("running-dependents", "the running services that need it", [NEEDY]),
        stop("stop-while-a-dependent-runs", MAIN, "1051", calls.DEPENDENTS_RUNNING),
        stop("stop", NEEDY, "0: the stop was accepted", 0),
        reads("stopped", NEEDY, "stopped; the exit code is 0 again, not 1077", stopped, 0),
    ]  # fmt: skip


# ---- the registry ----


def text(label: str, key: str, value: str, expected: str, says: str, lab: bool = False) -> WineFact:
    """``expected`` "" is also what the helper makes of a value that is not there or no text."""
    ask: Callable[[Twin], Any] = lambda lab: lab.ask("RegGetValue", key=f"HKLM\\{key}", value=value)["value"] or ""  # noqa: E731
    return Fact(
        label, "RegGetValueW", says, expected,
        lambda wine: wine.call("PsrvNative.KeyText", key, value), ask if lab else None,
    )  # fmt: skip


def number(label: str, key: str, value: str, expected: int, says: str, lab: bool = False) -> WineFact:
    """-1 is what the helper makes of a value that is not there or no number of 32 bits."""

    def ask(lab: Twin) -> int:
        found = lab.ask("RegGetValue", key=f"HKLM\\{key}", value=value)
        return -1 if found["code"] else int(found["value"])

    return Fact(
        label, "RegGetValueW", says, expected,
        lambda wine: wine.call("PsrvNative.KeyNumber", key, value), ask if lab else None,
    )  # fmt: skip


def is_there(label: str, key: str, expected: bool, says: str, lab: bool = False) -> WineFact:
    ask: Callable[[Twin], Any] = lambda lab: lab.code("RegOpenKeyEx", key=f"HKLM\\{key}") == 0  # noqa: E731
    return Fact(
        label, "RegOpenKeyExW", says, expected,
        lambda wine: wine.call("PsrvNative.KeyExists", key), ask if lab else None,
    )  # fmt: skip


def below(label: str, key: str, expected: list[str], says: str, lab: bool = False) -> WineFact:
    """Compared sorted: Windows promises no order."""
    ask: Callable[[Twin], Any] = lambda lab: sorted(lab.ask("RegEnumKey", key=f"HKLM\\{key}")["names"] or [])  # noqa: E731
    return Fact(
        label, "RegEnumKeyExW", says, expected,
        lambda wine: sorted(wine.call("PsrvNative.SubKeys", key)), ask if lab else None,
    )  # fmt: skip


def registry_facts() -> list[WineFact]:
    sid, nowhere = f"{MACHINE_SID}-{RID}", f"{TEST_KEY}\\Nowhere"
    return [
        is_there("key-of-a-profile", f"{PROFILES}\\{sid}", True, "an account that logged on here has a profile", True),
        is_there("no-key-of-a-profile", f"{PROFILES}\\{MACHINE_SID}-1999", False, "2: there is no such key", True),
        is_there("key-without-case", f"{PROFILES.upper()}\\{sid}", True, "names of keys have no case", True),
        is_there("key-with-a-slash-at-its-end", f"{PROFILES}\\", True, "a last backslash changes nothing", True),
        is_there("key-of-32-bit-programs", "SOFTWARE\\Opinions32", False, "only the 64-bit view is looked at"),
        below("keys-of-profiles", PROFILES, [sid], "the names of the keys below", True),
        below("keys-below-no-key", nowhere, [], "none below a key that is not there", True),
        below("keys-below", TEST_KEY, ["Beta", "Gamma", "alpha"], "the next level only"),
        number("number", LAPS, "BackupDirectory", 2, "a number", True),
        number("number-without-case", LAPS.lower(), "BACKUPDIRECTORY", 2, "names of values have no case", True),
        number("no-number", LAPS, "NoSuchSetting", -1, "2: there is no such value", True),
        number("number-of-no-key", nowhere, "BackupDirectory", -1, "2: there is no such key", True),
        number("greatest-number", TEST_KEY, "Greatest", 0xFFFFFFFF, "32 bits without a sign"),
        number("number-that-is-a-text", TEST_KEY, "Text", -1, "another type is refused, not converted"),
        number("number-of-64-bits", TEST_KEY, "Long number", -1, "another type is refused, not converted"),
        number("number-of-bytes", TEST_KEY, "Bytes", -1, "another type is refused, not converted"),
        text("no-text", LAPS, "NoSuchSetting", "", "2: there is no such value", True),
        text("text-of-no-key", nowhere, "Text", "", "2: there is no such key", True),
        text("text", TEST_KEY, "Text", "Grüße, 密码", "a text in UTF-16"),
        text("empty-text", TEST_KEY, "Empty", "", "an empty text"),
        text("text-that-expands", TEST_KEY, "Expands", "C:\\there", "REG_EXPAND_SZ is taken, and expanded"),
        text("longest-text", TEST_KEY, "Longest", LONG[:-1], "511 characters fit with their end"),
        text("text-that-is-too-long", TEST_KEY, "Too long", "", "234: one more is refused, not cut"),
        text("text-that-is-a-number", TEST_KEY, "Number", "", "another type is refused, not converted"),
    ]


def facts(user: str) -> list[WineFact]:
    return [*machine_facts(), *name_facts(user), *service_facts(), *registry_facts()]
