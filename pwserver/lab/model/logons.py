"""Logons: who is meant, whether the password opens it, and what Windows answers; every wrong one is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pwserver.lab import calls
from pwserver.lab.model.accounts import GRACE_S, GUEST, Account, Authority
from pwserver.lab.model.machines import (
    OTHER_SPELLINGS,
    RIGHT_OF_TYPE,
    SID_OF_TYPE,
    WELL_KNOWN,
    Machine,
    virtual_sid,
)

if TYPE_CHECKING:
    from pwserver.lab.model.network import Network


@dataclass(frozen=True, slots=True)
class Named:
    """What a user name means on a machine. ``owner``: whose SAM or domain it is (a domain's controller)."""

    owner: Machine
    account: Account | None
    typed: str
    is_domain: bool

    @property
    def authority(self) -> Authority:
        return self.owner.sam

    @property
    def sid(self) -> str:
        return self.owner.sid_of(self.account) if self.account else ""

    @property
    def label(self) -> str:
        """How its wrong logons are listed; an unknown name stands as typed."""
        return f"{self.authority.name}\\{self.account.name if self.account else self.typed}"

    @property
    def domain_groups(self) -> list[str]:
        return self.owner.groups_of(self.account) if self.account and self.is_domain else []


def split(user: str, domain: str = "") -> tuple[str, str]:
    """(domain, user) of ``DOMAIN\\user``, ``user@domain`` or a bare name."""
    if "\\" in user:
        domain, _, user = user.partition("\\")
    elif "@" in user and domain in ("", "."):
        user, _, domain = user.rpartition("@")
    return domain, user


def find(net: Network, machine: Machine, user: str, domain: str = "") -> Named:
    """Who ``user`` is on ``machine``. A domain nobody knows falls to the machine's own accounts, as Windows does."""
    domain, user = split(user, domain)
    if not machine.is_own_name(domain) and (machine.is_member or machine.is_dc):
        controller = net.controller(domain)
        if controller is not None:
            return Named(controller, controller.sam.find(user), user, True)
    return Named(machine, machine.sam.find(user), user, machine.is_dc)


Opens = Callable[[Iterable[str]], bool]
"""Whether what was offered is one of these passwords."""


def with_password(password: str) -> Opens:
    return lambda accepted: password in list(accepted)


def accepted_passwords(net: Network, who: Named, *, ntlm: bool) -> list[str]:
    """What opens the account now: at a domain, NTLM takes the one before for an hour."""
    account = who.account
    if account is None:
        return []
    accepted = [account.password]
    if who.is_domain and ntlm and account.history and net.now() - account.last_set < GRACE_S:
        accepted.append(account.history[0])
    return accepted


def log_on(
    net: Network, machine: Machine, who: Named, opens: Opens, kind: int, *, ntlm: bool = True
) -> tuple[int, str]:
    """One logon of type ``kind`` (2 interactive, 3 network, 4 batch, 5 service): (code, SID of the token).

    ``ntlm`` False is Kerberos: strict about the old password, open to Protected Users. Types 2, 4 and 5 of a domain
    account always use it; when no controller answers they may be opened by the cache.
    """
    account = who.account
    if who.is_domain and who.owner.fault.off and who.owner is not machine:
        return _from_cache(net, machine, who, opens, kind)
    if account is None:
        return _as_guest(net, machine, who, kind)
    policy, now, ntlm = who.authority.policy_of(account), net.now(), ntlm and kind == 3
    if account.protected and who.is_domain and ntlm:
        return calls.RESTRICTED, ""  # refused before the password is looked at, so it says nothing about it
    right = opens(accepted_passwords(net, who, ntlm=ntlm))
    if account.is_locked(policy, now):
        if not right:
            _count(net, machine, who, opens)
        return calls.LOCKED, ""
    if not right:
        _count(net, machine, who, opens)
        return calls.WRONG_LOGON, ""
    code = _restriction(who, account, now)
    if code:
        return code, ""
    if account.bad_count:
        account.forget_bad()
        net.changed()
    if not machine.has_right(machine.held_by(who.sid, who.domain_groups) | {SID_OF_TYPE[kind]}, RIGHT_OF_TYPE[kind]):
        return calls.NOT_GRANTED, ""
    if who.is_domain and kind != 3:
        machine.cached[who.sid] = account.password
        net.changed()
    return 0, who.sid


def _restriction(who: Named, account: Account, now: float) -> int:
    """What stands against a logon although the password is right."""
    policy = who.authority.policy_of(account)
    if account.disabled:
        return calls.DISABLED
    if account.expires is not None and account.expires <= now:
        return calls.ACCOUNT_EXPIRED
    if account.outside_hours:
        return 1328
    if account.other_workstation:
        return 1329
    if not account.password and not who.is_domain:
        return calls.RESTRICTED
    if account.is_due:
        return calls.MUST_CHANGE
    return calls.PASSWORD_EXPIRED if account.password_expired(policy, now) else 0


def _as_guest(net: Network, machine: Machine, who: Named, kind: int) -> tuple[int, str]:
    """An unknown name: over the network Windows lets it in as Guest where Guest is enabled."""
    guest = machine.sam.by_rid(GUEST)
    if kind == 3 and guest is not None and not guest.disabled:
        sid = machine.sid_of(guest)
        if machine.has_right(machine.held_by(sid, []), RIGHT_OF_TYPE[3]):
            return 0, sid
        return calls.NOT_GRANTED, ""
    count_at(net, machine, who.label)
    return calls.WRONG_LOGON, ""


def _from_cache(net: Network, machine: Machine, who: Named, opens: Opens, kind: int) -> tuple[int, str]:
    cached = machine.cached.get(who.sid)
    if kind == 3 or cached is None:
        return calls.NO_LOGON_SERVERS, ""
    if opens([cached]):
        return 0, who.sid
    count_at(net, machine, who.label)
    return calls.WRONG_LOGON, ""


def _count(net: Network, machine: Machine, who: Named, opens: Opens) -> None:
    """A wrong password: always in the lab's own count; a domain forgives one equal to one of the last two."""
    count_at(net, machine, who.label)
    account = who.account
    if account and not (who.is_domain and opens(account.history[:2])):
        account.count_bad(who.authority.policy_of(account), net.now())


def count_wrong(net: Network, machine: Machine, who: Named, password: str) -> None:
    """Counts a wrong old password of a change, which costs a try like a wrong logon."""
    _count(net, machine, who, with_password(password))


def count_at(net: Network, machine: Machine, label: str) -> None:
    machine.bad_logons[label] = machine.bad_logons.get(label, 0) + 1
    net.changed()


def name_to_sid(net: Network, machine: Machine, name: str) -> tuple[str, str, int]:
    """(SID, domain, use) as LookupAccountName tells; SID "" when nothing is called so."""
    folded = name.casefold()
    folded = OTHER_SPELLINGS.get(folded, folded)
    for known in WELL_KNOWN:
        if folded in (known.name.casefold(), f"{known.domain}\\{known.name}".casefold()):
            return known.sid, known.domain, known.use
    if folded.startswith("nt service\\"):
        return virtual_sid(name.partition("\\")[2]), "NT SERVICE", 5
    if folded in (machine.name.casefold(), machine.computer_name.casefold()) and not machine.is_dc:
        return machine.sid, machine.computer_name, 3
    domain, user = split(name)
    if not machine.is_own_name(domain) and net.controller(domain) is None:
        return "", "", 8
    who = find(net, machine, name)
    if who.account is None and not domain and machine.is_member:
        who = find(net, machine, user, machine.domain)
    if who.account is None:
        return "", "", 8
    return who.sid, domain_name(machine, who), 1


def sid_to_name(net: Network, machine: Machine, sid: str) -> tuple[str, str]:
    """(domain, name); name "" for a SID that nothing here has."""
    for known in WELL_KNOWN:
        if known.sid == sid:
            return known.domain, known.name
    for owner in (machine, *net.controllers()):
        account = owner.account_of(sid)
        if account is not None:
            return domain_name(machine, Named(owner, account, account.name, owner.is_dc)), account.name
    return "", ""


def domain_name(machine: Machine, who: Named) -> str:
    return who.authority.name if who.is_domain else machine.computer_name
