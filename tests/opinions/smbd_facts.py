"""Local accounts as Samba keeps and tells them: policies, account data, resets, logons and locks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pwserver.lab import calls
from pwserver.lab.model import descriptors
from pwserver.lab.model.accounts import Account, Policy
from pwserver.lab.model.machines import ADMINISTRATORS, EVERYONE, NETWORK, Machine
from tests.opinions.facts import Fact, pick
from tests.opinions.line import NoAnswer
from tests.opinions.smbd import Samba
from tests.opinions.twin import TWIN_GROUPS, Twin, authority

NAME = "SAM01"
DAY = 86_400
LENGTH, HISTORY, THRESHOLD, WINDOW_S = 7, 3, 3, 60
POLICIES = {
    "min password length": LENGTH,
    "password history": HISTORY,
    "minimum password age": DAY,
    "maximum password age": 42 * DAY,
    "bad lockout attempt": THRESHOLD,
    "reset count minutes": WINDOW_S // 60,
    "lockout duration": WINDOW_S // 60,
}
USERS = {name: f"Anfang-17 {name}" for name in ("plain", "disabled", "expired", "must", "locked", "aging", "young")}
ADMIN = "labadm"
SECOND, THIRD, SHORT, WRONG = "Zweites-28 gesetzt", "Drittes-39 gesetzt", "ab", "nicht das"
NO_DATE_S = 10 * 365 * DAY
"""An age beyond it is no age: the account was told that its password must be changed."""

SambaFact = Fact[Samba, Twin]

WIN32 = {
    0: 0,
    0xC000006A: calls.WRONG_LOGON,
    0xC000006D: calls.WRONG_LOGON,
    0xC0000071: calls.PASSWORD_EXPIRED,
    0xC0000072: calls.DISABLED,
    0xC0000193: calls.ACCOUNT_EXPIRED,
    0xC0000224: calls.MUST_CHANGE,
    0xC0000234: calls.LOCKED,
}
"""NTSTATUS → the code that LogonUserW gives for it ([MS-ERREF] 2.3)."""


def twin(samba: Samba) -> Twin:
    """A stand-alone machine with the accounts and policies of the smbd, and its clock."""
    names = [ADMIN, *USERS]
    accounts = {name: (1000 + at, USERS.get(name, "Verwalter-41")) for at, name in enumerate(names)}
    policy = Policy(
        min_length=LENGTH,
        history=HISTORY,
        min_age_s=DAY,
        max_age_s=42 * DAY,
        complexity=False,  # Samba has none of its own
        threshold=THRESHOLD,
        window_s=WINDOW_S,
        duration_s=WINDOW_S,
    )
    sam = authority(NAME, samba.sid, policy, accounts, time.time())
    for account in sam.accounts:
        account.never_expires = False
    groups = {ADMINISTRATORS: ["@-1000"]}
    return Twin(Machine(name=NAME, sam=sam, domain="WG", domain_role=2, groups=groups, rights={EVERYONE: [NETWORK]}))


# ---- short ways to both ----


def logon(samba: Samba, user: str, password: str) -> int:
    status = samba.call("logon", user=user, password=password)["status"]
    return WIN32.get(status, status)


def lab_logon(lab: Twin, user: str, password: str) -> int:
    return lab.code("LogonUserW", user=user, domain=".", password=password, type=3)


def data(samba: Samba, user: str) -> dict[str, Any]:
    return samba.call("user", user=user, level=4)


def lab_data(lab: Twin, user: str) -> dict[str, Any]:
    """In the fields of USER_INFO_4."""
    told = lab.ask("NetUserGetInfo", user=user)
    age, expires = told["password_age_s"], told["account_expires"]
    return {
        "code": told["code"],
        "name": told["name"],
        "flags": told["flags"],
        "user_sid": told["sid"],
        "bad_pw_count": told["bad_count"],
        "password_expired": told["password_expired"],
        "password_age": calls.FOREVER if age is None else age,
        "acct_expires": calls.FOREVER if expires == -1 else expires,
    }


def account(lab: Twin, user: str) -> Account:
    found = lab.machine.sam.find(user)
    assert found is not None
    return found


def is_locked(told: dict[str, Any]) -> bool:
    if told["code"] != 0:
        raise NoAnswer(f"NetUserGetInfo answers {told['code']}")
    return bool(told["flags"] & calls.UF_LOCKED)


def logs_on(label: str, user: str, password: str, says: str, expected: int) -> SambaFact:
    return Fact(
        label, "LogonUserW", says, expected,
        lambda samba: logon(samba, user, password), lambda lab: lab_logon(lab, user, password),
    )  # fmt: skip


def tells(label: str, user: str, says: str, expected: dict[str, Any]) -> SambaFact:
    """Some fields of USER_INFO_4."""
    return Fact(
        label, "NetUserGetInfo", says, expected,
        lambda samba: pick(data(samba, user), *expected), lambda lab: pick(lab_data(lab, user), *expected),
    )  # fmt: skip


def resets(label: str, user: str, password: str, says: str, expected: int) -> SambaFact:
    return Fact(
        label, "NetUserSetInfo 1003", says, expected,
        lambda samba: samba.call("set_password", user=user, password=password)["code"],
        lambda lab: lab.code("NetUserSetInfo", user=user, level=1003, password=password, flags=None),
    )  # fmt: skip


def changes(label: str, user: str, old: str, new: str, says: str, expected: bool) -> SambaFact:
    """By smbpasswd, which answers in words: only whether it was taken is compared."""
    return Fact(
        label, "NetUserChangePassword", says, expected,
        lambda samba: samba.call("change", user=user, old=old, new=new)["taken"],
        lambda lab: lab.code("NetUserChangePassword", user=user, old=old, new=new) == 0,
    )  # fmt: skip


def groups(label: str, user: str, says: str, expected: dict[str, Any]) -> SambaFact:
    return Fact(
        label, "NetUserGetLocalGroups", says, expected,
        lambda samba: samba.call("local_groups", user=user),
        (lambda lab: lab.group_names(user)) if TWIN_GROUPS else None,
    )  # fmt: skip


# ---- policies ----


def policy_of_passwords(samba: Samba) -> dict[str, Any]:
    told = samba.call("modals", level=0)
    return {
        "code": told["code"],
        "min_length": told["min_passwd_len"],
        "min_age_s": told["min_passwd_age"],
        "max_age_s": told["max_passwd_age"],
        "history": told["password_hist_len"],
    }


def policy_of_locks(samba: Samba) -> dict[str, Any]:
    told = samba.call("modals", level=3)
    return {
        "code": told["code"],
        "duration_s": told["lockout_duration"],
        "window_s": told["lockout_observation_window"],
        "threshold": told["lockout_threshold"],
    }


def lab_policy(lab: Twin, level: int, *names: str) -> dict[str, Any]:
    return pick(lab.ask("NetUserModalsGet", level=level), "code", *names)


def with_policy(label: str, says: str, policy: str, value: int, field: str, lab_value: int, expected: Any) -> SambaFact:
    """One field while one policy has another value."""
    level, before = (0, POLICIES[policy]) if policy.endswith("age") else (3, POLICIES[policy])
    attribute = {"duration_s": "duration_s", "max_age_s": "max_age_s", "threshold": "threshold"}[field]

    def theirs(samba: Samba) -> Any:
        samba.call("policy", name=policy, value=value)
        try:
            return (policy_of_passwords(samba) if level == 0 else policy_of_locks(samba))[field]
        finally:
            samba.call("policy", name=policy, value=before)

    def lab(lab: Twin) -> Any:
        kept = getattr(lab.machine.sam.policy, attribute)
        setattr(lab.machine.sam.policy, attribute, lab_value)
        try:
            return lab_policy(lab, level, field)[field]
        finally:
            setattr(lab.machine.sam.policy, attribute, kept)

    return Fact(label, f"NetUserModalsGet {level}", says, expected, theirs, lab)


def policy_facts() -> list[SambaFact]:
    passwords = {"code": 0, "min_length": LENGTH, "min_age_s": DAY, "max_age_s": 42 * DAY, "history": HISTORY}
    locks = {"code": 0, "duration_s": WINDOW_S, "window_s": WINDOW_S, "threshold": THRESHOLD}
    return [
        Fact(
            "policy-of-passwords", "NetUserModalsGet 0", "ages are seconds", passwords, policy_of_passwords,
            lambda lab: lab_policy(lab, 0, *list(passwords)[1:]),
        ),
        Fact(
            "role-of-the-account-domain", "NetUserModalsGet 1", "level 1 is answered", 0,
            lambda samba: samba.call("modals", level=1)["code"],
        ),
        Fact(
            "sid-of-the-account-domain", "NetUserModalsGet 2", "the computer's name, and the SID before every RID",
            {"code": 0, "domain": NAME, "is its own": True},
            lambda samba: {
                "code": (told := samba.call("modals", level=2))["code"], "domain": told["domain_name"],
                "is its own": told["domain_id"] == samba.sid,
            },
            lambda lab: {
                "code": (told := lab.ask("NetUserModalsGet", level=2))["code"], "domain": told["domain"],
                "is its own": told["sid"] == lab.machine.sid,
            },
        ),
        Fact(
            "policy-of-locks", "NetUserModalsGet 3", "window and duration are seconds", locks, policy_of_locks,
            lambda lab: lab_policy(lab, 3, *list(locks)[1:]),
        ),
        with_policy(
            "lock-without-end", "a lock that only an administrator ends is 0xFFFFFFFF", "lockout duration", -1,
            "duration_s", 0, calls.FOREVER,
        ),
        with_policy(
            "passwords-without-end", "passwords that never expire are 0xFFFFFFFF", "maximum password age", -1,
            "max_age_s", 0, calls.FOREVER,
        ),
        with_policy("no-threshold", "0: nothing locks", "bad lockout attempt", 0, "threshold", 0, 0),
    ]  # fmt: skip


# ---- account data ----


def at_level(level: int, *fields: str) -> SambaFact:
    """Each level tells the same of one account; the lab knows level 4 alone."""
    whole = {"code": 0, "name": "plain", "flags": 0x201, "bad_pw_count": 0, "password_expired": 0}
    expected = {name: whole[name] for name in ("code", "name", *fields)}
    return Fact(
        f"account-at-level-{level}", f"NetUserGetInfo {level}", "UF_SCRIPT and UF_NORMAL_ACCOUNT, nothing else",
        expected,
        lambda samba: pick(samba.call("user", user="plain", level=level), *expected),
        lambda lab: pick(lab_data(lab, "plain"), *expected),
    )  # fmt: skip


def account_facts() -> list[SambaFact]:
    return [
        at_level(1, "flags"),
        at_level(2, "flags", "bad_pw_count"),
        at_level(3, "flags", "bad_pw_count", "password_expired"),
        at_level(4, "flags", "bad_pw_count", "password_expired"),
        at_level(11, "bad_pw_count"),
        at_level(20, "flags"),
        at_level(23, "flags"),
        Fact(
            "sid-of-an-account", "NetUserGetInfo 4", "the machine's SID and a RID", True,
            lambda samba: data(samba, "plain")["user_sid"].startswith(samba.sid + "-"),
            lambda lab: lab_data(lab, "plain")["user_sid"].startswith(lab.machine.sid + "-"),
        ),
        Fact(
            "age-of-a-password", "NetUserGetInfo 4", "seconds since it was set", True,
            lambda samba: data(samba, "plain")["password_age"] < 300,
            lambda lab: lab_data(lab, "plain")["password_age"] < 300,
        ),
        tells("account-that-never-expires", "plain", "TIMEQ_FOREVER", {"acct_expires": calls.FOREVER}),
        Fact(
            "account-without-case", "NetUserGetInfo", "names have no case", {"code": 0, "name": "plain"},
            lambda samba: pick(data(samba, "PLAIN"), "code", "name"),
            lambda lab: pick(lab_data(lab, "PLAIN"), "code", "name"),
        ),
        Fact(
            "data-of-an-unknown-account", "NetUserGetInfo", "2221", calls.NO_SUCH_USER,
            lambda samba: data(samba, "no-such-user")["code"],
            lambda lab: lab.code("NetUserGetInfo", user="no-such-user"),
        ),
        groups("groups-of-an-unknown-account", "no-such-user", "2221", {"code": calls.NO_SUCH_USER, "groups": []}),
        groups("groups-of-an-account", ADMIN, "by name", {"code": 0, "groups": ["Administrators"]}),
        groups("groups-of-an-account-in-none", "plain", "none", {"code": 0, "groups": []}),
    ]  # fmt: skip


# ---- logons and what stands against them ----


def prepare(label: str, says: str, theirs: Callable[[Samba], object], lab: Callable[[Twin], object]) -> SambaFact:
    """Brings both into the same state, and is a fact only in that both can."""

    def done(way: Callable[[Any], object], other: Any) -> bool:
        way(other)
        return True

    return Fact(label, "", says, True, lambda samba: done(theirs, samba), lambda twin: done(lab, twin))


def tries(samba: Samba) -> list[list[Any]]:
    told = []
    for _ in range(THRESHOLD + 1):
        code = logon(samba, "locked", WRONG)
        told.append([code, (now := data(samba, "locked"))["bad_pw_count"], is_locked(now)])
    return told


def lab_tries(lab: Twin) -> list[list[Any]]:
    told = []
    for _ in range(THRESHOLD + 1):
        code = lab_logon(lab, "locked", WRONG)
        told.append([code, (now := lab_data(lab, "locked"))["bad_pw_count"], is_locked(now)])
    return told


LOCKING = [[1326, 1, False], [1326, 2, False], [1326, 3, True], [1909, 3, True]]
"""Code, count and lock after each wrong logon: the one that locks is answered like the others, and a locked account
counts no more ([MS-SAMR] 3.1.5.14.6)."""


def logon_facts() -> list[SambaFact]:
    return [
        logs_on("right-logon", "plain", USERS["plain"], "0", 0),
        logs_on("wrong-logon", "plain", WRONG, "1326", calls.WRONG_LOGON),
        tells("wrong-logon-counts", "plain", "the count goes up by one", {"bad_pw_count": 1}),
        logs_on("right-logon-after-a-wrong-one", "plain", USERS["plain"], "0", 0),
        tells("right-logon-forgets", "plain", "a right logon sets the count to 0", {"bad_pw_count": 0}),
        logs_on("unknown-user-logs-on", "no-such-user", WRONG, "1326, like a wrong password", calls.WRONG_LOGON),
        prepare(
            "an-account-is-disabled", "by an administrator",
            lambda samba: samba.call("pdbedit", user="disabled", options=["-c", "[D]"]),
            lambda lab: setattr(account(lab, "disabled"), "disabled", True),
        ),
        tells("disabled-account", "disabled", "UF_ACCOUNTDISABLE", {"flags": 0x203}),
        logs_on("right-logon-of-a-disabled-account", "disabled", USERS["disabled"], "1331", calls.DISABLED),
        logs_on("wrong-logon-of-a-disabled-account", "disabled", WRONG, "1326 comes first", calls.WRONG_LOGON),
        prepare(
            "an-account-expires", "an hour ago",
            lambda samba: samba.call("pdbedit", user="expired", options=["--kickoff-time", str(hour_ago())]),
            lambda lab: setattr(account(lab, "expired"), "expires", float(hour_ago())),
        ),
        Fact(
            "expired-account", "NetUserGetInfo 4", "the time in Unix seconds", True,
            lambda samba: abs(data(samba, "expired")["acct_expires"] - hour_ago()) < 300,
            lambda lab: abs(lab_data(lab, "expired")["acct_expires"] - hour_ago()) < 300,
        ),
        logs_on("right-logon-of-an-expired-account", "expired", USERS["expired"], "1793", calls.ACCOUNT_EXPIRED),
        logs_on("wrong-logon-of-an-expired-account", "expired", WRONG, "1326 comes first", calls.WRONG_LOGON),
        prepare(
            "a-password-must-be-changed", "at the next logon",
            lambda samba: samba.call("must_change", user="must"),
            lambda lab: vars(account(lab, "must")).update(must_change=True, never_expires=False),
        ),
        Fact(
            "password-that-must-be-changed", "NetUserGetInfo 4", "it has expired, and its age is no age",
            {"password_expired": 1, "no date": True},
            lambda samba: with_no_date(data(samba, "must")), lambda lab: with_no_date(lab_data(lab, "must")),
        ),
        logs_on("right-logon-with-a-password-to-change", "must", USERS["must"], "1907", calls.MUST_CHANGE),
        logs_on("wrong-logon-with-a-password-to-change", "must", WRONG, "1326 comes first", calls.WRONG_LOGON),
        Fact("locking", "LogonUserW", "the third wrong logon locks, unsaid", LOCKING, tries, lab_tries),
        logs_on("right-logon-of-a-locked-account", "locked", USERS["locked"], "1909", calls.LOCKED),
        logs_on("one-wrong-logon-to-age", "aging", WRONG, "1326", calls.WRONG_LOGON),
    ]  # fmt: skip


def hour_ago() -> int:
    return int(time.time()) - 3600


def with_no_date(told: dict[str, Any]) -> dict[str, Any]:
    return {"password_expired": told["password_expired"], "no date": told["password_age"] > NO_DATE_S}


# ---- resets and changes ----


def as_other(samba: Samba) -> int:
    samba.call("log_in", user="plain", password=SECOND)
    try:
        return int(samba.call("set_password", user="disabled", password=THIRD)["code"])
    finally:
        samba.call("log_in_as_admin")


def lab_as_other(lab: Twin) -> int:
    arguments = {"user": "disabled", "level": 1003, "password": THIRD, "flags": None}
    return int(lab.ask("NetUserSetInfo", f"{NAME}\\plain", **arguments)["code"])


def reset_facts() -> list[SambaFact]:
    first = USERS["young"]
    return [
        resets("reset", "plain", SECOND, "0, within the minimum age too", 0),
        logs_on("new-value-after-a-reset", "plain", SECOND, "0", 0),
        logs_on("old-value-after-a-reset", "plain", USERS["plain"], "1326: a local account has no grace", 1326),
        resets("reset-to-an-earlier-value", "plain", USERS["plain"], "0: a reset has no history", 0),
        resets("reset-to-a-short-value", "plain", SHORT, "2245: the length holds for resets too", calls.POLICY),
        resets("reset-after-a-refused-one", "plain", SECOND, "0", 0),
        resets("reset-of-an-unknown-account", "no-such-user", SECOND, "2221", calls.NO_SUCH_USER),
        Fact("reset-by-another-account", "NetUserSetInfo 1003", "5", calls.DENIED, as_other, lab_as_other),
        logs_on("nothing-was-reset-by-it", "disabled", USERS["disabled"], "the old one still is right", calls.DISABLED),
        resets("reset-of-a-locked-account", "locked", SECOND, "0", 0),
        Fact(
            "reset-does-not-unlock", "NetUserGetInfo", "UF_LOCKOUT stays", True,
            lambda samba: is_locked(data(samba, "locked")), lambda lab: is_locked(lab_data(lab, "locked")),
        ),
        Fact(
            "flags-written-back", "NetUserSetInfo 1008", "0", 0,
            lambda samba: samba.call("set_flags", user="plain", flags=0x201)["code"],
            lambda lab: lab.code("NetUserSetInfo", user="plain", level=1008, password=None, flags=0x201),
        ),
        Fact(
            "change-within-the-minimum-age", "NetUserChangePassword", "2245", calls.POLICY,
            lambda samba: samba.call("change_password", user="young", old=first, new=SECOND)["code"],
            lambda lab: lab.code("NetUserChangePassword", user="young", old=first, new=SECOND),
        ),
        changes("change-refused-within-the-minimum-age", "young", first, SECOND, "a change has a minimum age", False),
        prepare(
            "no-minimum-age", "from here on",
            lambda samba: samba.call("policy", name="minimum password age", value=0),
            lambda lab: setattr(lab.machine.sam.policy, "min_age_s", 0.0),
        ),
        changes("change-with-a-wrong-old-value", "young", WRONG, SECOND, "refused", False),
        changes("change-to-a-short-value", "young", first, SHORT, "refused", False),
        changes("change", "young", first, SECOND, "taken", True),
        logs_on("new-value-after-a-change", "young", SECOND, "0", 0),
        logs_on("old-value-after-a-change", "young", first, "1326: a local account has no grace", calls.WRONG_LOGON),
        changes("change-to-the-value-before", "young", SECOND, first, "refused: it is in the history", False),
        changes("change-to-another-value", "young", SECOND, THIRD, "taken", True),
    ]  # fmt: skip


# ---- time ----


def wait_out(_: object) -> None:
    """Until every lock and window that began before is over; real time, for the smbd has no other."""
    time.sleep(WINDOW_S + 3)


def time_facts() -> list[SambaFact]:
    return [
        prepare("the-window-passes", "and the lock's duration", wait_out, lambda lab: None),
        tells("count-after-the-window", "aging", "time alone does not set it back", {"bad_pw_count": 1}),
        logs_on("wrong-logon-after-the-window", "aging", WRONG, "1326", calls.WRONG_LOGON),
        tells("count-begins-again", "aging", "the next wrong logon is the first again", {"bad_pw_count": 1}),
        Fact(
            "lock-ends", "NetUserGetInfo", "UF_LOCKOUT is gone after the duration", False,
            lambda samba: is_locked(data(samba, "locked")), lambda lab: is_locked(lab_data(lab, "locked")),
        ),
        tells("count-after-the-lock", "locked", "the count stays until the next logon", {"bad_pw_count": THRESHOLD}),
        logs_on("right-logon-after-the-lock", "locked", SECOND, "0", 0),
        tells("count-after-a-right-logon", "locked", "0", {"bad_pw_count": 0}),
    ]  # fmt: skip


# ---- security descriptors that the lab writes ----

DOMAIN_SID, DELEGATE = "S-1-5-21-1-2-3", "@-1110"
CHANGE, RESET = "ab721a53-1e2f-11d0-9819-00aa0040529b", "00299570-246d-11d0-a768-00aa006e0529"
FULL = "RPWPCRCCDCLCLORCWOWDSDDTSW"
"""0xF01FF, in the order in which Samba writes it."""


def descriptor(label: str, says: str, expected: str, **more: Any) -> SambaFact:
    """Samba reads the bytes that the lab's directory tells; there is no call to compare beside it."""

    def theirs(samba: Samba) -> str:
        owner = authority("CORP", DOMAIN_SID, Policy(), {"one": (1104, "-")}, 0.0)
        owner.delegated = [DELEGATE]
        controller = Machine(name="DC1", sam=owner, domain="CORP", domain_role=5)
        for name, value in more.items():
            setattr(owner.accounts[0], name, value)
        raw = descriptors.descriptor(controller, owner.accounts[0])
        return str(samba.call("sddl", raw=raw.hex(), domain=DOMAIN_SID)["sddl"])

    return Fact(label, "nTSecurityDescriptor", says, expected, theirs)


def descriptor_facts() -> list[SambaFact]:
    rest = f"(A;;{FULL};;;DA)(A;;{FULL};;;BA)"
    may = f"(OA;;CR;{CHANGE};;WD)(OA;;CR;{CHANGE};;PS)"
    may_not = f"(OD;;CR;{CHANGE};;WD)(OD;;CR;{CHANGE};;PS)"
    handed = f"(OA;ID;CR;{RESET};;S-1-5-21-1-2-3-1110)"
    return [
        descriptor("descriptor-of-an-account", "the right to reset is handed down", f"D:{may}{rest}{handed}"),
        descriptor("descriptor-of-a-protected-account", "nothing is handed down", f"D:{may}{rest}", admin_count=True),
        descriptor(
            "descriptor-of-an-account-that-may-not-change",
            "denied first",
            f"D:{may_not}{rest}{handed}",
            cannot_change=True,
        ),
    ]


def facts() -> list[SambaFact]:
    return [
        *policy_facts(), *account_facts(), *logon_facts(), *reset_facts(), *time_facts(), *descriptor_facts(),
    ]  # fmt: skip
