"""What the Windows kinds share: their settings' rules, the way to the machine, the call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, model_validator

from pwserver.connectors import codes, contract
from pwserver.connectors.base import Blocked, Call, Credential, Evidence
from pwserver.core.secrets import Secret

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_ADDRESS = re.compile(r"[\d.]+|\[?[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*\]?")
_NOT_IN_NAMES = '"/\\[]:;|=,+*?<>@'
BUILT_IN = "#500"
"""Typed as a user name: the built-in Administrator, whatever it is called there."""


class WindowsSettings(BaseModel):
    """Settings of a Windows kind. Nothing is guessed or repaired but blanks around what was typed."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _missing_is_blank(cls, data: Any) -> Any:
        """A field that was not sent gets the same words as an empty one."""
        if not isinstance(data, Mapping):
            return data
        return {name: "" for name, field in cls.model_fields.items() if field.is_required()} | dict(data)


def machine_name(value: str, *, blank: bool = False) -> str:
    """A machine's name, or the words for the field. An address names no machine that could be checked."""
    if not value:
        if blank:
            return value
        raise ValueError("Type the machine's name.")
    if _ADDRESS.fullmatch(value):
        raise ValueError("Type the machine's name, not its address: the name is checked before anything is written.")
    if len(value) > 253 or not _HOST.fullmatch(value):
        raise ValueError("A machine's name has letters, digits, - and dots only, as in LAB-05 or lab-05.corp.example.")
    return value


def user_name(value: str) -> str:
    """A local account's bare name, or the words for the field."""
    if not value:
        raise ValueError("Type the user name of the account.")
    if value == BUILT_IN:
        return value
    if "\\" in value or "@" in value:
        raise ValueError("Type the bare user name, without a machine or domain: this is a local account.")
    if any(character in _NOT_IN_NAMES or ord(character) < 32 for character in value):
        raise ValueError('A user name may not contain any of " / \\ [ ] : ; | = , + * ? < > @.')
    if len(value) > 20:
        raise ValueError(f"A local user name has at most 20 characters; this has {len(value)}.")
    if value.endswith((".", "$")):
        raise ValueError("A local user name does not end with a dot or with $.")
    return value


def short(machine: str) -> str:
    """The NetBIOS name of a machine: the first label, at most 15 characters."""
    return machine.split(".")[0][:15]


def same_machine(typed: str, machine: str) -> bool:
    """Whether ``typed`` names the machine registered as ``machine``: the same name, or its first label alone.

    Two full names are never cut: LAB-01 of another domain is another machine. Nor is a full name the one that was
    registered without a domain; which domain that one is in is not known here.
    """
    one, other = typed.casefold(), machine.casefold()
    return one == other or ("." not in one and one == other.partition(".")[0])


def login_auth(user: str, machine: str) -> Literal["kerberos", "ssl"]:
    """How a login is shown to ``machine``: a domain login by Kerberos, its own accounts over a checked certificate.

    Before the backslash stands a machine's NetBIOS or full name, or a domain's: a full name is never cut.
    """
    domain, _, name = user.rpartition("\\")
    if not domain:
        return "kerberos" if "@" in name else "ssl"
    own = {".", machine.casefold(), short(machine).casefold()}
    return "ssl" if domain.casefold() in own else "kerberos"


class Session(Protocol):
    """What a connector needs of the session with its agent. Raises the answers of ``base`` for trouble on the way."""

    def run(
        self,
        op: str,
        *,
        call: Call,
        computer_name: str,
        params: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        hop: contract.Hop | None,
    ) -> contract.Answer: ...


@dataclass(frozen=True, slots=True)
class Way:
    """The way to one machine: the agent's own, or from there to another with the linked credential."""

    session: Session
    machine: str
    agent_machine: str
    linked: Credential | None
    always_hop: bool = False
    """Even on the agent's own machine the linked credential does it."""

    def run(self, op: str, call: Call, params: Mapping[str, Any], **secrets: Secret) -> Evidence:
        """One operation and what its answer means. Raises the four other answers."""
        answer = self.session.run(
            op,
            call=call,
            computer_name=self.machine,
            params=params,
            secrets=secrets,
            hop=self._hop(),
        )
        return codes.meaning(answer, account_sid=call.account_sid)

    def _hop(self) -> contract.Hop | None:
        if not self.always_hop and same_machine(self.machine, self.agent_machine):
            return None
        if self.linked is None:
            raise Blocked("no_linked_credential")
        auth = login_auth(self.linked.user_name, self.machine)
        user = self.linked.user_name
        if "\\" not in user and "@" not in user:
            user = f"{short(self.machine)}\\{user}"
        return contract.Hop(self.machine, user, self.linked.secret, auth)


def not_here(what: str) -> NotImplementedError:
    """A step that this kind does not have. The engine never asks for it: a bug of ours when it does."""
    return NotImplementedError(what)
