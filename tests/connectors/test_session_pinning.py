"""Where a session goes: hosts in every spelling, and nowhere else."""

from __future__ import annotations

import socket
import threading

import pytest
import requests

from pwserver.connectors import pinning
from pwserver.connectors.base import Blocked, Credential, Unreachable
from pwserver.connectors.session import AgentAddress, AgentSession, fetch_fingerprint
from pwserver.core.secrets import Secret
from tests.lab_wire.kit import Lab, ask


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("LAB-01", "https://lab-01:5986/wsman"),
        ("höst.example", "https://xn--hst-sna.example:5986/wsman"),
        ("10.1.4.15", "https://10.1.4.15:5986/wsman"),
        ("fd00::2", "https://[fd00::2]:5986/wsman"),
        ("[fd00::2]", "https://[fd00::2]:5986/wsman"),
        (" lab-01.corp.test ", "https://lab-01.corp.test:5986/wsman"),
    ],
)
def test_the_endpoint_is_built_by_us(host: str, url: str) -> None:
    """pywinrm's own builder makes port 5985 out of https://host and the host "h" out of höst."""
    assert pinning.Line(host, 5986, "", connect_s=1).url == url


def test_a_host_that_is_no_name_is_said_so() -> None:
    with pytest.raises(Unreachable, match="no_dns"):
        fetch_fingerprint("h\u2028st..example", 5986, 0.2)
    session = AgentSession(AgentAddress("h\u2028st..example", 5986, "", "X"), Credential("x", Secret("y")))
    with pytest.raises(Unreachable, match="no_dns"):
        ask(session, "identity")


def test_a_login_without_a_user_name_is_not_sent(lab: Lab) -> None:
    with pytest.raises(Blocked, match="login_refused"):
        ask(lab.session(login=Credential("", Secret("y"))), "identity")
    assert lab.saw() == []


def test_the_machine_is_reached_by_its_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def look_up(host: str, *rest: object, **more: object) -> object:
        assert host == "xn--hst-sna.example"
        return real("127.0.0.1", *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert ask(lab.session(host="höst.example"), "identity").stage == "done"


def test_the_next_address_is_tried_when_the_first_does_not_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    port = lab.address().port
    family = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    addresses = [(*family, ("127.0.0.2", port)), (*family, ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    assert ask(lab.session(host="lab-01.example"), "identity").stage == "done"


@pytest.mark.parametrize(
    "place", ["https://127.0.0.1:{port}/elsewhere", "https://127.0.0.2:{port}/wsman", "http://127.0.0.1/"]
)
def test_a_redirect_is_never_followed(lab: Lab, place: str) -> None:
    """A 307 would carry the payload to wherever it says."""
    context = lab.wire.certificates.context("LAB-01")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def redirect() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as secured:
                secured.settimeout(10)
                while said := secured.recv(65536):
                    if said.startswith(b"POST"):
                        asked.append(said)
                        head = f"HTTP/1.1 307 Elsewhere\r\nLocation: {place.format(port=port)}\r\n"
                        secured.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())

        server = threading.Thread(target=redirect, daemon=True)
        server.start()
        with pytest.raises(Unreachable, match="unreachable"):
            ask(lab.session(port=port), "identity")
        server.join(15)
    assert len(asked) == 1


def test_a_guarded_session_speaks_no_plain_http_and_asks_no_environment(lab: Lab) -> None:
    session = requests.Session()
    pinning.guard(session, pinning.Line("127.0.0.1", lab.address().port, lab.address().pin, connect_s=1))
    assert (session.trust_env, session.proxies, list(session.adapters)) == (False, {}, ["https://"])
    with pytest.raises(requests.exceptions.InvalidSchema):
        session.get("http://127.0.0.1:9/")


def test_a_line_opens_once(lab: Lab) -> None:
    """urllib3 would reconnect by itself and send a body again."""
    address = lab.address()
    line = pinning.Line(address.host, address.port, address.pin, connect_s=2)
    with line.open() as secured:
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(pinning.Dropped):
        line.open()
