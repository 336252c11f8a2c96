"""What a directory says about an account before anything is tried: rights, policy, lock-out count, state, stamp.

Read by the linked credential at one controller, without any logon on the account. What may not be read is None, and
never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pwserver.connectors import security_descriptor as rights
from pwserver.connectors.ldap_line import DACL_ONLY, LdapLine, Row, escaped
from pwserver.core.protected_groups import protects

EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
NEVER = 0x7FFFFFFFFFFFFFFF

_DISABLED, _NORMAL, _NEVER_EXPIRES, _SMARTCARD = 0x2, 0x200, 0x10000, 0x40000
_LOCKED_NOW, _PASSWORD_EXPIRED = 0x10, 0x800000
_MANAGED = {
    "msds-groupmanagedserviceaccount": "a group managed service account",
    "msds-managedserviceaccount": "a managed service account",
    "msds-delegatedmanagedserviceaccount": "a delegated managed service account",
    "computer": "a computer account",
}
ADMINISTRATOR, KRBTGT = 500, 502

_ATTRIBUTES = (
    "sAMAccountName", "objectSid", "objectClass", "userAccountControl", "msDS-User-Account-Control-Computed",
    "pwdLastSet", "accountExpires", "lockoutTime", "badPwdCount", "badPasswordTime", "adminCount", "logonHours",
    "userWorkstations", "servicePrincipalName", "msDS-ResultantPSO", "nTSecurityDescriptor",
)  # fmt: skip
_DOMAIN_POLICY = {
    "min_length": "minPwdLength", "min_age": "minPwdAge", "history": "pwdHistoryLength",
    "threshold": "lockoutThreshold", "window": "lockOutObservationWindow", "locked_for": "lockoutDuration",
}  # fmt: skip
_FINE_POLICY = {
    "min_length": "msDS-MinimumPasswordLength", "min_age": "msDS-MinimumPasswordAge",
    "history": "msDS-PasswordHistoryLength", "threshold": "msDS-LockoutThreshold",
    "window": "msDS-LockoutObservationWindow", "locked_for": "msDS-LockoutDuration",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """The effective password policy; what could not be read is None. ``name`` "": the domain's own."""

    name: str
    min_length: int | None
    min_age: timedelta | None
    history: int | None
    threshold: int | None
    window: timedelta | None
    locked_for: timedelta | None
    """None: until somebody unlocks it, or not readable."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account as it stands at one controller. Times are by that controller's clock."""

    dn: str
    name: str
    sid: str
    now: datetime
    last_set: datetime | None
    """None: the stamp was set to 0, which orders a change at the next logon unless the password never expires."""
    disabled: bool
    locked: bool
    expired: bool
    password_expired: bool
    must_change: bool
    smartcard: bool
    managed: str
    protected: bool
    restricted: tuple[str, ...]
    service_names: int
    policy: Policy
    bad_count: int | None
    bad_at: datetime | None
    may_change: bool | None
    may_reset: bool | None
    """Whether the linked credential may; None: the list of rights may not be read."""

    @property
    def rid(self) -> int:
        return int(self.sid.rpartition("-")[2] or 0)

    @property
    def domain_sid(self) -> str:
        return self.sid.rpartition("-")[0]

    @property
    def stamp(self) -> str | None:
        return self.last_set.isoformat(timespec="seconds") if self.last_set else None

    @property
    def may_change_at(self) -> datetime | None:
        """When the minimum age lets it change its own password; None: at once."""
        if self.last_set is None or not self.policy.min_age:
            return None
        at = self.last_set + self.policy.min_age
        return at if at > self.now else None

    @property
    def free_at(self) -> datetime | None:
        """When its count of wrong logons starts anew."""
        return self.bad_at + self.policy.window if self.bad_at and self.policy.window else None

    @property
    def state(self) -> str:
        """Why a logon could not tell, as a reason; "" when it can."""
        found = (
            (self.disabled, "account_disabled"),
            (self.locked, "account_locked"),
            (self.expired, "account_expired"),
            (self.smartcard, "account_restricted"),
            (self.must_change, "must_change"),
            (self.password_expired, "password_expired"),
        )
        return next((reason for holds, reason in found if holds), "")


def read_account(line: LdapLine, base: str, user: str, ours: frozenset[str]) -> Account | None:
    """The account called ``user``; None when there is none. ``ours``: the SIDs of the linked credential."""
    condition = f"(&(objectCategory=person)(sAMAccountName={escaped(user)}))"
    found = line.find(base, condition, ["objectSid"]) or line.find(
        base, f"(sAMAccountName={escaped(user)})", ["objectSid"]
    )
    if not found:
        return None
    dn = found["dn"][0].decode()
    row = line.base(dn, _ATTRIBUTES, [DACL_ONLY])
    now = clock_of(line)
    policy = _policy(line, base, row)
    control = _number(row, "useraccountcontrol") or 0
    computed = _number(row, "msds-user-account-control-computed") or 0
    last_set = _number(row, "pwdlastset")
    bad_at = _moment(_number(row, "badpasswordtime"))
    bad_count = _number(row, "badpwdcount")
    if bad_count and bad_at and policy.window and bad_at + policy.window <= now:
        bad_count = 0  # the controller starts anew with the next wrong logon
    classes = {name.decode().lower() for name in row.get("objectclass", ())}
    descriptor = _first(row, "ntsecuritydescriptor")
    sid = rights.sid_text(_first(row, "objectsid"))
    everyone = {rights.EVERYONE, rights.SELF, sid, rights.AUTHENTICATED}
    expires = _number(row, "accountexpires")
    return Account(
        dn=dn,
        name=_first(row, "samaccountname").decode(),
        sid=sid,
        now=now,
        last_set=_moment(last_set),
        disabled=bool(control & _DISABLED),
        locked=bool(computed & _LOCKED_NOW) or _locked(row, policy, now),
        expired=bool(expires and expires < NEVER and (_moment(expires) or now) <= now),
        password_expired=bool(computed & _PASSWORD_EXPIRED) and last_set != 0,
        must_change=last_set == 0 and not control & (_NEVER_EXPIRES | _SMARTCARD),
        smartcard=bool(control & _SMARTCARD),
        managed=next((words for name, words in _MANAGED.items() if name in classes), ""),
        protected=_number(row, "admincount") == 1 or _is_protected(line, dn),
        restricted=tuple(
            words
            for name, words in (("logonhours", "logon hours"), ("userworkstations", "workstations"))
            if _first(row, name) and set(_first(row, name)) != {0xFF}
        ),
        service_names=len(row.get("serviceprincipalname", ())),
        policy=policy,
        bad_count=bad_count,
        bad_at=bad_at,
        may_change=rights.may(descriptor, rights.CHANGE_PASSWORD, everyone) if descriptor else None,
        may_reset=rights.may(descriptor, rights.RESET_PASSWORD, ours) if descriptor and ours else None,
    )


def last_set_of(line: LdapLine, dn: str) -> datetime | None:
    """The last-set stamp alone, read anew."""
    return _moment(_number(line.base(dn, ["pwdLastSet"]), "pwdlastset"))


def name_of(line: LdapLine, base: str, sid: str) -> str:
    """The logon name that the account with this SID has now; "" when there is none."""
    return _first(line.find(base, f"(objectSid={escaped(sid)})", ["sAMAccountName"]) or {}, "samaccountname").decode()


def clock_of(line: LdapLine) -> datetime:
    """The controller's own time."""
    said = _first(line.base("", ["currentTime"]), "currenttime").decode()
    return datetime.strptime(said[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def sids_of(line: LdapLine) -> frozenset[str]:
    """Who the connection is logged on as, with all groups; empty when the directory does not say."""
    return frozenset(rights.sid_text(raw) for raw in line.base("", ["tokenGroups"]).get("tokengroups", ()))


def _policy(line: LdapLine, base: str, row: Row) -> Policy:
    """The account's own fine-grained policy, else the domain's. One that exists and may not be read is all None."""
    own = _first(row, "msds-resultantpso").decode()
    names = _FINE_POLICY if own else _DOMAIN_POLICY
    found = line.base(own or base, [*names.values(), "name"])
    numbers = {field: _number(found, name.lower()) for field, name in names.items()}
    return Policy(
        name=_first(found, "name").decode() or own if own else "",
        min_length=numbers["min_length"],
        min_age=_span(numbers["min_age"]),
        history=numbers["history"],
        threshold=numbers["threshold"],
        window=_span(numbers["window"]),
        locked_for=_span(numbers["locked_for"]),
    )


def _locked(row: Row, policy: Policy, now: datetime) -> bool:
    at = _moment(_number(row, "lockouttime"))
    return at is not None and (policy.locked_for is None or at + policy.locked_for > now)


def _is_protected(line: LdapLine, dn: str) -> bool:
    """A member of a group that Windows protects, also before it has marked the account as such."""
    return protects(rights.sid_text(raw) for raw in line.base(dn, ["tokenGroups"]).get("tokengroups", []))


def _first(row: Row, name: str) -> bytes:
    values: Sequence[bytes] = row.get(name) or [b""]
    return values[0]


def _number(row: Row, name: str) -> int | None:
    text = _first(row, name).decode("ascii", "replace")
    return int(text) if text.lstrip("-").isdigit() else None


def _moment(ticks: int | None) -> datetime | None:
    """A moment in units of 100 ns since 1601; 0 and "never" are none."""
    return EPOCH + timedelta(microseconds=ticks // 10) if ticks and 0 < ticks < NEVER else None


def _span(ticks: int | None) -> timedelta | None:
    """A span as policies keep it: negative units of 100 ns; the smallest number means for ever."""
    if ticks is None or ticks <= -NEVER:
        return None
    return timedelta(microseconds=-ticks // 10)
