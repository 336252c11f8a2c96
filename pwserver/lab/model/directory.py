"""Calls to a domain controller over LDAP: who is the PDC emulator, binding, reading, changing and resetting."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pwserver.lab import calls
from pwserver.lab.model import logons
from pwserver.lab.model.accounts import Account, Policy, in_history, meets
from pwserver.lab.model.descriptors import descriptor, sid_bytes
from pwserver.lab.model.machines import ADMINISTRATORS, Machine

if TYPE_CHECKING:
    from pwserver.lab.model.network import Caller, Network

Result = dict[str, Any]
Values = dict[str, list[bytes]]
NEVER = 0x7FFFFFFFFFFFFFFF
UF_COMPUTED_LOCKED, UF_COMPUTED_EXPIRED = 0x10, 0x800000
_EQUALS = re.compile(r"\((?P<name>[A-Za-z-]+)=(?P<value>[^()]*)\)")


FORCE_REDISCOVERY = 0x1


def find_pdc(net: Network, machine: Machine, caller: Caller, domain: str, flags: int) -> Result:
    """The locator of a machine: asks who is the PDC emulator only when it has not found one before, or is told to."""
    known = None if flags & FORCE_REDISCOVERY else machine.located.get(domain.casefold())
    controller = net.state.machines.get(known) if known else _pdc_of(net, domain)
    if controller is None or (controller.fault.off and not known):
        return {"code": calls.NO_SUCH_DOMAIN}
    if known is None:
        machine.located[domain.casefold()] = controller.name
        net.changed()
    return {"name": f"{controller.name.lower()}.{net.dns_of(controller)}"}


def _pdc_of(net: Network, domain: str) -> Machine | None:
    """The controller that DNS names for the role; None when it is not there."""
    controller = net.controller(domain)
    if controller is None:
        return None
    sam = controller.sam
    return net.state.machines.get(sam.pdc_record or sam.pdc or controller.name)


def bind(net: Network, machine: Machine, caller: Caller, server: str, user: str, password: str) -> Result:
    controller = net.lookup(server)
    if controller is None or controller.fault.off or not controller.is_dc:
        return {"code": calls.LDAP_SERVER_DOWN}
    net.count_request(controller.name)
    domain, name = logons.split(user)
    if net.controller(domain) is None:
        return {"code": calls.LDAP_LOCAL_ERROR}
    who = logons.find(net, controller, name, domain)
    code, _ = logons.log_on(net, controller, who, logons.with_password(password), 3, ntlm=False)
    if code:
        return {"code": calls.LDAP_CREDENTIALS}
    return {"session": net.keep_session(controller.name, who.label)}


def search(
    net: Network, machine: Machine, caller: Caller, session: str, base: str, below: bool, filter: str,
    names: list[str], dacl: bool,
) -> Result:  # fmt: skip
    controller = net.session_machine(session)
    if controller is None or controller.fault.off:
        return {"code": calls.LDAP_SERVER_DOWN, "entries": []}
    token = _token(net, controller, net.session_user(session))
    wanted = {name.casefold() for name in names}
    found = []
    for dn, values in _entries(net, controller, token):
        at = dn.casefold() == base.casefold() or (below and base and dn.casefold().endswith("," + base.casefold()))
        if at and _matches(filter, values):
            told = {name: each for name, each in values.items() if name.casefold() in wanted and each}
            if not dacl:
                told.pop("nTSecurityDescriptor", None)
            attributes = {name: [b64encode(value).decode() for value in each] for name, each in told.items()}
            found.append({"dn": dn, "attributes": attributes})
    missing = not found and not below
    return {"code": calls.LDAP_NO_SUCH_OBJECT if missing else 0, "entries": found}


def modify(net: Network, machine: Machine, caller: Caller, session: str, dn: str, changes: list[Any]) -> Result:
    controller = net.session_machine(session)
    if controller is None or controller.fault.off or controller.fault.cut == "before":
        return {"code": calls.LDAP_SERVER_DOWN}
    account = next((one for one in controller.sam.accounts if dn_of(net, controller, one) == dn), None)
    if account is None:
        return {"code": calls.LDAP_NO_SUCH_OBJECT, "message": "0000208D: NameErr: problem 2001 (NO_OBJECT)"}
    token = _token(net, controller, net.session_user(session))
    code, message = _modified(net, controller, account, token, changes)
    if not code:
        net.changed()
    if controller.fault.cut == "after":
        return {"code": calls.LDAP_SERVER_DOWN}
    return {"code": code, "message": message}


HANDLERS: dict[str, Callable[..., Result]] = {
    "DsGetDcNameW": find_pdc,
    "LdapBind": bind,
    "LdapSearch": search,
    "LdapModify": modify,
}


# what is changed


def _modified(
    net: Network, controller: Machine, account: Account, token: set[str], changes: list[Any]
) -> tuple[int, str]:
    what = [(change["op"], change["name"].casefold()) for change in changes]
    values = [b64decode(change["value"]) for change in changes]
    admin = _is_admin(controller, token)
    if what == [("replace", "lockouttime")]:
        if not admin:
            return _no_right()
        account.forget_bad()
        return 0, ""
    if what == [("replace", "unicodepwd")]:
        delegated = token & {controller.real(sid) for sid in controller.sam.delegated}
        if not admin and (account.admin_count or not delegated):
            return _no_right()
        return _reset(net, controller, account, _unquoted(values[0]))
    if what == [("delete", "unicodepwd"), ("add", "unicodepwd")]:
        return _change(net, controller, account, _unquoted(values[0]), _unquoted(values[1]))
    return calls.LDAP_UNWILLING, "00000057: problem 5003 (WILL_NOT_PERFORM)"


def _unquoted(value: bytes) -> str:
    text = value.decode("utf-16-le", "surrogatepass")
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else ""


def _no_right() -> tuple[int, str]:
    return calls.LDAP_RIGHTS, "00000005: SecErr: problem 4003 (INSUFF_ACCESS_RIGHTS)"


def _refused(code: int) -> tuple[int, str]:
    return calls.LDAP_CONSTRAINT, f"{code:08X}: AtrErr: problem 1005 (CONSTRAINT_ATT_TYPE), unicodePwd"


def _reset(net: Network, controller: Machine, account: Account, new: str) -> tuple[int, str]:
    if account.managed:
        return calls.LDAP_UNWILLING, f"{calls.MANAGED:08X}: problem 5003 (WILL_NOT_PERFORM)"
    if not meets(controller.sam.policy_of(account), account, new):
        return _refused(1325)
    account.store(new, net.now())
    return 0, ""


def _change(net: Network, controller: Machine, account: Account, old: str, new: str) -> tuple[int, str]:
    """A change asks for the present password: the one before does not do, whatever NTLM still takes."""
    policy, now = controller.sam.policy_of(account), net.now()
    if account.cannot_change:
        return _no_right()
    if account.is_locked(policy, now):
        return _refused(calls.LOCKED)
    if old != account.password:
        who = logons.Named(controller, account, account.name, True)
        logons.count_wrong(net, controller, who, old)
        return _refused(calls.WRONG_OLD)
    if account.too_young(policy, now) or not meets(policy, account, new) or in_history(policy, account, new):
        return _refused(1325)
    account.store(new, now)
    account.forget_bad()
    return 0, ""


# what is read


def dn_of(net: Network, controller: Machine, account: Account) -> str:
    return f"CN={account.name},CN=Users,{_domain_dn(net, controller)}"


def _domain_dn(net: Network, controller: Machine) -> str:
    return ",".join(f"DC={label}" for label in net.dns_of(controller).split("."))


def _settings_dn(net: Network, controller: Machine, server: str) -> str:
    return (
        f"CN=NTDS Settings,CN={server},CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration,"
        + _domain_dn(net, controller)
    )


def _token(net: Network, controller: Machine, as_user: str) -> set[str]:
    who = logons.find(net, controller, as_user)
    return controller.held_by(who.sid, who.domain_groups)


def _is_admin(controller: Machine, token: set[str]) -> bool:
    return bool(token & {ADMINISTRATORS, controller.real("@-512")})


def _entries(net: Network, controller: Machine, token: set[str]) -> Iterable[tuple[str, Values]]:
    domain, here = _domain_dn(net, controller), controller.name
    yield "", {
        "objectClass": [b"top"],
        "currentTime": [datetime.fromtimestamp(net.now(), UTC).strftime("%Y%m%d%H%M%S.0Z").encode()],
        "defaultNamingContext": [domain.encode()],
        "dnsHostName": [f"{here.lower()}.{net.dns_of(controller)}".encode()],
        "dsServiceName": [_settings_dn(net, controller, here).encode()],
        "tokenGroups": [sid_bytes(sid) for sid in sorted(token)],
    }
    owner = _settings_dn(net, controller, controller.sam.pdc or here)
    policy = controller.sam.policy
    yield domain, {
        "objectClass": [b"domainDNS"],
        "objectSid": [sid_bytes(controller.sid)],
        "fSMORoleOwner": [owner.encode()],
        "minPwdLength": [_number(policy.min_length)],
        "minPwdAge": [_span(policy.min_age_s)],
        "pwdHistoryLength": [_number(policy.history)],
        "lockoutThreshold": [_number(policy.threshold)],
        "lockOutObservationWindow": [_span(policy.window_s)],
    }
    if _is_admin(controller, token):  # others may not read these
        for name, fine in controller.sam.fine.items():
            yield _fine_dn(domain, name), _fine(name, fine)
    for account in controller.sam.accounts:
        yield dn_of(net, controller, account), _account(net, controller, account)


def _fine_dn(domain: str, name: str) -> str:
    return f"CN={name},CN=Password Settings Container,CN=System,{domain}"


def _fine(name: str, policy: Policy) -> Values:
    return {
        "objectClass": [b"msDS-PasswordSettings"],
        "name": [name.encode()],
        "msDS-MinimumPasswordLength": [_number(policy.min_length)],
        "msDS-MinimumPasswordAge": [_span(policy.min_age_s)],
        "msDS-PasswordHistoryLength": [_number(policy.history)],
        "msDS-LockoutThreshold": [_number(policy.threshold)],
        "msDS-LockoutObservationWindow": [_span(policy.window_s)],
    }


def _account(net: Network, controller: Machine, account: Account) -> Values:
    policy, now = controller.sam.policy_of(account), net.now()
    classes = [b"top", b"person", b"user"] + ([b"msDS-GroupManagedServiceAccount"] if account.managed == "gmsa" else [])
    computed = UF_COMPUTED_LOCKED if account.is_locked(policy, now) else 0
    computed |= UF_COMPUTED_EXPIRED if account.is_due or account.password_expired(policy, now) else 0
    sid = controller.sid_of(account)
    groups = controller.groups_of(account)
    fine = [_fine_dn(_domain_dn(net, controller), account.fine_policy).encode()] if account.fine_policy else []
    return {
        "objectClass": classes,
        "distinguishedName": [dn_of(net, controller, account).encode()],
        "sAMAccountName": [account.name.encode()],
        "objectSid": [sid_bytes(sid)],
        "userAccountControl": [_number(account.flags(policy, now) & ~(calls.UF_LOCKED | calls.UF_CANNOT_CHANGE))],
        "msDS-User-Account-Control-Computed": [_number(computed)],
        "pwdLastSet": [b"0" if account.must_change else _filetime(account.last_set)],
        "badPwdCount": [_number(account.bad_count)],
        "badPasswordTime": [b"0" if account.last_bad is None else _filetime(account.last_bad)],
        "accountExpires": [_number(NEVER) if account.expires is None else _filetime(account.expires)],
        "adminCount": [b"1"] if account.admin_count else [],
        "servicePrincipalName": [spn.encode() for spn in account.spns],
        "tokenGroups": [sid_bytes(group) for group in groups],
        "msDS-ResultantPSO": fine,
        "nTSecurityDescriptor": [descriptor(controller, account)],
    }


def _matches(text: str, values: Values) -> bool:
    """The filters that are asked here: an ``(a=b)``, and ``&`` and ``|`` of them."""
    text = text.strip()
    if text[1] in "&|":
        parts = _split(text[2:-1])
        return (all if text[1] == "&" else any)(_matches(part, values) for part in parts)
    found = _EQUALS.fullmatch(text)
    if found is None:
        return False
    named = {name.casefold(): each for name, each in values.items()}
    have = [value.decode(errors="replace").casefold() for value in named.get(found["name"].casefold(), [])]
    wanted = re.sub(r"\\([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), found["value"]).casefold()
    return bool(have) if found["value"] == "*" else wanted in have


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == ")" and depth == 0:
            parts.append(text[start : at + 1])
            start = at + 1
    return parts


def _number(value: int) -> bytes:
    return str(value).encode()


def _span(seconds: float) -> bytes:
    return str(-int(seconds) * 10_000_000).encode()


def _filetime(unix: float) -> bytes:
    return str(int((unix + 11_644_473_600) * 10_000_000)).encode()
