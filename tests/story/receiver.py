"""A real SMTP server that keeps what it gets, for the walk."""

from __future__ import annotations

import email
import re
from email import policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from tests.free_ports import free_port


class Receiver:
    """On a free port of loopback. ``mails``: every message, oldest first."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self._port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)
        self._controller.start()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        self.mails.append(email.message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        return "250 kept"

    @property
    def settings(self) -> dict[str, str]:
        """What the server has to be told to send its mails here."""
        return {
            "PWSERVER_SMTP_HOST": "127.0.0.1", "PWSERVER_SMTP_PORT": str(self._port), "PWSERVER_SMTP_SECURITY": "none",
            "PWSERVER_SMTP_FROM": "vault@northfield.example",
        }  # fmt: skip

    def to(self, address: str, words: str) -> list[EmailMessage]:
        """The mails of one person with these words in their subject."""
        return [mail for mail in self.mails if address in str(mail["To"]) and words in str(mail["Subject"])]

    def stop(self) -> None:
        self._controller.stop()


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link_of(mail: EmailMessage, ending: str) -> str:
    """The address in a mail's text that ends so."""
    found = re.search(rf"https?://\S+{re.escape(ending)}\b", text_of(mail))
    assert found, f"no link to {ending} in: {text_of(mail)}"
    return found[0]
