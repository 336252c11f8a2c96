"""One TLS connection to one agent: pinned, with a hard deadline, and never silently reconnected.

pywinrm goes through requests and urllib3, which would look up proxies, reconnect automatically and send a body again on
the new connection. A :class:`Line` takes that out of their hands. It opens once, and once more only while nothing that
proves the login's password has gone out; it keeps how far it got (was the login sent, was the payload handed over),
because what a failure means depends on exactly that; and every wait for the network ends at its deadline, however
slowly the other side trickles.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import queue
import socket
import ssl
import threading
import time
from typing import Any

import idna
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPSConnection
from urllib3.response import HTTPResponse

Addresses = list[tuple[int, tuple[Any, ...]]]
OPENINGS = 2
"""Connections that one line may make: the second one only before the login's proof went out."""


class LineError(Exception):
    """The connection could not be made or may not be used. No OSError: urllib3 must not wrap or retry it."""


class NoName(LineError):
    """The name has no address."""


class NoAnswer(LineError):
    """Nothing answers, or what answers does not speak TLS."""


class OtherCertificate(LineError):
    """The machine shows another certificate than the approved one. No login was sent."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


class Dropped(LineError):
    """The connection was closed between two requests, and may not be opened again."""


class Line:
    """The way to one agent. ``pin`` is the SHA-256 of its certificate in hex; None accepts any, to ask for it."""

    def __init__(self, host: str, port: int, pin: str | None, *, connect_s: float) -> None:
        self.host, self.port = ascii_host(host), port
        self.pin = None if pin is None else pin.replace(":", "").lower()
        self.connect_s = connect_s
        self.deadline = time.monotonic() + connect_s
        self.certificate = b""
        """The certificate of the connection that is open, as DER."""
        self.offers: tuple[str, ...] = ()
        """The schemes of a 401 that held no challenge."""
        self._openings, self._may_open = 0, True
        self._proof_sent = False
        self.login_open = False
        """The login was sent and nothing has come back for it yet."""
        self.login_refused = False
        self.carries_end = False
        """Set by the session: the next request carries the payload's last bytes."""
        self.handed_over = False
        """Set by the connection just before those bytes go out: the point of no return."""

    @property
    def url(self) -> str:
        """The full endpoint; an IPv6 address stands in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}/wsman"

    def left(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self.deadline - time.monotonic()

    @property
    def may_start_over(self) -> bool:
        """Whether one more connection may be made: nothing that proves the password went out on the first."""
        return not self._proof_sent and self._openings < OPENINGS

    def start_over(self) -> None:
        """Allow one more :meth:`open`. The caller has asked :attr:`may_start_over`."""
        assert self.may_start_over
        self._may_open = True

    def open(self) -> ssl.SSLSocket:
        """Resolve, connect, TLS, compare the pin. Raise :class:`LineError`, also when nobody allowed this opening."""
        if not self._may_open:
            raise Dropped("the connection was closed")
        self._may_open = False
        self._openings += 1
        plain = self._dial(resolve(self.host, self.port, min(self.connect_s, self.left())))
        try:
            plain.settimeout(max(0.01, min(self.connect_s, self.left())))
            secured = _context().wrap_socket(plain, server_hostname=None if _is_address(self.host) else self.host)
        except OSError as error:
            plain.close()
            raise NoAnswer(f"TLS: {type(error).__name__}") from None
        self.certificate = secured.getpeercert(True) or b""
        seen = hashlib.sha256(self.certificate).hexdigest()
        if self.pin is not None and not hmac.compare_digest(seen.encode(), self.pin.encode()):
            secured.close()
            raise OtherCertificate(seen)
        assert isinstance(secured, _TimedSocket)
        secured.line = self
        return secured

    def begin_proof(self) -> None:
        """The next bytes prove the login's password: from here on this line makes no other connection."""
        self._proof_sent = self.login_open = True

    def _dial(self, addresses: Addresses) -> socket.socket:
        problem = "no time left"
        until = time.monotonic() + self.connect_s
        for family, address in addresses:
            wait = min(until - time.monotonic(), self.left())
            if wait <= 0:
                break
            plain = socket.socket(family, socket.SOCK_STREAM)
            try:
                plain.settimeout(wait)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                plain.connect(address)
                return plain
            except OSError as error:
                plain.close()
                problem = "timed out" if isinstance(error, TimeoutError) else (error.strerror or "not connected")
        raise NoAnswer(problem)


class _TimedSocket(ssl.SSLSocket):
    """Every single read and write ends at the line's deadline, so that a trickle cannot stretch it."""

    line: Line | None = None

    def _limit(self) -> None:
        if self.line is not None:
            left = self.line.left()
            if left <= 0:
                raise TimeoutError("deadline")
            self.settimeout(left)

    def recv_into(self, *args: Any, **options: Any) -> int:
        self._limit()
        return super().recv_into(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        self._limit()
        return super().send(*args, **options)


class _Connection(HTTPSConnection):
    """urllib3's connection over a :class:`Line`; it keeps the line's account of what went out."""

    def __init__(self, *args: Any, line: Line, **options: Any) -> None:
        super().__init__(*args, **options)
        self._line, self._in_headers = line, False

    def connect(self) -> None:
        self.sock = self._line.open()
        # The pin was compared above; a chain or a name would add nothing to it.
        self.is_verified = True

    def putheader(self, header: str, *values: str) -> None:  # type: ignore[override]  # as urllib3 itself
        if header.lower() == "authorization" and _is_login(values[0]):
            self._line.begin_proof()
        super().putheader(header, *values)

    def endheaders(self, *args: Any, **options: Any) -> None:
        self._in_headers = True
        try:
            super().endheaders(*args, **options)
        finally:
            self._in_headers = False

    def send(self, data: Any) -> None:
        if self._line.carries_end and not self._in_headers:
            self._line.handed_over = True
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself
        response = super().getresponse()
        if self._line.login_open:
            self._line.login_open, self._line.login_refused = False, response.status == 401
        return response


class _Adapter(HTTPAdapter):
    """requests' adapter over a :class:`Line`: one connection, no retries, no proxy."""

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)
        self.poolmanager.pool_classes_by_scheme = {"https": self._pool}  # type: ignore[dict-item]  # a maker will do

    def _pool(self, host: str, port: int, **options: Any) -> HTTPSConnectionPool:
        pool = HTTPSConnectionPool(host, port, **options)
        pool.ConnectionCls = self._connection  # type: ignore[assignment]  # a maker will do
        return pool

    def _connection(self, *args: Any, **options: Any) -> _Connection:
        return _Connection(*args, line=self._line, **options)


def guard(session: requests.Session, line: Line) -> None:
    """Makes ``session`` speak over ``line`` only: no proxy, no environment, no redirect, no plain HTTP."""
    session.trust_env, session.proxies, session.verify = False, {}, False
    session.max_redirects = 0
    session.adapters.clear()
    session.mount("https://", _Adapter(line))


def fingerprint(host: str, port: int, timeout: float) -> str:
    """SHA-256 (hex) of the certificate shown there: a handshake, no request. Raises :class:`LineError`."""
    line = Line(host, port, None, connect_s=timeout)
    with line.open():
        return hashlib.sha256(line.certificate).hexdigest()


def ascii_host(host: str) -> str:
    """A host as it goes on the wire: addresses without brackets, names in punycode. Raises :class:`NoName`."""
    host = host.strip().removeprefix("[").removesuffix("]")
    if _is_address(host) or not host:
        return host
    try:
        return host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        raise NoName("not a host name") from None


def resolve(host: str, port: int, seconds: float) -> Addresses:
    """The addresses of ``host``. The system's resolver knows no time-out, so it works on a thread of its own."""
    answers: queue.SimpleQueue[Addresses | None] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(int(family), address) for family, _, _, _, address in found])
        except (OSError, UnicodeError):
            answers.put(None)

    if _is_address(host):
        look_up()
    else:
        threading.Thread(target=look_up, name="name look-up", daemon=True).start()
    try:
        found = answers.get(timeout=max(0.01, seconds))
    except queue.Empty:
        raise NoName("no answer from the name service") from None
    if not found:
        raise NoName("no address")
    return found


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin is compared instead, before the first byte of a request
    context.sslsocket_class = _TimedSocket
    return context


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_login(header: str | bytes) -> bool:
    """Whether an Authorization header carries NTLM's third message, the one that proves a password."""
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    try:
        token = base64.b64decode(text.partition(" ")[2])
    except (binascii.Error, ValueError):
        return True
    return not (token.startswith(b"NTLMSSP\0") and token[8:9] == b"\x01")
