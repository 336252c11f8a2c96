"""Calls about accounts: reading them, changing and resetting passwords, rights, logons."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pwserver.lab import calls
from pwserver.lab.model import logons
from pwserver.lab.model.accounts import Account, in_history, meets
from pwserver.lab.model.machines import LOCAL_ACCOUNT, LOCAL_ADMINISTRATOR, Machine

if TYPE_CHECKING:
    from pwserver.lab.model.network import Caller, Network

Result = dict[str, Any]


def is_managed(machine: Machine, account: Account) -> bool:
    """Whether Windows sets this password itself and refuses others with 8654."""
    return bool(account.managed) or (machine.laps is not None and machine.laps.protects(account))


def net_user_get_info(net: Network, machine: Machine, caller: Caller, user: str) -> Result:
    account = machine.sam.find(user)
    if account is None:
        return {"code": calls.NO_SUCH_USER}
    policy, now = machine.sam.policy_of(account), net.now()
    return {
        "code": 0,
        "name": account.name,
        "sid": machine.sid_of(account),
        "flags": account.flags(policy, now),
        "password_age_s": None if account.must_change else max(0, int(now - account.last_set)),
        "password_expired": int(account.is_due or account.password_expired(policy, now)),
        "bad_count": account.bad_count,
        "account_expires": -1 if account.expires is None else int(account.expires),
    }


def net_user_modals_get(net: Network, machine: Machine, caller: Caller, level: int) -> Result:
    policy = machine.sam.policy
    if level == 0:
        return {
            "min_length": policy.min_length,
            "min_age_s": int(policy.min_age_s),
            "max_age_s": int(policy.max_age_s) or calls.FOREVER,
            "history": policy.history,
        }
    if level == 2:
        return {"domain": logons.domain_name(machine, logons.find(net, machine, "")), "sid": machine.sid}
    if level == 3:
        return {
            "duration_s": int(policy.duration_s) or calls.FOREVER,
            "window_s": int(policy.window_s),
            "threshold": policy.threshold,
        }
    return {"code": 124}


def net_user_set_info(
    net: Network, machine: Machine, caller: Caller, user: str, level: int, password: str | None, flags: int | None
) -> Result:
    if not caller.admin:
        return {"code": calls.DENIED}
    account = machine.sam.find(user)
    if account is None:
        return {"code": calls.NO_SUCH_USER}
    if level == 1003 and password is not None:
        if is_managed(machine, account):
            return {"code": calls.MANAGED}
        if not meets(machine.sam.policy_of(account), account, password):
            return {"code": calls.POLICY}
        account.store(password, net.now())
    elif level == 1008 and flags is not None:
        if not flags & calls.UF_LOCKED:
            account.forget_bad()
        account.disabled = bool(flags & calls.UF_DISABLED)
        account.cannot_change = bool(flags & calls.UF_CANNOT_CHANGE)
        account.never_expires = bool(flags & calls.UF_NEVER_EXPIRES)
    else:
        return {"code": 87}
    net.changed()
    return {}


def net_user_change_password(net: Network, machine: Machine, caller: Caller, user: str, old: str, new: str) -> Result:
    who = logons.find(net, machine, user, ".")
    account, now = who.account, net.now()
    if account is None:
        return {"code": calls.NO_SUCH_USER}
    policy = machine.sam.policy_of(account)
    if account.is_locked(policy, now):
        if old != account.password:
            logons.count_wrong(net, machine, who, old)
        return {"code": calls.LOCKED}
    if old != account.password:
        logons.count_wrong(net, machine, who, old)
        return {"code": calls.WRONG_OLD}
    if account.disabled:
        return {"code": calls.DISABLED}
    if account.expires is not None and account.expires <= now:
        return {"code": calls.ACCOUNT_EXPIRED}
    if account.cannot_change:
        return {"code": calls.DENIED}
    if is_managed(machine, account):
        return {"code": calls.MANAGED}
    if account.too_young(policy, now) or not meets(policy, account, new) or in_history(policy, account, new):
        return {"code": calls.POLICY}
    account.store(new, now)
    account.forget_bad()
    net.changed()
    return {}


def logon_user(
    net: Network, machine: Machine, caller: Caller, user: str, domain: str, password: str, type: int
) -> Result:
    if type not in (2, 3, 4, 5):
        return {"code": 1367}
    who = logons.find(net, machine, user, domain)
    code, sid = logons.log_on(net, machine, who, logons.with_password(password), type)
    return {"code": code, "sid": sid}


def lookup_account_name(net: Network, machine: Machine, caller: Caller, name: str) -> Result:
    sid, domain, use = logons.name_to_sid(net, machine, name)
    return {"code": 0 if sid else calls.NO_SUCH_NAME, "sid": sid, "domain": domain, "use": use}


def lookup_account_sid(net: Network, machine: Machine, caller: Caller, sid: str) -> Result:
    domain, name = logons.sid_to_name(net, machine, sid)
    return {"code": 0 if name else calls.NO_SUCH_NAME, "name": name, "domain": domain}


def authz_context(net: Network, machine: Machine, caller: Caller, flags: int, sid: str) -> Result:
    """The groups that a logon of ``sid`` would have here. A domain's account is looked up at a controller, and by
    whoever may read its groups; what tells how somebody logged on (network, batch, local account) is not among them."""
    if machine.account_of(sid) is not None:
        return {"groups": _groups(machine, sid, [])}
    for controller in net.controllers():
        account = controller.account_of(sid)
        if account is None:
            continue
        if controller.fault.off:
            return {"code": calls.NO_SUCH_DOMAIN, "groups": []}
        if not controller.sam.groups_readable:
            return {"code": calls.DENIED, "groups": []}
        return {"groups": _groups(machine, sid, controller.groups_of(account))}
    return {"code": calls.NO_SUCH_NAME, "groups": []}


def _groups(machine: Machine, sid: str, domain_groups: list[str]) -> list[str]:
    return sorted(machine.held_by(sid, domain_groups) - {sid, LOCAL_ACCOUNT, LOCAL_ADMINISTRATOR})


def lsa_enumerate_account_rights(net: Network, machine: Machine, caller: Caller, sid: str) -> Result:
    if not caller.admin:
        return {"code": calls.DENIED, "rights": []}
    rights = sorted({one for holder, held in machine.rights.items() if machine.real(holder) == sid for one in held})
    return {"code": 0 if rights else calls.NOT_FOUND, "rights": rights}


HANDLERS: dict[str, Callable[..., Result]] = {
    "NetUserGetInfo": net_user_get_info,
    "NetUserModalsGet": net_user_modals_get,
    "NetUserSetInfo": net_user_set_info,
    "NetUserChangePassword": net_user_change_password,
    "LogonUserW": logon_user,
    "LookupAccountNameW": lookup_account_name,
    "LookupAccountSidW": lookup_account_sid,
    "AuthzInitializeContextFromSid": authz_context,
    "LsaEnumerateAccountRights": lsa_enumerate_account_rights,
}
