"""A mail as it goes out: headers that no name can break, text and HTML of equal worth."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

SUBJECT_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says, rendered."""

    subject: str
    text: str
    html: str
    folder: str = ""
    """The message it is, of ``templates/email``."""


def one_line(text: str) -> str:
    """``text`` without line breaks and signs that cannot be seen, so that it can stand in a header."""
    seen = (" " if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign for sign in text)
    return " ".join("".join(seen).split())


def build(letter: Letter, *, sender: str, to_name: str, to: str, message_id: str, at: datetime) -> EmailMessage:
    """``message_id``: the same for every try of one mail. Raises ValueError for an address that is none."""
    message = EmailMessage(policy=SMTP.clone(max_line_length=76))
    name, address = parseaddr(sender)
    message["Subject"] = one_line(letter.subject)[:SUBJECT_LETTERS]
    message["From"] = Address(one_line(name) or "Password Server", addr_spec=address)
    message["To"] = Address(one_line(to_name), addr_spec=ascii_address(to))
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{message_id}@{ascii_address(address).rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # no out-of-office answers (RFC 3834)
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    return message


def to_bytes(message: EmailMessage) -> bytes:
    """As it is sent. Headers in plain letters stay on their line (RFC 5322 allows 998); encoded ones are folded."""
    plain = all(str(value).isascii() for value in message.values())
    return message.as_bytes(policy=SMTP.clone(max_line_length=900 if plain else 76))


def ascii_address(address: str) -> str:
    """An address whose domain is written as DNS has it; raises ValueError where that is not possible."""
    local, _, domain = address.rpartition("@")
    try:
        local.encode("ascii")
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        raise ValueError("no address that mail can go to") from None
