"""One mail to one address by SMTP. The only place that speaks to a mail server."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from threading import Timer

from pwserver.mailserver import MailServer

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


@contextmanager
def _session(server: MailServer) -> Iterator[smtplib.SMTP]:
    """A connection with TLS and login as set, closed at the end; cut off after ``WHOLE_SECONDS``."""
    smtp = _connect(server)
    guard = Timer(WHOLE_SECONDS, _cut, [smtp.sock])
    guard.daemon = True
    guard.start()
    try:
        if server.security == "starttls":
            smtp.starttls(context=_context(server))
        if server.user:
            smtp.login(server.user, server.password)
        yield smtp
    finally:
        guard.cancel()
        smtp.close()


def _connect(server: MailServer) -> smtplib.SMTP:
    name = socket.gethostname()
    if server.security == "tls":
        return smtplib.SMTP_SSL(
            server.host, server.port, local_hostname=name, timeout=STEP_SECONDS, context=_context(server)
        )
    return smtplib.SMTP(server.host, server.port, local_hostname=name, timeout=STEP_SECONDS)


def _context(server: MailServer) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.ca_file:
        context.load_verify_locations(cafile=server.ca_file)
    return context


def _cut(sock: socket.socket | None) -> None:
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _hand_over(smtp: smtplib.SMTP, server: MailServer, message: EmailMessage, to: str) -> str:
    """MAIL, RCPT and DATA, each answer judged by its code: 5xx is final, anything else is tried again."""
    smtp.ehlo_or_helo_if_needed()
    try:
        body = message.as_bytes()
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
