"""The Python mind's operations on a domain account, asked and changed at the domain's PDC emulator."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pwserver.core.protected_groups import protects
from pwserver.lab import calls, mind_accounts
from pwserver.lab.mind_places import iso
from pwserver.lab.model.descriptors import CHANGE_PASSWORD, RESET_PASSWORD, SELF, allows, sid_text
from pwserver.lab.model.machines import AUTHENTICATED, EVERYONE

if TYPE_CHECKING:
    from pwserver.lab.python_mind import Mind

PDC, FORCE_REDISCOVERY = 0x40001080, 0x1
"""Flags of DsGetDcName: a writable PDC emulator by its DNS name; not what was found before."""
UNKNOWN = 0x20000000
"""The bit of application codes: an LDAP result for which Windows has no number of its own."""
SETTLED_S = 65 * 60
TICKS = 10_000_000
NEVER = 0x7FFFFFFFFFFFFFFF
NO_MUST_CHANGE = calls.UF_NEVER_EXPIRES | calls.UF_SMARTCARD
ROOT = ["currentTime", "defaultNamingContext", "dnsHostName", "dsServiceName", "tokenGroups"]
DOMAIN = [
    "objectSid", "fSMORoleOwner", "minPwdLength", "minPwdAge", "pwdHistoryLength", "lockoutThreshold",
    "lockOutObservationWindow",
]  # fmt: skip
ACCOUNT = [
    "sAMAccountName", "objectClass", "objectSid", "userAccountControl", "msDS-User-Account-Control-Computed",
    "pwdLastSet", "badPwdCount", "badPasswordTime", "accountExpires", "adminCount", "servicePrincipalName",
    "msDS-ResultantPSO", "nTSecurityDescriptor",
]  # fmt: skip
FINE = [
    "name", "msDS-MinimumPasswordLength", "msDS-MinimumPasswordAge", "msDS-PasswordHistoryLength",
    "msDS-LockoutThreshold", "msDS-LockoutObservationWindow",
]  # fmt: skip


class Entry:
    """One entry as the directory told it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.dn = str(told["dn"])
        self.values = {name.casefold(): [b64decode(one) for one in each] for name, each in told["attributes"].items()}

    def raw(self, name: str) -> list[bytes]:
        return self.values.get(name.casefold(), [])

    def text(self, name: str) -> str:
        return next((value.decode() for value in self.raw(name)), "")

    def number(self, name: str) -> int:
        return int(self.text(name) or 0)

    def sids(self, name: str) -> list[str]:
        return [sid_text(value) for value in self.raw(name)]


class Directory:
    """One connection to the PDC emulator, kept in the run's own state."""

    def __init__(self, mind: Mind) -> None:
        self.mind = mind
        params = mind.params
        mind.answer["stage"] = "hop"
        if mind.answer["machine"]["domain_role"] in (0, 2):
            mind.stop("not_member")
        is_pdc = self._open(PDC) or self._open(PDC | FORCE_REDISCOVERY)
        if not self.session:
            mind.stop("no_controller", UNKNOWN | calls.LDAP_SERVER_DOWN)
        self.facts: dict[str, Any] = {
            "controller": self.root.text("dnsHostName"), "domain_sid": self.domain.sids("objectSid")[0], "clock": "",
            "policy": "", "history": None, "can_reset": False, "guarded": False, "protected_user": False, "spns": 0,
            "write_stamp": None,
        }  # fmt: skip
        mind.answer["directory"] = self.facts
        if not is_pdc:
            mind.stop("not_pdc")
        if params["domain_sid"] and params["domain_sid"] != self.facts["domain_sid"]:
            mind.stop("new_machine")
        self.dn, self.set = "", 0

    def _open(self, flags: int) -> bool:
        """Logs on where the locator points. Whether that is the PDC emulator; no session: it is silent."""
        mind, self.session = self.mind, ""
        found = mind.ask("DsGetDcNameW", domain=mind.params["domain"], flags=flags)
        if found["code"]:
            mind.stop("no_controller", found["code"])
        login = {"user": mind.params["login"], "password": mind.secrets["login_password"]}
        opened = mind.ask("LdapBind", server=found["name"], **login)
        if opened["code"] == calls.LDAP_CREDENTIALS:
            mind.stop("login_refused", calls.WRONG_LOGON)
        if opened["code"] == calls.LDAP_SERVER_DOWN:
            return False
        if opened["code"]:
            mind.stop("login_unclear", UNKNOWN | opened["code"])
        self.session = str(opened["session"])
        self.root = self.entry("", ROOT)
        self.domain = self.entry(self.root.text("defaultNamingContext"), DOMAIN)
        return self.root.text("dsServiceName") == self.domain.text("fSMORoleOwner")

    def search(self, base: str, below: bool, filter: str, names: list[str]) -> tuple[int, list[Entry]]:
        asked = {"session": self.session, "base": base, "below": below, "filter": filter, "names": names}
        told = self.mind.ask("LdapSearch", dacl="nTSecurityDescriptor" in names, **asked)
        return _code(told), [Entry(one) for one in told["entries"] or []]

    def entry(self, base: str, names: list[str]) -> Entry:
        code, entries = self.search(base, False, "(objectClass=*)", names)
        if code:
            self.mind.stop("no_controller", code)
        return entries[0]

    def modify(self, *changes: tuple[str, str, bytes]) -> int:
        told = [{"op": op, "name": name, "value": b64encode(value).decode()} for op, name, value in changes]
        return _code(self.mind.ask("LdapModify", session=self.session, dn=self.dn, changes=told), broken=59)


def _code(told: dict[str, Any], broken: int | None = None) -> int:
    """Windows' own number in a result of LDAP; ``broken``: what a line that broke is called."""
    code, message = int(told["code"]), str(told.get("message") or "")
    if not code:
        return 0
    if code >= 80 and broken is not None:
        return broken
    if code == calls.LDAP_RIGHTS:
        return calls.DENIED
    return int(message[:8], 16) if message[8:9] == ":" else UNKNOWN | code


def _find(mind: Mind, directory: Directory) -> Entry:
    user = mind.params["user"]
    name = "".join(
        chr(one) if chr(one).isascii() and (chr(one).isalnum() or chr(one) in " ._-") else f"\\{one:02x}"
        for one in user.encode()
    )
    filter = f"(&(objectClass=user)(|(sAMAccountName={name})(sAMAccountName={name}$)))"
    code, entries = directory.search(directory.domain.dn, True, filter, ACCOUNT)
    if code:
        mind.stop("no_controller", code)
    if not entries:
        mind_accounts.stop_no_account(mind, user, calls.NO_SUCH_NAME)
    exact = [one for one in entries if one.text("sAMAccountName").casefold() == user.casefold()]
    return (exact or entries)[0]


def _policy(directory: Directory, entry: Entry) -> dict[str, Any] | None:
    """The policy that counts; None where a fine-grained one may not be read by our login."""
    where, prefix = directory.domain, ("minPwdLength", "minPwdAge", "pwdHistoryLength", "lockoutThreshold")
    window = "lockOutObservationWindow"
    if fine := entry.text("msDS-ResultantPSO"):
        directory.facts["policy"] = fine.partition(",")[0][3:]
        code, entries = directory.search(fine, False, "(objectClass=*)", FINE)
        if code or not entries:
            return None
        where, prefix, window = entries[0], (FINE[1], FINE[2], FINE[3], FINE[4]), FINE[5]
    length, age, history, threshold = prefix
    return {
        "min_length": where.number(length),
        "min_age": -where.number(age),
        "history": where.number(history),
        "threshold": where.number(threshold),
        "window": -where.number(window),
    }


def _read_facts(mind: Mind, directory: Directory) -> None:
    """Reads the account into the answer, without any logon of it."""
    answer, facts = mind.answer, directory.facts
    answer["stage"] = "facts"
    clock = directory.entry("", ["currentTime"]).text("currentTime")[:14]
    unix = int(datetime.strptime(clock, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp())
    now, facts["clock"] = (unix + 11_644_473_600) * TICKS, iso(unix)
    entry = _find(mind, directory)
    directory.dn, directory.set = entry.dn, entry.number("pwdLastSet")
    sid, computed = entry.sids("objectSid")[0], entry.number(ACCOUNT[4])
    flags = entry.number("userAccountControl")
    mind_accounts.stop_other(mind, sid)
    policy = _policy(directory, entry)
    rid, groups = int(sid.split("-")[-1]), directory.entry(entry.dn, ["tokenGroups"]).sids("tokenGroups")
    can_change = True
    for raw in entry.raw("nTSecurityDescriptor"):
        facts["can_reset"] = allows(raw, set(directory.root.sids("tokenGroups")), RESET_PASSWORD)
        can_change = allows(raw, {sid, EVERYONE, SELF, AUTHENTICATED, *groups}, CHANGE_PASSWORD)
    expires, last_set, bad_at = entry.number("accountExpires"), directory.set, entry.number("badPasswordTime")
    account = answer["account"] = {
        "name": entry.text("sAMAccountName"),
        "sid": sid,
        "rid": rid,
        "enabled": not flags & calls.UF_DISABLED,
        "locked": bool(computed & 0x10),
        "expired": 0 < expires < NEVER and expires <= now,
        "must_change": (not last_set and not flags & NO_MUST_CHANGE) or bool(computed & 0x800000),
        "cannot_change": not can_change,
        "last_set": _filetime(last_set) if last_set else None,
        "may_change_at": None,
        "bad_count": entry.number("badPwdCount"),
        "bad_at": _filetime(bad_at) if bad_at else None,
        "threshold": None,
        "window_s": None,
        "min_length": None,
        "has_profile": False,
        "managed": "",
    }
    if policy:
        account |= {"min_length": policy["min_length"], "threshold": policy["threshold"]}
        account["window_s"], facts["history"] = policy["window"] // TICKS, policy["history"]
        if last_set and not account["must_change"] and last_set + policy["min_age"] > now:
            account["may_change_at"] = _filetime(last_set + policy["min_age"])
        if not account["locked"] and bad_at + policy["window"] <= now:
            account["bad_count"] = 0
    if any(b"ManagedServiceAccount" in one for one in entry.raw("objectClass")):
        account["managed"] = "gmsa"
    elif account["name"].endswith("$"):
        account["managed"] = "computer"
    facts["guarded"] = rid in (500, 502) or entry.number("adminCount") > 0 or protects(groups)
    facts["protected_user"] = f"{facts['domain_sid']}-525" in groups
    facts["spns"] = len(entry.raw("servicePrincipalName"))
    if rid == 501:
        mind.stop("is_guest")
    if rid == 502:
        mind.stop("never_changed")
    if facts["guarded"]:
        mind.stop("guarded")


def _filetime(time: int) -> str:
    return iso(time / TICKS - 11_644_473_600)


def _is_settled(mind: Mind) -> bool:
    """Whether an NTLM logon proves the present password: the hour of grace is over, or it was set by our own write."""
    last_set = mind.answer["account"]["last_set"]
    if last_set is None:
        return False
    age = datetime.fromisoformat(mind.answer["directory"]["clock"]) - datetime.fromisoformat(last_set)
    return age.total_seconds() > SETTLED_S or last_set == mind.params["own_stamp"]


def _log_on(mind: Mind, value: str, stage: str) -> int:
    return mind_accounts.log_on(mind, value, stage, mind.params["domain"])


def _quoted(value: str) -> bytes:
    return f'"{value}"'.encode("utf-16-le", "surrogatepass")


def _begin(mind: Mind) -> Directory:
    directory = Directory(mind)
    _read_facts(mind, directory)
    mind_accounts.stop_managed(mind)
    return directory


def read(mind: Mind) -> None:
    directory = Directory(mind)
    _read_facts(mind, directory)
    mind.answer["stage"] = "done"


def verify(mind: Mind) -> None:
    directory = _begin(mind)
    mind_accounts.stop_locked(mind)
    mind_accounts.stop_closed(mind)
    if not mind.secrets["value"]:
        mind.stop("blank")
    mind_accounts.stop_tries(mind)
    code = _log_on(mind, mind.secrets["value"], "verify")
    _read_facts(mind, directory)
    mind_accounts.finish(mind, code)


def change(mind: Mind) -> None:
    """By a reset where our login has the right and a logon can prove the old value; else by a change that proves it."""
    directory = _begin(mind)
    mind_accounts.stop_locked(mind)
    mind_accounts.stop_closed(mind)
    mind_accounts.stop_short(mind, mind.secrets["new"])
    mind_accounts.stop_tries(mind)
    account, facts = mind.answer["account"], directory.facts
    old, new, settled = mind.secrets["old"], mind.secrets["new"], _is_settled(mind)
    if facts["can_reset"] and settled and not facts["protected_user"] and not account["must_change"]:
        proved = _log_on(mind, old, "old")
        if proved:
            mind.stop("" if proved == calls.WRONG_LOGON else "cannot_prove_old", proved)
        mind.enter_write("reset")
        code = directory.modify(("replace", "unicodePwd", _quoted(new)))
    elif not account["cannot_change"] and account["may_change_at"] is None:
        mind.enter_write("change")
        code = directory.modify(("delete", "unicodePwd", _quoted(old)), ("add", "unicodePwd", _quoted(new)))
    elif facts["can_reset"] and not settled:
        mind.stop("grace_hour")
    elif facts["can_reset"]:
        mind.stop("cannot_prove_old", calls.RESTRICTED)
    else:
        mind.stop("change_denied" if account["cannot_change"] else "too_young")
    _after_write(mind, directory, code)


def reset(mind: Mind) -> None:
    directory = _begin(mind)
    if not directory.facts["can_reset"]:
        mind.stop("no_reset_right")
    mind_accounts.stop_short(mind, mind.secrets["new"])
    mind.enter_write("reset")
    locked = mind.answer["account"]["locked"]
    code = directory.modify(("replace", "unicodePwd", _quoted(mind.secrets["new"])))
    if not code and mind.params["unlock"] and locked and mind.in_time():
        directory.modify(("replace", "lockoutTime", b"0"))
    _after_write(mind, directory, code)


def _after_write(mind: Mind, directory: Directory, code: int) -> None:
    mind.answer["write_code"] = code
    if code:
        mind.stop("", code)
    before, left = directory.set, directory.entry(directory.dn, ["pwdLastSet"]).number("pwdLastSet")
    proved = _log_on(mind, mind.secrets["new"], "verify")
    _read_facts(mind, directory)
    if left > 0 and left != before and left == directory.set:
        directory.facts["write_stamp"] = mind.answer["account"]["last_set"]
    mind_accounts.finish(mind, proved)
