"""The Python mind's operations on a local account; and what those on a domain account share with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from pwserver.lab import calls
from pwserver.lab.mind_places import iso

if TYPE_CHECKING:
    from pwserver.lab.python_mind import Mind


def read_facts(mind: Mind, user: str) -> None:
    """Reads the account into the answer, without any logon. Stops when it is not there or is Guest."""
    answer = mind.answer
    answer["stage"] = "facts"
    if user == "#500":
        named = mind.ask("LookupAccountSidW", sid=answer["machine"]["machine_sid"] + "-500")
        if named["code"]:
            mind.stop("no_account", named["code"])
        user = named["name"]
    facts = mind.ask("NetUserGetInfo", user=user)
    if facts["code"] == calls.NO_SUCH_USER:
        stop_no_account(mind, user, calls.NO_SUCH_USER)
    if facts["code"]:
        mind.stop("", facts["code"])
    stop_other(mind, facts["sid"])
    policy, lockout = mind.ask("NetUserModalsGet", level=0), mind.ask("NetUserModalsGet", level=3)
    now, flags, rid = mind.ask("GetSystemTimeAsFileTime")["unix"], facts["flags"], int(facts["sid"].split("-")[-1])
    age, expires = facts["password_age_s"], facts["account_expires"]
    free = None
    if age is not None and not facts["password_expired"] and now // 1 - age + policy["min_age_s"] > now:
        free = iso(now // 1 - age + policy["min_age_s"])
    answer["account"] = {
        "name": facts["name"],
        "sid": facts["sid"],
        "rid": rid,
        "enabled": not flags & calls.UF_DISABLED,
        "locked": bool(flags & calls.UF_LOCKED),
        "expired": 0 <= expires <= now,
        "must_change": bool(facts["password_expired"]),
        "cannot_change": bool(flags & calls.UF_CANNOT_CHANGE),
        "last_set": None if age is None else iso(now // 1 - age),
        "may_change_at": free,
        "bad_count": facts["bad_count"],
        "bad_at": None,
        "threshold": lockout["threshold"],
        "window_s": lockout["window_s"],
        "min_length": policy["min_length"],
        "has_profile": not mind.ask("RegOpenKeyEx", key=f"{calls.PROFILE_LIST}\\{facts['sid']}")["code"],
        "managed": "laps" if _is_laps(mind, facts["name"], rid) else "",
    }
    if rid == 501:
        mind.stop("is_guest")


def _name_now(mind: Mind, sid: str, otherwise: str = "") -> str:
    name = str(mind.ask("LookupAccountSidW", sid=sid)["name"] or "")
    mind.answer["present_name"] = "" if name.casefold() == otherwise.casefold() else name
    return str(mind.answer["present_name"])


def stop_no_account(mind: Mind, user: str, code: int) -> NoReturn:
    """Nothing has this name. What was proved, or the Administrator of a machine, may be called otherwise by now."""
    sid = mind.params["account_sid"]
    if not sid and "domain" not in mind.params and user.casefold().startswith("admin"):
        sid = mind.answer["machine"]["machine_sid"] + "-500"
    mind.stop("account_renamed" if sid and _name_now(mind, sid, user) else "no_account", code)


def stop_other(mind: Mind, sid: str) -> None:
    if mind.params["account_sid"] not in ("", sid):
        _name_now(mind, mind.params["account_sid"])
        mind.stop("other_account")


def _is_laps(mind: Mind, name: str, rid: int) -> bool:
    roots = (calls.LAPS_CSP, calls.LAPS_POLICY, calls.LAPS_LOCAL)
    active = next((root for root in roots if mind.ask("RegQueryInfoKey", key=root)["values"]), None)
    if active is None:
        enabled = _setting(mind, calls.LAPS_LEGACY, "AdmPwdEnabled", 0)
        return bool(enabled) and _is_meant(name, rid, _setting(mind, calls.LAPS_LEGACY, "AdminAccountName", ""))
    if not _setting(mind, active, "BackupDirectory", 0):
        return False
    automatic = "AutomaticAccountManagement"
    if not _setting(mind, active, f"{automatic}Enabled", 0):
        return _is_meant(name, rid, _setting(mind, active, "AdministratorAccountName", ""))
    if not _setting(mind, active, f"{automatic}Target", 1):
        return rid == 500
    own = _setting(mind, active, f"{automatic}NameOrPrefix", "") or "WLapsAdmin"
    if not _setting(mind, active, f"{automatic}RandomizeName", 0):
        return name.casefold() == own.casefold()
    return re.fullmatch(re.escape(own[:12]) + "[0-9]+", name, re.IGNORECASE) is not None


def _setting(mind: Mind, root: str, name: str, default: Any) -> Any:
    told = mind.ask("RegGetValue", key=root, value=name)
    return default if told["code"] else told["value"]


def _is_meant(name: str, rid: int, who: str) -> bool:
    return name.casefold() == who.casefold() if who else rid == 500


def stop_managed(mind: Mind) -> None:
    if mind.answer["account"]["managed"]:
        mind.stop("managed", calls.MANAGED)


def stop_locked(mind: Mind) -> None:
    if mind.answer["account"]["locked"]:
        mind.stop("account_state", calls.LOCKED)


def stop_closed(mind: Mind) -> None:
    """Disabled or expired: a logon would not tell whether the value is right."""
    if not mind.answer["account"]["enabled"]:
        mind.stop("account_state", calls.DISABLED)
    if mind.answer["account"]["expired"]:
        mind.stop("account_state", calls.ACCOUNT_EXPIRED)


def stop_short(mind: Mind, value: str) -> None:
    if not value:
        mind.stop("blank")
    least = mind.answer["account"]["min_length"]
    if least is not None and len(value.encode("utf-16-le", "surrogatepass")) // 2 < least:
        mind.stop("too_short")


def stop_tries(mind: Mind) -> None:
    account = mind.answer["account"]
    if account["threshold"] and account["threshold"] - account["bad_count"] - 1 < mind.params["min_left"]:
        mind.stop("would_lock")


def log_on(mind: Mind, value: str, stage: str, domain: str = ".") -> int:
    """One network logon. It counts only when the token is the account's own."""
    mind.answer["stage"] = stage
    if not mind.answer["wrote"] and not mind.in_time():
        mind.stop("ttl")
    account = mind.answer["account"]
    logon = mind.ask("LogonUserW", user=account["name"], domain=domain, password=value, type=3)
    code, sid = int(logon["code"]), logon["sid"] or ""
    mind.answer["logon"] = {"type": 3, "code": code, "sid": sid, "stage": stage}
    if not code and sid != account["sid"]:
        mind.stop("is_guest" if sid.endswith("-501") else "cannot_prove_old" if stage == "old" else "internal")
    return code


def finish(mind: Mind, code: int) -> None:
    mind.answer["stage"], mind.answer["code"] = "verify" if code else "done", code


def read_account(mind: Mind) -> None:
    read_facts(mind, mind.params["user"])
    mind.answer["stage"] = "done"


def verify(mind: Mind) -> None:
    read_facts(mind, mind.params["user"])
    stop_managed(mind)
    stop_locked(mind)
    stop_closed(mind)
    if not mind.secrets["value"]:
        mind.stop("blank")
    stop_tries(mind)
    finish(mind, log_on(mind, mind.secrets["value"], "verify"))


def change(mind: Mind) -> None:
    """By change where Windows allows one; else a logon with the old value and a reset. Never tries the new first."""
    read_facts(mind, mind.params["user"])
    stop_managed(mind)
    stop_locked(mind)
    stop_short(mind, mind.secrets["new"])
    stop_tries(mind)
    account, old, new = mind.answer["account"], mind.secrets["old"], mind.secrets["new"]
    if not account["cannot_change"] and account["may_change_at"] is None:
        mind.enter_write("change")
        code = mind.ask("NetUserChangePassword", user=account["name"], old=old, new=new)["code"]
    elif not account["has_profile"] or mind.params["reset_allowed"]:
        stop_closed(mind)
        proved = log_on(mind, old, "old")
        if proved:
            mind.stop("" if proved == calls.WRONG_LOGON else "cannot_prove_old", proved)
        mind.enter_write("reset")
        code = _reset_to(mind, new)
    else:
        mind.stop("reset_not_allowed" if account["cannot_change"] else "too_young")
    _after_write(mind, code, new)


def _reset_to(mind: Mind, new: str) -> int:
    name = mind.answer["account"]["name"]
    return int(mind.ask("NetUserSetInfo", user=name, level=1003, password=new, flags=None)["code"])


def _after_write(mind: Mind, code: int, new: str) -> None:
    mind.answer["write_code"] = code
    if code:
        mind.stop("", code)
    _prove_new(mind, new)


def _prove_new(mind: Mind, new: str) -> None:
    code = log_on(mind, new, "verify")
    read_facts(mind, mind.answer["account"]["name"])
    finish(mind, code)


def reset(mind: Mind) -> None:
    read_facts(mind, mind.params["user"])
    stop_managed(mind)
    account, new = mind.answer["account"], mind.secrets["new"]
    stop_short(mind, new)
    mind.enter_write("reset")
    code = mind.answer["write_code"] = _reset_to(mind, new)
    if code:
        mind.stop("", code)
    if mind.params["unlock"] and account["locked"] and mind.in_time():
        flags = mind.ask("NetUserGetInfo", user=account["name"])["flags"] & ~calls.UF_LOCKED
        mind.ask("NetUserSetInfo", user=account["name"], level=1008, password=None, flags=flags)
    _prove_new(mind, new)
