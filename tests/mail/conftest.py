"""A real SMTP receiver on loopback, with a certificate made for it, and scenes in which something goes wrong."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flask import Flask
from sqlalchemy import select

from pwserver.extensions import db
from pwserver.mailserver import MailServer
from pwserver.models import Outbox
from pwserver.services.mail import outbox
from tests.disasters.conftest import Play, play, proved_stage, stage, synced, synced_stage, untouched  # noqa: F401
from tests.free_ports import free_port

SENDER = "Password Server <alerts@northfield.example>"
BASE = "https://passwords.northfield.example"
LOGIN = ("psrv", "Mail-71qx#Login")


@dataclass
class Received:
    """One mail as it arrived."""

    sender: str
    to: list[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    def part(self, kind: str) -> str:
        found = self.message.get_body((kind,))
        assert found is not None
        return str(found.get_content()).replace("\r\n", "\n")

    @property
    def text(self) -> str:
        return self.part("plain")

    @property
    def html(self) -> str:
        return self.part("html")


@dataclass
class Handler:
    """What the receiver does: ``refuse`` by address, ``say`` for everything at DATA."""

    mails: list[Received] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    say: str = ""

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, to: str, _options: Any) -> str:  # noqa: N802
        if to in self.refuse:
            return self.refuse[to]
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.say:
            return self.say
        assert isinstance(envelope.content, bytes)
        self.mails.append(Received(str(envelope.mail_from), list(envelope.rcpt_tos), envelope.content))
        return "250 queued as 7F3A"


@dataclass
class Receiver:
    """A mail server that can be stopped and started again on its port."""

    certificate: Path
    key: Path
    security: str = "starttls"
    with_login: bool = False
    handler: Handler = field(default_factory=Handler)
    controller: Controller | None = None
    port: int = 0
    logins: list[tuple[str, str]] = field(default_factory=list)

    def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        more: dict[str, Any] = {}
        if self.security == "starttls":
            more |= {"tls_context": context, "require_starttls": True}
        if self.security == "tls":
            more |= {"ssl_context": context}
        if self.with_login:
            clear = self.security != "starttls"  # as the receiver sees it: TLS from the first byte on is not its own
            more |= {"authenticator": self._login, "auth_required": not clear, "auth_require_tls": not clear}
        self.port = self.port or free_port()
        self.controller = Controller(self.handler, hostname="127.0.0.1", port=self.port, **more)
        self.controller.start()

    def _login(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=self.logins[-1] == LOGIN, handled=False)

    def stop(self) -> None:
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    @property
    def settings(self) -> MailServer:
        user, password = LOGIN if self.with_login else ("", "")
        return MailServer("127.0.0.1", self.port, self.security, SENDER, user, password, str(self.certificate))

    @property
    def mails(self) -> list[Received]:
        return self.handler.mails


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    return make_certificate(tmp_path_factory.mktemp("smtp"), "127.0.0.1")


def make_certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """A certificate of a machine's name or address, signed by itself, and its key."""
    try:
        called: x509.GeneralName = x509.IPAddress(ip_address(address))
    except ValueError:
        called = x509.DNSName(address)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail receiver of a test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([called]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8, clear = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, clear))
    return paths


@pytest.fixture
def receivers(certificate: tuple[Path, Path]) -> Iterator[Callable[..., Receiver]]:
    """Starts receivers; all are stopped in the end."""
    made: list[Receiver] = []

    def start(**options: Any) -> Receiver:
        receiver = Receiver(*certificate, **options)
        receiver.start()
        made.append(receiver)
        return receiver

    yield start
    for receiver in made:
        receiver.stop()


@pytest.fixture
def receiver(receivers: Callable[..., Receiver]) -> Receiver:
    return receivers()


def use(app: Flask, server: MailServer | None, **more: Any) -> None:
    """The app's mails go there from now on."""
    app.config["PWSERVER"] = replace(app.config["PWSERVER"], mail=server, **more)


def send_due() -> int:
    """What the workers would do with everything that is due; returns how many mails were nudged."""
    nudged = outbox.due()
    for outbox_id, _queue in nudged:
        outbox.deliver(outbox_id)
    return len(nudged)


def rows(**filters: Any) -> list[Outbox]:
    query = select(Outbox).filter_by(**filters).order_by(Outbox.created_at, Outbox.dedupe_key)
    return list(db.session.scalars(query.execution_options(populate_existing=True)))


@pytest.fixture
def mailed(synced: Play, receiver: Receiver) -> Iterator[Play]:  # noqa: F811  # the fixture that is imported
    """All in sync, and a mail server."""
    use(synced.scene.app, receiver.settings, base_url=BASE)
    yield synced
    use(synced.scene.app, None, base_url="")
