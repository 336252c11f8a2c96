"""A fresh lab on the wire for each test, and short ways to ask it something."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pwserver.connectors.base import Call, ConnectorError, Credential
from pwserver.connectors.session import AgentAddress, AgentSession, SessionTiming
from pwserver.core.secrets import Secret
from pwserver.lab import defaults, wire
from pwserver.lab.model.network import Network
from pwserver.lab.wire_shells import Mind, think

QUICK = SessionTiming(connect_s=15, operation_s=1, grace_s=15, close_s=5)
"""One receive is held back for a second only; everything else has time, also on a busy machine."""


def eventually(holds: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Polls until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"did not happen: {what}"
        time.sleep(0.005)


class Lab:
    """The network, its wire, and a session opener."""

    def __init__(self, folder: Path) -> None:
        self.network = Network(defaults.network("wire", time.time()))
        self.mind: Mind = think
        self.wire = wire.serve(self.network, folder=folder, mind=lambda *asked: self.mind(*asked))
        self.sessions: list[AgentSession] = []

    def initial(self, label: str) -> Secret:
        return Secret(self.network.state.initial[label])

    def address(self, machine: str = "LAB-01", **other: Any) -> AgentAddress:
        told = self.wire.addresses[machine]
        facts = {"host": told["host"], "port": told["port"], "pin": told["fingerprint"], "machine": machine}
        return AgentAddress(**facts | other)

    def login(self, machine: str = "LAB-01") -> Credential:
        return Credential(f"{machine}\\svc-psrv", self.initial(f"{machine}\\svc-psrv"))

    def session(self, machine: str = "LAB-01", *, timing: SessionTiming = QUICK, **other: Any) -> AgentSession:
        login = other.pop("login", None) or self.login(machine)
        made = AgentSession(self.address(machine, **other), login, timing=timing)
        self.sessions.append(made)
        return made

    def password(self, machine: str, user: str) -> str:
        account = self.network.machine(machine).sam.find(user)
        assert account is not None
        return account.password

    def bad_logons(self, machine: str) -> int:
        return sum(self.network.machine(machine).bad_logons.values())

    def saw(self, *what: str) -> list[tuple[str, int]]:
        """The requests seen, in order; only those named, when some are."""
        return [(seen.what, seen.status) for seen in self.wire.seen.copy() if not what or seen.what in what]

    def end(self) -> None:
        for session in self.sessions:
            session.close()
        self.network.stop()
        self.wire.stop()


def call(**other: Any) -> Call:
    return Call(**{"attempt": uuid.uuid4().hex, "ttl_s": 40.0, "deadline_s": 40.0} | other)


def ask(
    session: AgentSession,
    op: str,
    machine: str = "LAB-01",
    *,
    hop: Any = None,
    within: Call | None = None,
    **values: Any,
) -> Any:
    """``values``: parameters and secrets by their names in the contract."""
    secrets = {name: value for name, value in values.items() if isinstance(value, Secret)}
    params = {name: value for name, value in values.items() if name not in secrets}
    return session.run(op, call=within or call(), computer_name=machine, params=params, secrets=secrets, hop=hop)


def reset(session: AgentSession, new: Secret, machine: str = "LAB-01", **other: Any) -> Any:
    params: dict[str, Any] = {"user": "Administrator", "account_sid": "", "min_left": 2, "unlock": False}
    return ask(session, "reset", machine, new=new, **params, **other)


def fails(kind: type[ConnectorError], reason: str, ask_it: Callable[[], Any]) -> ConnectorError:
    """Asserts that exactly this answer is given, and gives it."""
    with pytest.raises(kind) as raised:
        ask_it()
    assert type(raised.value) is kind
    assert raised.value.reason == reason
    return raised.value


def unchanged(lab: Lab) -> bool:
    """Whether LAB-01's Administrator still has the password of the beginning."""
    return lab.password("LAB-01", "Administrator") == lab.initial("LAB-01\\Administrator").open()


@pytest.fixture(scope="session")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture
def lab(certificate_folder: Path) -> Iterator[Lab]:
    made = Lab(certificate_folder)
    yield made
    made.end()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that accepts and then says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
