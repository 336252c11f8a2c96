"""Domain Password: an account of an Active Directory domain, wherever it is used.

What a person types and how the account is called; who connects to it depends on the chain's agent: a directory over
LDAPS, or a Windows machine of the domain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from pwserver.connectors.base import Kind
from pwserver.connectors.windows import WindowsSettings

_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_NOT_IN_NAMES = '"/\\[]:;|=,+*?<>@'


def domain_name(value: str) -> str:
    """A domain's name, short (CORP) or full (corp.example), or the words for the field."""
    if not value:
        raise ValueError("Type the domain's name, as in CORP.")
    if len(value) > 253 or not _DOMAIN.fullmatch(value):
        raise ValueError("A domain's name has letters, digits, - and dots only, as in CORP or corp.example.")
    return value


def account_name(value: str) -> str:
    """The name a domain account logs on with (sAMAccountName), or the words for the field."""
    if not value:
        raise ValueError("Type the user name of the account.")
    if "\\" in value or "@" in value:
        raise ValueError("Type the bare user name; the domain stands in its own field.")
    if any(character in _NOT_IN_NAMES or ord(character) < 32 for character in value):
        raise ValueError('A user name may not contain any of " / \\ [ ] : ; | = , + * ? < > @.')
    if len(value) > 20:
        raise ValueError(f"A domain account's logon name has at most 20 characters; this has {len(value)}.")
    if value.endswith((".", "$")):
        raise ValueError("A user's logon name does not end with a dot or with $. Windows changes those itself.")
    return value


class Settings(WindowsSettings):
    domain: Annotated[str, AfterValidator(domain_name)] = Field(
        title="Domain",
        description="Its short name, as in CORP, or its full name, as in corp.example.",
        json_schema_extra={"placeholder": "CORP", "mono": True},
    )
    user_name: Annotated[str, AfterValidator(account_name)] = Field(
        title="User name",
        description="The account's logon name in that domain, without the domain.",
        json_schema_extra={"placeholder": "svc-backup", "mono": True},
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """What a controller has to show: a certificate of ``ca_pem`` with the name it was called by, or, without one, the
    very certificate whose SHA-256 is ``pin`` (hex)."""

    pin: str
    ca_pem: str = ""


@dataclass(frozen=True, slots=True)
class Directory:
    """How a directory is reached and what may be touched there. ``allowed``: logon names, and units as ``OU=…``."""

    controllers: tuple[str, ...]
    port: int
    trust: Trust
    domain: str
    """Its full name, as in corp.example."""
    short_name: str
    allowed: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        return ",".join(f"DC={part}" for part in self.domain.split("."))


KIND = Kind(
    kind="domain",
    label="Domain Password",
    icon="diagram-3",
    settings=Settings,
    is_account=True,
    transports=("winrm", "ldaps"),
    needs_linked=True,
    help="An account of an Active Directory domain. The linked credential reads it and, where it has the right, resets "
    "it; else it is changed with its own password.",
    machine_of=lambda settings, agent: str(settings.domain),
    account_of=lambda settings, agent: f"{settings.domain}\\{settings.user_name}",
)
