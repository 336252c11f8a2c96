"""Which mail server alerts go through: ``PWSERVER_SMTP_*``. Wrong settings are words for the console and the Outbox
page; they never keep the server from starting, since passwords matter more than mail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path

PORTS = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS = re.compile(r"[!-?A-~]+@[!-?A-~]+")
MEANT = ("PWSERVER_SMTP_FROM", "PWSERVER_SMTP_USER", "PWSERVER_SMTP_PASSWORD", "PWSERVER_SMTP_PASSWORD_FILE")
"""Whoever sets one of these wants mail."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class WrongSettings(ValueError):
    """Said as it is; never with the password in it."""


@dataclass(frozen=True)
class MailServer:
    """``security``: starttls, tls or none. ``ca_file``: certificate authorities besides the system's ("" for none).
    ``sender``: an address, or ``Name <address>``."""

    host: str
    port: int
    security: str
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""

    @property
    def address(self) -> str:
        return parseaddr(self.sender)[1]


def from_settings(env: Mapping[str, str]) -> MailServer | None:
    """None without ``PWSERVER_SMTP_HOST``. Raises :class:`WrongSettings`."""
    host, user = env.get("PWSERVER_SMTP_HOST", ""), env.get("PWSERVER_SMTP_USER", "")
    if not host:
        if stray := next((name for name in MEANT if env.get(name)), ""):
            raise WrongSettings(f"{stray} is set, but PWSERVER_SMTP_HOST is not.")
        return None
    security = env.get("PWSERVER_SMTP_SECURITY") or "starttls"
    if security not in PORTS:
        raise WrongSettings(f"PWSERVER_SMTP_SECURITY is {security!r}; it is starttls, tls or none.")
    port = env.get("PWSERVER_SMTP_PORT") or str(PORTS[security])
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise WrongSettings(f"PWSERVER_SMTP_PORT is {port!r}; it is a number from 1 to 65535.")
    password = env.get("PWSERVER_SMTP_PASSWORD") or _from_file(env.get("PWSERVER_SMTP_PASSWORD_FILE", ""))
    if bool(user) != bool(password):
        raise WrongSettings("PWSERVER_SMTP_USER and a password for it belong together; one of them is missing.")
    if password and security == "none" and host not in LOOPBACK:
        raise WrongSettings("PWSERVER_SMTP_SECURITY=none would send the login in clear; choose starttls or tls.")
    ca_file = env.get("PWSERVER_SMTP_CA_FILE", "")
    if ca_file and not Path(ca_file).is_file():
        raise WrongSettings("PWSERVER_SMTP_CA_FILE names a file that is not there.")
    return MailServer(host, int(port), security, _sender(env.get("PWSERVER_SMTP_FROM", "")), user, password, ca_file)


def _sender(text: str) -> str:
    address = parseaddr(text)[1]
    if not _ADDRESS.fullmatch(address) or any(sign in text for sign in "\r\n"):
        raise WrongSettings("PWSERVER_SMTP_FROM is the address that mails come from; it is missing or is none.")
    return text


def _from_file(path: str) -> str:
    """The content without one line end after it; "" when no file is named."""
    if not path:
        return ""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise WrongSettings(f"PWSERVER_SMTP_PASSWORD_FILE cannot be read: {why}.") from None
    return text.removesuffix("\n").removesuffix("\r")
