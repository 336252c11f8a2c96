"""The login on a line that Windows closes: what is sent first, when a second connection is made, and when never."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import NameOID

from pwserver.connectors import ntlm
from pwserver.connectors.base import Blocked, Credential, Key, Unreachable
from pwserver.core.secrets import Secret
from pwserver.lab import wire, wire_http
from tests.lab_wire.kit import Lab, ask, eventually, fails, reset, unchanged

NEW = Secret("Correct-Horse-9")


@pytest.fixture
def connections(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The machine of each connection that was made."""
    made: list[str] = []
    serve = wire.Connection.serve

    def counted(connection: wire_http.Connection) -> None:
        made.append(connection.machine)
        serve(connection)

    monkeypatch.setattr(wire.Connection, "serve", counted)
    return made


def cuts(lab: Lab, action: str, moment: str, times: int = 99, also: Callable[[], object] = lambda: None) -> None:
    """Close the connection there, so many times; ``also`` happens just before."""
    left = [times]

    def interrupt(machine: str, what: str, when: str) -> bool:
        if (what, when) != (action, moment) or not left[0]:
            return False
        left[0] -= 1
        also()
        return True

    lab.wire.interrupt = interrupt


def test_an_agent_that_closes_after_a_request_without_login_is_reached(lab: Lab, connections: list[str]) -> None:
    """As every real Windows does. The login stands in the very first request, so one connection is enough."""
    assert reset(lab.session(), NEW).stage == "done"
    assert connections == ["LAB-01"]
    assert lab.saw()[:2] == [("challenge", 401), ("Create", 200)]


def test_no_body_is_sent_before_the_machine_has_answered_the_login(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[tuple[bool, int]] = []
    read = wire_http._Handler._body

    def seen(handler: Any) -> bytes | None:
        body = read(handler)
        bodies.append(("Authorization" in handler.headers, len(body or b"")))
        return body

    monkeypatch.setattr(wire_http._Handler, "_body", seen)
    ask(lab.session(), "identity")
    assert bodies[0] == (True, 0)
    assert [login for login, _ in bodies] == [True, True] + [False] * (len(bodies) - 2)
    assert all(size for _, size in bodies[1:])


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connection_closed_before_the_proof_is_made_once_more(lab: Lab, connections: list[str], moment: str) -> None:
    cuts(lab, "challenge", moment, times=1)
    assert reset(lab.session(), NEW).stage == "done"
    assert len(connections) == 2
    assert lab.network.machine("LAB-01").ntlm == {"LAB-01\\svc-psrv": 1}
    assert len(lab.saw("Send")) == 1


def test_a_connection_that_died_between_challenge_and_proof_is_made_once_more(
    lab: Lab, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof belongs to the connection of its challenge: it is not sent on another one."""
    bindings, dying = ntlm._bindings, [True]

    def die_first(certificate: bytes) -> Any:
        if dying.pop() if dying else False:
            for connection in list(lab.wire._open):
                connection.hang_up()
            eventually(lambda: not lab.wire._open, "the connection is gone")
        return bindings(certificate)

    monkeypatch.setattr(ntlm, "_bindings", die_first)
    assert reset(lab.session(), NEW).stage == "done"
    assert lab.saw()[:3] == [("challenge", 401), ("challenge", 401), ("Create", 200)]
    assert len(connections) == 2
    assert lab.network.machine("LAB-01").ntlm == {"LAB-01\\svc-psrv": 1}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_second_close_ends_the_call_and_costs_nothing(lab: Lab, connections: list[str], moment: str) -> None:
    cuts(lab, "challenge", moment)
    error = fails(Unreachable, "unreachable", lambda: reset(lab.session(), NEW))
    assert (error.wrote, error.spent) == (False, frozenset())
    assert len(connections) == 2
    assert lab.network.machine("LAB-01").ntlm == {}
    assert unchanged(lab)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_certificate_that_changed_between_two_connections_gets_no_login(
    lab: Lab, connections: list[str], moment: str
) -> None:
    cuts(lab, "challenge", moment, times=1, also=lambda: lab.network.set_fault("LAB-01", "certificate"))
    error = fails(Blocked, "pin_changed", lambda: reset(lab.session(), NEW))
    assert error.spent == frozenset()
    assert error.text
    assert len(connections) == 2
    assert len(lab.saw()) == 1, "nothing was asked on the second connection"
    assert lab.network.machine("LAB-01").ntlm == {}


def test_after_the_proof_no_other_connection_is_made(lab: Lab, connections: list[str]) -> None:
    """It may have been counted, so it is not sent a second time."""
    cuts(lab, "login", "before", times=1)
    error = fails(Unreachable, "unreachable", lambda: reset(lab.session(), NEW))
    assert error.spent == {Key.LOGIN}
    assert len(connections) == 1
    assert lab.saw() == [("challenge", 401), ("login", 0)]


def test_a_refused_login_is_not_sent_on_another_connection(lab: Lab, connections: list[str]) -> None:
    session = lab.session(login=Credential("LAB-01\\svc-psrv", Secret("wrong")))
    error = fails(Blocked, "login_not_accepted", lambda: reset(session, NEW))
    assert (error.code, error.spent) == ("401", {Key.LOGIN})
    assert len(connections) == 1
    assert lab.bad_logons("LAB-01") == 1


def test_a_machine_without_ntlm_is_asked_twice_and_gets_no_login(
    lab: Lab, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NTLM restricted, or Negotiate switched off: a 401 without a challenge, and the connection closed."""
    monkeypatch.setattr(wire_http._Handler, "_challenge", lambda self, *_: self._refuse("no challenge"))
    error = fails(Blocked, "no_ntlm", lambda: reset(lab.session(), NEW))
    assert (error.code, error.text, error.spent) == (
        "401",
        "It offers Negotiate, Kerberos, Basic, CredSSP.",
        frozenset(),
    )
    assert lab.saw() == [("no challenge", 401)] * 2
    assert len(connections) == 2
    assert lab.network.machine("LAB-01").ntlm == {}


def certificate(algorithm: hashes.HashAlgorithm | None) -> bytes:
    key: Any = (
        ed25519.Ed25519PrivateKey.generate() if algorithm is None else rsa.generate_private_key(65537, key_size=2048)
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "LAB-01")])
    now = datetime.datetime(2026, 1, 1)  # noqa: DTZ001  # nobody looks at it
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("signed", "bound"), [(hashes.SHA256(), hashes.SHA256()), (hashes.SHA384(), hashes.SHA384()), (None, None)]
)
def test_a_login_is_bound_by_the_hash_of_the_certificates_own_signature(
    signed: hashes.HashAlgorithm | None, bound: hashes.HashAlgorithm | None
) -> None:
    """RFC 5929: another hash would be refused by Windows as somebody standing between."""
    shown = certificate(signed)
    bindings = ntlm._bindings(shown)
    if bound is None:
        assert bindings is None
        return
    digest = hashes.Hash(bound)
    digest.update(shown)
    assert bindings is not None
    assert bindings.application_data == b"tls-server-end-point:" + digest.finalize()
