"""One connection to one machine of the lab: TLS, HTTP, NTLM, then one message after the other.

It closes as Windows does: every ``401`` that holds no challenge ends the connection, the first one included.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
import ssl
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, NamedTuple

from pwserver.lab import wire_soap
from pwserver.lab.wire_ntlm import SEALED_TYPE, Acceptor, BadToken, read_sealed, write_sealed
from pwserver.lab.wire_shells import Cut
from pwserver.lab.wire_spnego import Envelope

if TYPE_CHECKING:
    from pwserver.lab.wire import Wire

IDLE_S = 120
"""http.sys closes an idle connection after two minutes."""
HANDSHAKE_S = 10
MAX_BODY = 512_000
"""MaxEnvelopeSizekb."""
SOAP_TYPE = "application/soap+xml;charset=UTF-8"
SERVER = "Microsoft-HTTPAPI/2.0"
OFFERS = ("Negotiate", "Kerberos", 'Basic realm="WSMAN"', "CredSSP")
"""What a machine offers on which everything is allowed; each in a header of its own."""


class Seen(NamedTuple):
    """One request: what it was (an action, or the stage of a login), as whom, and the status it got (0: cut off)."""

    machine: str
    what: str
    user: str
    status: int


class Connection:
    """Who is logged in belongs to the connection, as with Windows."""

    def __init__(self, wire: Wire, machine: str, plain: socket.socket) -> None:
        self.wire, self.machine = wire, machine
        self._socket = plain
        self._other = wire.network.fault(machine).certificate
        self.acceptor: Acceptor | None = None
        self.envelope = Envelope()
        self.user = ""

    def serve(self) -> None:
        plain = self._socket
        plain.settimeout(HANDSHAKE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = self.wire.certificates.context(self.machine, other=self._other)
        self._socket = secured = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        secured.do_handshake()
        secured.settimeout(IDLE_S)
        _Handler(secured, self)

    def hang_up(self) -> None:
        """Ends the connection, from whichever thread."""
        with contextlib.suppress(OSError, ValueError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        self._socket.close()

    def new_acceptor(self) -> Acceptor:
        name, network = self.machine, self.wire.network
        digest = self.wire.certificates.digest(name, other=self._other)
        return Acceptor(name, digest, lambda user, domain: network.ntlm_passwords(name, user, domain))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = SERVER, ""
    login_end = b""
    """SPNEGO's last token, for the answer to the request that has just logged in."""

    def __init__(self, secured: ssl.SSLSocket, connection: Connection) -> None:
        self.of = connection
        super().__init__(secured, ("", 0), None)  # type: ignore[arg-type]  # it never looks at its server

    def log_message(self, format: str, *args: object) -> None:
        """The wire remembers what it saw; nothing goes to standard error."""

    def do_POST(self) -> None:
        of, network = self.of, self.of.wire.network
        network.count_request(of.machine)
        fault = network.fault(of.machine)
        body = self._body()
        if body is None or fault.is_silent:
            return self._hang_up("off" if fault.is_silent else "too large")
        if fault.slow_ms:
            network.sleep(fault.slow_ms / 1000)
        if self.path == "/wsman-anon/identify":
            return self._reply("Identify", 200, wire_soap.identify())
        if not of.user and not self._logged_in():
            return None
        if not body:
            return self._reply("empty", 200)
        sealed = self.headers.get("Content-Type", "").startswith("multipart/encrypted")
        if sealed:
            try:
                assert of.acceptor is not None
                body = read_sealed(of.acceptor, body)
            except BadToken:
                self.close_connection = True
                return self._reply("undecipherable", 400)
        return self._message(body, sealed)

    def _body(self) -> bytes | None:
        size = self.headers.get("Content-Length", "0")
        if not size.isdigit() or int(size) > MAX_BODY:
            return None
        body = self.rfile.read(int(size))
        return body if len(body) == int(size) else None

    def _logged_in(self) -> bool:
        """Take one step of a login; True when the request that carried it may go on."""
        scheme, _, text = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("negotiate", "ntlm"):
            # Basic is off, as on every machine of ours: what it carries is not even looked at.
            return self._refuse("no login" if not scheme else f"refused {scheme.lower()}")
        try:
            token = self.of.envelope.open(base64.b64decode(text, validate=True))
            if token[8:9] == b"\x01":
                self.of.acceptor = self.of.new_acceptor()
                self._challenge(scheme, self.of.envelope.challenge(self.of.acceptor.challenge(token)))
                return False
            if self.of.acceptor is None:
                raise BadToken
            if self.of.wire.cut(self.of.machine, "login", "before"):
                self._hang_up("login")
                return False
            claim = self.of.acceptor.authenticate(token)
            self.login_end = self.of.envelope.end(self.of.acceptor) if claim.proved else b""
        except (BadToken, binascii.Error):
            return self._refuse("broken login")
        network, machine = self.of.wire.network, self.of.machine
        if claim.proved and not claim.bound and not (claim.bound is None and self.of.wire.takes_unbound):
            # The right password over another TLS connection than this one: somebody stands between.
            network.count_ntlm(machine, f"{claim.domain}\\{claim.user}")
            return self._refuse("unbound login")
        logon = network.wire_logon(machine, claim.user, claim.domain, claim.proved)
        if logon.code:
            self.of.acceptor = None
            return self._refuse("refused login")
        self.of.user = logon.as_user
        return True

    def _message(self, body: bytes, sealed: bool) -> None:
        of, asked = self.of, None
        try:
            asked = wire_soap.parse(body)
            if of.wire.cut(of.machine, asked.action, "before"):
                return self._hang_up(asked.action)
            if asked.action == "Identify":
                status, answer = 200, wire_soap.identify()
            else:
                action, content = of.wire.shells[of.machine].answer(of.user, asked)
                status, answer = 200, wire_soap.envelope(action, asked.message_id, content)
        except wire_soap.Fault as error:
            relates_to = asked.message_id if asked else ""
            named = self.headers.get("Host", "").rpartition(":")[0] or of.machine  # as the client calls the machine
            status, answer = 500, wire_soap.fault(error, relates_to, named)
        except Cut:
            return self._hang_up(asked.action if asked else "")
        what = asked.action if asked else "nonsense"
        if of.wire.network.fault(of.machine).off or of.wire.cut(of.machine, what, "after"):
            return self._hang_up(what)
        if sealed and of.acceptor is not None:
            return self._reply(what, status, write_sealed(of.acceptor, answer), SEALED_TYPE)
        return self._reply(what, status, answer)

    def _challenge(self, scheme: str, token: bytes) -> None:
        of = self.of
        if of.wire.cut(of.machine, "challenge", "before"):
            return self._hang_up("challenge")
        self.close_connection = of.wire.cut(of.machine, "challenge", "after")
        return self._reply("challenge", 401, offers=(f"{scheme} {base64.b64encode(token).decode()}",))

    def _refuse(self, what: str) -> bool:
        """Answer 401 without a challenge, and close. Never True: nobody is logged in."""
        self.close_connection = True
        self._reply(what, 401, offers=OFFERS)
        return False

    def _hang_up(self, what: str) -> None:
        self._remember(what, 0)
        self.close_connection = True

    def _reply(
        self, what: str, status: int, body: bytes = b"", kind: str = SOAP_TYPE, offers: tuple[str, ...] = ()
    ) -> None:
        """Send head and body in one write: two would wait for each other on a real network. No words follow the status,
        and nothing is said of keeping the connection, as with Windows."""
        self._remember(what, status)
        if self.login_end and status != 401:
            offers, self.login_end = (f"Negotiate {base64.b64encode(self.login_end).decode()}",), b""
        lines = [f"HTTP/1.1 {status} "]
        if body:
            lines.append(f"Content-Type: {kind}")
        if status == 401 and self.close_connection:
            lines += [f"Server: {SERVER}", *(f"WWW-Authenticate: {offer}" for offer in offers)]
        else:
            lines += [*(f"WWW-Authenticate: {offer}" for offer in offers), f"Server: {SERVER}"]
        lines.append(f"Date: {self.date_time_string()}")
        if self.close_connection:
            lines.append("Connection: close")
        lines += [f"Content-Length: {len(body)}", "", ""]
        self.wfile.write("\r\n".join(lines).encode() + body)

    def _remember(self, what: str, status: int) -> None:
        self.of.wire.network.note_answer(self.of.machine)
        self.of.wire.seen.append(Seen(self.of.machine, what, self.of.user, status))
