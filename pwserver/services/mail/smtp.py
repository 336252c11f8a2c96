"""One mail to one address by SMTP. The only place that speaks to a mail server."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from threading import Timer

from pwserver.mailserver import MailServer
from pwserver.services.mail.message import to_bytes

STEP_SECONDS = 10
"""How long one answer of the mail server may take."""
WHOLE_SECONDS = 60
"""How long all of it may take; a server that answers one letter at a time is cut off."""


class NotSent(Exception):
    """The mail was not taken. ``answer``: in words, with the server's own. ``final``: the same mail is not taken later
    either. ``ours``: it is about the server or our login, so that other mails need not be tried now."""

    def __init__(self, answer: str, *, final: bool = False, ours: bool = False) -> None:
        super().__init__(answer)
        self.answer, self.final, self.ours = answer, final, ours


def send(server: MailServer, message: EmailMessage, to: str) -> str:
    """Hands ``message`` over and returns the server's answer. Raises :class:`NotSent`. Takes at most
    ``WHOLE_SECONDS``, and as long as the name of the server takes to be found."""
    try:
        with _session(server) as smtp:
            return _hand_over(smtp, server, message, to)
    except NotSent:
        raise
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"{server.host} refused our login: {_said(error)}", ours=True) from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotSent(f"{server.host} does not offer what is needed: {error}", ours=True) from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"{server.host} said: {_said(error)}", ours=True) from None
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message or "it does not fit"
        words = f"The certificate of {server.host} cannot be trusted: {why}. Nothing was sent."
        raise NotSent(words, ours=True) from None
    except (smtplib.SMTPException, OSError) as error:
        words = f"{server.host}, port {server.port}, does not answer as it should: {_why(error)}"
        raise NotSent(words, ours=True) from None


class Line(smtplib.SMTP):
    """A connection that can be cut off from outside, in the middle of its TLS handshake too. ``context``: TLS from the
    first byte on."""

    line: socket.socket | None = None

    def __init__(self, host: str, context: ssl.SSLContext | None) -> None:
        self.context = context
        super().__init__(local_hostname=socket.gethostname(), timeout=STEP_SECONDS)
        self._host = host  # the name that STARTTLS compares the certificate with

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        self.line = socket.create_connection((host, port), timeout)
        if self.context is not None:
            wrapped = self.context.wrap_socket(self.line, server_hostname=host, do_handshake_on_connect=False)
            self.line = wrapped
            wrapped.do_handshake()
        return self.line

    def cut(self) -> None:
        """Whatever waits for this line fails now. Past the TLS layer, whose own state belongs to the one who waits."""
        line = self.sock or self.line
        if line is not None:
            with suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)


@contextmanager
def _session(server: MailServer) -> Iterator[smtplib.SMTP]:
    """A connection with TLS and login as set, closed at the end; cut off after ``WHOLE_SECONDS``."""
    smtp = Line(server.host, _context(server) if server.security == "tls" else None)
    guard = Timer(WHOLE_SECONDS, smtp.cut)
    guard.daemon = True
    guard.start()
    try:
        code, said = smtp.connect(server.host, server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)
        if server.security == "starttls":
            smtp.starttls(context=_context(server))
        if server.user:
            smtp.login(server.user, server.password)
        yield smtp
    finally:
        guard.cancel()
        smtp.close()
        if smtp.line is not None:
            smtp.line.close()


def _context(server: MailServer) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.ca_file:
        context.load_verify_locations(cafile=server.ca_file)
    return context


def _hand_over(smtp: smtplib.SMTP, server: MailServer, message: EmailMessage, to: str) -> str:
    """MAIL, RCPT and DATA, each answer judged by its code: 5xx is final, anything else is tried again."""
    smtp.ehlo_or_helo_if_needed()
    try:
        body = to_bytes(message)
        to.encode("ascii")
    except UnicodeEncodeError:
        raise NotSent("The address has letters that mail addresses cannot have here.", final=True) from None
    for about, (code, said) in (
        (f"the sender {server.address}", smtp.mail(server.address)),
        (f"the address {to}", smtp.rcpt(to)),
    ):
        if code not in (250, 251, 252):
            # A sender that is refused is refused for every mail.
            raise NotSent(
                f"{server.host} refused {about}: {code} {_text(said)}",
                final=500 <= code < 600 and about.startswith("the address"),
                ours=about.startswith("the sender") or code == 421,
            )
    code, said = smtp.data(body)
    if code != 250:
        raise NotSent(f"{server.host} refused the mail: {code} {_text(said)}", final=500 <= code < 600)
    return f"{code} {_text(said)}"


def _said(error: smtplib.SMTPResponseException) -> str:
    return f"{error.smtp_code} {_text(error.smtp_error)}"


def _text(said: bytes | str) -> str:
    """A server's words on one line, at most 300 letters."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:300]


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name has no address"
    return _text(str(error)) or type(error).__name__
