"""Which mail server alerts go through: ``PWSERVER_SMTP_*``. Wrong settings are words for the console and the Outbox
page; they never keep the server from starting, since passwords matter more than mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path

PORTS = {"starttls": 587, "tls": 465, "none": 25}
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

    def setting(name: str) -> str:
        return env.get(f"PWSERVER_SMTP_{name}", "")

    if not setting("HOST"):
        if stray := sorted(name for name in env if name.startswith("PWSERVER_SMTP_") and env[name]):
            raise WrongSettings(f"{stray[0]} is set, but PWSERVER_SMTP_HOST is not.")
        return None
    security = setting("SECURITY") or "starttls"
    if security not in PORTS:
        raise WrongSettings(f"PWSERVER_SMTP_SECURITY is {security!r}; it is starttls, tls or none.")
    port = setting("PORT") or str(PORTS[security])
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise WrongSettings(f"PWSERVER_SMTP_PORT is {port!r}; it is a number from 1 to 65535.")
    sender = setting("FROM")
    if "@" not in parseaddr(sender)[1] or any(sign in sender for sign in "\r\n"):
        raise WrongSettings("PWSERVER_SMTP_FROM is the address that mails come from; it is missing or is none.")
    password = setting("PASSWORD") or _from_file(setting("PASSWORD_FILE"))
    if bool(setting("USER")) != bool(password):
        raise WrongSettings("PWSERVER_SMTP_USER and a password for it belong together; one of them is missing.")
    if password and security == "none" and setting("HOST") not in LOOPBACK:
        raise WrongSettings("PWSERVER_SMTP_SECURITY=none would send the login in clear; choose starttls or tls.")
    ca_file = setting("CA_FILE")
    if ca_file and not Path(ca_file).is_file():
        raise WrongSettings("PWSERVER_SMTP_CA_FILE names a file that is not there.")
    return MailServer(setting("HOST"), int(port), security, sender, setting("USER"), password, ca_file)


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
