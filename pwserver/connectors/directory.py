"""A Domain Password over LDAPS: read, proved, changed and reset at the domain's PDC emulator.

All of one call happens at that one controller: it has every change first, and its count of wrong logons is the one that
locks. The account's own logon is made by Kerberos where the ``krb5`` package is installed, else by a bind that counts
only with the last-set stamp (rule 38): for an hour after a change a bind takes the password before, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from ldap3 import MODIFY_ADD, MODIFY_DELETE, MODIFY_REPLACE

from pwserver.connectors import directory_codes as codes
from pwserver.connectors import kerberos
from pwserver.connectors.base import (
    Blocked,
    Call,
    ConnectorError,
    Credential,
    Evidence,
    Key,
    Means,
    Refused,
    Unknown,
    Unreachable,
    same_stamp,
)
from pwserver.connectors.codes import where_it_went
from pwserver.connectors.directory_facts import (
    ADMINISTRATOR,
    KRBTGT,
    Account,
    last_set_of,
    name_of,
    read_account,
)
from pwserver.connectors.domain import Directory, Settings, Trust
from pwserver.connectors.ldap_line import CONNECT_SECONDS, LdapLine, escaped
from pwserver.connectors.pdc import At, Trace, at_pdc, text_of, trouble
from pwserver.connectors.pinning import LineError
from pwserver.connectors.security_descriptor import sid_text
from pwserver.connectors.windows import not_here
from pwserver.core.secrets import Secret

GRACE = timedelta(minutes=65)
"""Longer than a domain takes the password before, after a change."""
KERBEROS_SECONDS = 12.0
_CONFIGURATION = "configurationnamingcontext"
BY_KERBEROS, BY_BIND = "Kerberos", "bind and last-set stamp"


class DirectoryConnector:
    """One account of one domain (``base.Connector``)."""

    def __init__(self, directory: Directory, settings: Settings, linked: Credential | None) -> None:
        self.directory, self.settings, self.linked = directory, settings, linked

    def read(self, call: Call) -> Evidence:
        def work(at: At, trace: Trace) -> Evidence:
            return self._evidence(at, self._account(at, call))

        return self._run(call, work)

    def verify(self, call: Call, value: Secret) -> Evidence:
        def work(at: At, trace: Trace) -> Evidence:
            account = self._account(at, call)
            if account.state:
                raise Refused(account.state, safe_in=_opens_in(account), evidence=self._evidence(at, account))
            self._leaves_enough(call, account, self._evidence(at, account))
            return self._prove(at, account, value, trace, call.stamp, "value_refused", before_write=False)

        return self._run(call, work)

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        def work(at: At, trace: Trace) -> Evidence:
            account = self._account(at, call)
            facts = self._evidence(at, account)
            self._takes(account, new, facts)
            if account.state in ("account_disabled", "account_locked", "account_expired", "account_restricted"):
                raise Refused(account.state, safe_in=_opens_in(account), evidence=facts)
            # a logon cannot prove one that has to be changed, nor a bind one without a stamp
            stampless = account.last_set is None and account.may_change is not False
            if not account.may_reset or account.state or stampless:
                self._may_change(account, facts)
                self._leaves_enough(call, account, facts)
                changes = [(MODIFY_DELETE, [_quoted(old)]), (MODIFY_ADD, [_quoted(new)])]
                self._modify(at, account, {"unicodePwd": changes}, trace, own=True)
                return self._proved(at, account, new, trace, "change")
            self._leaves_enough(call, account, facts)
            self._prove(at, account, old, trace, call.stamp, "old_value_refused", before_write=True)
            return self._reset(at, account, new, trace)

        return self._run(call, work)

    def reset(self, call: Call, new: Secret) -> Evidence:
        def work(at: At, trace: Trace) -> Evidence:
            account = self._account(at, call)
            self._takes(account, new, self._evidence(at, account))
            if call.unlock and account.locked:
                self._modify(at, account, {"lockoutTime": [(MODIFY_REPLACE, [b"0"])]}, trace, own=False)
            return self._reset(at, account, new, trace)

        return self._run(call, work)

    def write(self, call: Call, value: Secret) -> Evidence:
        raise not_here("an account is changed, never written")

    def restart(self, call: Call) -> Evidence:
        raise not_here("an account is not restarted")

    # -- one call

    def _run(self, call: Call, work: Callable[[At, Trace], Evidence]) -> Evidence:
        """One call at the PDC emulator, to its end or its deadline. Whatever broke is *unreachable* until the new
        password was on its way, and *unknown* from then on."""
        began = time.monotonic()
        trace = Trace(began + call.deadline_s, began + min(call.ttl_s, call.deadline_s))
        if self.linked is None:
            raise Blocked("no_linked_credential")
        try:
            with at_pdc(self.directory, self.linked, trace) as at:
                return work(at, trace)
        except LineError as error:
            if trace.payload_sent:
                raise Unknown("connection_lost", text=str(error), spent=trace.spent) from None
            raise trouble(error, trace.spent) from None

    def _account(self, at: At, call: Call) -> Account:
        """The link's account, if it is there, may be touched, and lives in the domain of last time."""
        account = read_account(at.line, at.base, self.settings.user_name, at.ours)
        if account is None or call.account_sid not in ("", account.sid):
            raise self._gone(at, call, account)
        if call.machine_sid and call.machine_sid != account.domain_sid:
            raise Blocked("new_machine", text=f"The domain's SID is {account.domain_sid}.")
        if account.managed:
            raise Refused("managed_by_windows", text=f"It is {account.managed}.")
        refuse_unlisted(account, self.directory.allowed)
        return account

    def _gone(self, at: At, call: Call, found: Account | None) -> Blocked:
        """What it means that the account which was proved does not have the link's name any more."""
        name = name_of(at.line, at.base, call.account_sid) if call.account_sid else ""
        if found is not None:
            return Blocked("other_account", text=where_it_went(name))
        return Blocked("account_renamed", text=f"It is called {name} now.") if name else Blocked("no_account")

    def _evidence(self, at: At, account: Account, stamp: str | None = None, **more: object) -> Evidence:
        facts = {
            "host": at.host,
            "stamp": stamp or account.stamp,
            "machine_sid": account.domain_sid,
            "account_id": account.sid,
            "account_sid": account.sid,
            "bad_count": account.bad_count,
            "bad_at": account.bad_at.isoformat(timespec="seconds") if account.bad_at else None,
            "threshold": account.policy.threshold,
            "window_s": int(account.policy.window.total_seconds()) if account.policy.window else None,
            "notes": notes(account),
        }
        return Evidence(**(facts | more))  # type: ignore[arg-type]  # names and types are those above

    # -- before anything is tried

    def _takes(self, account: Account, new: Secret, facts: Evidence) -> None:
        length = len(new.open().encode("utf-16-le", "surrogatepass")) // 2  # as Windows counts them
        if length == 0:
            raise Refused("blank", evidence=facts)
        if account.policy.min_length and length < account.policy.min_length:
            named = f"The policy {account.policy.name}" if account.policy.name else "The domain's policy"
            words = f"{named} asks for at least {account.policy.min_length} characters."
            raise Refused("too_short", text=words, evidence=facts)

    def _may_change(self, account: Account, facts: Evidence) -> None:
        if account.may_change is False:
            raise Refused("change_denied", evidence=facts)
        if (at := account.may_change_at) is not None:
            raise Refused("may_change_at", safe_in=at - account.now, evidence=facts)

    def _leaves_enough(self, call: Call, account: Account, facts: Evidence) -> None:
        """Rule 22: no try that could leave too few before the account is locked."""
        threshold, count = account.policy.threshold, account.bad_count
        if threshold and count is not None and threshold - count - 1 < call.min_left:
            safe = account.free_at
            raise Refused(
                "would_lock",
                text=f"{count} of {threshold} wrong logons are counted at {facts.host}.",
                safe_in=safe - account.now if safe else None,
                evidence=facts,
            )

    # -- the account's own logon

    def _prove(
        self,
        at: At,
        account: Account,
        value: Secret,
        trace: Trace,
        known: str | None,
        wrong: str,
        *,
        before_write: bool,
    ) -> Evidence:
        """One logon with ``value``, strict by rule 38. ``known``: the stamp under which this very value was set or
        proved. Costs at most one try, and exactly one when it is refused."""
        if not value.open():
            raise Refused("blank")
        by = self._by_kerberos(at, account, value, trace, wrong) or self._by_bind(at, account, value, trace, wrong)
        trace.spent.discard(Key.TARGET)
        last_set = last_set_of(at.line, account.dn)
        stamp = last_set.isoformat(timespec="seconds") if last_set else None
        evidence = self._evidence(at, account, stamp, means=Means.LOGGED_ON, by=by, logged_on=True)
        if by == BY_KERBEROS:
            return evidence
        if last_set is None:  # nobody knows whether it was set within the hour
            facts = self._evidence(at, account, by=by)
            if before_write:
                raise Refused("cannot_prove_old", evidence=facts)
            raise Unknown("cannot_tell", spent=(), wrote=False, evidence=facts)
        ours = known is not None and stamp is not None and same_stamp(known, stamp)
        if ours or last_set + GRACE <= account.now:
            return evidence
        facts = self._evidence(at, account, stamp, by=by)
        safe_in = last_set + GRACE - account.now
        if before_write:
            raise Refused("grace_hour_before_write", safe_in=safe_in, evidence=facts)
        raise Unknown("grace_hour", safe_in=safe_in, spent=(), wrote=False, evidence=facts)

    def _by_kerberos(self, at: At, account: Account, value: Secret, trace: Trace, wrong: str) -> str:
        """:data:`BY_KERBEROS`, or "" where there is none and a bind has to do."""
        if not kerberos.is_installed():
            return ""
        seconds = min(KERBEROS_SECONDS, trace.ends_at - time.monotonic())
        realm = self.directory.domain.upper()
        trace.spent.add(Key.TARGET)
        said, code = kerberos.log_on(at.line.host, realm, account.name, value, seconds)
        match said:
            case kerberos.OK:
                return BY_KERBEROS
            case kerberos.SILENT:
                trace.spent.discard(Key.TARGET)
                return ""
            case kerberos.WRONG:
                raise Refused(wrong, code=code, spent={Key.TARGET})
            case kerberos.UNKNOWN_CLIENT:
                raise Blocked("no_account", code=code)
            case kerberos.REVOKED:
                raise Refused("account_state", code=code)
            case kerberos.EXPIRED:
                raise Refused("password_expired", code=code)
            case kerberos.SKEW:
                # No password was looked at: nothing is spent, and nothing said about the value.
                raise Unknown("clock_skew", code=code, spent=(), wrote=False)
        raise Unknown("code_not_known", code=code, spent={Key.TARGET}, wrote=False)

    def _by_bind(self, at: At, account: Account, value: Secret, trace: Trace, wrong: str) -> str:
        with at.line.again() as own:
            trace.spent.add(Key.TARGET)
            result = own.bind(account.dn, value)
        if not result.ok:
            raise codes.refused_bind(result, wrong)
        return BY_BIND

    # -- writing

    def _reset(self, at: At, account: Account, new: Secret, trace: Trace) -> Evidence:
        self._modify(at, account, {"unicodePwd": [(MODIFY_REPLACE, [_quoted(new)])]}, trace, own=False)
        return self._proved(at, account, new, trace, "reset")

    def _modify(self, at: At, account: Account, changes: dict[str, object], trace: Trace, *, own: bool) -> None:
        if time.monotonic() >= trace.writes_until:
            raise Unreachable("ttl", spent=trace.spent)
        if own:
            trace.spent.add(Key.TARGET)
        if "unicodePwd" in changes:
            trace.payload_sent = True
        result = at.line.modify(account.dn, changes)
        trace.spent.discard(Key.TARGET)
        if not result.ok:
            raise codes.refused_modification(result, own=own)

    def _proved(
        self, at: At, before: Account, new: Secret, trace: Trace, method: Literal["change", "reset"]
    ) -> Evidence:
        """It was set. One logon with it, where the account's state lets a logon tell; else it is written, no more."""
        written = replace(self._evidence(at, before, means=Means.WRITTEN, method=method), stamp=None)
        try:
            account = read_account(at.line, at.base, self.settings.user_name, at.ours)
            if account is None or account.sid != before.sid:
                return written
            written = self._evidence(at, account, means=Means.WRITTEN, method=method)
            if account.state:
                return written
            proof = self._prove(at, account, new, trace, account.stamp, "refused_after_write", before_write=False)
        except Refused as error:
            if Key.TARGET not in error.spent:
                return written
            raise Unknown(
                "refused_after_write", code=error.code, spent={Key.TARGET}, wrote=True, evidence=written
            ) from None
        except (ConnectorError, LineError):
            return written
        return replace(proof, method=method)


# -- the way there, shared with the test of an agent


def check(directory: Directory, linked: Credential, seconds: float) -> Evidence:
    """The test of a directory: the linked credential logs on at the PDC emulator, which says whose domain it is."""
    began = time.monotonic()
    trace = Trace(began + seconds, began)
    try:
        with at_pdc(directory, linked, trace) as at:
            condition = f"(&(objectClass=crossRef)(nCName={escaped(at.base)}))"
            partitions = "CN=Partitions," + text_of(at.line.base("", ["configurationNamingContext"]), _CONFIGURATION)
            short = text_of(at.line.find(partitions, condition, ["nETBIOSName"]), "netbiosname")
            if short.casefold() != directory.short_name.casefold():
                raise Blocked("wrong_domain", text=f"The short name of {directory.domain} is {short or 'not told'}.")
            sid = at.line.base(at.base, ["objectSid"]).get("objectsid") or [b""]
            told = sid_text(sid[0]) or None
            return Evidence(at.host, machine_sid=told, domain=directory.domain, short_domain=short)
    except LineError as error:
        raise trouble(error, trace.spent) from None


def shows(host: str, port: int, trust: Trust) -> str:
    """The host, when it shows a certificate that ``trust`` takes. No login is sent. Raises an answer of ``base``."""
    try:
        LdapLine(host, port, trust, time.monotonic() + 2 * CONNECT_SECONDS).close()
    except LineError as error:
        raise trouble(error, set()) from None
    return host


def refuse_unlisted(account: Account, allowed: tuple[str, ...]) -> None:
    """Rule 34: only listed accounts or units; a protected account only by its own name; krbtgt never."""
    if account.rid == KRBTGT or account.name.casefold() == "krbtgt":
        raise Blocked("never_changed")
    listed = {each.casefold() for each in allowed}
    if account.name.casefold() in listed:
        return
    if account.rid == ADMINISTRATOR or account.protected:
        raise Blocked("protected_account")
    parents = account.dn.casefold()
    if not any("=" in each and parents.endswith(f",{_dn(each)}") for each in listed):
        raise Blocked("account_not_listed", text=f"It is {account.dn}.")


def _dn(typed: str) -> str:
    """A unit's name as a directory writes it: no blanks around its parts."""
    return ",".join("=".join(side.strip() for side in part.split("=", 1)) for part in typed.split(","))


def notes(account: Account) -> str:
    """What a person should know besides: service names, logon hours, workstations."""
    found = []
    if account.service_names:
        plural = "service name" if account.service_names == 1 else "service names"
        found.append(f"{account.service_names} {plural} (SPN): its services take the new password at their restart")
    found += [f"restricted by {words}" for words in account.restricted]
    return "; ".join(found)


def _quoted(value: Secret) -> bytes:
    """A password as ``unicodePwd`` takes it."""
    quote = '"'.encode("utf-16-le")
    return quote + value.open().encode("utf-16-le") + quote


def _opens_in(account: Account) -> timedelta | None:
    """After how long a locked account opens by itself, as far as it can be told."""
    if account.state != "account_locked" or account.free_at is None:
        return None
    return account.free_at - account.now
