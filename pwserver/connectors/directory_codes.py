"""What a directory's answers mean: one table for binds, one for modifications. A code that is not here is unknown."""

from __future__ import annotations

from collections.abc import Mapping

from pwserver.connectors.base import Blocked, ConnectorError, Key, Refused, Unknown, Unreachable
from pwserver.connectors.codes import Row
from pwserver.connectors.ldap_line import Result

NONE: frozenset[Key] = frozenset()
TARGET = frozenset({Key.TARGET})
LINKED = frozenset({Key.LINKED})

INVALID_CREDENTIALS, BUSY, UNAVAILABLE, NO_RIGHT = 49, 51, 52, 50

STATES: Mapping[str, str] = {
    "530": "account_hours",
    "531": "account_workstation",
    "532": "password_expired",
    "533": "account_disabled",
    "701": "account_expired",
    "773": "must_change",
    "775": "account_locked",
}
"""``data`` of a refused bind that tells a state of the account, and no wrong password."""

BINDS: Mapping[str, Row] = {
    "52e": Row(Refused, "value_refused", TARGET),
    "525": Row(Blocked, "no_account"),
} | {data: Row(Refused, reason) for data, reason in STATES.items()}

MODIFICATIONS: Mapping[str, Row] = {
    "0000052D": Row(Refused, "policy"),
    "00000056": Row(Refused, "old_value_refused", TARGET),
    "00000775": Row(Refused, "account_locked"),
    "00000005": Row(Blocked, "denied"),
    "00002098": Row(Blocked, "denied"),
}


def refused_bind(result: Result, reason: str) -> ConnectorError:
    """Why the account's own bind was refused. ``reason``: what a wrong password is called here."""
    code = f"LDAP {result.code}" + (f" data {result.data}" if result.data else "")
    if result.code in (BUSY, UNAVAILABLE):
        return Unreachable("not_ready", code=code, text=result.message)
    row = BINDS.get(result.data) if result.code == INVALID_CREDENTIALS else None
    if row is None:
        return Unknown("code_not_known", code=code, text=result.message, spent=TARGET, wrote=False)
    return row.raises(reason if row.spends else row.reason, code=code, spent=row.spends)


def refused_login(result: Result) -> ConnectorError:
    """Why our linked credential was refused."""
    code = f"LDAP {result.code}" + (f" data {result.data}" if result.data else "")
    if result.code in (BUSY, UNAVAILABLE):
        return Unreachable("not_ready", code=code, text=result.message)
    if result.code == INVALID_CREDENTIALS and result.data in STATES:
        return Blocked("linked_state", code=code)
    if result.code == INVALID_CREDENTIALS and result.data in ("52e", "525"):
        return Blocked("linked_refused", code=code, spent=LINKED)
    return Unknown("code_not_known", code=code, text=result.message, spent=LINKED, wrote=False)


def refused_modification(result: Result, *, own: bool) -> ConnectorError:
    """Why a password was not set; nothing of the modification was done. ``own``: it was a change and no reset."""
    code = " ".join(part for part in (result.win32, f"LDAP {result.code}") if part)
    if result.code in (BUSY, UNAVAILABLE):
        return Unreachable("not_ready", code=code, text=result.message)
    row = MODIFICATIONS.get(result.win32)
    if (row is None or row.reason == "denied") and result.code == NO_RIGHT:
        row = Row(Refused, "change_denied") if own else Row(Blocked, "denied")
    if row is None:
        return Unknown("code_not_known", code=code, text=result.message, spent=TARGET if own else NONE)
    return row.raises(row.reason, code=code, text=result.message, spent=row.spends, wrote=False)
