"""What an answer of a script means: the one table, for real machines and for the lab alike.

:func:`meaning` returns :class:`Evidence` or raises one of the four other answers. It never guesses: a code whose
meaning is not written here is *unknown*, and "right password, but …" codes never make a green (grade *written only*).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from pwserver.connectors import contract
from pwserver.connectors.base import Blocked, ConnectorError, Evidence, Key, Means, Refused, Unknown, Unreachable

WIN32_HRESULT = range(0x80070000, 0x80080000)
"""HRESULTs that carry a Win32 code in their low word."""

HRESULT_NAMES = {0x80041310: 1332, 0x80070002: 2, 0x80070003: 2}
"""The task scheduler's own words for what Win32 has a code for."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a code or a stop means. ``spends``: whose try the answer itself refused."""

    raises: type[ConnectorError]
    reason: str
    spends: frozenset[Key] = frozenset()


NONE: frozenset[Key] = frozenset()
TARGET = frozenset({Key.TARGET})
LINKED = frozenset({Key.LINKED})

ACCOUNT_STATES: Mapping[int, str] = {
    1327: "account_restricted",
    1328: "account_hours",
    1329: "account_workstation",
    1330: "password_expired",
    1331: "account_disabled",
    1385: "logon_type_denied",
    1793: "account_expired",
    1907: "must_change",
    1909: "account_locked",
}
"""Logon codes that tell a state of the account. Some come only after a right password, on some machines: no proof."""

NO_DIRECTORY = frozenset({1311, 1355, 1787, 1789})
"""No domain controller, no such domain, trust broken: nobody looked at the password."""

CANNOT_TELL = frozenset(ACCOUNT_STATES) | NO_DIRECTORY
"""After a write that worked: the logon cannot tell, so the value is written and not proved."""

_OUR_RIGHTS = {
    5: Row(Blocked, "denied"),
    1314: Row(Blocked, "denied"),
    1219: Row(Blocked, "other_session"),
    2351: Row(Blocked, "wrong_name"),
    1722: Row(Unreachable, "not_ready"),
    1115: Row(Unreachable, "not_ready"),
}
_DIRECTORY = {code: Row(Unreachable, "no_domain_controller") for code in NO_DIRECTORY}
_STATES = {code: Row(Refused, reason) for code, reason in ACCOUNT_STATES.items()}
_VALUE = {
    2245: Row(Refused, "policy"),
    1325: Row(Refused, "policy"),
    8654: Row(Refused, "managed_by_windows"),
    2221: Row(Blocked, "no_account"),
}

FACTS = _OUR_RIGHTS | _DIRECTORY | {2221: Row(Blocked, "no_account"), 1332: Row(Blocked, "no_account")}
OLD = _OUR_RIGHTS | _DIRECTORY | _STATES | {1326: Row(Refused, "old_value_refused", TARGET)}
LOGON = _OUR_RIGHTS | _DIRECTORY | _STATES | {1326: Row(Refused, "value_refused", TARGET)}
del LOGON[5], OLD[5]  # nobody here has seen a logon answer 5

WRITES: Mapping[str, Mapping[int, Row]] = {
    "change": _OUR_RIGHTS
    | _DIRECTORY
    | _STATES
    | _VALUE
    | {
        5: Row(Refused, "change_denied"),
        86: Row(Refused, "old_value_refused", TARGET),
        1326: Row(Refused, "old_value_refused", TARGET),
    },
    "reset": _OUR_RIGHTS | _DIRECTORY | _VALUE,
    "set_task": _OUR_RIGHTS
    | _DIRECTORY
    | _STATES
    | {
        2: Row(Blocked, "no_task"),
        1312: Row(Blocked, "may_not_store"),
        1326: Row(Refused, "value_refused", TARGET),
        1332: Row(Blocked, "no_account"),
        1385: Row(Blocked, "no_batch_right"),
    },
    "set_service": _OUR_RIGHTS
    | {
        1057: Row(Blocked, "no_account"),
        1060: Row(Blocked, "no_service"),
        1072: Row(Blocked, "no_service"),
    },
    "restart_service": _OUR_RIGHTS
    | {
        1051: Row(Refused, "dependents_running"),
        1052: Row(Refused, "did_not_stop"),
        1053: Row(Refused, "did_not_stop"),
        1060: Row(Blocked, "no_service"),
        1061: Row(Refused, "did_not_stop"),
    },
}

LEFT_DOWN = frozenset({"did_not_start", "still_stopping", "dependents_down"})
"""Known ends of a restart: what was stopped did not come up again."""

STOPS: Mapping[str, Row] = {
    "bad_request": Row(Unknown, "bad_request"),
    "language_mode": Row(Blocked, "language_mode"),
    "not_admin": Row(Blocked, "not_admin"),
    "wrong_name": Row(Blocked, "wrong_name"),
    "new_machine": Row(Blocked, "new_machine"),
    "is_dc": Row(Blocked, "is_dc"),
    "no_account": Row(Blocked, "no_account"),
    "account_renamed": Row(Blocked, "account_renamed"),
    "other_account": Row(Blocked, "other_account"),
    "is_guest": Row(Blocked, "is_guest"),
    "managed": Row(Refused, "managed_by_windows"),
    "would_lock": Row(Refused, "would_lock"),
    "account_state": Row(Refused, "account_state"),
    "cannot_prove_old": Row(Refused, "cannot_prove_old"),
    "too_young": Row(Refused, "may_change_at"),
    "reset_not_allowed": Row(Refused, "reset_not_allowed"),
    "too_short": Row(Refused, "too_short"),
    "blank": Row(Refused, "blank"),
    "no_task": Row(Blocked, "no_task"),
    "no_service": Row(Blocked, "no_service"),
    "stores_no_password": Row(Blocked, "stores_no_password"),
    "run_as_ambiguous": Row(Blocked, "run_as_ambiguous"),
    "run_as_differs": Row(Blocked, "run_as_differs"),
    "no_batch_right": Row(Blocked, "no_batch_right"),
    "no_service_right": Row(Blocked, "no_service_right"),
    "cluster_resource": Row(Refused, "cluster_resource"),
    "not_running": Row(Refused, "not_running"),
    "dependents_running": Row(Refused, "dependents_running"),
    "start_disabled": Row(Refused, "start_disabled"),
    "dependency_missing": Row(Refused, "dependency_missing"),
    "did_not_start": Row(Refused, "did_not_start"),
    "still_stopping": Row(Refused, "still_stopping"),
    "dependents_down": Row(Refused, "dependents_down"),
    "ttl": Row(Unreachable, "ttl"),
    "helper_not_compiled": Row(Blocked, "helper_not_compiled"),
    "hop_unreachable": Row(Unreachable, "hop_unreachable"),
    "hop_refused": Row(Blocked, "linked_unclear", LINKED),
    "hop_unclear": Row(Blocked, "linked_denied", LINKED),
    "hop_no_controller": Row(Unreachable, "no_logon_server"),
    "hop_broken": Row(Unknown, "hop_broken"),
    "not_member": Row(Blocked, "not_member"),
    "no_controller": Row(Unreachable, "pdc_silent"),
    "not_pdc": Row(Unreachable, "not_pdc"),
    "login_refused": Row(Blocked, "linked_refused", LINKED),
    "login_unclear": Row(Blocked, "linked_unclear", LINKED),
    "guarded": Row(Blocked, "guarded_account"),
    "never_changed": Row(Blocked, "never_changed"),
    "no_reset_right": Row(Blocked, "denied"),
    "change_denied": Row(Refused, "change_denied"),
    "grace_hour": Row(Refused, "grace_hour_before_write"),
    "internal": Row(Unknown, "script_failed"),
}

HOP: Mapping[int, Row] = {
    # the login was looked at: its password, the state of its account, what it may do there
    86: Row(Blocked, "linked_refused", LINKED),
    1326: Row(Blocked, "linked_refused", LINKED),
    0x8009030C: Row(Blocked, "linked_refused", LINKED),
    5: Row(Blocked, "not_admin"),
    1329: Row(Blocked, "linked_restricted"),
    1385: Row(Blocked, "linked_restricted"),
    1327: Row(Blocked, "linked_state"),
    1328: Row(Blocked, "linked_state"),
    1330: Row(Blocked, "linked_state"),
    1331: Row(Blocked, "linked_state"),
    1793: Row(Blocked, "linked_state"),
    1907: Row(Blocked, "linked_state"),
    1909: Row(Blocked, "linked_state"),
    # nobody looked at it
    0x803381B9: Row(Unreachable, "no_dns"),
    11001: Row(Unreachable, "no_dns"),
    11002: Row(Unreachable, "no_dns"),
    11004: Row(Unreachable, "no_dns"),
    0x80338012: Row(Unreachable, "hop_unreachable"),
    0x80338126: Row(Unreachable, "hop_unreachable"),
    0x803381A5: Row(Unreachable, "out_of_shells"),
    0x803381A6: Row(Unreachable, "out_of_shells"),
    12175: Row(Blocked, "hop_certificate"),
    0x80072F8F: Row(Blocked, "hop_certificate"),
    0x80090322: Row(Blocked, "hop_principal"),
    1396: Row(Blocked, "hop_principal"),
    1397: Row(Blocked, "hop_principal"),
    0x80090303: Row(Blocked, "no_kerberos"),
    0x8009030E: Row(Blocked, "no_kerberos"),
    1312: Row(Blocked, "no_kerberos"),
    0x8033809D: Row(Blocked, "no_kerberos"),
    0x803380E2: Row(Blocked, "no_kerberos"),
    0x80090311: Row(Unreachable, "no_logon_server"),
    0x80090324: Row(Unreachable, "clock_skew"),
    1398: Row(Unreachable, "clock_skew"),
} | {code: Row(Unreachable, "no_logon_server") for code in NO_DIRECTORY}
"""Why a second machine was not opened. Only a code that names the password spends a try and refuses the value: by
Kerberos a wrong one never is a 5."""


def meaning(answer: contract.Answer, *, account_sid: str = "") -> Evidence:
    """What ``answer`` means.

    ``account_sid``: for places, the SID their account was told before ("" when never).
    """
    said = _Said(answer, account_sid)
    if answer.reason:
        said.stopped()
    if answer.stage == "done":
        return said.done()
    if answer.code == 0:
        said.raise_(Unknown, "answer_foreign", _all(answer))
    if answer.stage == "verify" and answer.wrote:
        return said.written()
    return said.refused()


def _all(answer: contract.Answer) -> frozenset[Key]:
    """The tries that may be spent when an answer's end is not known: none before a logon or a write was entered."""
    return TARGET if answer.stage in ("old", "write", "verify") else NONE


def win32(code: int) -> int:
    """The Win32 code inside an HRESULT, or the code itself."""
    if code in HRESULT_NAMES:
        return HRESULT_NAMES[code]
    return code & 0xFFFF if code in WIN32_HRESULT else code


def evidence(answer: contract.Answer, means: Means | None = None) -> Evidence | None:
    """The facts in an answer; None when the machine did not even say who it is."""
    machine, account, place, logon = answer.machine, answer.account, answer.place, answer.logon
    if machine is None:
        return None
    right_token = bool(logon and account and logon.code == 0 and logon.sid == account.sid)
    return Evidence(
        host=machine.computer_name,
        means=means,
        stamp=account.last_set if account else None,
        method=answer.method,
        machine_sid=machine.machine_sid or None,
        account_id=f"{machine.full_name.casefold()}#{account.sid}" if account else None,
        account_sid=account.sid if account else (place.account_sid or None) if place else None,
        run_as_sid=place.run_as_sid or None if place else None,
        run_as=place.run_as or None if place else None,
        right=place.right if place else None,
        last_start=place.last_start if place else None,
        last_result=place.last_result if place else None,
        bad_count=account.bad_count if account else None,
        bad_at=account.bad_at if account else None,
        threshold=account.threshold if account else None,
        window_s=account.window_s if account else None,
        restart_pending=bool(answer.op == "set_service" and place and place.state != "stopped"),
        state=place.state if place else "",
        running=place.dependents if place else (),
        down=place.down if place else (),
        logged_on=right_token,
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """One answer being read."""

    answer: contract.Answer
    told_sid: str

    def raise_(
        self, what: type[ConnectorError], reason: str, spends: frozenset[Key] = NONE, safe_in: timedelta | None = None
    ) -> NoReturn:
        answer = self.answer
        wrote = None if what is Unknown and answer.reason == "hop_broken" else answer.wrote
        raise what(
            reason,
            code=code_text(answer.code),
            text=answer.text or told(answer, reason),
            spent=spends,
            wrote=wrote,
            safe_in=safe_in,
            evidence=evidence(answer),
        )

    def stopped(self) -> NoReturn:
        """The script itself stopped, with a word of the contract."""
        answer, row = self.answer, STOPS[self.answer.reason]
        writes = contract.OPERATIONS[answer.op].writes
        if answer.stage == "hop" and answer.reason in ("hop_unreachable", "hop_refused"):
            row = HOP.get(answer.code, HOP.get(win32(answer.code), row))
        if answer.reason == "hop_broken":
            spends = TARGET if "user" in contract.OPERATIONS[answer.op].params and answer.op != "read_account" else NONE
            self.raise_(Unknown if writes else Unreachable, row.reason, spends)
        if answer.wrote and answer.reason not in LEFT_DOWN:
            # something was written, and then it was not what it should be
            self.raise_(Unknown, row.reason, _all(answer))
        if answer.reason in ("account_state", "cannot_prove_old"):
            self._state(row)
        if answer.reason == "internal":
            self.raise_(Unknown, row.reason, _all(answer))
        safe_in = None
        if answer.reason == "too_young" and answer.account and answer.account.may_change_at:
            safe_in = self._until(answer.account.may_change_at)
        if answer.reason == "would_lock":
            safe_in = self._window()
        self.raise_(row.raises, row.reason, row.spends, safe_in)

    def _state(self, row: Row) -> NoReturn:
        """The account's state made the old value unprovable. A code nobody has seen is unknown, and its try is kept."""
        code = self.answer.code
        safe_in = self._window() if code == 1909 else None
        if code in NO_DIRECTORY:
            self.raise_(Unreachable, "no_domain_controller")
        if code and code not in ACCOUNT_STATES:
            self.raise_(Unknown, row.reason, TARGET)
        self.raise_(row.raises, ACCOUNT_STATES.get(code, row.reason), NONE, safe_in)

    def refused(self) -> NoReturn:
        """Windows answered with a number before anything was done, or at the write itself."""
        answer = self.answer
        tables: Mapping[str, Mapping[int, Row]] = {"old": OLD, "verify": LOGON, "write": WRITES.get(self._write(), {})}
        table = tables.get(answer.stage, FACTS)
        row = table.get(answer.code) or table.get(win32(answer.code))
        if row is None:
            self.raise_(Unknown, "code_not_known", _all(answer))
        safe_in = self._window() if row.reason == "account_locked" else None
        self.raise_(row.raises, row.reason, row.spends, safe_in)

    def written(self) -> Evidence:
        """The write worked; the logon after it did not."""
        answer = self.answer
        if answer.op not in ("change", "reset") or answer.write_code != 0 or not answer.logon or not answer.account:
            self.raise_(Unknown, "answer_foreign", TARGET)
        facts = evidence(answer, Means.WRITTEN)
        if answer.code not in CANNOT_TELL or facts is None:
            self.raise_(Unknown, "refused_after_write" if answer.code == 1326 else "code_not_known", TARGET)
        return facts

    def done(self) -> Evidence:
        """Everything went as it should; what it proves is checked here again."""
        answer, account, logon = self.answer, self.answer.account, self.answer.logon
        operation = contract.OPERATIONS[answer.op]
        facts = evidence(answer)
        whole = facts is not None and answer.code == 0 and answer.wrote == operation.writes
        if "user" in operation.params:
            whole = whole and account is not None
        if "name" in operation.params:
            whole = whole and answer.place is not None
        if operation.writes:
            whole = whole and answer.write_code == 0 and answer.method in self._methods()
        if answer.op in ("verify", "change", "reset"):
            own = account is not None and logon is not None and logon.code == 0 and logon.sid == account.sid
            whole = whole and own and logon is not None and logon.type == 3 and logon.stage == "verify"
        if not whole or facts is None:
            self.raise_(Unknown, "answer_foreign", TARGET if operation.secrets else NONE)
        if answer.place:
            self._place(answer.place)
        means: Mapping[str, Means] = {
            "verify": Means.LOGGED_ON,
            "change": Means.LOGGED_ON,
            "reset": Means.LOGGED_ON,
            "set_task": Means.WRITTEN,
            "set_service": Means.WRITTEN,
            "restart_service": Means.STARTED,
        }
        return evidence(answer, means.get(answer.op)) or facts

    def _place(self, place: contract.PlaceFacts) -> None:
        """A place as read, before anything is claimed of it: whose it is, and whether its account may log on there."""
        if place.managed:
            self.raise_(Refused, "managed_by_windows")
        if not place.stores_password:
            self.raise_(Blocked, "stores_no_password")
        if not place.account_sid:
            self.raise_(Blocked, "no_account")
        if place.run_as_sid != place.account_sid or self.told_sid not in ("", place.account_sid):
            self.raise_(Blocked, "run_as_differs")
        if place.right is False:
            self.raise_(Blocked, "no_batch_right" if self.answer.op.endswith("task") else "no_service_right")

    def _methods(self) -> tuple[str, ...]:
        operation = self.answer.op
        return {"change": ("change", "reset"), "reset": ("reset",), "restart_service": ("restart",)}.get(
            operation, ("set",)
        )

    def _write(self) -> str:
        """Which mutating call it was: a *change* may have been done by a reset."""
        return "reset" if self.answer.op == "change" and self.answer.method == "reset" else self.answer.op

    def _until(self, theirs: str) -> timedelta | None:
        """How long it is to a moment on the machine's clock."""
        machine = self.answer.machine
        return datetime.fromisoformat(theirs) - datetime.fromisoformat(machine.clock) if machine else None

    def _window(self) -> timedelta | None:
        account = self.answer.account
        return timedelta(seconds=account.window_s) if account and account.window_s else None


def told(answer: contract.Answer, reason: str) -> str:
    """What the machine told that belongs beside our words for ``reason``."""
    machine, account, place = answer.machine, answer.account, answer.place
    if reason == "wrong_name" and machine:
        return f"It calls itself {machine.full_name}."
    if reason == "account_renamed":
        return f"It is called {answer.present_name} now."
    if reason == "other_account":
        return where_it_went(answer.present_name)
    if reason == "would_lock" and account:
        since = f", the last at {account.bad_at}" if account.bad_at else "; Windows does not tell since when"
        return f"{account.bad_count} of {account.threshold} wrong logons are counted there{since}."
    if reason == "new_machine" and answer.directory:
        return f"The domain's SID is {answer.directory.domain_sid}."
    if reason == "no_service" and place and place.suggestion:
        return f"The service with that display name is called {place.suggestion}."
    if reason == "run_as_differs" and place:
        return f"It runs as {place.run_as}."
    if reason == "too_short" and account and account.min_length:
        return f"It wants at least {account.min_length} characters."
    if reason == "dependents_running" and place and place.dependents:
        return f"These run and depend on it: {', '.join(place.dependents)}."
    if reason == "start_disabled" and place and place.hindered:
        return f"The start type of {place.hindered} is Disabled."
    if reason == "dependency_missing" and place and place.hindered:
        return f"It needs {place.hindered}."
    if reason in LEFT_DOWN and place:
        others = [name for name in place.down if name.casefold() != place.name.casefold()]
        return f"Stopped with it and not up: {', '.join(others)}." if others else ""
    return ""


def where_it_went(present_name: str) -> str:
    """What became of the account that was proved under a name that another one has now."""
    if present_name:
        return f"The account that was proved here is called {present_name} now."
    return "The account that was proved here does not exist any more."


def code_text(code: int) -> str:
    """A code as Windows' documents write it: decimal for Win32, hex for HRESULTs; "" for none."""
    return "" if code == 0 else str(code) if code < 0x10000 else f"0x{code:08X}"
