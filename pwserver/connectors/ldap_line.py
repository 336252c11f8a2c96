"""One TLS connection to one domain controller, and the few LDAP requests that are made over it.

ldap3 speaks the protocol; the connection is ours (:mod:`~pwserver.connectors.pinning`): the certificate is checked
before the first byte of a login, every wait ends at the call's deadline, and nothing is ever sent twice. Passwords are
handed over as bytes, since ldap3 would normalise text (rule 3).
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldap3 import ANONYMOUS, BASE, NONE, SIMPLE, SUBTREE, SYNC, Connection, Server
from ldap3.core.exceptions import LDAPExceptionError

from pwserver.connectors.domain import Trust
from pwserver.connectors.pinning import Line, LineError, NoAnswer, OtherCertificate, resolve
from pwserver.core.secrets import Secret

CONNECT_SECONDS = 8.0
"""For one controller's name, connection and TLS together."""
DACL_ONLY = ("1.2.840.113556.1.4.801", True, b"\x30\x03\x02\x01\x04")
"""Asks for the list of rights in ``nTSecurityDescriptor`` and for nothing that needs a privilege."""
NO_SUCH_OBJECT = 32
Row = Mapping[str, list[bytes]]


class Broken(LineError):
    """The connection was lost, or said something that is no LDAP. ``sent``: a request was on its way."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Result:
    """What a controller answered to one request: LDAP's number and its own words."""

    code: int
    message: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def win32(self) -> str:
        """The eight hex digits at the start of Active Directory's words, upper case; "" without them."""
        digits = self.message[:8].upper()
        return digits if len(digits) == 8 and all(each in "0123456789ABCDEF" for each in digits) else ""

    @property
    def data(self) -> str:
        """The state that a refused bind names (``data 52e``), lower case; "" without one."""
        _, found, rest = self.message.partition("data ")
        return rest.split(",")[0].strip("\x00 ").lower() if found else ""


class _Socket(ssl.SSLSocket):
    """Every read and write ends at the deadline, however slowly the other side trickles."""

    deadline = 0.0

    def _limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        self.settimeout(left)

    def recv(self, *args: Any, **options: Any) -> bytes:
        self._limit()
        return super().recv(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        self._limit()
        return super().send(*args, **options)


class _Dial(Line):
    """The way to one controller; what it shows is checked by :class:`Trust`."""

    def __init__(self, host: str, port: int, trust: Trust, deadline: float) -> None:
        super().__init__(host, port, trust.pin, connect_s=CONNECT_SECONDS)
        self.trust, self.deadline = trust, deadline

    def open(self) -> _Socket:
        """Name, connection, TLS, certificate. Raises :class:`LineError`."""
        until = min(self.deadline, time.monotonic() + self.connect_s)
        plain = self._dial(resolve(self.host, self.port, until - time.monotonic()))
        try:
            plain.settimeout(max(0.01, until - time.monotonic()))
            secured = _context(self.trust).wrap_socket(plain, server_hostname=self.host)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise OtherCertificate(error.verify_message) from None
        except OSError as error:
            plain.close()
            raise NoAnswer(f"TLS: {type(error).__name__}") from None
        if not self.trust.ca_pem:
            seen = hashlib.sha256(secured.getpeercert(True) or b"").hexdigest()
            if not hmac.compare_digest(seen, self.trust.pin):
                secured.close()
                raise OtherCertificate(seen)
        assert isinstance(secured, _Socket)
        secured.deadline = self.deadline
        # Closed at once when it is closed: what was not acknowledged by then is not delivered later.
        secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return secured


def _context(trust: Trust) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    if trust.ca_pem:
        context.load_verify_locations(cadata=trust.ca_pem)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the fingerprint is compared instead, before the first request
    return context


class LdapLine:
    """A connection to the controller ``host``; open from the start. Raises :class:`LineError` for trouble on the way.

    ``deadline``: by the monotonic clock; nothing happens after it.
    """

    def __init__(self, host: str, port: int, trust: Trust, deadline: float) -> None:
        self.host, self.port, self.trust, self.deadline = host, port, trust, deadline
        server = Server("controller", get_info=NONE)  # a name for ldap3's own use: it opens nothing itself
        self._ldap = Connection(
            server, client_strategy=SYNC, auto_referrals=False, check_names=False, auto_encode=False,
            auto_escape=False, raise_exceptions=False, authentication=ANONYMOUS,
        )  # fmt: skip
        # The socket is opened here and not by ldap3, which would check its certificate in its own way.
        self._ldap.socket = _Dial(host, port, trust, deadline).open()
        self._ldap.closed = False
        self._ldap.strategy._outstanding = {}
        self._ldap.strategy._start_listen()

    def again(self) -> LdapLine:
        """Another connection to the same controller."""
        return LdapLine(self.host, self.port, self.trust, self.deadline)

    def __enter__(self) -> LdapLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._ldap.strategy.close()
        self._ldap.password = None

    def bind(self, who: str, secret: Secret) -> Result:
        """One login with a name or DN. An empty password would be an anonymous bind, which always succeeds."""
        password = secret.open().encode()
        if not password or not who:
            raise ValueError("a bind needs a name and a password")
        self._ldap.user, self._ldap.password, self._ldap.authentication = who, password, SIMPLE
        try:
            return self._ask(lambda: self._ldap.bind(read_server_info=False))
        finally:
            self._ldap.password = None

    def modify(self, dn: str, changes: Mapping[str, Any]) -> Result:
        """One modification, all of it or nothing. Values are bytes."""
        return self._ask(lambda: self._ldap.modify(dn, dict(changes)))

    def base(self, dn: str, attributes: Sequence[str], controls: Sequence[Any] | None = None) -> Row:
        """One object's attributes as bytes, by lower-case name; {} when it is not there or may not be read."""
        rows = self._search(dn, "(objectClass=*)", BASE, attributes, controls)
        return rows[0] if rows else {}

    def find(self, base: str, condition: str, attributes: Sequence[str], controls: Sequence[Any] | None = None) -> Row:
        """The one object below ``base`` that meets ``condition``; {} when none or more than one does."""
        rows = self._search(base, condition, SUBTREE, attributes, controls)
        return rows[0] if len(rows) == 1 else {}

    def _search(
        self, base: str, condition: str, scope: Any, attributes: Sequence[str], controls: Sequence[Any] | None
    ) -> list[Row]:
        result = self._ask(
            lambda: self._ldap.search(base, condition, scope, attributes=list(attributes), controls=controls)
        )
        if result.code not in (0, NO_SUCH_OBJECT):
            raise Broken(f"a search was answered with LDAP {result.code}: {result.message}", sent=True)
        return [
            {"dn": [each["dn"].encode()]} | {name.lower(): list(raw) for name, raw in each["raw_attributes"].items()}
            for each in self._ldap.response or ()
            if each.get("type") == "searchResEntry"
        ]

    def _ask(self, request: Any) -> Result:
        """Makes one request; its answer, or :class:`Broken`."""
        sent = time.monotonic() < self.deadline
        try:
            request()
        except (LDAPExceptionError, OSError) as error:
            raise Broken(type(error).__name__, sent=sent) from None
        result = self._ldap.result
        if not isinstance(result, dict) or "result" not in result:
            raise Broken("no answer", sent=sent)
        return Result(int(result["result"]), str(result.get("message") or ""))


def escaped(value: str) -> str:
    """``value`` as it stands in a search condition."""
    return "".join(c if c.isalnum() or c in "-_. " else "".join(f"\\{b:02x}" for b in c.encode()) for c in value)


def fingerprint_of_pem(pem: str) -> str:
    """SHA-256 (hex) of the one certificate in ``pem``. Raises ValueError with words when it is not exactly one."""
    if pem.count("-----BEGIN CERTIFICATE-----") != 1:
        raise ValueError("Exactly one certificate, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----.")
    try:
        der = ssl.PEM_cert_to_DER_cert(pem.strip())
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError):
        raise ValueError("This certificate cannot be read.") from None
    return hashlib.sha256(der).hexdigest()
