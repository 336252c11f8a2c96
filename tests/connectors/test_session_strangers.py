"""The certificate is right and what answers behind it is not what it should be.

The client's first request is NTLM's first message without a body. A stranger that lets it in gives a challenge first.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pwserver.connectors.base import Blocked, ConnectorError, Key, Unknown, Unreachable
from pwserver.core.secrets import Secret
from pwserver.lab import wire_soap
from pwserver.lab.wire_ntlm import Acceptor
from tests.lab_wire.kit import Lab, ask, call, reset

NEW = Secret("Correct-Horse-9")
Reply = tuple[int, dict[str, str], bytes]
Stranger = Callable[[Callable[[str, bytes], Reply]], int]


@pytest.fixture
def stranger(lab: Lab) -> Iterator[Stranger]:
    """Serves what a function makes of (Authorization, body), under LAB-01's own certificate; gives the port."""
    servers = []

    def start(reply: Callable[[str, bytes], Reply]) -> int:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, content = reply(self.headers.get("Authorization", ""), body)
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(content))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None: ...

        server = Server(("127.0.0.1", 0), Handler)
        server.socket = lab.wire.certificates.context("LAB-01").wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def first_message(authorization: str) -> bool:
    """Whether a request carries NTLM's first message, which proves nothing."""
    return base64.b64decode(authorization.partition(" ")[2])[:12] == b"NTLMSSP\0\x01\0\0\0"


def challenge(authorization: str) -> Reply:
    token = Acceptor("LAB-01", b"", lambda user, domain: []).challenge(base64.b64decode(authorization.split()[1]))
    return 401, {"WWW-Authenticate": "Negotiate " + base64.b64encode(token).decode()}, b""


def failure(lab: Lab, port: int) -> ConnectorError:
    with pytest.raises(ConnectorError) as raised:
        reset(lab.session(port=port), NEW)
    return raised.value


def test_a_server_that_wants_a_password_in_clear_gets_none(lab: Lab, stranger: Stranger) -> None:
    offered: list[str] = []

    def basic(authorization: str, body: bytes) -> Reply:
        offered.append(authorization)
        return 401, {"WWW-Authenticate": 'Basic realm="WSMAN"'}, b""

    error = failure(lab, stranger(basic))
    assert (type(error), error.reason, error.text) == (Blocked, "no_ntlm", "It offers Basic.")
    assert [first_message(each) for each in offered] == [True]
    assert error.spent == frozenset(), "no login was sent, so no try of it was spent"


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_web_server_is_no_agent(lab: Lab, stranger: Stranger, status: int) -> None:
    error = failure(lab, stranger(lambda authorization, body: (status, {}, b"<html>no</html>")))
    assert (type(error), error.reason, error.code) == (Unreachable, "unreachable", f"HTTP {status}")


@pytest.mark.parametrize("content", [b"", b"<html>yes</html>", b"<a/>", b"not xml"])
def test_a_page_is_no_shell(lab: Lab, stranger: Stranger, content: bytes) -> None:
    error = failure(lab, stranger(lambda authorization, body: (200, {}, content)))
    assert (type(error), error.reason) == (Unreachable, "unreachable")


def test_a_challenge_that_is_none_is_not_answered(lab: Lab, stranger: Stranger) -> None:
    sent: list[str] = []

    def rubbish(authorization: str, body: bytes) -> Reply:
        sent.append(authorization)
        return 401, {"WWW-Authenticate": "Negotiate " + base64.b64encode(b"rubbish").decode()}, b""

    error = failure(lab, stranger(rubbish))
    assert (type(error), error.spent) == (Unreachable, frozenset())
    assert [first_message(each) for each in sent] == [True], "the one that proves the password was not sent"


def answering(shell_until: str, then: Callable[[wire_soap.Request], Reply]) -> Callable[[str, bytes], Reply]:
    """An agent that lets any login in and behaves until the action ``shell_until`` is asked."""

    def reply(authorization: str, body: bytes) -> Reply:
        if not body:
            return challenge(authorization)
        asked = wire_soap.parse(body)
        if asked.action == shell_until:
            return then(asked)
        content = {
            "Create": '<w:SelectorSet><w:Selector Name="ShellId">S-1</w:Selector></w:SelectorSet>',
            "Command": "<rsp:CommandResponse><rsp:CommandId>C-1</rsp:CommandId></rsp:CommandResponse>",
        }.get(asked.action, "<rsp:SendResponse/>")
        return 200, {}, wire_soap.envelope(asked.action, asked.message_id, content)

    return reply


def fault(code: int) -> Callable[[wire_soap.Request], Reply]:
    return lambda asked: (
        500,
        {},
        wire_soap.fault(wire_soap.Fault(code, "w:X", "It is so."), asked.message_id, "LAB-01"),
    )


def test_a_login_without_the_right_to_use_winrm(lab: Lab, stranger: Stranger) -> None:
    error = failure(lab, stranger(answering("Create", fault(5))))
    assert (type(error), error.reason, error.text) == (Blocked, "not_admin", "It is so.")


@pytest.mark.parametrize("code", [2150859173, 2150859174, 2150859175, 2150859179, 2150859236, 2150859242])
def test_every_quota_is_known(lab: Lab, stranger: Stranger, code: int) -> None:
    error = failure(lab, stranger(answering("Command", fault(code))))
    assert (type(error), error.reason, error.code) == (Unreachable, "out_of_shells", str(code))


@pytest.mark.parametrize(
    ("action", "kind", "requests"), [("Command", Blocked, 3), ("Send", Unknown, 4), ("Receive", Unknown, 5)]
)
def test_a_401_in_the_middle_ends_the_session(
    lab: Lab, stranger: Stranger, action: str, kind: type[ConnectorError], requests: int
) -> None:
    """The connection was logged in; a second request for the password gets none. After the payload was handed over
    the 401 does not say that nothing was done."""
    offered: list[str] = []

    def again(asked: wire_soap.Request) -> Reply:
        return 401, {"WWW-Authenticate": "Negotiate"}, b""

    inner = answering(action, again)

    def reply(authorization: str, body: bytes) -> Reply:
        offered.append(authorization)
        return inner(authorization, body)

    session = lab.session(port=stranger(reply))
    with pytest.raises(kind) as raised:
        reset(session, NEW)
    reason = "login_not_accepted" if kind is Blocked else "connection_lost"
    assert (type(raised.value), raised.value.reason, raised.value.code) == (kind, reason, "401")
    assert raised.value.spent == (frozenset() if kind is Blocked else {Key.TARGET})
    with pytest.raises(Blocked, match="login_not_accepted"):
        reset(session, NEW)
    assert offered[2:] == [""] * (requests - 2), "the two of the login, and none after them"


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_of_the_web_server_after_the_payload_is_unknown(lab: Lab, stranger: Stranger, status: int) -> None:
    port = stranger(answering("Send", lambda asked: (status, {}, b"")))
    error = failure(lab, port)
    assert (type(error), error.reason, error.code) == (Unknown, "connection_lost", f"HTTP {status}")


def test_a_fault_instead_of_an_answer_is_unknown(lab: Lab, stranger: Stranger) -> None:
    error = failure(lab, stranger(answering("Receive", fault(995))))
    assert (type(error), error.reason, error.code) == (Unknown, "connection_lost", "995")


def test_a_send_that_was_held_back_too_long_is_waited_for_not_repeated(lab: Lab, stranger: Stranger) -> None:
    actions: list[str] = []
    inner = answering("Send", fault(wire_soap.TIMED_OUT))

    def reply(authorization: str, body: bytes) -> Reply:
        if not body:
            return inner(authorization, body)
        actions.append(wire_soap.parse(body).action)
        return inner(authorization, body) if actions[-1] != "Receive" else fault(995)(wire_soap.parse(body))

    with pytest.raises(Unknown):
        reset(lab.session(port=stranger(reply)), NEW)
    assert actions == ["Create", "Command", "Send", "Receive"]


def test_the_stranger_is_heard_at_all(lab: Lab, stranger: Stranger) -> None:
    """Control: the same server with a true answer would be believed."""
    said: list[bytes] = []

    def answer(asked: wire_soap.Request) -> Reply:
        out = base64.b64encode(said[0]).decode()
        state = f"{wire_soap.SHELL}/CommandState/Done"
        done = f'<rsp:CommandState State="{state}"><rsp:ExitCode>0</rsp:ExitCode></rsp:CommandState>'
        body = f'<rsp:ReceiveResponse><rsp:Stream Name="stdout">{out}</rsp:Stream>{done}</rsp:ReceiveResponse>'
        return 200, {}, wire_soap.envelope("x", asked.message_id, body)

    true = ask(lab.session(), "identity").model_copy(update={"attempt": "mine"})
    said.append(true.model_dump_json().encode())
    assert (
        ask(lab.session(port=stranger(answering("Receive", answer))), "identity", within=call(attempt="mine")) == true
    )
